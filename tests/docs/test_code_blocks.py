"""Every code block of the documentation runs, or says why it does not.

- Python runs: the blocks of a page one after the other in one process, in a folder of their own. A
  block with a title is written to that file first, and run by pytest where its name says so.
- Of shell, each command of this library is checked: it exists, it has the flags, the config has the
  fields, the parts have the options. Blocks under `<!-- run -->` run as well.
- A block under `<!-- not run: REASON -->` is only checked, and any command may stand in it.
- TOML, YAML and JSON parse; `text` is no code.
"""

import ast
import atexit
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib

import pytest
import yaml
from absl import flags as absl_flags

from autoresearch_jax import __main__ as front
from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.cli import flags
from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.search import STRATEGIES

# ml_collections loads config files the old way; outside tests Python does not show this warning.
pytestmark = pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'program.md', *sorted((ROOT / 'docs').rglob('*.md'))]
LANGUAGES = {'python', 'bash', 'text', 'toml', 'yaml', 'json'}
MARK = re.compile(r'<!-- *(run|not run)(?:: *(.*?))? *-->')
PREPARING = {'export', 'cd', 'python'}  # need no mark: the shell's own, and a page's scripts
SECONDS = 280


@dataclasses.dataclass(frozen=True)
class Block:
  """A fenced code block. mark: `run`, `not run` or '', with its reason. line: of its fence."""

  line: int
  language: str
  title: str
  mark: str
  reason: str
  text: str


@functools.cache
def blocks(page):
  found, lines, above = [], page.read_text().splitlines(), ''
  numbers = iter(range(len(lines)))
  for number in numbers:
    line = lines[number]
    if fence := re.match(r'( *)```(\w*)(.*)$', line):
      body = []
      for inner in numbers:
        if lines[inner] == f'{fence[1]}```':
          break
        body.append(lines[inner].removeprefix(fence[1]))
      title = re.search(r'title="([^"]+)"', fence[3])
      mark = MARK.fullmatch(above.strip())
      found.append(
        Block(
          number + 1,
          fence[2],
          title[1] if title else '',
          mark[1] if mark else '',
          (mark[2] or '') if mark else '',
          '\n'.join(body) + '\n',
        )
      )
      above = ''
    elif line.strip():
      above = line
  return found


def name(page):
  return page.relative_to(ROOT).as_posix()


def pages(*languages, marked=None):
  """Pages with blocks in one of the languages, and with that mark."""
  wanted = [
    page
    for page in PAGES
    if any(b.language in languages and marked in (None, b.mark) for b in blocks(page))
  ]
  return pytest.mark.parametrize('page', wanted, ids=name)


def commands(block):
  """The block's commands as lists of words."""
  for line in block.text.replace('\\\n', ' ').splitlines():
    for part in re.split(r'&&|;', line.partition(' #')[0]):
      words = shlex.split(part, comments=True)
      if words[:2] == ['uv', 'run']:
        words = [word for word in words[2:] if word != '--no-sync']
      if words:
        yield words


def ours(words):
  """(command, arguments) where the words call this library or a script, else None."""
  match words:
    case ['autoresearch', 'measure' | 'benchmark' as command, name, *rest] if name[0] != '-':
      return ['-m', 'autoresearch_jax', command, name], rest
    case ['autoresearch', command, *rest]:
      return ['-m', 'autoresearch_jax', command], rest
    case ['python' | 'python3', '-m', module, *rest] if module.startswith('autoresearch_jax'):
      return ['-m', module], rest
    case ['python' | 'python3', script, *rest] | [script, *rest] if script.startswith('scripts/'):
      return [script], rest
  return None


def run(arguments, folder, **options):
  environment = {**os.environ, 'MPLBACKEND': 'agg'}
  environment.pop('XLA_FLAGS', None)  # other tests have several devices
  environment['PYTHONPATH'] = f'{folder}:{environment.get("PYTHONPATH", "")}'.rstrip(':')
  environment['PATH'] = f'{pathlib.Path(sys.executable).parent}:{environment["PATH"]}'
  ended = subprocess.run(
    arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False,
    timeout=SECONDS, **options,
  )  # fmt: skip
  assert ended.returncode == 0, ended.stdout + ended.stderr
  return ended.stdout


def test_there_are_blocks_of_each_kind():
  every = [block for page in PAGES for block in blocks(page)]
  assert len(every) > 30
  for language in ('python', 'bash', 'toml', 'yaml'):
    assert any(block.language == language for block in every)
  assert any(block.mark == 'run' for block in every)


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_blocks_say_their_language_and_marks_their_reason(page):
  for block in blocks(page):
    assert block.language in LANGUAGES, f'line {block.line}: the language is {block.language!r}'
    assert not block.mark or block.language in ('python', 'bash'), f'line {block.line}'
    assert bool(block.reason) == (block.mark == 'not run'), f'line {block.line}: no reason, or two'
  marks = len(MARK.findall(page.read_text()))
  assert marks == sum(bool(block.mark) for block in blocks(page)), 'a mark belongs to no block'


