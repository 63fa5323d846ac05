"""The study of forks that share findings: it compares all arms, and repeats itself."""

import subprocess
import sys

import pytest
from helpers import ROOT

STUDY = ['scripts/studies/findings/forks.py', '--seeds=2', '--first_seed=0']


def study(*flags):
  ended = subprocess.run(
    [sys.executable, *STUDY, *flags], cwd=ROOT, capture_output=True, text=True, check=False
  )
  return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.slow
def test_compares_forks_that_share_with_forks_that_do_not():
  flags = ('--forks=2', '--runs=20', '--liars=1')
  code, said = study(*flags)
  assert code == 0, said
  for arm in ('alone', 'shared', 'by claim', 'believed'):
    assert any(line.startswith(arm) for line in said.splitlines())
  assert study(*flags) == (code, said)
