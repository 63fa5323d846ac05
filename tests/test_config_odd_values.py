"""Configs with odd values either build a run, or are refused in a sentence before any file is made.

AUTORESEARCH_JAX_DRAWS sets the number of drawn configs.
"""

import dataclasses
import math
import os
import pathlib
import tempfile

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

import autoresearch_jax as ar
from autoresearch_jax import config
from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.cli.command import HelpRequested, UsageError
from autoresearch_jax.cli.flags import config_of
from autoresearch_jax.cli.run import COMMAND
from autoresearch_jax.executors import COLLABORATORS, EXECUTORS
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.search import STRATEGIES

DRAWS = int(os.environ.get('AUTORESEARCH_JAX_DRAWS', '150'))
# Fields that name a component -> its registry, and the field with its options.
PARTS = {
  'search.strategy': (STRATEGIES, 'search.options'),
  'acceptance': (ACCEPTANCE, 'acceptance_options'),
  'proposer': (PROPOSERS, 'proposer_options'),
  'problem': (PROBLEMS, 'data'),
  'executor': (EXECUTORS, 'executor_options'),
}
# Options without which a component cannot be made.
NEEDED = {
  'agent': {'command': 'cat'},
  'pareto': {'metrics': {'val_loss': 'minimize'}},
}
NUMBERS = [
  0, 1, 2, 3, 7, -1, -3, 10**6, 10**9, 10**12, 2**31, 2**63, 2**64, 10**30, -(10**30),
  0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 1e-300, 5e-324, 1e9, 1e18, 1e300, -1e300,
  math.inf, -math.inf, math.nan,
]  # fmt: skip
TEXTS = [
  '', ' ', 'zzz', 'greedy', 'tree', 'nan', 'inf', '0', '../..', '/', '/proc', 'a\0b', '\udc80', '✓',
  '\n', 'x' * 5000, 'model.py', 'val_loss', 'test_loss', 'seconds', 'GPU',
]  # fmt: skip
OTHERS = [
  None, True, False, (), [], {}, (1,), [0.5], (math.nan,), ('',), ('model.py', 'model.py'), {'': 0},
  {'a': math.inf}, {1: 2}, {None: 1}, {1, 2}, b'x', 1j, object(), ((),), [[[]]], (1, 2, 4), (4, 2),
  {'LEARNING_RATE': {}}, {'LEARNING_RATE': {'low': math.nan, 'high': 1.0}},
  {'LEARNING_RATE': {'low': 1.0, 'high': 0.1}}, {'LEARNING_RATE': {'low': 0, 'high': 1, 'log': 1}},
]  # fmt: skip
VALUES = st.one_of(
  st.sampled_from(NUMBERS),
  st.sampled_from(TEXTS),
  st.sampled_from(OTHERS),
  st.integers(-20, 2000),
  st.floats(),
)


# Dicts of a config -> the component whose option it is, if any, and keys to set.
NESTED = {
  'constraints': ({}, ['parameters', 'val_accuracy', 'peak_bytes', 'nothing', '']),
  'constants': ({}, ['LEARNING_RATE', 'WIDTH', 'nothing', '']),
  'search.options.space': ({'search.strategy': 'tpe'}, ['LEARNING_RATE', 'nothing']),
  'search.options.inner_options': (
    {'search.strategy': 'restarts', 'search.options.inner': 'tree'},
    ['debug_depth', 'num_drafts', 'nothing'],
  ),
  'acceptance_options.inner_options': (
    {'acceptance': 'simplicity', 'acceptance_options.inner': 'paired'},
    ['alpha', 'looks', 'baseline_seeds', 'horizon', 'nothing'],
  ),
  'proposer_options.gemini': ({'proposer': 'auto'}, ['models', 'max_dollars', 'prices', 'nothing']),
  'proposer_options.mutate': ({'proposer': 'auto'}, ['max_tries', 'min_factor', 'nothing']),
}
BOUNDS = st.sampled_from(
  ['<= 1_000_000', '>= nan', '<= inf', '== 1', '< ', '<=1e400', '<= -1', '≤ 1', '>= 0x10', '<=1 2']
)


