"""Every registered strategy through the public battery. A new one adds a line to its family."""

import importlib.util

import pytest
from helpers.registered import ours

from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.testing.strategies import (
  HASH_SEEDS,
  StrategyContract,
  digest,
  digests_elsewhere,
)

# (registered name, options to test it with)
SIMPLE = [
  ('greedy', {}),
  ('greedy', {'context_size': 0}),
  ('random', {}),
  ('from_file', {}),
  ('from_file', {'path': 'tree.py'}),
]
TREES = [
  ('best_of_n', {}),
  ('best_of_n', {'n': 2}),
  ('sequential', {}),
  ('sequential', {'context_size': 0}),
  ('annealing', {}),
  ('annealing', {'temperature_unit': 'metric', 'initial_temperature': 3.0}),
  ('tree', {}),
  ('tree', {'num_drafts': 0, 'context_size': 3}),
  ('stages', {}),
  (
    'stages',
    {
      'num_drafts': 1,
      'stage2_max_iters': 2,
      'stage3_max_iters': 0,
      'stage4_max_iters': 1,
    },
  ),
  ('dgm', {}),
  ('dgm', {'update_archive': 'keep_better', 'shallow_fidelity': 1.0}),
  ('hyperagents', {}),
  ('hyperagents', {'modify_prob': 1.0, 'context_size': 2}),
  ('hgm', {}),
  ('hgm', {'alpha': 0.9, 'context_size': 0}),
  ('surrogate', {}),
  ('surrogate', {'context_size': 0, 'num_drafts': 0, 'children_to_halve': 2.0}),
]
POPULATIONS = [
  ('funsearch', {}),
  ('funsearch', {'num_islands': 2, 'reset_period': 3}),
  ('map_elites', {}),
  (
    'map_elites',
    {
      'population_size': 4,
      'num_islands': 2,
      'migration_interval': 2,
      'exploration_ratio': 0.4,
      'exploitation_ratio': 0.4,
    },
  ),
  ('shinka', {}),
  ('shinka', {'archive_size': 3, 'migration_interval': 2, 'cross_patch_prob': 0.5}),
  ('pareto', {'merge_prob': 1.0}),
  ('pareto', {'metrics': {'val_loss': 'minimize', 'val_other': 'minimize'}}),
  ('asha', {}),
  ('asha', {'num_brackets': 3, 'parent': 'root'}),
]
SLOW = ('gp', 'centaur')
HAS_TORCH = importlib.util.find_spec('torch') is not None  # without it, gp refuses to be made
HAS_NEVERGRAD = importlib.util.find_spec('nevergrad') is not None
HAS_SMAC = importlib.util.find_spec('smac') is not None
SAMPLERS = [
  ('tpe', {'n_startup_trials': 3}),
  ('tpe', {'n_startup_trials': 3, 'multivariate': False, 'constant_liar': False}),
  ('cma_es', {'popsize': 4}),
  ('cma_es', {'popsize': 4, 'with_margin': True}),
  ('centaur', {'popsize': 4}),
  ('centaur', {'popsize': 4, 'llm_ratio': 0.9, 'num_best_points': 2, 'max_oom_probability': 1.0}),
  ('optuna', {'sampler_options': {'population_size': 4}}),
  *([('gp', {'n_startup_trials': 8})] if HAS_TORCH else []),
  *([('nevergrad', {'budget': 20})] if HAS_NEVERGRAD else []),
  *([('smac', {'facade': 'RandomFacade', 'budget': 20})] if HAS_SMAC else []),
]
WRAPPERS = [
  (name, {'inner': inner, **options})
  for name, options in [
    ('novelty', {'max_remembered': 3}),
    ('restarts', {'patience': 2}),
    ('rungs', {}),
    ('islands', {'num_islands': 2, 'migration_interval': 3}),
  ]
  for inner in ('greedy', 'funsearch', 'asha', 'islands')
] + [('novelty', {'inner': 'restarts', 'inner_options': {'inner': 'rungs', 'patience': 2}})]
STRATEGY_CASES = [
  ('speculative', {'inner': 'greedy'}),
  ('speculative', {}),
  *SIMPLE,
  *TREES,
  *POPULATIONS,
  *SAMPLERS,
  *WRAPPERS,
]


for name, options in STRATEGY_CASES:  # a class each, so that a failure names its case
  said = ''.join(f'_{key}_{value}' for key, value in options.items())
  globals()[f'Test_{name}{said}'] = type(
    f'Test_{name}{said}',
    (StrategyContract,),
    {
      'strategy': lambda self, case=(name, options): STRATEGIES.make(*case),
      'test_same_in_another_process': None,  # all in one process, below
      'pytestmark': [pytest.mark.slow] if name in SLOW else [],
    },
  )


@pytest.mark.slow
@pytest.mark.parametrize('hash_seed', HASH_SEEDS)
def test_another_process_answers_the_same(hash_seed):
  there = digests_elsewhere([STRATEGIES.make(*case) for case in STRATEGY_CASES], hash_seed)
  here = [digest(STRATEGIES.make(*case)) for case in STRATEGY_CASES]
  pairs = zip(STRATEGY_CASES, here, there, strict=True)
  assert [case for case, one, other in pairs if one != other] == []


def test_every_registered_strategy_is_in_the_battery():
  installed = {'gp': HAS_TORCH, 'nevergrad': HAS_NEVERGRAD, 'smac': HAS_SMAC}
  missing = {name for name, has in installed.items() if not has}
  possible = ours(STRATEGIES) - missing
  assert {name for name, _ in STRATEGY_CASES} == possible
