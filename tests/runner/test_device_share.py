"""Several devices share a batch: the losses of one, and each computes its part, or a note why not.

The devices are forced on the CPU, so this says nothing about speed.
"""

import json
import pathlib
import subprocess
import sys

import pytest
from helpers import several_devices

from autoresearch_jax.programs import contract
from autoresearch_jax.runner import hlo

GPT = pathlib.Path(contract.__file__).with_name('gpt') / 'model.py'
SMALL = {
  'DEPTH = 8': 'DEPTH = 2',
  'ASPECT_RATIO = 64': 'ASPECT_RATIO = 16',
  'HEAD_DIM = 128': 'HEAD_DIM = 16',
  'BATCH_SIZE = 256': 'BATCH_SIZE = 32',
}
# Plain JAX: two layers, trained in micro-batches of its own.
PLAIN = """
import jax, jax.numpy as jnp
BATCH_SIZE, PARTS, WIDTH = 16, {parts}, 32

def init(key, spec):
  vocab = spec.vocab_size
  shapes = {{'embed': (vocab, WIDTH), 'up': (WIDTH, WIDTH), 'head': (WIDTH, vocab)}}
  keys = jax.random.split(key, len(shapes))
  return {{n: jax.random.normal(k, s) / 8 for k, (n, s) in zip(keys, shapes.items())}}

def predict(p, inputs):
  return jnp.tanh(p['embed'][inputs] @ p['up']) @ p['head']

@jax.jit
def loss(p, inputs, targets):
  logs = jax.nn.log_softmax(predict(p, inputs))
  return -jnp.take_along_axis(logs, targets[..., None], -1).mean()

def gradients(p, batch):
  def add(total, part):
    return jax.tree.map(jnp.add, total, jax.value_and_grad(loss)(p, *part)), None
  parts = [batch[n].reshape(PARTS, -1, batch[n].shape[1]) for n in ('inputs', 'targets')]
  zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, p))
  total, _ = jax.lax.scan(add, zero, tuple(parts))
  return jax.tree.map(lambda x: x / PARTS, total)

def train_step(state, batch, progress):
  value, gradient = {jit}(gradients)(state, batch)
  return jax.tree.map(lambda p, g: p - 0.5 * g, state, gradient), {{'loss': value}}
"""


def measure(folder, text, *counts):
  (folder / 'model.py').write_text(text)
  command = [sys.executable, several_devices.__file__, str(folder / 'model.py'), *map(str, counts)]
  out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
  return json.loads(out.splitlines()[-1])


def gpt(micro):
  text = GPT.read_text()
  for old, new in {**SMALL, 'MICRO_BATCH_SIZE = 128': f'MICRO_BATCH_SIZE = {micro}'}.items():
    assert old in text
    text = text.replace(old, new)
  return text


@pytest.mark.slow
def test_the_gpt(tmp_path):
  one, two, four = measure(tmp_path, gpt(4), 1, 2, 4)
  assert one['shared'] == [1, 1, 1] and one['replicated'] is None
  for several, count in ((two, 2), (four, 4)):
    assert several['shared'] == [1, count, count]  # attention and loss, in training and prediction
    assert several['losses'] == pytest.approx(one['losses'], rel=1e-3)  # Muon amplifies rounding
    assert several['scored'] == pytest.approx(one['scored'], rel=1e-3)
    assert several['scored_alone'] == pytest.approx(several['scored'], rel=1e-5)
    assert several['traced_flops'] == one['traced_flops']
    assert several['note'] == ''
    assert several['replicated'] < 0.3  # the optimizer's, which is large in so small a model
    assert several['flops'] < 1.3 * one['flops']  # MFU does not count it for each device


@pytest.mark.parametrize('jit', ['', 'jax.jit'])
def test_micro_batches_of_a_plain_program(tmp_path, jit):
  one, two, four = measure(tmp_path, PLAIN.format(parts=4, jit=jit), 1, 2, 4)
  for several in (two, four):
    assert several['losses'] == pytest.approx(one['losses'], rel=1e-4)
    assert several['replicated'] == pytest.approx(0, abs=0.01) and several['note'] == ''


