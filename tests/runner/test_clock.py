"""What counts against the budget, and when to stop."""

import hypothesis
import hypothesis.strategies as st
import pytest

from autoresearch_jax.runner.clock import StepCost, steps_that_fit
from autoresearch_jax.types import Budget


@pytest.mark.parametrize(
  ('unit', 'amount', 'spent', 'per_step', 'steps'),
  [
    ('seconds', 10.0, 9.0, 0.4, 2),  # 2.5 fit
    ('seconds', 10.0, 9.7, 0.4, 0),  # three quarters of a step are left: it would end too late
    ('seconds', 10.0, 9.62, 0.4, 1),  # 0.95 of a step is left: an estimate may be that much off
    ('seconds', 10.0, 0.0, 11.5, 0),  # no long step gets more than the budget
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
def test_the_budget_is_met_to_a_step_and_hardly_passed(amount, per_step, most):
  hypothesis.assume(amount / per_step < 1e4)
  spent, budget = 0.0, Budget(amount, 'seconds')
  while steps := steps_that_fit(budget, spent, per_step, most):
    assert steps <= most
    spent += steps * per_step
  assert -per_step * 1e-6 - 1e-6 <= amount - spent + 0.1 * per_step
  assert amount - spent <= per_step


def test_a_step_that_costs_nothing_is_refused():
  with pytest.raises(ValueError, match='never ends'):
    StepCost(tokens=16, flops=0.0, seconds=0.1).in_unit_of(Budget(1e9, 'flops'))