@pytest.mark.slow
@pages('python', marked='')
def test_python_runs(page, tmp_path):
  """A page's blocks run in order, as a reader would paste them."""
  script, tests = [], []
  for block in blocks(page):
    if block.language != 'python' or block.mark == 'not run':
      continue
    if block.title:
      (tmp_path / block.title).write_text(block.text)
      (tests if block.title.startswith('test_') else script).append(
        block.title if block.title.startswith('test_') else f'import {block.title[:-3]}\n'
      )
    else:
      script.append(block.text)
  (tmp_path / 'page.py').write_text(_guarded('\n'.join(script)))
  run([sys.executable, 'page.py'], tmp_path)
  if tests:
    out = run([sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', *tests], tmp_path)
    assert ' passed' in out


def _guarded(script):
  """With the main guard that processes started by `spawn` need, as any script has it."""
  body = ''.join(f'  {line}\n' for line in script.splitlines())
  return f"if __name__ == '__main__':\n{body}  pass\n"


@pages('python')
def test_python_is_python(page):
  for block in blocks(page):
    if block.language == 'python':
      ast.parse(block.text)


@pages('toml', 'yaml', 'json')
def test_data_parses(page):
  for block in blocks(page):
    match block.language:
      case 'toml':
        assert tomllib.loads(block.text)
      case 'yaml':
        assert next(yaml.safe_load_all(block.text))
      case 'json':
        assert json.loads(block.text)


@pages('bash')
def test_commands_are_ours_or_marked(page):
  for block in blocks(page):
    for words in commands(block) if block.language == 'bash' else ():
      known = ours(words) or words[0] in PREPARING
      assert known or block.mark == 'not run', f'line {block.line}: {words[0]}'


@pages('bash')
def test_commands_have_the_flags_fields_and_options(page):
  for block in blocks(page):
    for words in commands(block) if block.language == 'bash' else ():
      if call := ours(words):
        require(*call)


def sentences_with_commands():
  """Commands inside of sentences, without those that leave a word to the reader."""
  for page in PAGES:
    prose = re.sub(r'^( *)```.*?^\1```$', '', page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for text in re.findall(r'`([^`\n]+)`', prose):
      words = shlex.split(text) if text.startswith(('autoresearch ', 'python', 'scripts/')) else []
      if ours(words) and not any(re.search(r'\b[A-Z]{3,}\b|\.\.\.', word) for word in words):
        yield ' '.join(words)


@pytest.mark.parametrize('text', sorted(set(sentences_with_commands())))
def test_commands_in_sentences(text):
  require(*ours(shlex.split(text)))


def require(command, arguments):
  """The command has the flags, its config the fields, and the config's parts the options."""
  said = _help(*command)
  given = [word[2:].partition('=')[0] for word in arguments if word.startswith('--')]
  for flag in given:
    if not flag.startswith('config'):
      assert re.search(rf'--(\[no\])?{flag}\b', said), f'{command} has no flag --{flag}'
  if 'config' in given:
    require_config([word for word in arguments if word.startswith('--config')])


@functools.cache
def _help(*command):
  if command[0].startswith('scripts/'):
    text = (ROOT / command[0]).read_text()  # its flags, without importing what it measures
    defined = re.findall(r"(?:DEFINE_\w+\(\s*'|add_argument\('--)([\w-]+)'", text)
    return ' '.join(f'--{flag}' for flag in defined)
  ended = subprocess.run(
    [sys.executable, *command, '--help'], capture_output=True, text=True, timeout=120, check=False
  )
  said = ended.returncode in (0, 1) and ended.stdout.strip()  # absl's --help exits with 1
  assert said, f'{command}: {ended.stderr}'
  return ended.stdout


@functools.cache
def _template():
  """A config as `autoresearch new` writes it."""
  folder = pathlib.Path(tempfile.mkdtemp())
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  assert front.main(['new', str(folder)]) == 0
  return folder / 'config.py'


def _written(argument):
  """`--config=FOLDER/config.py` of a folder that the page makes, as one that exists."""
  found = re.fullmatch(r'--config=\w+/config.py', argument)
  return f'--config={_template()}' if found else argument


def require_config(arguments):
  """Parses --config and its fields as the commands do, and asks the parts for their options."""
  arguments = [_written(argument) for argument in arguments]
  values, line = absl_flags.FlagValues(), ['program', *arguments]
  parts = {} if 'benchmark' not in arguments[0] else {'parts': ('problems', 'strategies')}
  with contextlib.chdir(ROOT):
    flag = flags.define_config('', values, line, **parts)
    values(line)
    if parts:
      assert flag.value.to_dict()
      return
    config = flags.config_of(flag)
  for registry, part, options in (
    (STRATEGIES, config.search.strategy, config.search.options),
    (PROPOSERS, config.proposer, config.proposer_options),
    (ACCEPTANCE, config.acceptance, config.acceptance_options),
    (PROBLEMS, config.problem, config.data),
    (EXECUTORS, config.executor, config.executor_options),
  ):
    has = {field.name for field in dataclasses.fields(registry.get(part))}
    assert set(options) <= has, f'{part} has no {set(options) - has}'


@pytest.mark.slow
@pages('bash', marked='run')
def test_commands_run(page, tmp_path):
  """A page's blocks that are marked so run in order, in one folder."""
  for block in blocks(page):
    if block.title.endswith('.py'):
      (tmp_path / block.title).write_text(block.text)
    if block.language == 'bash' and block.mark == 'run':
      run(['bash', '-e', '-c', block.text], tmp_path)
