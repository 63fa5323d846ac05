"""Programs that never end, and small ones that become large in the compiler."""

import pytest
from helpers.tiny_language import program

from autoresearch_jax.types import Status

ENDLESS = 'jax.lax.while_loop(lambda t: t[0, 0] < 9e9, jnp.sin, {})'


def test_an_endless_step(arena):
  step = f'gradient = {ENDLESS.format("gradient")}'
  arena.refused(program(step=step), 'limits.step_seconds', status=Status.TIMEOUT)


def test_an_endless_prediction(arena):
  text = program().replace(
    "return logits(state['table']", f'return logits({ENDLESS.format("state")}'
  )
  text = text.replace('jnp.sin, state)', "jnp.sin, state['table'])")
  arena.refused(text, 'limits.step_seconds', status=Status.TIMEOUT)


@pytest.mark.parametrize('code', ['while True: pass', 'import time\ntime.sleep(99)'])
def test_an_endless_import(arena, code):
  reason = arena.at_import(code, 'tracing', status=Status.TIMEOUT)
  assert 'limits.trace' in reason


def test_an_endless_trace(arena):
  """Python's loop at trace time, behind a name that jax asks for itself."""
  text = (
    program(mix='x = x + Odd()')
    + """
class Odd:
  def __jax_array__(self):
    while True: pass
"""
  )
  arena.refused(text, 'tracing', status=Status.TIMEOUT)


def test_helpers_that_call_each_other_twice(arena):
  """Twenty lines that XLA, which writes calls out, would make a million operations of."""
  levels = '\n'.join(
    f'@jax.jit\ndef f{i}(x):\n  return f{i - 1}(x * 2) + f{i - 1}(x * 3)\n' for i in range(1, 21)
  )
  helpers = f'@jax.jit\ndef f0(x):\n  return jnp.sin(x)\n{levels}'
  text = program(step='gradient = gradient + f20(value)') + helpers
  arena.refused(text, 'operations once its calls are inlined')


def test_deep_nesting(arena):
  deeper = 'lambda x, g=f: jax.lax.cond(x > 0, g, jnp.sin, x)'
  step = f'for _ in range(300): f = {deeper}'
  text = program(step=f'f = jnp.cos\n  {step}\n  gradient = gradient + f(value)')
  reason = arena.refused(text)
  assert 'RecursionError' in reason or 'deep' in reason or 'crashed' in reason, reason


@pytest.mark.parametrize(
  ('code', 'words'),
  [
    ('(' * 5000, 'SyntaxError'),
    ('x = ' + '-' * 100000 + '1', 'model.py'),
    ('x = 9**9**9', 'tracing'),
    ('x = "a" * 2**40', 'memory'),
    ('\0', 'null bytes'),
  ],
)
def test_sources_that_hurt_the_compiler_of_python(arena, code, words):
  result = arena.attack(f'{code}\n{program()}')
  assert result.status in (Status.INVALID, Status.TIMEOUT)
  assert words in result.reason, result.reason
