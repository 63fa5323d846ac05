"""Constants are read part by part, which finds the same as one reading of the whole text."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.programs.constants import assignments, constants

PIECES = [
  '"""A docstring.\n\nDEPTH = 1 is text here.\n\n"""\n',
  'DEPTH = 3  # layers\n',
  'WIDTH: int = 64\n\n',
  'RATE = 0.1\r\nÜBER = 2\n',
  '\nif True:\n  NESTED = 1\n\nelse:\n  NESTED = 2\n',
  'try:\n  import x\n\nexcept ImportError:\n  LATE = 5\n\n',
  '@decorator\n\ndef f():\n  INNER = 1\n\n  return INNER\n\n',
  'SIZES = (\n\n1,\n\n)\n',
  'DEPTH += 1\n\n',
  'NAME = """\n\nTEXT = 2\n"""\n\n',
  'A = B = 1\n\n',
  'class C:\n\n  HIDDEN = 1\n\n',
  'x = 1 + \\\n\n',
  'else:\n  BROKEN = 1\n',
]


def plain_names(body, nested=False):
  """The names of plain assignments outside functions and classes, in order."""
  for node in body:
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
      if isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
        yield node.targets[0].id, nested
    elif isinstance(node, ast.AnnAssign):
      yield node.target.id, nested
    elif isinstance(node, ast.If | ast.Try):
      yield from plain_names(node.body, True)
      for handler in getattr(node, 'handlers', ()):
        yield from plain_names(handler.body, True)
      yield from plain_names(node.orelse, True)


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_parts_say_what_the_whole_says(pieces):
  text = ''.join(pieces)
  try:
    body = ast.parse(text).body
  except SyntaxError:
    assert assignments(text) == constants(text) == ()
    return
  found = assignments(text)
  assert [(c.name, c.nested) for c in found] == list(plain_names(body))
  data = text.encode()
  for constant in (*found, *constants(text)):
    code = data[constant.start : constant.end].decode()
    assert code == constant.code
    if constant.value is not None:
      assert ast.literal_eval(code) == constant.value


@pytest.mark.parametrize('end', ['', '\n\n\ndef broken(:\n'])
def test_a_docstring_of_many_paragraphs(end):
  text = '"""' + 'A paragraph.\n\n' * 200 + '"""\n\nDEPTH = 2\n' + end
  assert [c.value for c in constants(text)] == ([] if end else [2])
