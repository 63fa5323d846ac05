"""A language and a model of it so small that a real trial takes a blink. Used by several tests."""

import dataclasses
import pathlib

import numpy as np

from autoresearch_jax.data import cache as data_cache
from autoresearch_jax.problems import Problem
from autoresearch_jax.types import Budget, Dataset, Spec

VOCAB, TIME, ROWS = 16, 32, 64
STEPS = Budget(20, 'steps')

# A table of next-token logits, trained by plain gradient descent. {mix} sees the logits.
BIGRAM = """
import jax, jax.numpy as jnp
BATCH_SIZE = {batch}

def logits(table, inputs):
  x = table[inputs]
  {mix}
  return x

def init(key, spec):
  return {{'table': {scale} * jax.random.normal(key, (spec.vocab_size, spec.vocab_size))}}

def loss(table, batch):
  nats = -jnp.take_along_axis(
      jax.nn.log_softmax(logits(table, batch['inputs'])), batch['targets'][..., None], -1)
  return nats.mean()

def train_step(state, batch, progress):
  value, gradient = jax.value_and_grad(loss)(state['table'], batch)
  {step}
  return {{'table': state['table'] - 5.0 * (1 - progress) * gradient}}, {{'loss': value}}

def predict(state, inputs):
  return logits(state['table'], inputs)
"""


SPEC = Spec('language_model', 'cpu', 1, STEPS, vocab_size=VOCAB, sequence_length=TIME)


def program(mix='', step='', scale=0.1, batch=8) -> str:
  return BIGRAM.format(mix=mix, step=step, scale=scale, batch=batch)


def make_dataset(folder: pathlib.Path) -> Dataset:
  """Rows in which each token is mostly followed by its double plus one; token 0 is special."""
  rng = np.random.default_rng(0)
  for split, count in (('train', 512), ('validation', ROWS), ('test', ROWS // 2)):
    rows = np.empty((count, TIME + 1), np.uint16)
    rows[:, 0] = rng.integers(0, VOCAB, count)
    for t in range(TIME):
      noise = rng.integers(0, VOCAB, count)
      rows[:, t + 1] = np.where(rng.random(count) < 0.8, (2 * rows[:, t] + 1) % VOCAB, noise)
    (folder / split).mkdir()
    np.save(folder / split / 'rows.npy', rows)
  token_bytes = np.arange(VOCAB, dtype=np.int32) % 4
  np.save(folder / 'token_bytes.npy', token_bytes)
  return dataset_in(folder)


def dataset_in(folder: pathlib.Path) -> Dataset:
  return Dataset(
    'language_model',
    str(folder / 'train'),
    str(folder / 'validation'),
    str(folder / 'token_bytes.npy'),
    evaluation_batch=16,
    fingerprint='test',
    test=str(folder / 'test'),
  )


@dataclasses.dataclass(frozen=True)
class TinyLanguage(Problem):
  """The language as a problem. A file `fingerprint` in the cache replaces that of the data."""

  def shapes(self):
    return {'kind': 'language_model', 'vocab_size': VOCAB, 'sequence_length': TIME}

  def metrics(self):
    return {'val_bpb': 'minimize'}

  def prepare(self, cache, say):
    folder, _ = data_cache.folder(cache, 'tiny', make_dataset, say)
    made = dataset_in(folder)
    other = cache / 'fingerprint'
    return dataclasses.replace(made, fingerprint=other.read_text()) if other.exists() else made
