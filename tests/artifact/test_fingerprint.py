"""Laws of the fingerprint: blind to what changes no number, awake to all that does.

Programs are exported in this process, which the tracer would do in its sandbox: they are ours.
"""

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from autoresearch_jax.artifact.fingerprint import fingerprint
from autoresearch_jax.tracer import export

SCAN = """
import jax
import jax.numpy as jnp

BATCH_SIZE = 4


def init(key, spec):
  return {'w': jax.random.normal(key, (6, 3)) * 0.1, 'b': jnp.zeros(3)}


def train_step(state, batch, progress):
  def body(i, carry):
    a, b, dead = carry
    return a + 2 * b, b * 0.5, dead + a

  total, _, dead = jax.lax.fori_loop(0, 5, body, (state['w'], state['w'] * 3, state['w'] * 7))
  return {'w': total, 'b': state['b'] + 1}, {'loss': total.sum()}


def predict(state, inputs):
  return inputs @ state['w'] + state['b']
"""


@pytest.fixture(scope='module')
def of(tmp_path_factory, spec):
  """Fingerprint of a program's text. Equal texts are traced once."""
  known = {}

  def trace(text, spec=spec):
    key = (text, spec)
    if key not in known:
      folder = tmp_path_factory.mktemp('program')
      (folder / 'model.py').write_text(text)
      path = list(sys.path)
      try:
        known[key] = fingerprint(export.export_program(folder, 'model.py', spec, 5))
      finally:
        sys.path[:] = path
        sys.modules.pop('model', None)
    return known[key]

  return trace


@pytest.fixture(scope='module')
def base(edit):
  return edit()


SAME = {
  'comments and blank lines': [('RATE = 0.1', '# how fast\n\nRATE = 0.1  # tuned')],
  'an unread constant': [('UNREAD = 3', 'UNREAD = 4')],
  'names of functions': [('loss_of', 'cross_entropy')],
  'names of constants': [('RATE', 'LEARNING_RATE')],
  'names of leaves, which reorders the state': [("'weights'", "'a'"), ("'speed'", "'z'")],
  'names of values': [('logits', 'scores')],
  'a constant written otherwise': [('RATE = 0.1', 'RATE = 1 / 10')],
  'dead code': [('  speed = 0.9', '  unused = jnp.exp(slope) @ slope.T\n  speed = 0.9')],
  'a function that nobody calls': [
    ('def predict', 'def schedule(x):\n  return x * 3\n\n\ndef predict')
  ],
  'a helper function, jitted': [
    ('inputs @ state', 'product(inputs, state'),
    ("product(inputs, state['weights']", "product(inputs, state['weights'])"),
    ('def predict', '@jax.jit\ndef product(a, b):\n  return a @ b\n\n\ndef predict'),
  ],
  'the order of a sum': [("0.9 * state['speed'] + slope", "slope + state['speed'] * 0.9")],
  'unread state': [
    ("'steps': 0}", "'steps': 0, 'seen': jnp.zeros(7)}"),
    ("['steps'] + 1}", "['steps'] + 1, 'seen': state['seen'] + 1}"),
  ],
  'less unread state': [(", 'steps': 0}", '}'), (", 'steps': state['steps'] + 1}", '}')],
  'another metric that is only watched': [('slope**2', 'slope**4')],
}

OTHER = {
  'a read constant': [('RATE = 0.1', 'RATE = 0.11')],
  'the last bit of a constant': [('RATE = 0.1', 'RATE = 0.10000001')],
  'an operation': [('1 - progress', '1 + progress')],
  'the order of a difference': [('1 - progress', 'progress - 1')],
  'a shape': [('BATCH_SIZE = 4', 'BATCH_SIZE = 8')],
  'the initial state': [('jnp.zeros_like(weights)', 'jnp.ones_like(weights)')],
  'the key of the initial state': [('normal(key', 'normal(jax.random.fold_in(key, 1)')],
  'the prediction': [('return inputs @ state', 'return 2 * inputs @ state')],
  'the loss': [('return jnp.mean(jax.nn', 'return jnp.sum(jax.nn')],
  'a dtype': [
    (
      "batch['inputs'] @ weights",
      "(batch['inputs'].astype('bfloat16') @ weights.astype('bfloat16')).astype('float32')",
    )
  ],
  'state that predict reads': [
    ("return inputs @ state['weights']", "return inputs @ (state['weights'] + state['steps'])")
  ],
  'phases': [
    ('import jax\n', 'import jax\nfrom autoresearch_jax.programs.contract import Phase\n'),
    ('def predict', 'def phases(spec):\n  return [Phase(0.5, 4), Phase(1.0, 4)]\n\n\ndef predict'),
  ],
}


