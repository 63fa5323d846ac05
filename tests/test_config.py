"""The door: configs become frozen dataclasses, or a sentence names the field and what it may be."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from autoresearch_jax import config
from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.types import Budget

CONFIGS = [
  'digits:steps',
  'digits:seconds',
  'gpt_small:cpu',
  'gpt_small:gpu',
  'gpt_small:tpu',
  'kernel:softmax_xent',
  'kernel:scan',
  'kernel:batched_matmul',
  'nanochat:d4',
  'nanogpt_char:cpu',
  'nanogpt_char:gpu',
  'speedrun:cpu',
  'speedrun:gpu',
  'gpt2_124m:short',
  'gpt2_124m:full',
  'gpt2_124m:short_tpu',
  'nanochat:d26_gpu',
  'packing:steps',
]


def changed(**fields):
  """The digits config with dotted fields set, even those that it lacks."""
  values = config.load('digits').to_dict()
  for path, value in fields.items():
    *above, name = path.split('__')
    place = values
    for part in above:
      place = place[part]
    place[name] = value
  return ConfigDict(values)


@pytest.mark.parametrize('name', CONFIGS)
def test_every_config_in_the_repository_fits(name):
  made = config.from_config_dict(config.load(name))
  assert made.platform in ('cpu', 'gpu', 'tpu')
  assert made.entry in made.editable
  assert made.direction == ''  # the problem's
  hash(made.budget)
  with pytest.raises(dataclasses.FrozenInstanceError):
    made.seed = 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize('name', CONFIGS)
def test_every_config_names_what_exists_with_options_that_fit(name):
  made = config.from_config_dict(config.load(name))
  STRATEGIES.make(made.search.strategy, made.search.options)
  PROPOSERS.make(made.proposer, made.proposer_options)
  ACCEPTANCE.make(made.acceptance, made.acceptance_options)
  PROBLEMS.make(made.problem, made.data)
  assert made.executor in EXECUTORS.names()


@pytest.mark.parametrize(
  'name', ['digits', 'gpt_small:cpu', 'kernel', 'nanochat', 'nanogpt_char', 'packing', 'speedrun']
)
def test_configs_are_locked_and_refuse_unknown_variants(name):
  with pytest.raises(AttributeError):
    config.load(name).metrik = 'val_bpb'
  with pytest.raises(config.ConfigError, match='There is no variant'):
    config.load(f'{name.partition(":")[0]}:abacus')


def test_the_values_arrive():
  made = config.from_config_dict(changed(budget__amount=2.5, budget__unit='seconds', seed=7))
  assert made.budget == Budget(2.5, 'seconds')
  assert (made.seed, made.search.strategy, made.metric) == (7, 'greedy', 'val_loss')


@pytest.mark.parametrize(
  ('fields', 'sentence'),
  [
    ({'metrik': 'x'}, r'config\.metrik is not a field of the config; did you mean config\.metric'),
    ({'zzz': 1}, r'config\.zzz is not a field of the config; it has: name, '),
    ({'budget__units': 's'}, r'config\.budget\.units is not .*did you mean config\.budget\.unit\?'),
    ({'search__max_trial': 1}, r'config\.search\.max_trial is not .*config\.search\.max_trials'),
    ({'limits__los': 1.0}, r'config\.limits\.los is not a field'),
    ({'budget__unit': 'minutes'}, r'config\.budget\.unit'),
    ({'budget__amount': 'long'}, r'config\.budget\.amount'),
    ({'budget__amount': 0.0}, r'config\.budget\.amount is 0\.0; it must be above 0'),
    ({'search__max_trials': -1}, r'config\.search\.max_trials is -1; .* 0 means no limit'),
    ({'search__max_trials': 1.5}, r'config\.search\.max_trials'),
    ({'direction': 'up'}, r'config\.direction'),
    ({'platform': 'abacus'}, r'config\.platform'),
    ({'limits__isolation': 'some'}, r'config\.limits\.isolation'),
    ({'budget__target_loss': 0.3}, r'config\.metric is .val_loss.*training_seconds'),
    ({'budget__target_loss': 0.3, 'metric': 'steps', 'pruning': True}, r'config\.pruning=False'),
  ],
)
def test_what_does_not_fit_is_named_by_its_path(fields, sentence):
  with pytest.raises(config.ConfigError, match=sentence):
    config.from_config_dict(changed(**fields))


def test_a_missing_field_is_named():
  values = config.load('digits').to_dict()
  del values['metric']
  with pytest.raises(config.ConfigError, match='metric'):
    config.from_config_dict(ConfigDict(values))
