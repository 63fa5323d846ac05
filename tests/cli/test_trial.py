"""`python -m autoresearch_jax.trial`, as an agent calls it."""

import json
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).resolve().parents[2]
START = (ROOT / 'autoresearch_jax/programs/mlp/model.py').read_text()


def call(
  folder: pathlib.Path, text: str | bytes, *flags: str
) -> tuple[int, str, str, pathlib.Path]:
  program, out = folder / 'program', folder / 'trial.json'
  program.mkdir()
  data = text.encode() if isinstance(text, str) else text
  (program / 'model.py').write_bytes(data)
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'autoresearch_jax.trial', '--config=configs/digits.py'),
      *(*flags, '--config.budget.amount=20', f'--program={program}', f'--out={out}'),
    ],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  return done.returncode, done.stdout, done.stderr, out


def test_a_trial_prints_the_block_and_writes_the_result(tmp_path):
  code, printed, news, out = call(tmp_path, START)
  assert code == 0, news
  block = printed.split('---')[1]
  for key in ('val_loss:', 'training_seconds:', 'num_steps:        20', 'status:           ok'):
    assert key in block
  result = json.loads(out.read_text())
  assert {'status', 'reason', 'metrics', 'cost', 'isolation'} <= set(result)
  assert (result['status'], result['cost']['steps']) == ('ok', 20)


@pytest.mark.parametrize(
  ('text', 'sentence'),
  [('BATCH_SIZE = (', 'model.py:1'), (START.replace('def predict', 'def guess'), 'predict')],
)
def test_a_broken_program_is_a_result_too(tmp_path, text, sentence):
  code, printed, news, out = call(tmp_path, text)
  assert code == 1, news
  assert 'status:           invalid' in printed
  assert sentence in json.loads(out.read_text())['reason']


def test_the_json_is_that_of_the_file(tmp_path):
  code, printed, news, out = call(tmp_path, 'BATCH_SIZE = (', '--json')
  assert code == 1, news
  told = json.loads(printed)
  assert told == json.loads(out.read_text())
  assert (told['schema'], told['status']) == (1, 'invalid')


def test_what_is_no_text_is_a_sentence(tmp_path):
  code, _, news, out = call(tmp_path, b'\xff\xfe\x00')
  assert code == 2
  assert 'Traceback' not in news
  assert not out.exists()