@pytest.mark.parametrize('change', SAME)
def test_what_changes_no_number_keeps_it(of, base, edit, change):
  text = edit(*SAME[change])
  assert text != base
  assert of(text) == of(base)


@pytest.mark.parametrize('change', OTHER)
def test_what_changes_a_number_changes_it(of, base, edit, change):
  assert of(edit(*OTHER[change])) != of(base)


def test_all_changes_are_told_apart(of, edit):
  prints = [of(edit(*change)) for change in OTHER.values()]
  assert len(set(prints)) == len(prints)


@pytest.mark.slow
def test_it_is_the_same_in_every_process(base, tmp_path, spec):
  (tmp_path / 'model.py').write_text(base)
  artifact = export.export_program(tmp_path, 'model.py', spec, 5)
  artifact.write(tmp_path / 'artifact')
  code = f"""
import pathlib
from autoresearch_jax.config import Limits
from autoresearch_jax.artifact.reader import read
from autoresearch_jax.artifact.fingerprint import fingerprint
print(fingerprint(read(pathlib.Path({str(tmp_path / 'artifact')!r}), Limits())))
"""
  environment = {**os.environ, 'PYTHONHASHSEED': '7'}
  run = [sys.executable, '-c', code]
  said = subprocess.run(run, capture_output=True, text=True, env=environment, check=True).stdout
  assert said.strip() == fingerprint(artifact)


def test_platforms_differ(of, base, spec):
  assert of(base, dataclasses.replace(spec, platform='tpu')) != of(base)


@pytest.mark.parametrize(
  ('change', 'equal'),
  [
    ([('dead + a', 'dead * a')], True),
    ([("state['w'] * 7", "state['w'] * 8")], True),
    (
      [
        ('a, b, dead = carry', 'dead, b, a = carry'),
        ('return a + 2 * b, b * 0.5, dead + a', 'return dead + a, b * 0.5, a + 2 * b'),
        ('total, _, dead =', 'dead, _, total ='),
        (
          "(state['w'], state['w'] * 3, state['w'] * 7)",
          "(state['w'] * 7, state['w'] * 3, state['w'])",
        ),
      ],
      True,
    ),
    ([('fori_loop(0, 5', 'fori_loop(0, 6')], False),
    ([('b * 0.5', 'b * 0.25')], False),
    ([("state['w'] * 3", "state['w'] * 4")], False),
    ([('a + 2 * b', 'b + 2 * a')], False),
    ([("'loss': total.sum()", "'loss': dead.sum()")], False),
  ],
)
def test_loops_are_seen_through(of, edit, change, equal):
  assert (of(edit(*change, text=SCAN)) == of(SCAN)) == equal


def test_leaves_that_start_equal_are_told_apart_by_what_becomes_of_them(of, edit):
  """A chain of five equal zeros, of which the prediction reads one or its neighbour."""
  text = """
import jax.numpy as jnp
BATCH_SIZE = 4
def init(key, spec):
  return [jnp.zeros((6, 3)) for _ in range(5)]
def train_step(state, batch, progress):
  return [*state[1:], state[-1] + 1], {'loss': progress}
def predict(state, inputs):
  return inputs @ state[0]
"""
  other = edit(('state[0]', 'state[1]'), text=text)
  backwards = edit(
    ('[*state[1:], state[-1] + 1]', '[state[0] + 1, *state[:-1]]'),
    ('state[0]\n', 'state[4]\n'),
    text=text,
  )
  assert of(text) != of(other)
  assert of(text) == of(backwards)


def test_helpers_that_double_at_every_level_take_no_time(tmp_path, spec):
  levels = '\n'.join(
    f'@jax.jit\ndef f{i}(x):\n  return f{i - 1}(x * 2) + f{i - 1}(x * 3)\n' for i in range(1, 16)
  )
  text = f"""
import jax
import jax.numpy as jnp
BATCH_SIZE = 4
@jax.jit
def f0(x):
  return jnp.sin(x)
{levels}
def init(key, spec):
  return jnp.ones((6, 3))
def train_step(state, batch, progress):
  return state, {{'loss': f15(progress)}}
def predict(state, inputs):
  return inputs @ state
"""
  (tmp_path / 'model.py').write_text(text)
  artifact = export.export_program(tmp_path, 'model.py', spec, 5)
  began = time.process_time()
  assert len(fingerprint(artifact)) == 32
  assert time.process_time() - began < 10
