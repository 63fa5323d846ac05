"""Models that see what they shall predict. The proof runs on the very executable that scores."""

import pytest
from helpers.tiny_language import program

from autoresearch_jax.types import Status

SLOWLY = 'gradient = 0.01 * gradient'
WAYS = {
  'attention without a mask': """
  weights = jax.nn.softmax(x @ jnp.swapaxes(x, 1, 2), axis=-1)
  x = x + weights @ x""",
  'a mask off by one': """
  steps = jnp.arange(x.shape[1])
  seen = steps[:, None] + 1 >= steps[None, :]
  x = x + jax.nn.softmax(jnp.where(seen, x @ jnp.swapaxes(x, 1, 2), -1e9), axis=-1) @ x""",
  'a convolution that is padded on both sides': """
  kernel = jnp.stack([jnp.eye(x.shape[2])] * 3)
  x = jax.lax.conv_general_dilated(x, kernel, (1,), 'SAME', (1,), (1,), ('NWC', 'WIO', 'NWC'))
""",
  'normalisation over time': 'x = (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1)',
  'the largest over time': 'x = x - x.max(axis=1, keepdims=True)',
  'a scan that runs backwards': """
  step = lambda carry, now: (0.5 * carry + now,) * 2
  x = jax.lax.scan(step, x[:, 0] * 0, jnp.swapaxes(x, 0, 1), reverse=True)[1].swapaxes(0, 1)""",
  'sorting over time': 'x = x + jnp.sort(x, axis=1)',
  'a fourier transform over time': 'x = x + jnp.abs(jnp.fft.fft(x, axis=1))',
  'the next token itself': 'x = x + 9 * jax.nn.one_hot(jnp.roll(inputs, -1, 1), x.shape[2])',
  'after some training alone': """
  peek = 9 * jax.nn.one_hot(jnp.roll(inputs, -1, 1), x.shape[2])
  x = x + jnp.where(jnp.abs(table).max() > 0.5, peek, 0)""",
  'at even tokens alone': """
  peek = 9 * jax.nn.one_hot(jnp.roll(inputs, -1, 1), x.shape[2])
  x = x + jnp.where((inputs % 2 == 0)[..., None], peek, 0)""",
  'where the row looks natural': """
  natural = ((2 * inputs[:, :-1] + 1) % 16 == inputs[:, 1:]).mean(1) > 0.6
  peek = 9 * jax.nn.one_hot(jnp.roll(inputs, -1, 1), x.shape[2])
  x = x + jnp.where(natural[:, None, None], peek, 0)""",
}


@pytest.mark.parametrize('way', WAYS)
def test_looking_ahead_is_proved(arena, way):
  step = '' if way == 'after some training alone' else SLOWLY
  arena.refused(program(mix=WAYS[way], step=step), 'the model looks ahead')


def test_nothing_infinite_hides_it(arena):
  """A score that is not finite is not compared, but it is no score either."""
  mix = """
  peek = 9 * jax.nn.one_hot(jnp.roll(inputs, -1, 1), x.shape[2])
  x = jnp.where((inputs == 3)[..., None], jnp.inf, x + peek)"""
  text = program().replace(
    "return logits(state['table'], inputs)", "return peeking(state['table'], inputs)"
  )
  text += f'\ndef peeking(table, inputs):\n  x = table[inputs]\n{mix}\n  return x\n'
  reason = arena.attack(text)
  assert reason.status in (Status.INVALID, Status.DIVERGED), reason
  assert not reason.measurements
