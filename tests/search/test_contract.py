"""Every registered strategy through the public battery. A new one adds a line to its family."""

import importlib.util

import pytest
from helpers.registered import ours

from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.testing import elsewhere
from autoresearch_jax.testing.strategies import HASH_SEEDS, StrategyContract, digest

# (registered name, options to test it with)
SIMPLE = [
  ('greedy', {}),
  ('greedy', {'shown': 0}),
  ('random', {}),
]
TREES = [
  ('best_of_n', {}),
  ('best_of_n', {'n': 2}),
  ('sequential', {}),
  ('sequential', {'shown': 0}),
  ('annealing', {}),
  ('annealing', {'unit': 'metric', 'temperature': 3.0}),
  ('tree', {}),
  ('tree', {'drafts': 0, 'shown': 3}),
  ('stages', {}),
  ('stages', {'drafts': 1, 'tuning': 2, 'creative': 0, 'ablation': 1}),
  ('dgm', {}),
  ('dgm', {'keep': 'better', 'first_fidelity': 1.0}),
  ('hyperagents', {}),
  ('hyperagents', {'modify': 1.0, 'shown': 2}),
  ('hgm', {}),
  ('hgm', {'exponent': 0.9, 'shown': 0}),
  ('surrogate', {}),
  ('surrogate', {'shown': 0, 'drafts': 0, 'patience': 2.0}),
]
POPULATIONS = [
  ('funsearch', {}),
  ('funsearch', {'islands': 2, 'reset_after': 3}),
  ('map_elites', {}),
  (
    'map_elites',
    {'population': 4, 'islands': 2, 'migrate_every': 2, 'explore': 0.4, 'exploit': 0.4},
  ),
  ('shinka', {}),
  ('shinka', {'archive': 3, 'every': 2, 'cross': 0.5}),
  ('pareto', {'merge': 1.0}),
  ('pareto', {'metrics': {'val_loss': 'minimize', 'val_other': 'minimize'}}),
  ('asha', {}),
  ('asha', {'brackets': 3, 'base': 'root'}),
]
SLOW = ('gp', 'centaur')
HAS_TORCH = importlib.util.find_spec('torch') is not None  # without it, gp refuses to be made
SAMPLERS = [
  ('tpe', {'startup': 3}),
  ('tpe', {'startup': 3, 'multivariate': False, 'liar': False}),
  ('cma_es', {'population': 4}),
  ('cma_es', {'population': 4, 'margin': True}),
  ('centaur', {'population': 4}),
  ('centaur', {'population': 4, 'share': 0.9, 'shown': 2, 'memory_risk': 1.0}),
  *([('gp', {'startup': 8})] if HAS_TORCH else []),
]
WRAPPERS = [
  (name, {'inner': inner, **options})
  for name, options in [
    ('novelty', {'memory': 3}),
    ('restarts', {'patience': 2}),
    ('rungs', {}),
    ('islands', {'count': 2, 'migrate_every': 3}),
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
      'test_another_process_answers_the_same': None,  # all in one process, below
      'pytestmark': [pytest.mark.slow] if name in SLOW else [],
    },
  )


@pytest.mark.slow
@pytest.mark.parametrize('hash_seed', HASH_SEEDS)
def test_another_process_answers_the_same(hash_seed):
  there = elsewhere.answers([STRATEGIES.make(*case) for case in STRATEGY_CASES], hash_seed)
  here = [digest(STRATEGIES.make(*case)) for case in STRATEGY_CASES]
  pairs = zip(STRATEGY_CASES, here, there, strict=True)
  assert [case for case, one, other in pairs if one != other] == []


def test_every_registered_strategy_is_in_the_battery():
  possible = ours(STRATEGIES) - (set() if HAS_TORCH else {'gp'})
  assert {name for name, _ in STRATEGY_CASES} == possible
