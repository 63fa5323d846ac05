"""What a run says about itself: canaries, the agreement of its splits, harder settings."""

import dataclasses
import shlex

import pytest
from helpers.synthetic_run import Arithmetic, run

from autoresearch_jax import __main__ as front
from autoresearch_jax.acceptance.strict import Strict
from autoresearch_jax.config import CanaryConfig
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger, read_history
from autoresearch_jax.report.canaries import MeasuredRate, canary_rates, format_canaries
from autoresearch_jax.report.metric_audit import audited_programs, metric_audit
from autoresearch_jax.report.next_setting import (
  HarderSetting,
  describe_stale,
  harder_settings,
  pilot_command,
)
from autoresearch_jax.report.summary import summary
from autoresearch_jax.research.final_evaluation import FinalEvaluation


@pytest.mark.parametrize(
  ('hits', 'total', 'low', 'high'),
  [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (5, 10, 0.1871, 0.8129), (0, 0, 0.0, 1.0)],
)
def test_intervals_of_rates_are_exact(hits, total, low, high):
  assert MeasuredRate(hits, total).interval == pytest.approx((low, high), abs=1e-4)


class Overfitted(Arithmetic):
  """On the test split, programs rank the other way round if `worse` is set."""

  worse = False

  def measured(self, x, y, luck, seed, request):
    found = super().measured(x, y, luck, seed, request)
    if not (request.on_test and self.worse):
      return found
    return dataclasses.replace(found, metrics={n: -v for n, v in found.metrics.items()})


@pytest.fixture
def directory(tmp_path):
  """A run with kept programs and canaries."""
  run(tmp_path, 60, executor=Overfitted(), acceptance=Strict(), canaries=CanaryConfig(share=0.2))
  return tmp_path


@pytest.mark.parametrize('worse', [False, True])
def test_the_splits_are_compared_over_the_kept_programs(directory, worse, capsys):
  executor = Overfitted()
  executor.worse = worse
  with Workspace.open(directory) as workspace, Ledger.open(workspace.ledger_path) as ledger:
    history = History.of(ledger.records())
    programs = tuple(audited_programs(history))
    assert len(programs) >= 3
    assert metric_audit(history) is None
    evaluation = FinalEvaluation(
      ledger, history, executor, history.config.budget, 2, lambda: '', print, programs
    )
    assert evaluation.run()
  audit = metric_audit(read_history(directory))
  assert [scores.trial for scores in audit.programs] == [0, *programs]
  low, high = audit.agreement.interval
  assert low <= audit.agreement.tau <= high
  assert (high < 0) if worse else (low > 0)
  capsys.readouterr()
  assert front.main(['audit', str(directory), str(directory)]) == 0
  printed = capsys.readouterr().out
  for words in ('catch rate', 'rank correlation (Kendall)', 'autoresearch transfer', 'budget'):
    assert words in printed, printed


def test_a_run_says_what_its_canaries_measured_and_when_gains_are_under_the_noise(directory):
  history = read_history(directory)
  rates = canary_rates([history])
  assert rates.missed  # nothing refuses them
  assert len(rates.missed) == rates.catches.total - rates.catches.hits
  assert rates.share <= 0.25
  assert 'NOT refused' in format_canaries(rates)
  assert format_canaries(rates) in summary(history)
  doubled = canary_rates([history, history])
  assert doubled.catches.total == 2 * rates.catches.total
  assert doubled.share == pytest.approx(rates.share)
  assert not describe_stale(history) or history.tried_since_keep >= 40
  assert [setting.assignment for setting in harder_settings(history)] == ['budget.amount=4']


def test_a_pilots_command_can_be_pasted():
  command = pilot_command('my runs/one', HarderSetting('twice', 'budget.amount=4', 2.0))
  assert shlex.split(command)[2:4] == ['my runs/one', '--set=budget.amount=4']
