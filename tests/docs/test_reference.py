"""The reference tables are complete: each command, flag, part, option, default and config field."""

import ast
import contextlib
import dataclasses
import io
import operator
import pathlib
import re

import pytest

import autoresearch_jax
from autoresearch_jax import __main__ as front
from autoresearch_jax import config
from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.benchmark.config import BenchmarkConfig
from autoresearch_jax.benchmark.simulations import SIMULATIONS
from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.types import Budget

DOCS = pathlib.Path(__file__).resolve().parents[2] / 'docs'
SHARED = 'All of these also have'  # how the paragraph with the samplers' shared options begins
SAMPLERS = ('tpe', 'cma_es', 'gp', 'centaur', 'optuna', 'nevergrad', 'smac')
_MADE = {'spec', 'dataset', 'hidden', 'limits', 'scratch', 'cache'}
GIVEN = {
  'local': _MADE,
  'ssh': {*_MADE, 'problem'},
  'ray': {*_MADE, 'problem'},
  'play': {*_MADE, 'problem'},
}  # not by a config
REQUIRED = ''  # the default cell of a field that must be set, or that has fields of its own


def tables(page):
  """(heading, header, rows) of each table; cells as they are written."""
  found, heading, table = [], '', []
  for line in [*(DOCS / page).read_text().splitlines(), '']:
    if line.startswith('|'):
      table.append([cell.strip() for cell in re.split(r'(?<!\\)\|', line)[1:-1]])
    elif table:
      found.append((heading, table[0], table[2:]))
      table = []
    if line.startswith('#'):
      heading = line.lstrip('# ')
  return found


def code(cell):
  return cell.strip('`')


def value(text):
  """A default as it is written in a table: a literal, or a quotient of two."""
  tree = ast.parse(text, mode='eval').body
  if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Div):
    return operator.truediv(ast.literal_eval(tree.left), ast.literal_eval(tree.right))
  return ast.literal_eval(tree)


def pairs(text):
  """Options in a text, such as `islands=2`, with their defaults."""
  found = re.findall(r'`(\w+)=([^`]+)`', text)
  return {name: value(default) for name, default in found}


def options(cls, given=()):
  """Public options of a part with their defaults."""
  return {
    field.name: default_of(field)
    for field in dataclasses.fields(cls)
    if field.init and not field.name.startswith('_') and field.name not in given
  }


def default_of(field):
  if field.default is not dataclasses.MISSING:
    return field.default
  if field.default_factory is not dataclasses.MISSING:
    return field.default_factory()
  return dataclasses.MISSING


def own(registry):
  """Names of this library's parts; tests register others."""
  return {n for n in registry.names() if registry.get(n).__module__.startswith('autoresearch_jax.')}


def test_strategies():
  documented = {
    code(row[0]): pairs(row[-1])
    for _, header, rows in tables('search-strategies.md')
    if header[0] == 'strategy'
    for row in rows
  }
  text = (DOCS / 'search-strategies.md').read_text()
  shared = pairs(text[text.index(SHARED) :].split('\n\n')[0])
  for name in SAMPLERS:
    documented[name] |= shared
  documented['centaur'] |= documented['cma_es']
  assert documented == {name: options(STRATEGIES.get(name)) for name in own(STRATEGIES)}


@pytest.mark.parametrize(
  ('page', 'column', 'registry'),
  [('acceptance.md', 'rule', ACCEPTANCE), ('benchmark.md', 'simulation', SIMULATIONS)],
  ids=['acceptance', 'simulations'],
)
def test_parts_with_their_options_in_one_row(page, column, registry):
  documented = {
    code(row[0]): pairs(row[-1])
    for _, header, rows in tables(page)
    if header[0] == column and header[-1].startswith('options')
    for row in rows
  }
  assert documented == {name: options(registry.get(name)) for name in own(registry)}


def by_heading(page, first):
  return {
    heading: {code(row[0]): value(code(row[1])) for row in rows}
    for heading, header, rows in tables(page)
    if header[:2] == [first, 'default']
  }


