"""Every registered acceptance rule through the public contract. A new rule adds a line to CASES."""

import pytest
from helpers.registered import ours

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.testing.acceptance import AcceptanceContract

# (registered name, options to test it with)
CASES = [
  ('strict', {}),
  ('noise', {}),
  ('noise', {'threshold': 0.0, 'baseline_seeds': 2}),
  ('sequential', {}),
  (
    'sequential',
    {'looks': (1, 2, 4), 'spending_function': 'pocock', 'min_gain': 0.0, 'alpha': 0.5},
  ),
  ('sequential', {'looks': (1,), 'horizon': 1, 'alpha': 0.2}),
  ('paired', {}),
  (
    'paired',
    {'looks': (1, 3), 'spending_function': 'pocock', 'min_gain': 0.0, 'control_interval': 2},
  ),
  ('paired', {'looks': (2,), 'horizon': 1, 'alpha': 0.2, 'control_interval': 0}),
  ('paired', {'looks': (1, 2, 4), 'control_interval': 1}),
  ('simplicity', {}),
  ('simplicity', {'inner': 'strict', 'tolerance': 1.0, 'min_nodes_saved': 5}),
  ('simplicity', {'inner': 'sequential', 'inner_options': {'baseline_seeds': 4}}),
]
ZERO_IS_THE_INNER_RULES = {'simplicity'}  # baseline_seeds of rules around others, as documented

every_rule = pytest.mark.parametrize(('name', 'options'), CASES)

for name, options in CASES:  # a class each, so that a failure names its case
  label = ''.join(f'_{key}_{value}' for key, value in options.items())
  globals()[f'Test_{name}{label}'] = type(
    f'Test_{name}{label}',
    (AcceptanceContract,),
    {'rule': lambda self, case=(name, options): ACCEPTANCE.make(*case)},
  )


@every_rule
@pytest.mark.parametrize('number', [0, -1])
def test_the_baseline_is_run_at_least_once(name, options, number):
  rule = ACCEPTANCE.make(name, options)
  requested = {**options, 'baseline_seeds': number}
  if number == 0 and name in ZERO_IS_THE_INNER_RULES:
    assert ACCEPTANCE.make(name, requested) == rule
    return
  with pytest.raises(ValueError, match=f'baseline_seeds is {number}'):
    ACCEPTANCE.make(name, requested)


@every_rule
def test_every_rule_takes_baseline_seeds_since_configs_set_it_whatever_the_rule(name, options):
  options = {**options, 'baseline_seeds': 5}
  options.pop('inner_options', None)  # may have the number
  assert ACCEPTANCE.make(name, options).baseline_seeds == 5


def test_every_registered_rule_is_in_the_contract_tests():
  assert {name for name, _ in CASES} == ours(ACCEPTANCE)
