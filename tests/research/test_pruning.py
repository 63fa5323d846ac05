"""Early stop: whom the limits end, whom they never end, and that the ledger alone decides it."""

import dataclasses

import numpy as np
import pytest
from helpers.synthetic_run import SPEC, START, Arithmetic, config, run
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.report.summary import summary
from autoresearch_jax.research import pruning
from autoresearch_jax.research.build import Run
from autoresearch_jax.research.pruning import MIN_PROGRAMS, PROGRESS, LearningCurve, rung_at
from autoresearch_jax.search.greedy import Greedy

AT = PROGRESS[0]


def curves(count=40, seed=0, scatter=0.1):
  """Programs whose looks go with what they come to, but for some scatter."""
  rng = np.random.default_rng(seed)
  ends = 1 + rng.exponential(size=count)
  looks = ends[:, None] + 1 + scatter * rng.normal(size=(count, 2))
  return [
    LearningCurve(-float(end), {AT: tuple(look.tolist())})
    for end, look in zip(ends, looks, strict=True)
  ]


def best(programs):
  return max(curve.score for curve in programs)


def moved(programs, scale, shift):
  """The same run, where losses are counted in another way."""
  return [
    LearningCurve(
      c.score, {at: tuple(scale * value + shift for value in look) for at, look in c.losses.items()}
    )
    for c in programs
  ]


@given(st.integers(0, 1000), st.integers(0, MIN_PROGRAMS - 1))
def test_nothing_is_ended_while_few_programs_are_known(seed, count):
  assert rung_at(curves(count, seed), AT, 0.0) == types.PruningRung(AT)


def test_nothing_is_ended_before_anything_was_kept_or_where_nobody_looked():
  assert rung_at(curves(), AT, None) == types.PruningRung(AT)
  assert rung_at(curves(), PROGRESS[-1], best(curves())) == types.PruningRung(PROGRESS[-1])


@given(st.integers(0, 1000), st.integers(MIN_PROGRAMS, 60))
def test_limits_do_not_depend_on_the_order_of_the_programs(seed, count):
  programs = curves(count, seed)
  one, other = (rung_at(p, AT, best(programs)) for p in (programs, programs[::-1]))
  assert other.max_train_loss == pytest.approx(one.max_train_loss)
  assert other.max_val_loss == pytest.approx(one.max_val_loss)


def test_who_ends_as_well_as_the_incumbent_is_rarely_ended_and_who_is_far_behind_nearly_always():
  rng = np.random.default_rng(1)
  spared = hopeless = 0
  for seed in range(200):
    programs = curves(40, seed)
    goal = best(programs)
    limits = rung_at(programs, AT, goal)
    spared += not limits.should_prune(*(1 - goal + 0.1 * rng.normal(size=2)))
    hopeless += limits.should_prune(*(1 - goal + 1 + 0.1 * rng.normal(size=2)))
  assert spared >= 198
  assert hopeless >= 198


@given(st.integers(0, 100), st.floats(0.1, 10), st.floats(-5, 5))
def test_how_a_loss_is_counted_does_not_matter(seed, scale, shift):
  programs = curves(30, seed)
  goal = best(programs)
  one, other = rung_at(programs, AT, goal), rung_at(moved(programs, scale, shift), AT, goal)
  assert other.max_train_loss == pytest.approx(scale * one.max_train_loss + shift, abs=1e-6)
  assert other.max_val_loss == pytest.approx(scale * one.max_val_loss + shift, abs=1e-6)


def test_where_programs_scatter_more_the_limit_is_farther():
  goal = best(curves())
  near, far = (rung_at(curves(scatter=s), AT, goal).max_val_loss for s in (0.05, 0.3))
  assert far > near + 0.3


@given(st.integers(0, 100))
def test_programs_that_all_agree_have_finite_limits(seed):
  same = [LearningCurve(-1.0, {AT: (2.0, 2.0)})] * (MIN_PROGRAMS + seed % 9)
  limits = rung_at(same, AT, -1.0)
  assert not limits.should_prune(2.0, 2.0)
  assert np.isfinite([limits.max_train_loss, limits.max_val_loss]).all()