def test_proposers():
  documented = by_heading('proposers.md', 'option')
  assert documented == {name: options(PROPOSERS.get(name)) for name in own(PROPOSERS)}
  table = next(rows for _, header, rows in tables('proposers.md') if header[0] == 'proposer')
  assert {code(row[0]) for row in table} == own(PROPOSERS)


@pytest.mark.parametrize(
  ('heading', 'registry'), [('Executor', EXECUTORS), ('Data', PROBLEMS)], ids=['executor', 'data']
)
def test_options_of_executors_and_problems(heading, registry):
  """The tables of a section belong to the parts in the order of `Options of `NAME`:`."""
  text = (DOCS / 'reference' / 'configuration.md').read_text()
  section = text[text.index(f'\n## {heading}\n') :]
  names = re.findall(r'Options of `(\w+)`[:,]', section.split('\n## ')[1])
  found = [t for t in tables('reference/configuration.md') if t[0] == heading]
  documented = {
    name: {code(row[0]): value(code(row[1])) for row in rows}
    for name, (_, _, rows) in zip(names, found, strict=True)
  }
  parts = {name: options(registry.get(name), GIVEN.get(name, ())) for name in own(registry)}
  assert documented == parts


def fields(cls, prefix=''):
  """Fields as the tables have them; those with fields of their own have no default there."""
  found = {}
  for name, default in options(cls).items():
    nested = default is dataclasses.MISSING or dataclasses.is_dataclass(default)
    found[prefix + name] = REQUIRED if nested else default
  return found


@pytest.mark.parametrize(
  ('heading', 'cls', 'prefix'),
  [
    ('Run', config.Config, ''),
    ('Budget', Budget, 'budget.'),
    ('Search', config.Search, 'search.'),
    ('Knowledge', config.Knowledge, 'knowledge.'),
    ('Canaries', config.CanaryConfig, 'canaries.'),
    ('Limits', config.Limits, 'limits.'),
    ('Benchmark', BenchmarkConfig, ''),
  ],
)
def test_config_fields(heading, cls, prefix):
  (rows,) = (rows for title, _, rows in tables('reference/configuration.md') if title == heading)
  documented = {code(row[0]): value(code(row[1])) if row[1] else REQUIRED for row in rows}
  assert documented == fields(cls, prefix)


def help_of(*command):
  with contextlib.redirect_stdout(io.StringIO()) as printed:
    assert front.main([*command, '--help']) == 0
  return printed.getvalue()


def section(text, heading):
  """The indented lines below a heading of a help text; '' where it has none of that name."""
  found = re.search(rf'^{heading}:\n((?:  .*\n)+)', text, re.MULTILINE)
  return found[1] if found else ''


@pytest.mark.slow
def test_commands_and_their_flags():
  page = (DOCS / 'reference' / 'cli.md').read_text()
  there = re.findall(r'^  ([\w-]+)', section(help_of(), 'Commands'), re.MULTILINE)
  assert sorted(re.findall(r'^## autoresearch ([\w-]+)$', page, re.MULTILINE)) == sorted(there)
  documented = {heading: rows for heading, _, rows in tables('reference/cli.md')}
  for command in there:
    text = help_of(command)
    flags = re.findall(r'^  (--[\w.]+)', section(text, 'Options'), re.MULTILINE)
    names = re.findall(r'^  (\w+)', section(text, 'Measurements'), re.MULTILINE)
    assert flags or names
    rows = documented.get(f'autoresearch {command}', [])
    assert sorted(code(row[0]) for row in rows) == sorted({*flags, *names} - {'--help'})


def test_the_front_door():
  """The API page has all names that `import autoresearch_jax as ar` offers."""
  named = re.findall(r'`ar\.(\w+)`', (DOCS / 'reference' / 'api.md').read_text())
  assert set(named) == set(autoresearch_jax.__all__)
