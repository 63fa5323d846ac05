"""The plot is drawn for any run, falling or rising, short or long, and while it goes on."""

import dataclasses

import pytest
from helpers import synthetic_run
from helpers.synthetic_run import Arithmetic, run

from autoresearch_jax import types
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.proposers import Proposer
from autoresearch_jax.report import plot
from autoresearch_jax.report.summary import run_statistics

SIGNATURE = b'\x89PNG\r\n\x1a\n'


def drawn(history, directory):
  plot.draw(history, directory / 'progress.png')
  data = (directory / 'progress.png').read_bytes()
  assert data.startswith(SIGNATURE)
  assert [p.name for p in directory.iterdir() if p.name.endswith('.new')] == []
  return data


@pytest.mark.parametrize('trials', [1, 2, 40])
def test_any_number_of_trials(tmp_path, trials):
  assert len(drawn(run(tmp_path, trials).history, tmp_path)) > 10_000


def test_a_run_without_a_score(tmp_path):
  drawn(run(tmp_path, executor=Arithmetic(fail_baseline=True)).history, tmp_path)


def test_a_rising_metric_is_another_picture(tmp_path, monkeypatch):
  falling = run(tmp_path, 8).history
  before = drawn(falling, tmp_path)
  original = synthetic_run.config
  monkeypatch.setattr(synthetic_run, 'config', lambda: original(direction='maximize'))
  rising = run(tmp_path / 'up', 8).history
  assert drawn(rising, tmp_path) != before
  assert rising.incumbent.metric('val_loss') > rising.trials[0].metric('val_loss')


class Wild(Proposer):
  """Descriptions that mean something to matplotlib, and scores far off the page."""

  def propose(self, proposal, context, rng):
    del proposal
    program = context.parents[0].with_text(f'X = {10 ** rng.uniform(-3, 6):.6f}\nY = 0.0\n')
    return types.Edit(program, r'$\frac{1}{$ _x_ \n 漢字', types.Hypothesis('claim'))


@pytest.mark.filterwarnings('error')
def test_labels_and_scores_of_any_kind(tmp_path):
  history = run(tmp_path, 25, proposer=Wild()).history
  drawn(history, tmp_path)
  config = dataclasses.replace(history.config, name='a $ name')
  history.__dict__['config'] = config
  drawn(history, tmp_path)


def test_a_kept_trial_is_drawn_at_the_mean_of_all_runs_of_its_program(tmp_path):
  history = run(tmp_path, 60, acceptance=SequentialTest()).history
  best = history.incumbent
  kept = dict(plot._dots(history).kept)
  assert kept[best.id] == pytest.approx(run_statistics(history).value)
  assert kept[best.id] != pytest.approx(best.metric('val_loss'))
