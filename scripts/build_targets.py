"""Writes BUILD from the tree: one Bazel target a room, its dependencies read from the imports.

  python scripts/build_targets.py            # rewrite BUILD
  python scripts/build_targets.py --check    # exit 1, with a sentence, when BUILD is out of date

Dependencies on PyPI packages are `@pypi//name`, as rules_python's pip_parse names them.
"""

import argparse
import ast
import importlib.metadata
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = 'autoresearch_jax'
HEADER = '''"""Bazel targets, written by scripts/build_targets.py and checked by a test."""

load("@rules_python//python:defs.bzl", "py_binary", "py_library", "py_test")

package(default_visibility = ["//visibility:public"])
'''
# Commands: they may import any room, and no library depends on them.
BINARIES = {
  'main': f'{PACKAGE}/main.py',
  'trial_command': f'{PACKAGE}/trial/__main__.py',
  'report_command': f'{PACKAGE}/report/__main__.py',
  'knowledge_command': f'{PACKAGE}/knowledge/__main__.py',
  'repair_command': f'{PACKAGE}/repair.py',
  'prepare_command': f'{PACKAGE}/data/prepare.py',
  'benchmark_command': f'{PACKAGE}/benchmark/__main__.py',
}


def rooms(root: pathlib.Path) -> dict[str, list[pathlib.Path]]:
  """Python files by library: one a room, and one a file at the package's top; no commands."""
  found: dict[str, list[pathlib.Path]] = {}
  for path in sorted((root / PACKAGE).rglob('*.py')):
    if path.relative_to(root).as_posix() in BINARIES.values():
      continue
    parts = path.relative_to(root / PACKAGE).parts
    name = parts[0] if len(parts) > 1 else path.stem
    found.setdefault(PACKAGE if name == '__init__' else name, []).append(path)
  found['configs'] = sorted((root / 'configs').glob('*.py'))
  return found


def imports(path: pathlib.Path) -> set[str]:
  """Dotted names of everything a file imports, wherever in the file."""
  names: set[str] = set()
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def dependencies(target: str, paths: list[pathlib.Path], targets: set[str]) -> list[str]:
  """Labels of what a target imports: its siblings, and PyPI packages."""
  labels = set()
  distributions = importlib.metadata.packages_distributions()
  for name in set().union(*(imports(path) for path in paths)):
    top, _, rest = name.partition('.')
    if top == PACKAGE:
      other = rest.split('.')[0]
      labels.add(':' + (other if other in targets else PACKAGE))
    elif top == 'configs':
      labels.add(':configs')
    elif top not in sys.stdlib_module_names and top in distributions:
      labels.add('@pypi//' + re.sub(r'[-.]+', '_', distributions[top][0]).lower())
  return sorted(labels - {':' + target})


def rule(kind: str, name: str, fields: dict[str, object]) -> str:
  lines = [f'{kind}(', f'    name = "{name}",']
  for key, value in fields.items():
    if isinstance(value, list):
      lines += [f'    {key} = [', *(f'        "{item}",' for item in value), '    ],']
    else:
      lines.append(f'    {key} = "{value}",')
  return '\n'.join([*lines, ')\n'])


def build_file(root: pathlib.Path) -> str:
  """The whole BUILD file for the tree at `root`."""
  found = rooms(root)
  rules = []
  for name, paths in sorted(found.items()):
    labels = dependencies(name, paths, set(found))
    rules.append(rule('py_library', name, {'srcs': _sources(paths, root), 'deps': labels}))
  for name, source in BINARIES.items():
    labels = dependencies(name, [root / source], set(found))
    rules.append(rule('py_binary', name, {'srcs': [source], 'main': source, 'deps': labels}))
  tests = sorted(path.relative_to(root).as_posix() for path in (root / 'tests').rglob('test_*.py'))
  everything = [f':{name}' for name in sorted([*found, *BINARIES])]
  for test in tests:
    name = test.removesuffix('.py').replace('/', '_')
    rules.append(
      rule('py_test', name, {'srcs': [test], 'main': test, 'deps': [*everything, '@pypi//pytest']})
    )
  return '\n'.join([HEADER, *rules])


def _sources(paths: list[pathlib.Path], root: pathlib.Path) -> list[str]:
  return [path.relative_to(root).as_posix() for path in paths]


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--check', action='store_true', help='only say whether BUILD is up to date')
  wanted = build_file(ROOT)
  build = ROOT / 'BUILD'
  if parser.parse_args().check:
    if not build.exists() or build.read_text() != wanted:
      print('BUILD is out of date; run: python scripts/build_targets.py')
      return 1
    return 0
  build.write_text(wanted)
  return 0


if __name__ == '__main__':
  sys.exit(main())
