"""Every registered strategy through the public battery. A new one adds a line to its family."""

import importlib.util
import subprocess
import sys

import msgspec

from autoresearch_jax import types
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.testing.strategies import StrategyContract, play

# (registered name, options to test it with)
SIMPLE = [
  ('greedy', {}),
  ('greedy', {'shown': 0}),
  ('random', {}),
]
TREES = []
POPULATIONS = []
HAS_TORCH = importlib.util.find_spec('torch') is not None  # without it, gp refuses to be made
SAMPLERS = [
  ('tpe', {'startup': 3}),
  ('tpe', {'startup': 3, 'multivariate': False, 'liar': False}),
  ('cma_es', {'population': 4}),
  ('cma_es', {'population': 4, 'margin': True}),
  *([('gp', {'startup': 8})] if HAS_TORCH else []),
]
WRAPPERS = []
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
    'import sys; sys.path.insert(0, sys.argv[1]); import contract, json\n'
    'for case in contract.STRATEGY_CASES: print(contract.digest(*case))'
  )
  folder = __file__.rsplit('/', 1)[0]
  other = subprocess.run(
    [sys.executable, '-c', code, folder], capture_output=True, text=True, check=True
  )
  assert other.stdout.split() == [digest(*case) for case in STRATEGY_CASES]


def digest(name, options):
  """Proposals and state after a fixed history, as one word."""
  ok, crash = types.Status.OK, types.Status.CRASH
  history = [(ok, True, 1.0), (crash, False, 0.0), (ok, False, 2.0), (ok, True, 0.5)] * 3
  return msgspec.json.encode(play(STRATEGIES.make(name, options), history, seed=7)).hex()


def test_every_registered_strategy_is_in_the_battery():
  possible = set(STRATEGIES.names()) - (set() if HAS_TORCH else {'gp'})
  assert {name for name, _ in STRATEGY_CASES} == possible
