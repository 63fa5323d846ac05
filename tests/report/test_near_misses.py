"""Near misses and undecided programs at the end of a run, each with all its runs."""

import dataclasses
import re

import pytest
from helpers.synthetic_run import Arithmetic, run, ticking

from autoresearch_jax.acceptance.paired import Paired
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.report.near_misses import format_near_misses, near_misses
from autoresearch_jax.report.summary import summary
from autoresearch_jax.types import Operation, Status


def history_of(tmp_path, trials=60, **options):
  return run(tmp_path, trials, acceptance=SequentialTest(), clock=ticking(), **options).history


def test_a_program_is_listed_once_with_all_its_runs(tmp_path):
  history = history_of(tmp_path)
  replicated = {
    history.original(number)
    for number, proposal in history.proposals.items()
    if proposal.operation is Operation.REPLICATE and number in history.trials
  }
  found = near_misses(history)
  names = [miss.trial for miss in found]
  assert len(names) == len(set(names)) and not set(names) & set(history.kept_programs)
  expected = replicated - set(history.kept_programs) - {0}
  assert expected and expected <= set(names)
  for miss in found:
    for rerun in miss.reruns:
      assert history.original(rerun) == miss.trial
  text = summary(history)
  assert format_near_misses(history) in text and 'Near misses and undecided programs' in text


def test_a_failed_replication_is_visible(tmp_path):
  class Failing(Arithmetic):
    """Crashes in every replication of an edit."""

    def result(self, request):
      result = super().result(request)
      if request.seeds and min(request.seeds) > 0:
        return dataclasses.replace(
          result, status=Status.CRASH, reason='No memory left.', measurements=()
        )
      return result

  history = history_of(tmp_path, executor=Failing())
  failed = [miss for miss in near_misses(history) if miss.failed_rerun]
  assert failed
  assert re.search(r'trial \d+ failed: No memory left', summary(history))


def test_a_test_that_has_not_ended_is_undecided(tmp_path):
  for trials in range(10, 40):
    history = history_of(tmp_path / str(trials), trials)
    undecided = [miss for miss in near_misses(history) if miss.undecided]
    if undecided:
      assert 'undecided' in format_near_misses(history)
      assert near_misses(history)[0].undecided
      return
  raise AssertionError('No run ended within a test.')


@pytest.mark.parametrize('rule', [SequentialTest(), Paired()])
def test_undecided_is_what_the_rule_says_at_the_end(tmp_path, rule):
  """Also after a look that asks for more pairs, and after the incumbent was replaced."""
  seen = 0
  for trials in range(12, 48, 4):
    session = run(tmp_path / str(trials), trials, acceptance=rule, clock=ticking())
    history, state = session.history, session.states.acceptance
    first = [t for t in history.trials.values() if history.original(t.id) == t.id]
    expected = {t.id for t in first if rule.undecided(state, t)} - set(history.kept_programs)
    assert {miss.trial for miss in near_misses(history) if miss.undecided} == expected
    seen += len(expected)
  assert seen
