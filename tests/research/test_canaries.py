"""Canaries are judged as trials are, change no decision of the search, and survive kills."""

import pytest
from helpers.synthetic_run import Arithmetic, replay_records, run

from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.acceptance.paired import Paired
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.config import CanaryConfig
from autoresearch_jax.ledger.canaries import (
  CAUGHT,
  DISCARDED,
  EXPLOIT,
  FAILED,
  FIRST_TRIAL,
  IMPROVEMENT,
  KEPT,
  PLACEBO,
)
from autoresearch_jax.ledger.events import CanaryJudged, Finished, Planted
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.research.canaries import USUAL_COST
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.types import Result, Status

pytestmark = pytest.mark.slow

MANY = CanaryConfig(share=0.3)
RULES = {
  'noise': Noise(),
  'sequential': SequentialTest(baseline_seeds=4),
  'paired': Paired(baseline_seeds=4),
}
OF_EXPLOITS = ('/proc/1/environ', '_socket', '__file__')


class Refusing(Arithmetic):
  """Refuses exploits."""

  def result(self, request):
    if any(word in request.program.text() for word in OF_EXPLOITS):
      return Result(request.trial, Status.INVALID, 'It is refused.')
    return super().result(request)


def records(directory):
  with Ledger.read(directory / 'ledger.db') as ledger:
    return list(ledger.records())


def of_search(directory):
  """The events of the search, without their place in the ledger."""
  return [r.event for r in records(directory) if not isinstance(r.event, Planted | CanaryJudged)][
    1:
  ]


@pytest.mark.parametrize('rule', RULES)
def test_a_run_decides_the_same_with_canaries_as_without(tmp_path, rule):
  of_each = []
  for name, canaries in (('with', MANY), ('without', None)):
    executor = Refusing()
    made = run(tmp_path / name, 50, executor=executor, acceptance=RULES[rule], canaries=canaries)
    of_each.append(made.history)
  with_them, without = of_each
  assert of_search(tmp_path / 'with') == of_search(tmp_path / 'without')
  assert with_them.trials == without.trials
  assert (with_them.kept, with_them.turn) == (without.kept, without.turn)
  planted = with_them.canaries.planted
  assert {c.planted.kind for c in planted} == {PLACEBO, IMPROVEMENT, EXPLOIT}
  assert with_them.canaries.training_runs <= 0.3 * with_them.training_runs + max(
    USUAL_COST.values()
  )
  for canary in planted:
    assert all(trial.id >= FIRST_TRIAL for trial in canary.trials)
    expected = {
      PLACEBO: {KEPT, DISCARDED, FAILED}, IMPROVEMENT: {KEPT, DISCARDED, FAILED},
      EXPLOIT: {CAUGHT, FAILED},
    }  # fmt: skip
    assert canary.outcome in expected[canary.planted.kind], canary
    if canary.planted.kind == EXPLOIT:  # other failures are no refusals
      is_refused = canary.trials[0].result.status is Status.INVALID
      assert (canary.outcome == CAUGHT) == is_refused, canary


@pytest.mark.parametrize(('rule', 'slots'), [('noise', 1), ('paired', 1), ('paired', 3)])
def test_a_run_that_stops_within_a_canary_goes_on_with_it(tmp_path, rule, slots):
  class Killed(Refusing):
    """Ends the session when it is given a trial of a canary for the first or second time."""

    given = 0

    def submit(self, request):
      self.given += request.trial >= FIRST_TRIAL
      super().submit(request)

  history = None
  for limit in (2, 5, 1000):
    executor = Killed(slots=slots)
    history = run(
      tmp_path, 60, executor=executor, acceptance=RULES[rule], canaries=MANY,
      stop=lambda e=executor, n=limit: 'Enough.' if e.given >= n else '',
    ).history  # fmt: skip
  assert history.canaries.trials > 5
  assert not history.canaries.active
  ids = [t.id for canary in history.canaries.planted for t in canary.trials]
  assert ids == list(range(FIRST_TRIAL, FIRST_TRIAL + len(ids)))
  found = records(tmp_path)
  again, _ = replay_records(found, Greedy(), RULES[rule])
  assert again.canaries == history.canaries
  assert again.trials == history.trials
  assert not any(isinstance(r.event, Finished) and r.event.trial >= FIRST_TRIAL for r in found)
