"""Edits of programs never seen before: what a call stands for, whatever it is written as."""

import ast

import numpy as np
import pytest

from autoresearch_jax.programs.library_calls import library_edits
from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.proposers.mutate.proposer import _file_edits
from autoresearch_jax.proposers.mutate.steps import FactorRange

LINEN = """
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

optimizer = optax.adam(1e-3)


class Net(nn.Module):
  @nn.compact
  def __call__(self, x):
    for width in (32, 64):
      x = nn.GroupNorm(num_groups=4)(nn.relu(nn.Conv(16, (3, 3))(x)))
    x = nn.relu(nn.Dense(24)(x))
    return nn.Dense(10)(nn.Dropout(0.1)(x))


def train_step(state, batch, t):
  logits = state(batch)
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch['targets']).mean()
  updates, new = optimizer.update(state, batch)
  return optax.apply_updates(state, updates), {'loss': loss}
"""
NNX = """
import jax
from flax import nnx
from optax import adamw as make

act = nnx.relu


class Net(nnx.Module):
  def __init__(self, rngs):
    self.norm = nnx.LayerNorm(8, rngs=rngs)
    self.optimizer = make(0.01, weight_decay=0.1)
"""


def edits(text, covered=()):
  return {edit.key: edit for edit in library_edits(Source(text), covered)}


def made(text, key, seed=0):
  rewrite = edits(text)[key].make(np.random.default_rng(seed))
  assert rewrite is not None
  ast.parse(rewrite.text)
  return rewrite.text


@pytest.mark.parametrize(
  ('key', 'old', 'new'),
  [
    ('activation GELU', 'nn.relu(', 'nn.gelu('),
    ('norm layer norm', 'nn.GroupNorm(num_groups=4)', 'nn.LayerNorm()'),
    ('optimizer NAdamW', 'optax.adam(1e-3)', 'optax.nadamw(1e-3)'),
    (
      'gradient clipping up',
      'optax.adam(1e-3)',
      'optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))',
    ),
    ('initialisation He', '(3, 3))', '(3, 3), kernel_init=nn.initializers.he_normal())'),
    (
      'schedule linear decay',
      'optimizer.update(state, batch)\n',
      'optimizer.update(state, batch)\n  updates = jax.tree.map(lambda u: (1 - t) * u, updates)\n',
    ),
  ],
)
def test_a_call_is_replaced_everywhere(key, old, new):
  text = made(LINEN, key)
  assert text.count(new) == LINEN.count(old)
  assert old not in text or old in new


def test_a_schedule_that_is_there_is_replaced():
  text = made(made(LINEN, 'schedule linear decay'), 'schedule cosine decay')
  assert text.count('lambda u') == 1 and 'jnp.cos(jnp.pi * t)' in text
  assert 'schedule cosine decay' not in edits(text)


def test_numbers_in_calls_are_scaled():
  for key, old in (('Dense 0 units', '24'), ('learning rate 0', '1e-3'), ('dropout 0', '0.1')):
    texts = {made(LINEN, key, seed) for seed in range(9)}
    assert len(texts) > 1 and all(f'({old})' not in text for text in texts)


def test_nnx_and_imported_names():
  found = edits(NNX)
  assert {'activation SiLU', 'norm RMS norm', 'weight decay 0'} <= {*found}
  assert 'nnx.RMSNorm(8, rngs=rngs)' in made(NNX, 'norm RMS norm')
  assert 'act = nnx.silu' in made(NNX, 'activation SiLU')
  assert not any(key.startswith('optimizer') for key in found)  # `make` has no module before it


def test_label_smoothing_keeps_logits_and_labels():
  text = made(LINEN, 'label smoothing up')
  assert "one_hot(batch['targets'], logits.shape[-1])" in text


def test_what_is_covered_is_left_out_and_other_names_are_no_calls():
  assert not {key for key in edits(LINEN, ('activation',)) if key.startswith('activation')}
  text = 'def relu(x):\n  return x\n\ny = relu(1)\nz = nn.relu(2)\n'
  assert edits(text) == {}


@pytest.mark.parametrize('name', ['gpt', 'mlp', 'packing'])
def test_packaged_programs_keep_their_own_edits(name):
  text = (PROGRAMS / name / 'model.py').read_text()
  offered = {edit.key for edit in _file_edits(text, FactorRange(1.15, 3.0), ())}
  assert offered and not offered & {'gradient clipping up', 'activation ELU', 'norm RMS norm'}
