"""What counts against the budget, and when to stop."""

import hypothesis
import hypothesis.strategies as st
import pytest

from autoresearch_jax.trial.clock import Rate, steps_that_fit
from autoresearch_jax.types import Budget


@pytest.mark.parametrize(
  ('unit', 'amount', 'spent', 'per_step', 'steps'),
  [
    ('seconds', 10.0, 9.0, 0.4, 2),  # 2.5 fit: the nearest even number of steps
    ('seconds', 10.0, 9.9, 0.4, 0),  # a quarter of a step is left: closer to stop
    ('seconds', 10.0, 9.7, 0.4, 1),  # three quarters are left: closer to take it
    ('steps', 10, 7, 1, 3),
    ('steps', 10, 10, 1, 0),
    ('tokens', 100, 0, 64, 2),  # the step that reaches the budget is the last
    ('flops', 1e12, 0.5e12, 0.25e12, 2),
  ],
)
def test_steps_that_fit(unit, amount, spent, per_step, steps):
  assert steps_that_fit(Budget(amount, unit), spent, per_step, 100) == steps


@hypothesis.given(
  amount=st.floats(0.1, 1e4), per_step=st.floats(1e-4, 1e3), most=st.integers(1, 64)
)
def test_the_budget_is_met_to_half_a_step(amount, per_step, most):
  hypothesis.assume(amount / per_step < 1e4)
  spent, budget = 0.0, Budget(amount, 'seconds')
  while steps := steps_that_fit(budget, spent, per_step, most):
    assert steps <= most
    spent += steps * per_step
  assert abs(spent - amount) <= per_step * 0.5001 + 1e-6


def test_a_step_that_costs_nothing_is_refused():
  with pytest.raises(ValueError, match='never ends'):
    Rate(tokens=16, flops=0.0, seconds=0.1).per_step(Budget(1e9, 'flops'))
