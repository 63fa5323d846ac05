"""A small program, and a tracer that all tests of a file share: starting one takes seconds."""

import contextlib
import dataclasses

import pytest

from autoresearch_jax.artifact import reader
from autoresearch_jax.config import Limits
from autoresearch_jax.tracer import client
from autoresearch_jax.types import Budget, Program, Spec

SPEC = Spec('supervised', 'cpu', 1, Budget(10, 'steps'), input_shape=(6,), num_classes=3)
EVALUATION_BATCH = 5
LIMITS = Limits(trace_seconds=20, trace_cpu_seconds=20, artifact_bytes=1 << 20)

TEXT = """
import jax
import jax.numpy as jnp

BATCH_SIZE = 4
RATE = 0.1
UNREAD = 3


def init(key, spec):
  weights = jax.random.normal(key, (*spec.input_shape, spec.num_classes))
  return {'weights': weights, 'speed': jnp.zeros_like(weights), 'steps': 0}


def loss_of(weights, batch):
  logits = batch['inputs'] @ weights
  chosen = jnp.take_along_axis(logits, batch['targets'][:, None], axis=-1)[:, 0]
  return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - chosen)


def train_step(state, batch, progress):
  loss, slope = jax.value_and_grad(loss_of)(state['weights'], batch)
  speed = 0.9 * state['speed'] + slope
  weights = state['weights'] - RATE * (1 - progress) * speed
  state = {'weights': weights, 'speed': speed, 'steps': state['steps'] + 1}
  return state, {'loss': loss, 'norm': jnp.sum(slope**2)}


def predict(state, inputs):
  return inputs @ state['weights']
"""


def edited(*replacements, text=TEXT):
  """The program with some of its text replaced; what is replaced must be there."""
  for old, new in replacements:
    assert old in text, old
    text = text.replace(old, new)
  return text


def program(text=TEXT, **siblings):
  files = {'model.py': text, **{f'{name}.py': content for name, content in siblings.items()}}
  return Program(tuple(files.items()), 'model.py')


@dataclasses.dataclass
class Tracing:
  """A started tracer and shorthands for the small program."""

  tracer: client.TracerClient
  folder: object

  def __call__(self, text=TEXT, spec=SPEC, evaluation_batch=EVALUATION_BATCH, **siblings):
    out = self.folder / 'artifact'
    out.unlink(missing_ok=True)
    result = self.tracer.trace(program(text, **siblings), spec, evaluation_batch, out)
    assert out.exists() == (result.status == 'ok')
    return result

  @contextlib.contextmanager
  def within(self, **limits):
    """Other limits for a while; the server stays the same."""
    before = self.tracer.limits
    self.tracer.limits = dataclasses.replace(before, **limits)
    yield
    self.tracer.limits = before

  def refused(self, text, **options):
    """The sentence for a program that is not valid."""
    result = self(text, **options)
    assert result.status == 'invalid', result
    assert '\n' not in result.reason and result.reason.endswith('.')
    return result.reason

  def artifact(self, text=TEXT, **options):
    result = self(text, **options)
    assert result.status == 'ok', result.reason
    return reader.read(self.folder / 'artifact', LIMITS)


@pytest.fixture(scope='module')
def tracing_of(tmp_path_factory):
  """Makes a `Tracing` with limits and hidden paths; all are closed at the end of the file."""
  made = []

  def make(limits=LIMITS, hidden=()):
    folder = tmp_path_factory.mktemp('tracing')
    tracer = client.TracerClient(limits, hidden, folder / 'scratch')
    made.append(tracer)
    tracer.start()
    return Tracing(tracer, folder)

  yield make
  for tracer in made:
    tracer.close()


@pytest.fixture(scope='module')
def trace(tracing_of):
  """The tracer of this file, in its full sandbox."""
  return tracing_of()


@pytest.fixture(scope='session')
def edit():
  return edited


@pytest.fixture(scope='session')
def limits():
  return LIMITS


@pytest.fixture(scope='session')
def spec():
  return SPEC
