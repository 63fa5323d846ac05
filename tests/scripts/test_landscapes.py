"""A landscape of twelve programs is recorded, compared with the engine, described and played."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT

from autoresearch_jax.benchmark.simulations import SIMULATIONS
from autoresearch_jax.benchmark.simulations.landscape_table import Landscape
from autoresearch_jax.types import Budget, Status, TrialRequest

STUDIES = ROOT / 'scripts/studies/landscapes'


def script(name, *arguments):
  done = subprocess.run(
    [sys.executable, STUDIES / name, *map(str, arguments)], capture_output=True, text=True,
    check=False, cwd=STUDIES,
  )  # fmt: skip
  return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_recorded_trainings_are_those_of_the_engine(tmp_path):
  record = ('record_edits.py', '--landscape=example', f'--folder={tmp_path / "parts"}')
  packed = tmp_path / 'example.npz'
  code, said = script(*record, f'--pack={packed}')
  assert code == 1 and '0 of 12 programs are recorded' in said
  code, said = script(*record, '--minutes=0')
  assert code == 0 and 'The minutes are over: 0 of 2' in said
  code, said = script(*record)
  assert code == 0 and '2 of 2 groups are recorded' in said, said
  code, said = script(*record, f'--pack={packed}')
  assert code == 0 and '12 programs' in said and 'sha256' in said, said

  code, said = script(
    'check_edits.py', '--landscape=example', f'--file={packed}', '--cells=5', '--tolerance=0.02'
  )
  assert code == 0 and '0 of 5 disagree on failure' in said, said
  code, said = script('describe_edits.py', f'--landscape={packed}')
  assert code == 0 and '| LEARNING_RATE | 0.001 → 0.01 |' in said, said

  landscape = Landscape.load(str(packed))
  fails = landscape.fails.reshape(landscape.shape)
  assert fails[..., 2].all() and not fails[..., :2].any()
  assert (landscape.failed_at[landscape.fails] > 0).all() and landscape.flops.min() > 1e5
  assert len(np.unique(landscape.mean[~landscape.fails, -1])) == 8
  made = SIMULATIONS.make('landscape', {'landscape': str(packed), 'noise': 0.0}).instance(0)
  request = TrialRequest(1, made.solution, (0,), Budget(1.0))
  (measured,) = made.measure(request).measurements
  assert measured.metrics['val_loss'] == made.optimum == landscape.mean[~landscape.fails, -1].min()
  failing = made.start.with_text(made.start.text().replace('RATE = 0', 'RATE = 2'))
  failing = failing.with_text(failing.text().replace('RATE = 1', 'RATE = 2'))
  assert made.measure(TrialRequest(2, failing, (0,), Budget(1.0))).status is Status.DIVERGED
