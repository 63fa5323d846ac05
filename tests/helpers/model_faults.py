"""A small program, and the faults of an API that tests of proposers of language models script."""

from autoresearch_jax import types
from autoresearch_jax.testing import loopback_model as loopback
from autoresearch_jax.testing.loopback_model import KEY, answer, edit

TEXT = """WIDTH = 64
RATE = 0.1


def init(key, spec):
  return WIDTH


def train_step(state, batch, progress):
  return state, {'loss': RATE}


def predict(state, inputs):
  return inputs
"""


PROGRAM = types.Program((('model.py', TEXT), ('notes.py', 'KEPT = 1\n')), 'model.py')


WIDER = edit('WIDTH = 64', 'WIDTH = 96')


FAULTS = [
  loopback.api_error(429, 'RESOURCE_EXHAUSTED'),
  loopback.api_error(429, 'RESOURCE_EXHAUSTED', headers={'retry-after': '0.01'}),
  loopback.api_error(500, 'INTERNAL'),
  loopback.api_error(503, 'UNAVAILABLE'),
  loopback.api_error(400, 'INVALID_ARGUMENT'),
  loopback.send(502, b'<html>', 'text/html'),
  loopback.send(200, b'<html>', 'text/html'),
  loopback.send(200, b'\xff'),
  loopback.send(200, b'{}'),
  loopback.cut_off,
  loopback.hang_up,
  loopback.blocked(),
  answer(None),
  answer(None, 'SAFETY'),
  answer(WIDER[:40], 'MAX_TOKENS'),
  answer('{"edits": '),
  answer('Hello!'),
  answer(edit('nowhere', 'anywhere')),
  answer(edit('KEPT = 1', 'KEPT = 2', 'notes.py')),
  answer(WIDER, usage={'promptTokenCount': -5, 'totalTokenCount': -5}),
  answer(WIDER, usage=None),
  answer(f'The key is {KEY}.'),
]
