"""Every sentence that refuses a config, a command or a folder names a way out.

The sentences are read from the source: those that are written where they are raised. What a
tracer, an artifact and a runner refuse is held by their own tests.
"""

import ast
import re

import pytest
from helpers import ROOT

PACKAGE = ROOT / 'autoresearch_jax'
FOLDERS = ('cli', 'config', 'ledger', 'research')
ERRORS = ('ConfigError', 'UsageError', 'LedgerError', 'Damaged', 'WorkspaceError')
# What a remedy is recognised by; one that is filled in at the end counts, too.
REMEDY = re.compile(
  r'must|use |set |give |name |choose|allowed|did you mean|now called|it has: |shipped|needs|'
  r'leave |'
  r'move it|free some|make it|make the|restore|repair|install|--\w|lower|raise|resum|close|try |'
  r'starts? |writes a |delete|may |can be|instead|is called|known|registered|expected|stop |'
  r'at most|remove|'
  r'measures: |build the run|\{\}$',
  re.IGNORECASE,
)


def text_of(node):
  """Returns a message's text with `{}` for what is filled in; '' if it is made elsewhere."""
  if isinstance(node, ast.Constant) and isinstance(node.value, str):
    return node.value
  if isinstance(node, ast.JoinedStr):
    parts = [part.value if isinstance(part, ast.Constant) else '{}' for part in node.values]
    return ''.join(map(str, parts))
  if isinstance(node, ast.BinOp):
    return text_of(node.left) + text_of(node.right)
  return ''


def refusals():
  for folder in FOLDERS:
    for path in sorted((PACKAGE / folder).rglob('*.py')):
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
          name = getattr(node.exc.func, 'id', getattr(node.exc.func, 'attr', ''))
          text = text_of(node.exc.args[0])
          if name in ERRORS and re.search('[a-z]{3}', text):
            yield pytest.param(text, id=f'{path.relative_to(PACKAGE)}:{node.lineno}')


REFUSALS = list(refusals())


def test_the_sentences_are_found():
  assert len(REFUSALS) > 40


@pytest.mark.parametrize('text', REFUSALS)
def test_a_refusal_is_a_sentence_with_a_remedy(text):
  assert text.endswith(('.', '}', '?'))
  assert REMEDY.search(text), text
