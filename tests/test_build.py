"""The files for Bazel stay few and short, and their targets cover the tree.

All tests but the last need no Bazel: they run BUILD as Python, with stand-ins that record the rules
and look files up as `glob` does. Whether Bazel accepts the files, only the last one shows.
"""

import fnmatch
import importlib.util
import itertools
import pathlib
import re
import shutil
import subprocess
import tomllib
import types

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCK = ROOT / 'scripts' / 'bazel' / 'requirements_lock.txt'
MAX_LINES, MAX_LINES_AT_TOP = 600, 150


def files(folder: str) -> set[str]:
  """What lies below a folder, as paths from the root, without what Python leaves behind."""
  paths = (ROOT / folder).rglob('*')
  return {p.relative_to(ROOT).as_posix() for p in paths if p.is_file() and p.suffix != '.pyc'}


def bazel_files() -> list[pathlib.Path]:
  top = [ROOT / name for name in ('BUILD', 'MODULE.bazel', 'WORKSPACE')]
  names = sorted(files('autoresearch_jax') | files('scripts') | files('tests') | files('configs'))
  return top + [ROOT / n for n in names if re.search(r'(/BUILD|\.bazel|\.bzl)$', n)]


def glob(include, exclude=()) -> list[str]:
  """Bazel's `glob`: stops at nested packages, and a pattern that finds nothing is an error."""
  packages = [p.parent for p in bazel_files() if p.stem == 'BUILD' and p.parent != ROOT]
  found = set()
  for pattern in include:
    # In Python 3.11, `**` at the end finds folders only.
    paths = ROOT.glob(pattern + '/*' if pattern.endswith('**') else pattern)
    own = {p for p in paths if p.is_file() and not any(p.is_relative_to(f) for f in packages)}
    assert own, f'nothing matches {pattern}'
    found |= {p.relative_to(ROOT).as_posix() for p in own}
  return sorted(f for f in found if not any(fnmatch.fnmatch(f, pattern) for pattern in exclude))


def targets() -> dict[str, dict]:
  """The targets of BUILD by name; each has its attributes, and its kind as `rule`."""
  recorded = {}

  def rule(kind):
    def record(name, **attributes):
      assert name not in recorded, f'two targets are named {name}'
      recorded[name] = {'rule': kind, **attributes}

    return record

  def run(path: pathlib.Path) -> dict:
    scope = {'glob': glob, 'native': types.SimpleNamespace(glob=glob)}
    scope['package'] = lambda **attributes: None

    def load(label, *names):
      if label.startswith('@rules_python//'):
        scope.update({name: rule(name) for name in names})
      else:
        loaded = run(ROOT / label.removeprefix('//').replace(':', '/'))
        scope.update({name: loaded[name] for name in names})

    scope['load'] = load
    exec(compile(path.read_text(), path, 'exec'), scope)
    return scope

  run(ROOT / 'BUILD')
  return recorded


def project() -> dict:
  return tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']


def declared(extra: str | None = None) -> list[Requirement]:
  lines = project()['optional-dependencies'][extra] if extra else project()['dependencies']
  return [Requirement(line) for line in lines]


def packages(target: dict) -> set[str]:
  labels = [label for label in target['deps'] if label.startswith('@pypi//')]
  return {canonicalize_name(label.removeprefix('@pypi//')) for label in labels}


def test_the_files_stay_short():
  lines = {path: len(path.read_text().splitlines()) for path in bazel_files()}
  assert sum(lines.values()) <= MAX_LINES
  assert lines[ROOT / 'BUILD'] <= MAX_LINES_AT_TOP


def test_the_library_has_every_file_of_the_package():
  library = targets()['autoresearch_jax']
  tree = files('autoresearch_jax') | {f for f in files('configs') if f.endswith('.py')}
  assert {f for f in tree if f.endswith('.py')} == set(library['srcs'])
  assert {f for f in tree if not f.endswith('.py')} == set(library['data'])


def test_commands_are_modules_of_the_library():
  commands = {name: t for name, t in targets().items() if t['rule'] == 'py_binary'}
  assert commands.keys() >= {'main', *project().get('scripts', {})}, 'add a py_binary to BUILD'
  for command in commands.values():
    assert command['deps'] == [':autoresearch_jax']
    name = command['main_module']
    spec = importlib.util.find_spec(name)
    if spec and spec.submodule_search_locations:
      spec = importlib.util.find_spec(f'{name}.__main__')
    assert spec, f'python -m {name} finds no module'


def test_every_test_file_is_run_by_pytest():
  tests = {name: t for name, t in targets().items() if t['rule'] == 'py_test'}
  every = {p for p in files('tests') if fnmatch.fnmatch(p, '*/test_*.py')}
  run = {}
  for name, test in tests.items():
    assert test['main'] in test['srcs'] and test['main'].endswith(':run_pytest.py')
    chosen = [argument for argument in test['args'] if argument.startswith('tests')]
    run[name] = {p for p in every if any(p == c or p.startswith(f'{c}/') for c in chosen)}
    assert run[name] <= set(test['data'])
  assert run.pop('quick_tests') == every
  assert sorted(itertools.chain(*run.values())) == sorted(every)


def test_dependencies_are_those_of_the_project():
  library, test = targets()['autoresearch_jax'], targets()['quick_tests']
  assert packages(library) == {canonicalize_name(r.name) for r in declared()}
  assert packages(test) == {canonicalize_name(r.name) for r in declared('test')}


def test_the_lock_satisfies_the_project():
  pins = dict(re.findall(r'^([\w.-]+)==(\S+)$', LOCK.read_text(), re.MULTILINE))
  pins = {canonicalize_name(name): version for name, version in pins.items()}
  for requirement in declared() + declared('test'):
    version = pins[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f'{requirement} is locked to {version}'


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('bazel'), reason='bazel is not installed')
def test_bazel_finds_the_same_targets():
  # The server that this starts ends soon after; the output folder is the user's own, since Bazel
  # would take what another one left behind (`bazel-bin` and so on) for sources.
  command = ['bazel', '--max_idle_secs=5', 'query', '//...']
  query = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert query.returncode == 0, query.stderr
  labels = {line for line in query.stdout.splitlines() if line.startswith('//:')}
  assert labels == {f'//:{name}' for name in targets()}