def test_a_loop_over_single_rows_gets_a_note(tmp_path):
  one, four = measure(tmp_path, PLAIN.format(parts=16, jit=''), 1, 4)
  assert four['losses'] == pytest.approx(one['losses'], rel=1e-4)
  assert four['replicated'] == pytest.approx(1, abs=0.01)
  assert 'Each of the 4 devices' in four['note'] and 'micro-batches' in four['note']
  assert four['flops'] < 1.2 * one['flops']


MODULE = """HloModule jit_run, entry_computation_layout={()->f32[]}

%inner (p: f32[8,16], q: f32[16,4]) -> f32[8,4] {
  %p = f32[8,16]{1,0} parameter(0)
  %q = f32[16,4]{1,0} parameter(1)
  ROOT %dot.1 = f32[8,4]{1,0} dot(%p, %q), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (s: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {
  %s = (s32[], f32[8,16]{1,0}) parameter(0)
  %x = f32[8,16]{1,0:T(8,128)} get-tuple-element(%s), index=1
  %w = f32[16,4]{1,0:T(8,128)S(1)} constant({...})
  %f = f32[8,4]{1,0} fusion(%x, %w), kind=kOutput, calls=%inner, backend_config={"estimated_cycles":"70"}
  %i = s32[] get-tuple-element(%s), index=0
  ROOT %t = (s32[], f32[8,16]{1,0}) tuple(%i, %x)
}

%condition (c: (s32[], f32[8,16])) -> pred[] {
  %c = (s32[], f32[8,16]{1,0}) parameter(0)
  ROOT %l = pred[] constant(true)
}

ENTRY %main (a: f32[8,16]) -> f32[8,16] {
  %a = f32[8,16]{1,0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[8,16]{1,0}) tuple(%zero, %a)
  %while.1 = (s32[], f32[8,16]{1,0}) while(%start), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %k = (f32[8,4]{1,0}, s8[64]{0}) custom-call(%a, %a), custom_call_target="__cublas$gemm", backend_config={"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}
  ROOT %out = f32[8,16]{1,0} get-tuple-element(%while.1), index=1
}
"""  # noqa: E501 - as XLA prints it


def test_flops_of_a_compiled_module_count_iterations():
  module = hlo.Module(MODULE)
  product = 2 * 8 * 4 * 16
  assert module.product_flops == 5 * product + product
  fusion = next(each for each in module.executed() if each.operation.opcode == 'fusion')
  assert fusion.times == 5 and fusion.loops == (5,) and fusion.operation.cycles == 70
  assert module.bytes(fusion) == 4 * (8 * 4 + 8 * 16)  # the constant is in a faster memory


@pytest.mark.parametrize(
  ('left', 'right', 'out', 'window', 'labels', 'flops'),
  [
    # A product for each of 8 matrices.
    (
      '8,32,16',
      '8,16,4',
      '8,32,4',
      'size=8 stride=7 lhs_dilate=8',
      '0bf_0io->0bf',
      8 * 32 * 4 * 16,
    ),
    # Four heads of 6 outputs each.
    (
      '8,32,16,1',
      '1,4,16,6',
      '8,32,4,6',
      'size=1x4 pad=0_0x3_3 rhs_reversal=0x1',
      '0bf1_01io->0b1f',
      8 * 32 * 4 * 6 * 16,
    ),
    # A sum over 8 parts.
    ('8,32,16', '8,32,4', '16,4,1', 'size=8', '0fb_0io->bf0', 16 * 4 * 32 * 8),
    # A convolution of 3x3 with padding.
    (
      '5,8,8,16',
      '3,3,16,4',
      '5,8,8,4',
      'size=3x3 pad=1_1x1_1',
      'b01f_01io->b01f',
      5 * 8 * 8 * 4 * 16 * 9,
    ),
  ],
)
def test_products_that_are_written_as_convolutions(left, right, out, window, labels, flops):
  text = (
    f'ENTRY %main () -> f32[{out}] {{\n  %a = f32[{left}] parameter(0)\n'
    f'  %b = f32[{right}] parameter(1)\n  ROOT %c = f32[{out}] convolution(%a, %b), '
    f'window={{{window}}}, dim_labels={labels}\n}}\n'
  )
  assert hlo.Module(text).product_flops == 2 * flops
