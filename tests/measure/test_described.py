"""Steps compiled for described TPUs. Needs libtpu's wheel, the extra `described`."""

import pathlib
import subprocess
import sys

import pytest

from autoresearch_jax.config import Limits
from autoresearch_jax.programs import contract
from autoresearch_jax.types import Budget, Spec

pytest.importorskip('libtpu')

from autoresearch_jax.measure.described_step import CHIPS, describe
from autoresearch_jax.tracer import export

GPT = pathlib.Path(contract.__file__).with_name('gpt') / 'model.py'
# Estimated milliseconds of a step at depth 2 and width 512 on a v6e, without kernels. It was 275
# with partial sums of dq, and 237 before attention took the layout that XLA makes its inputs in.
MILLISECONDS = 208.6

PLAIN = """
import jax, jax.numpy as jnp
BATCH_SIZE, WIDTH = 64, 256

def init(key, spec):
  return {'embed': jax.random.normal(key, (spec.vocab_size, WIDTH)), 'up': jnp.eye(WIDTH)}

def predict(p, inputs):
  return jnp.tanh(p['embed'][inputs] @ p['up']) @ p['embed'].T

def loss(p, batch):
  logs = jax.nn.log_softmax(predict(p, batch['inputs']))
  return -jnp.take_along_axis(logs, batch['targets'][..., None], -1).mean()

def train_step(state, batch, progress):
  value, gradient = jax.value_and_grad(loss)(state, batch)
  return jax.tree.map(lambda p, g: p - 0.5 * g, state, gradient), {'loss': value}
"""


def traced(folder, text, devices, vocab=512, time=128):
  (folder / 'model.py').write_text(text)
  spec = Spec('language_model', 'tpu', devices, Budget(300), vocab_size=vocab, sequence_length=time)
  return export.export_program(folder, 'model.py', spec, 32, Limits())


def test_a_plain_program_is_shared_by_four_chips(tmp_path):
  one = describe(traced(tmp_path, PLAIN, 1), 'v5e', 1, tmp_path / 'one.hlo')
  four = describe(traced(tmp_path, PLAIN, 4), 'v5e', 4)
  assert one.kind == 'TPU v5 lite' and 'HloModule' in (tmp_path / 'one.hlo').read_text()
  assert one.milliseconds['products'] > 0 and one.largest and one.kernels == 0
  assert one.product_flops == pytest.approx(one.traced_flops, rel=0.1)
  assert four.product_flops * 4 == pytest.approx(one.product_flops, rel=0.03)
  assert four.note == '' and 'all-gather' not in four.collectives
  assert four.collectives['all-reduce'] > 0


@pytest.mark.slow
def test_cycles_of_the_gpt_do_not_grow(tmp_path):
  """At depth 2, where compiling takes a minute or two of CPU time."""
  text = GPT.read_text()
  for old, new in {
    'DEPTH = 8': 'DEPTH = 2',
    'ASPECT_RATIO = 64': 'ASPECT_RATIO = 256',
    'MICRO_BATCH_SIZE = 128': 'MICRO_BATCH_SIZE = 16',
  }.items():
    assert old in text
    text = text.replace(old, new)
  step = describe(traced(tmp_path, text, 1, vocab=8192, time=2048), 'v6e', 1)
  assert step.kernels == 2 * 2 * 16  # forward and backward, for each layer and micro-batch
  assert sum(step.milliseconds.values()) < 1.03 * MILLISECONDS


def test_wrong_input_is_a_sentence():
  command = [sys.executable, '-m', 'autoresearch_jax', 'measure', 'described', '--chip=v9']
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode != 0 and 'v5e, v6e, v5p, v4, v7x' in done.stdout + done.stderr


def test_every_chip_is_described():
  assert list(CHIPS) == ['v5e', 'v6e', 'v5p', 'v4', 'v7x']
  assert all(set(chip.hosts) == {1, 4, 8} for chip in CHIPS.values())
