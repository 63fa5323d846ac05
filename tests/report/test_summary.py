"""The summary's figures are the ledger's."""

import dataclasses
import math

import pytest
from helpers.synthetic_run import Arithmetic, run, ticking

from autoresearch_jax import types
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.cli.report import main
from autoresearch_jax.report.summary import (
  format_duration,
  run_statistics,
  scores_by_trial,
  summary,
)
from autoresearch_jax.testing.acceptance import finished


def test_figures_add_up(tmp_path):
  history = run(tmp_path, 20, clock=ticking()).history
  f = run_statistics(history)
  assert f.trials == 20
  assert f.kept == len(history.kept)
  assert f.trials_per_hour == pytest.approx(20 / history.wall_seconds * 3600)
  assert f.utilization == pytest.approx(history.training_seconds / history.wall_seconds)
  assert f.gain == pytest.approx(f.baseline - f.value)
  assert (f.runs, f.baseline_runs) == (1, 4)
  assert f.standard_errors == pytest.approx(f.gain / (history.noise() * math.sqrt(1 + 1 / 4)))
  assert run_statistics(history, history.wall_seconds).trials_per_hour == pytest.approx(
    f.trials_per_hour / 2
  )


def test_busy_is_the_mean_of_all_slots(tmp_path):
  class Slots(Arithmetic):
    """Puts on record which of its slots had a trial, as the local executor does."""

    def result(self, request):
      result = super().result(request)
      return dataclasses.replace(result, facts={**result.facts, 'slot': request.trial % 4})

  history = run(tmp_path, 20, clock=ticking(), executor=Slots(slots=4)).history
  assert run_statistics(history).utilization == pytest.approx(
    history.training_seconds / history.wall_seconds / 4
  )


def test_a_trial_that_missed_its_target_has_no_score(tmp_path):
  class Missing(Arithmetic):
    """No program reaches a target."""

    def result(self, request):
      return types.Result(request.trial, types.Status.INFEASIBLE, 'val_loss was 4.7.')

  text = summary(run(tmp_path, 20, clock=ticking(), executor=Missing()).history)
  assert '0 kept, 1 without a score' in text and 'No trial has a score yet' in text


def test_the_summary_names_the_best_and_its_gain(tmp_path):
  text = summary(run(tmp_path, 20, clock=ticking()).history)
  assert text.startswith('20 trials in 0:0')
  assert 'The baseline has 12.970361 (4 runs): a gain of ' in text
  assert 'standard errors.' in text


def test_a_program_kept_after_replications_is_named_as_where_it_was_first_tried(tmp_path):
  history = run(tmp_path, 60, acceptance=SequentialTest(), clock=ticking()).history
  best = history.kept[-1]
  first = history.original(best)
  assert first != best
  named = f': trial {best}, which repeats trial {first}, {history.edits[first].description}.'
  assert named in summary(history)


def test_the_best_is_worth_the_mean_of_all_its_runs_and_not_of_the_last_ones(tmp_path):
  history = run(tmp_path, 60, acceptance=SequentialTest(), clock=ticking()).history
  best = history.incumbent
  same = [t for t in history.trials if history.original(t) == history.original(best.id)]
  seeds = {m.seed: m.metrics['val_loss'] for t in same for m in history.results[t].measurements}
  assert len(seeds) > len(best.result.measurements)
  f = run_statistics(history)
  assert f.runs == len(seeds)
  assert f.value == pytest.approx(sum(seeds.values()) / len(seeds))
  assert f.value != pytest.approx(best.metric('val_loss'))
  assert f.gain == pytest.approx(f.baseline - f.value)
  scale = math.sqrt(1 / f.runs + 1 / f.baseline_runs)
  assert f.standard_errors == pytest.approx(f.gain / (history.noise() * scale))
  assert f'Best val_loss {f.value:.6f} ({f.runs} runs): trial {best.id}' in summary(history)


def test_runs_count_for_their_program_once_a_seed_and_for_the_whole_budget_alone(tmp_path):
  history = run(tmp_path, 3, clock=ticking()).history
  baseline = scores_by_trial(history, [0])[0]
  assert baseline == [m.metrics['val_loss'] for m in history.results[0].measurements]
  again = types.Proposal(types.Operation.REPLICATE, (0,), seeds=(3, 9))
  for number, proposal, decision, counts in (
    (10, again, 'discard', True),
    (11, dataclasses.replace(again, seeds=(9,)), 'discard', False),  # a known seed
    (12, dataclasses.replace(again, seeds=(20,), fidelity=0.5), 'discard', False),
    (13, dataclasses.replace(again, seeds=(30,)), 'crash', False),
  ):
    before = scores_by_trial(history, [0])[0]
    trial = finished(number, proposal, lambda program, seed: 100.0 + seed)
    verdict = types.Verdict(types.Decision(decision), '')
    history.trials[number] = dataclasses.replace(trial, verdict=verdict)
    history.proposals[number] = proposal
    history.program_trials[0].append(number)
    assert (scores_by_trial(history, [0])[0] != before) is counts
  assert scores_by_trial(history, [0, 10]) == {0: [*baseline, 109.0], 10: [*baseline, 109.0]}


def test_the_summary_of_a_run_that_came_to_nothing(tmp_path):
  history = run(tmp_path, executor=Arithmetic(fail_baseline=True), clock=ticking()).history
  assert summary(history).endswith('No trial has a score yet.')


def test_the_report_command(tmp_path, capsys):
  run(tmp_path, 3)
  assert main([str(tmp_path)]) == 0
  assert (tmp_path / 'progress.png').exists()
  assert '\n3 trials in 0:00:0' in capsys.readouterr().out
  assert main([str(tmp_path / 'nowhere')]) == 2
  assert 'There is no ledger at' in capsys.readouterr().err
  assert main([]) == 2
  assert 'WORKDIR' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('seconds', 'text'), [(0, '0:00:00'), (59.6, '0:01:00'), (3661, '1:01:01'), (90000, '25:00:00')]
)
def test_durations_have_hours_first(seconds, text):
  assert format_duration(seconds) == text
