"""A config for tests: the smallest benchmark that has every part."""

from ml_collections import ConfigDict

from helpers import onemax  # noqa: F401 - registers the simulation


def get_config():
  c = ConfigDict()
  c.name, c.trials, c.seeds, c.workers = 'small', 30, 3, 2
  c.strategies = ConfigDict(
    {name: {'strategy': name, 'options': {}} for name in ('random', 'greedy')}
  )
  c.problems = ConfigDict(
    {
      'short': {'simulation': 'onemax', 'options': {'bits': 8}, 'group': 'binary'},
      'long': {'simulation': 'onemax', 'options': {'bits': 16}, 'group': 'long'},
    }
  )
  c.acceptance = ConfigDict(
    {
      'rules': {'strict': {'acceptance': 'strict'}, 'noise': {'acceptance': 'noise'}},
      'strategies': {'greedy': {'strategy': 'greedy'}},
      'problems': {'noisy': {'simulation': 'onemax', 'options': {'noise': 2.0}}},
    }
  )
  return c