class Built(Exception):
  """The run was built, and would write from now on."""


def paths(kind, prefix=''):
  for field in dataclasses.fields(kind):
    if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
      yield from paths(field.type, f'{prefix}{field.name}.')
    else:
      yield f'{prefix}{field.name}'


FIELDS = [*paths(config.Config)]
COMPONENTS = [(path, name) for path, (registry, _) in PARTS.items() for name in registry.names()]


@st.composite
def changes(draw):
  """Values by dotted path: a component with odd options, or odd fields of the config."""
  made = {}
  if draw(st.booleans()):
    path, name = draw(st.sampled_from(COMPONENTS))
    registry, options = PARTS[path]
    made[path] = name
    made |= {f'{options}.{option}': value for option, value in NEEDED.get(name, {}).items()}
    fields = [f.name for f in dataclasses.fields(registry.get(name)) if f.init]
    fields = [name for name in fields if name not in COLLABORATORS]
    for field in draw(st.lists(st.sampled_from(fields), max_size=3)) if fields else ():
      made[f'{options}.{field}'] = draw(VALUES)
  if draw(st.booleans()):
    path = draw(st.sampled_from([*NESTED]))
    component, keys = NESTED[path]
    made |= component
    for key in draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True)):
      made[f'{path}.{key}'] = draw(st.one_of(BOUNDS, VALUES))
  if draw(st.booleans()):
    made['budget.clock'] = draw(st.one_of(st.sampled_from(['auto', 'wall', 'calibrated']), VALUES))
  for path in draw(st.lists(st.sampled_from(FIELDS), min_size=not made, max_size=2)):
    made[path] = draw(VALUES)
  return made


def values_of(changed, base):
  values = config.load(base).to_dict()
  for path, value in changed.items():
    *above, name = path.split('.')
    place = values
    for part in above:
      if not isinstance(place.get(part), dict):
        place[part] = {}
      place = place[part]
    place[name] = value
  return ConfigDict(values, convert_dict=False)


def stop(line):
  raise Built(line)


def attempt(values, directory):
  """Runs up to the first line that a run prints; returns the sentence of a refusal, if any."""
  try:
    ar.run(values, directory, say=stop)
  except Built:
    return ''
  except config.ConfigError as error:
    return str(error)
  raise AssertionError('The run neither began nor was refused.')


@pytest.fixture(autouse=True)
def _key(monkeypatch):
  monkeypatch.setenv('GEMINI_API_KEY', 'no key')


@settings(
  max_examples=DRAWS,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changed=changes(), base=st.sampled_from(['digits', 'gpt_small:cpu', 'packing']))
@example(changed={'limits.max_loss': math.inf}, base='digits')
@example(changed={'budget.amount': math.nan}, base='digits')
def test_odd_values_build_a_run_or_are_refused_in_a_sentence(changed, base):
  with tempfile.TemporaryDirectory() as folder:
    directory = pathlib.Path(folder) / 'run'
    sentence = attempt(values_of(changed, base), directory)
    assert not directory.exists()
    if sentence:
      assert len(sentence) > 20 and sentence.endswith('.')
      assert 'Traceback' not in sentence


@settings(
  max_examples=DRAWS,
  deadline=None,
  suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changed=changes())
def test_odd_words_on_a_command_line_do_the_same(changed):
  arguments = ['--config=digits', *(f'--config.{path}={value}' for path, value in changed.items())]
  try:
    made = config_of(COMMAND.parse(arguments).config)
  except (config.ConfigError, UsageError) as error:
    assert len(str(error)) > 15
    return
  except HelpRequested:
    return
  assert config.checked(made) == made