@pytest.fixture(scope='module')
def night(tmp_path_factory):
  """A run in which trials were ended early."""
  return run(tmp_path_factory.mktemp('night'), 100, acceptance=SequentialTest(), pruning=True)


def ended(history):
  return [t for t in history.trials.values() if t.result.status is types.Status.PRUNED]


def test_what_is_ended_is_discarded_tried_and_told_of(night):
  history = night.history
  pruned = ended(history)
  assert len(pruned) >= 5
  for trial in pruned:
    assert trial.verdict.decision is types.Decision.DISCARD
    assert trial.verdict.reason == trial.result.reason
    assert history.fingerprints(1.0)[trial.result.fingerprint] <= trial.id
    assert night.controller.tried.find(trial.edit.program, trial.proposal)[0] <= trial.id
  saved = sum(trial.result.facts['pruned']['saved_seconds'] for trial in pruned)
  assert history.saved_seconds == pytest.approx(saved)
  assert f'{len(pruned)} trials were pruned, which saved 0:' in summary(history)


def test_baseline_and_repeats_are_looked_at_and_never_ended(night):
  requests = night.executor.submitted
  for request in requests:
    assert [at.progress for at in request.rungs] == list(PROGRESS)
    operation = night.history.proposals[request.trial].operation
    limits = {at.max_val_loss for at in request.rungs} - {None}
    if request.trial == BASELINE or operation in types.RERUNS or request.trial < MIN_PROGRAMS:
      assert not limits
  assert sum(request.rungs[0].max_val_loss is not None for request in requests) > 30


SETTINGS = Run(config(pruning=True), None, SPEC, START, Greedy(), None, None).settings()


@pytest.mark.parametrize(
  'change',
  [
    {'proposal': {'fidelity': 0.5}},
    {'spec': {'kind': 'construction'}},
    {'proposal': {'seeds': (0, 1)}, 'looked': True},
  ],
)
def test_who_cannot_be_compared_is_not_ended(night, change):
  history, settings = night.history, SETTINGS
  trial = ended(history)[-1].id
  before = history.proposals[trial]
  assert pruning.rungs(history, trial, settings)[0].max_val_loss is not None
  try:
    history.proposals[trial] = dataclasses.replace(before, **change.get('proposal', {}))
    spec = dataclasses.replace(SPEC, **change.get('spec', {}))
    found = pruning.rungs(history, trial, dataclasses.replace(settings, spec=spec))
  finally:
    history.proposals[trial] = before
  assert found == (tuple(map(types.PruningRung, PROGRESS)) if change.get('looked') else ())


def test_limits_are_the_ledgers_alone(night):
  """Whoever takes the run up later asks for the same; what came after a trial began is not seen."""
  with Ledger.read(night.workspace.ledger_path) as ledger:
    history = History.of(ledger.records())
  for request in night.executor.submitted:
    assert pruning.rungs(history, request.trial, SETTINGS) == request.rungs


def test_a_programs_curve_is_read_once(night, monkeypatch):
  """Else a trial would cost the more, the more there were."""
  with Ledger.read(night.workspace.ledger_path) as ledger:
    history = History.of(ledger.records())
  read, real = [], pruning._curve
  monkeypatch.setattr(pruning, '_curve', lambda trial, of: read.append(trial.id) or real(trial, of))
  for request in night.executor.submitted:
    assert pruning.rungs(history, request.trial, SETTINGS) == request.rungs
  assert len(read) == len(set(read)) > 50


def test_a_run_that_does_not_want_it_is_not_looked_at(tmp_path):
  executor = Arithmetic()
  run(tmp_path, 5, executor=executor)
  assert {request.rungs for request in executor.submitted} == {()}


def test_the_lowest_nats_so_far_count_and_what_is_no_number_does_not():
  looks = [(0.2, 1.0, 3.0), (0.3, 2.0, 2.0), (0.5, None, 1.0), (0.7, 4.0, 2.5)]
  assert pruning.by_progress(looks) == {0.2: (1.0, 3.0), 0.3: (2.0, 2.0), 0.7: (4.0, 2.0)}
