"""Scripts that are started with what they can not use say so in a sentence, without a traceback."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
@pytest.mark.parametrize(
  ('command', 'words'),
  [
    ('lower_variants.py --micro=x', 'Numbers'),
    ('measure_acceptance.py --rule=nix', "no acceptance 'nix'"),
    ('measure_acceptance.py --effects=nix', "'nix'"),
    ('measure_acceptance.py --scores=a=nix.txt', 'nix.txt'),
    ('measure_early_stop.py nix.csv', 'no file nix.csv'),
    ('measure_gap.py --config=nix.py', 'nix.py'),
    ('measure_run.py /nix', '--workdir'),
    ('measure_seeds.py --only=nix', 'digits and gpt'),
    ('measure_slots.py --config=configs/digits.py --slots=x', 'Numbers'),
    ('measure_steps.py --platform=cpu nix', 'no artifact nix'),
  ],
)
def test_wrong_input_is_a_sentence(command, words):
  name, *flags = command.split()
  ended = subprocess.run(
    [sys.executable, f'scripts/{name}', *flags],
    cwd=ROOT, capture_output=True, text=True, check=False,
  )  # fmt: skip
  said = ended.stdout + ended.stderr
  assert ended.returncode and words in said and 'Traceback' not in said, said
