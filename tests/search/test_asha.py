"""ASHA: a hand-computed run, brackets, and what a new program improves."""

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.asha import Asha
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK, CRASH, CANCELLED = types.Status.OK, types.Status.CRASH, types.Status.CANCELLED
PROMOTE, IMPROVE = types.Operation.PROMOTE, types.Operation.IMPROVE


def run(strategy, losses, kept=()):
  """One trial after the other. losses: of new programs, in their order; None is a crash.

  Returns (config, rung) of each proposal, and the state; a new program is its own config.
  """
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(9.0))
  losses, of, log = list(losses), {}, []
  number = 0
  while losses:
    number += 1
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    if proposal.operation is PROMOTE:
      loss = of[proposal.parents[0]]
      log.append((proposal.parents[0], strategy.schedule.rung_of(proposal.fidelity)))
    else:
      loss = of[number] = losses.pop(0)
      log.append((number, strategy.schedule.rung_of(proposal.fidelity)))
    outcome = (CRASH, False, 0.0) if loss is None else (OK, number in kept, loss)
    state = strategy.tell(state, finished(number, proposal, outcome))
  return log, state


def test_a_hand_computed_run():
  # New programs are trials 1, 2, 3, 5, 6, 7, 9, 10, 11; the losses are theirs, in this order.
  log, state = run(Asha(), [5, 1, 4, 3, 2, 9, 8, 7, 0])
  assert log == [
    (1, 0), (2, 0), (3, 0),
    (2, 1),  # the best of three
    (5, 0), (6, 0), (7, 0),
    (6, 1),  # the second of six
    (9, 0), (10, 0), (11, 0),
  ]  # fmt: skip
  proposal, state = Asha().ask(state, np.random.default_rng(0))
  assert (proposal.operation, proposal.parents, proposal.fidelity) == (PROMOTE, (11,), 1 / 3)
  state = Asha().tell(state, finished(12, proposal, (OK, False, 0.0)))
  proposal, state = Asha().ask(state, np.random.default_rng(0))  # of 2, 6 and 11 the best
  assert (proposal.operation, proposal.parents, proposal.fidelity) == (PROMOTE, (11,), 1.0)
  proposal, _ = Asha().ask(state, np.random.default_rng(0))  # it is given out once
  assert proposal.operation is IMPROVE and proposal.fidelity == pytest.approx(1 / 9)


def test_failures_fill_a_rung_and_do_not_climb():
  log, state = run(Asha(), [None, None, 5])
  assert Asha().ask(state, np.random.default_rng(0))[0].parents == (3,)
  log, state = run(Asha(), [None, None, None])
  assert Asha().ask(state, np.random.default_rng(0))[0].operation is IMPROVE
  assert len(log) == 3


def test_what_was_cancelled_or_run_before_does_not_fill_a_rung():
  strategy = Asha()
  state = strategy.tell(strategy.init(OBJECTIVE), baseline())
  for number, status in enumerate([CANCELLED, types.Status.DUPLICATE, OK], start=1):
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    state = strategy.tell(state, finished(number, proposal, (status, False, 1.0)))
  assert strategy.ask(state, np.random.default_rng(0))[0].operation is IMPROVE


def test_a_new_program_improves_what_was_kept_at_the_whole_budget_or_the_root():
  strategy = Asha(num_rungs=1)
  _, state = run(strategy, [5, 4, 3], kept=(2,))
  assert strategy.ask(state, np.random.default_rng(0))[0].parents == (2,)
  assert Asha(num_rungs=1, parent='root').ask(state, np.random.default_rng(0))[0].parents == (0,)


def test_brackets_get_programs_as_in_hyperband():
  # ⌈K / (K - s) · η^(K - s - 1)⌉ for R = 81: 81, 34, 15, 8, 5.
  assert Asha(num_rungs=5, num_brackets=5).bracket_probabilities() == pytest.approx(
    np.array([81, 34, 15, 8, 5]) / 143
  )


def test_a_bracket_starts_at_its_own_rung_and_promotes_within():
  strategy = Asha(num_brackets=3)
  log, state = run(strategy, np.random.default_rng(0).random(80))
  firsts = dict(reversed(log))
  assert set(firsts.values()) == {0, 1, 2}
  for config, rung in log:
    climbed = [r for c, r in log if c == config]
    assert climbed == list(range(firsts[config], firsts[config] + len(climbed)))
    assert rung <= 2
  assert len(state.results.configs) == len(log)


@pytest.mark.parametrize(
  'options',
  [{'num_brackets': 4}, {'num_brackets': 0}, {'reduction_factor': 1}, {'context_size': -1}],
)
def test_options_that_do_not_fit_are_refused(options):
  with pytest.raises(ValueError, match=r'must |2 or more'):
    Asha(**options)
