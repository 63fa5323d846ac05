"""The byte count and the names of metrics: what a program says of itself is no score."""

import pytest
from helpers.tiny_language import program

from autoresearch_jax.types import Status


def measured(arena, predict='', text=''):
  text = text or program()
  if predict:
    text = text.replace("return logits(state['table'], inputs)", predict)
  result = arena.attack(text)
  assert result.status == Status.OK, result.reason
  return result.measurements[0].metrics


def test_special_tokens_buy_nothing(arena):
  """Targets of zero bytes count in neither sum; to favour them costs where bytes are."""
  predict = "return logits(state['table'], inputs) + 5 * (jnp.arange(16) % 4 == 0)"
  assert measured(arena, predict)['val_bpb'] > 2 * arena.bits['val_bpb']


@pytest.mark.parametrize('offset', ['1e9', '-3e38', "jnp.float32(2**24) * state['table'][0, 0]"])
def test_rounding_buys_nothing(arena, offset):
  """A flat prediction costs the logarithm of the vocabulary, whatever is added to it."""
  predict = f"return 0 * logits(state['table'], inputs) + {offset}"
  assert measured(arena, predict)['val_loss'] == pytest.approx(2.7726, abs=1e-3)


@pytest.mark.parametrize('predict', [
  "return logits(state['table'], inputs) * 1e38 * 1e38",
  "return jnp.where(jnp.arange(16) == 3, jnp.inf, logits(state['table'], inputs))",
  "return jnp.where(inputs[..., None] == 3, jnp.nan, logits(state['table'], inputs))",
  "return jnp.full((*inputs.shape, 16), -jnp.inf) + state['table'].sum()",
])  # fmt: skip
def test_what_is_not_finite_is_no_score(arena, predict):
  text = program().replace("return logits(state['table'], inputs)", predict)
  arena.refused(text, 'not finite', status=Status.DIVERGED)


def test_metrics_with_the_name_of_the_score_do_not_replace_it(arena):
  step = "return {'loss': value, 'val_bpb': jnp.float32(0), 'val_loss': jnp.float32(0)}"
  text = program().replace("{'loss': value}", step.removeprefix('return '))
  metrics = measured(arena, text=text)
  assert metrics['val_bpb'] == arena.bits['val_bpb']
  assert metrics['train_val_bpb'] == 0


def test_a_loss_that_lies_is_no_score(arena):
  metrics = measured(arena, text=program().replace("{'loss': value}", "{'loss': 0 * value}"))
  assert metrics['train_loss'] == 0
  assert metrics['val_bpb'] == arena.bits['val_bpb']


def test_a_loss_below_everything_does_not_pass_as_finite(arena):
  text = program().replace("{'loss': value}", "{'loss': jnp.where(value > 0, -jnp.inf, value)}")
  arena.refused(text, 'training loss was -inf', status=Status.DIVERGED)


def test_nan_that_hides_in_an_unread_branch_decides_nothing(arena):
  """It is in the state, and in a branch that is not taken: the score is the innocent's."""
  step = 'gradient = gradient + jax.lax.cond(value < 0, lambda: jnp.nan, lambda: 0.0)'
  text = program(step=step)
  text = text.replace("return {'table': 0.1", "return {'unread': jnp.ones(3), 'table': 0.1")
  text = text.replace(
    "return {'table': state", "return {'unread': jnp.full(3, jnp.nan), 'table': state"
  )
  assert measured(arena, text=text)['val_bpb'] == pytest.approx(arena.bits['val_bpb'], rel=1e-6)


def test_nan_of_the_unread_branch_that_reaches_the_gradient_ends_it(arena):
  step = (
    'gradient += jax.grad(lambda t: jnp.where(t > 9, jnp.sqrt(t - 9), t).sum())(state["table"])'
  )
  arena.refused(program(step=step), 'training loss was nan', status=Status.DIVERGED)
