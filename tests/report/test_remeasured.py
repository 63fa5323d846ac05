"""A kept program that is measured again: the outcome is said, and the rule decides what follows."""

import dataclasses

import pytest
from helpers.synthetic_run import Arithmetic, run

from autoresearch_jax.acceptance.paired import Paired
from autoresearch_jax.cli import steer as command
from autoresearch_jax.ledger.mailbox import post
from autoresearch_jax.ledger.store import read_history, read_records
from autoresearch_jax.report.page import RunProjection
from autoresearch_jax.report.remeasured import remeasured
from autoresearch_jax.report.story import story
from autoresearch_jax.report.summary import summary

FEW = Paired(baseline_seeds=4, looks=(2, 4))


@dataclasses.dataclass
class Spoiling(Arithmetic):
  """The synthetic executor, for which some programs have become worse.

  Attributes:
    spoiled: Digests of these programs.
  """

  spoiled: frozenset = frozenset()

  def result(self, request):
    result = super().result(request)
    if request.program.digest not in self.spoiled:
      return result
    runs = tuple(dataclasses.replace(m, metrics={'val_loss': 50.0}) for m in result.measurements)
    return dataclasses.replace(result, measurements=runs)


@pytest.fixture
def kept(tmp_path):
  """The folder of a run that has replaced the baseline once, and the first trial of its best."""
  trials = 1
  while len(set(map(read(tmp_path, trials).original, read(tmp_path, trials).kept))) < 2:
    trials += 1
  return tmp_path, read(tmp_path, trials).best


def read(directory, trials):
  return run(directory, trials, acceptance=FEW).history


def again(directory, trial, seeds=3, **options):
  """Measures a trial again, and returns the history after some further trials."""
  post(directory, 'remeasure', trial=trial, seeds=seeds)
  count = read_history(directory).next_trial
  return run(directory, count + 8, acceptance=FEW, **options).history


def test_a_keep_that_fails_again_is_in_doubt_and_the_replaced_program_can_come_back(kept, capsys):
  directory, best = kept
  before = read_history(directory)
  replaced = next(t for t in map(before.original, reversed(before.kept)) if t != best)
  executor = Spoiling(spoiled=frozenset({before.edits[best].program.digest}))
  post(directory, 'end', ends={'max_trials': before.next_trial + 1})
  after = again(directory, best, executor=executor)
  (outcome,) = remeasured(after)
  assert (outcome.trial, outcome.replaced, outcome.runs) == (best, replaced, 3)
  assert outcome.mean == 50.0 and outcome.gain < -outcome.half_width
  assert after.best == best and outcome.is_best  # nothing was taken back
  words = f'steer WORKDIR remeasure {replaced}'
  assert words in summary(after)
  sure = next(p for p in story(after) if p.heading == 'How sure is it')
  assert words in sure.text
  view = RunProjection.of(read_records(directory)).view()
  assert words in view.headline.doubts[0] and words in view.requests[-1].outcome
  assert command.main([str(directory), 'list']) == 0
  assert words in capsys.readouterr().out

  post(directory, 'end', ends={'max_trials': 0})
  later = again(directory, replaced, executor=executor)
  assert replaced in map(later.original, later.kept[len(after.kept) :])
  (outcome, *_) = remeasured(later)
  assert not outcome.is_best and words not in summary(later)


def test_a_keep_that_holds_is_only_told(kept):
  directory, best = kept
  history = again(directory, best)
  (outcome,) = remeasured(history)
  assert outcome.gain > 0 and 'doubt' not in outcome.describe('val_loss')
  assert 'Measured again' not in summary(history)
  assert any('Measured again' in paragraph.text for paragraph in story(history))


def test_the_baseline_replaced_nothing(tmp_path):
  run(tmp_path, 2, acceptance=FEW)
  assert remeasured(again(tmp_path, 0)) == []
