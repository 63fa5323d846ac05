"""Measurements and studies refuse bad input in a sentence, without a traceback."""

import subprocess
import sys

import pytest
from helpers import ROOT

MEASURE = ('-m', 'autoresearch_jax', 'measure')
STUDIES = 'scripts/studies/'


@pytest.mark.slow
@pytest.mark.parametrize(
  ('command', 'words'),
  [
    ((*MEASURE, 'memory', '--micro=x'), 'numbers'),
    ((*MEASURE, 'slots', '--config=configs/digits.py', '--slots=x'), 'numbers'),
    ((*MEASURE, 'steps', '--platform=cpu', 'nix'), 'no artifact nix'),
    ((*MEASURE, 'step'), 'steps'),
    ((STUDIES + 'acceptance/measure_acceptance.py', '--rule=nix'), "no acceptance 'nix'"),
    ((STUDIES + 'acceptance/measure_acceptance.py', '--effects=nix'), "'nix'"),
    ((STUDIES + 'acceptance/measure_acceptance.py', '--scores=a=nix.txt'), 'nix.txt'),
    ((STUDIES + 'acceptance/compare_designs.py', 'nix'), "'nix'"),
    ((STUDIES + 'drift/measure_drift.py', '--rule=nix'), "no acceptance 'nix'"),
    ((STUDIES + 'drift/measure_drift.py', '--rule=paired:nix'), "no clock 'nix'"),
    ((STUDIES + 'drift/measure_drift.py', '--machine=nix'), 'nix'),
    ((STUDIES + 'pruning/measure_pruning.py', 'nix.csv'), 'no file nix.csv'),
    ((STUDIES + 'step/measure_gap.py', '--config=nix.py'), 'nix.py'),
    ((STUDIES + 'search/measure_run.py', '/nix'), '--workdir'),
    ((STUDIES + 'seeds/measure_seeds.py', '--only=nix'), 'digits and gpt'),
  ],
)
def test_wrong_input_is_a_sentence(command, words):
  ended = subprocess.run(
    [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
  )
  said = ended.stdout + ended.stderr
  assert ended.returncode and words in said and 'Traceback' not in said, said
