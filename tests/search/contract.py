"""Every registered strategy through the public battery. A new one adds a line to its family."""

import importlib.util
import pathlib
import subprocess
import sys

import msgspec
from registered import ours

from autoresearch_jax import types
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.testing.strategies import StrategyContract, play

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
HAS_TORCH = importlib.util.find_spec('torch') is not None  # without it, gp refuses to be made
SAMPLERS = [
  ('tpe', {'startup': 3}),
  ('tpe', {'startup': 3, 'multivariate': False, 'liar': False}),
  ('cma_es', {'population': 4}),
  ('cma_es', {'population': 4, 'margin': True}),
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
STRATEGY_CASES = [*SIMPLE, *TREES, *POPULATIONS, *SAMPLERS, *WRAPPERS]


for name, options in STRATEGY_CASES:  # a class each, so that a failure names its case
  said = ''.join(f'_{key}_{value}' for key, value in options.items())
  globals()[f'Test_{name}{said}'] = type(
    f'Test_{name}{said}',
    (StrategyContract,),
    {'strategy': lambda self, case=(name, options): STRATEGIES.make(*case)},
  )


def test_another_process_proposes_the_same():
  code = (
    'import sys; sys.path[:0] = sys.argv[1:]; import contract\n'
    'for case in contract.STRATEGY_CASES: print(contract.digest(*case))'
  )
  here = pathlib.Path(__file__).parent
  other = subprocess.run(
    [sys.executable, '-c', code, here, here.parent], capture_output=True, text=True, check=True
  )
  assert other.stdout.split() == [digest(*case) for case in STRATEGY_CASES]


def digest(name, options):
  """Proposals and state after a fixed history, as one word."""
  ok, crash = types.Status.OK, types.Status.CRASH
  history = [(ok, True, 1.0), (crash, False, 0.0), (ok, False, 2.0), (ok, True, 0.5)] * 3
  return msgspec.json.encode(play(STRATEGIES.make(name, options), history, seed=7)).hex()


def test_every_registered_strategy_is_in_the_battery():
  possible = ours(STRATEGIES) - (set() if HAS_TORCH else {'gp'})
  assert {name for name, _ in STRATEGY_CASES} == possible
