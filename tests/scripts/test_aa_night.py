"""A/A nights: whole runs of edits that do nothing, counted from their ledgers."""

import pathlib
import subprocess
import sys

import pytest

from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.types import Status

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def nights(workdir, *flags):
  command = [
    sys.executable,
    'scripts/studies/acceptance/aa_night.py',
    '--config=configs/digits.py',
    *flags,
  ]
  ended = subprocess.run(
    [*command, f'--workdir={workdir}', '--config.budget.amount=20', '--config.final_seeds=2'],
    cwd=ROOT, capture_output=True, text=True, check=False,
  )  # fmt: skip
  assert ended.returncode == 0, ended.stdout + ended.stderr
  return ended.stdout.partition('###')[2]


def history(workdir):
  with Ledger.read(workdir / 'ledger.db') as ledger:
    return History.of(ledger.records())


@pytest.mark.slow
def test_a_night_is_a_run_in_which_every_keep_is_false(tmp_path):
  flags = (
    '--trials=5',
    '--config.acceptance=strict',
    '--config.acceptance_options.baseline_seeds=1',
  )
  table = nights(tmp_path, *flags)
  found = history(tmp_path / 'night0')
  assert {trial.result.status for trial in found.trials.values()} == {Status.OK}
  assert len({trial.metric('val_loss') for trial in found.trials.values()}) == 5
  false = [trial for trial in found.kept if trial]
  assert f'| 0 | 5 | {", ".join(map(str, false)) or "none"} | 0 of 4 | {len(false)} | 0 |' in table
  assert f'{int(bool(false))} of 1, ' in table
  again = nights(tmp_path, *flags)
  assert again == table
  assert len(history(tmp_path / 'night0').trials) == 5


@pytest.mark.slow
def test_comments_repeat_every_score_of_a_budget_in_steps(tmp_path):
  flags = ('--trials=4', '--noredraw', '--config.acceptance=strict')
  table = nights(tmp_path, *flags, '--config.acceptance_options.baseline_seeds=1')
  found = history(tmp_path / 'night0')
  assert {trial.result.status for trial in found.trials.values()} == {Status.OK}
  assert len({trial.metric('val_loss') for trial in found.trials.values()}) == 1
  assert '| 0 | 4 | none | 0 of 3 | 0 | 0 | 0.000000 |' in table
