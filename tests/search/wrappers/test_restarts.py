"""The inner strategy begins anew, and climbs again from the start."""

import dataclasses

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.wrappers.restarts import Restarts
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK = types.Status.OK
RNG = np.random.default_rng(0)


class Run:
  """A strategy being asked and told; trials get their numbers in turn."""

  def __init__(self, strategy, start=1.0):
    self.strategy, self.number = strategy, 0
    self.state = strategy.tell(strategy.init(OBJECTIVE), baseline(start))

  def ask(self):
    proposal, self.state = self.strategy.ask(self.state, RNG)
    return proposal

  def tell(self, proposal, loss, kept=False, status=OK):
    self.number += 1
    trial = finished(self.number, proposal, (status, kept, loss))
    self.state = self.strategy.tell(self.state, trial)

  def step(self, loss, kept=False):
    proposal = self.ask()
    self.tell(proposal, loss, kept)
    return proposal


def test_after_its_patience_the_inner_strategy_knows_the_start_alone():
  run = Run(Restarts(patience=2))
  run.step(0.5, kept=True)
  run.step(0.6)
  assert run.state.num_restarts == 0 and run.ask().parents == (1,)
  run.step(0.5)  # equal is no improvement
  assert run.state.num_restarts == 1
  assert run.state.inner == run.strategy.strategy.tell(
    run.strategy.strategy.init(OBJECTIVE), baseline()
  )
  assert run.ask().parents == (0,)


def test_the_best_of_the_run_is_shown_first():
  run = Run(Restarts(patience=2))
  run.step(0.5, kept=True)
  run.step(0.6)
  run.step(0.7)
  run.step(0.8)
  proposal = run.ask()
  assert proposal.context == (1, 0, 4)  # then what the new inner strategy knows


def test_below_the_incumbent_the_new_climb_goes_on_from_its_own_best():
  run = Run(Restarts(patience=2))
  for loss, kept in ((0.5, True), (0.6, False), (0.7, False)):
    run.step(loss, kept)
  run.step(0.8)  # better than the start, worse than the incumbent, so acceptance discards it
  assert run.ask().parents == (4,)
  run.step(0.9)
  assert run.ask().parents == (4,)


def test_while_the_incumbent_is_its_own_the_verdicts_of_acceptance_count():
  run = Run(Restarts(patience=9))
  run.step(0.9)  # better than the start, and discarded, say for its noise
  assert run.ask().parents == (0,)


def test_trials_asked_for_before_the_restart_are_not_told_to_the_new_inner_strategy():
  run = Run(Restarts(patience=2))
  late = run.ask()
  run.step(2.0)
  run.step(2.0)
  assert run.state.num_restarts == 1
  before = run.state.inner
  run.tell(late, 0.5, kept=True)
  assert run.state.inner == before
  assert (run.state.best, run.state.incumbent, run.state.num_stale) == (3, 3, 0)
  replicate = types.Proposal(types.Operation.REPLICATE, (3,), seeds=(1, 2))
  run.tell(replicate, 0.5)
  assert run.state.inner == before


def test_failures_use_up_patience_too():
  run = Run(Restarts(patience=2))
  run.tell(run.ask(), 0.0, status=types.Status.CRASH)
  run.tell(run.ask(), 0.0, status=types.Status.OOM)
  assert run.state.num_restarts == 1


def test_the_inner_strategy_is_told_of_its_own_proposal():
  run = Run(Restarts('funsearch', {'num_islands': 1}, patience=99))
  run.step(0.5)
  run.step(0.6)  # the best is put first in its context
  assert run.state.inner.pending.proposals == ()
  assert run.state.pending.proposals == ()


def test_patience_is_at_least_one():
  with pytest.raises(ValueError, match='patience of restarts is 0'):
    Restarts(patience=0)
  assert dataclasses.replace(Restarts(), patience=1).patience == 1
