"""BUILD says what the tree is."""

import ast
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'scripts'))

import build_targets  # noqa: E402 - scripts/ is no package


def _rules() -> dict[str, dict]:
  """BUILD is valid Python syntax; its rules by name, as keyword dicts."""
  rules = {}
  for node in ast.parse((ROOT / 'BUILD').read_text()).body:
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id[:3] == 'py_':
      fields = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
      assert fields['name'] not in rules, f'two targets are named {fields["name"]}'
      rules[fields['name']] = fields
  return rules


@pytest.mark.slow
def test_build_is_up_to_date():
  assert (ROOT / 'BUILD').read_text() == build_targets.build_file(ROOT), (
    'run: python scripts/build_targets.py'
  )


def test_every_source_belongs_to_exactly_one_target():
  sources = [source for rule in _rules().values() for source in rule['srcs']]
  assert len(sources) == len(set(sources))
  tree = {
    path.relative_to(ROOT).as_posix()
    for folder in ('autoresearch_jax', 'configs')
    for path in (ROOT / folder).rglob('*.py')
  }
  assert tree <= set(sources)
  assert all((ROOT / source).exists() for source in sources)


def test_targets_form_no_cycle():
  rules = _rules()
  done: set[str] = set()

  def visit(name: str, above: tuple[str, ...]) -> None:
    assert name not in above, f'cycle: {" -> ".join([*above, name])}'
    if name not in done:
      for label in rules[name]['deps']:
        if label.startswith(':'):
          visit(label[1:], (*above, name))
      done.add(name)

  for name in rules:
    visit(name, ())


def test_pypi_dependencies_are_declared_by_the_project():
  declared = (ROOT / 'pyproject.toml').read_text().lower().replace('-', '_')
  labels = {label for rule in _rules().values() for label in rule['deps'] if label[0] == '@'}
  assert labels
  for label in labels:
    name = re.escape(label.removeprefix('@pypi//'))
    assert re.search(rf'"{name}[>\[]', declared), f'{label} is not in pyproject.toml'
