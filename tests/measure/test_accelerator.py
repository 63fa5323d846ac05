"""The one command for an accelerator works from end to end, on a CPU and small."""

import json
import subprocess
import sys

import pytest
from helpers import ROOT

COMMAND = [sys.executable, '-m', 'autoresearch_jax', 'measure', 'accelerator', '--smoke']


@pytest.mark.slow
def test_the_smoke_run_measures_everything(tmp_path):
  out = tmp_path / 'accelerator.json'
  done = subprocess.run(
    [*COMMAND, f'--out={out}'], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
  )
  assert done.returncode == 0, done.stderr
  found = json.loads(out.read_text())
  assert found['result']['status'] == 'ok'
  assert found['tracer'] == {'jax_platforms': 'cpu', 'accelerator_libraries': []}
  trained, cost = found['trained'], found['trained']['cost']
  assert trained['tokens_per_second'] == pytest.approx(cost['tokens'] / cost['training_seconds'])
  assert 0 < trained['mfu_needed'] < trained['mfu_original']
  assert 0 < trained['beyond_seed'] < trained['beyond_new_program']
  assert {'val_bpb', 'val_loss'} <= set(trained['metrics'])
  assert [row['variant'] for row in found['steps']] == ['kernel', 'blocked']
  for row in found['steps']:
    assert min(row['looped'], row['queued'], row['waited']) > 0
  for said in ("MFU by the original's formula", 'step, blocked', 'the original: 39.8 %'):
    assert said in done.stdout
