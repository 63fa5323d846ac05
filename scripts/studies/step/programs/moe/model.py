"""A mixture of experts: each token's two best of eight MLPs, with capacity, in plain JAX."""

import jax
import jax.numpy as jnp
import optax

BATCH_SIZE = 8
WIDTH, HIDDEN = 128, 256
EXPERTS, CHOSEN = 8, 2
CAPACITY_FACTOR = 1.25  # slots of all experts together, over what the tokens need
BALANCE_WEIGHT = 0.01
LEARNING_RATE = 1e-3
OPTIMIZER = optax.adamw(LEARNING_RATE)


def init(key, spec):
  keys = jax.random.split(key, 6)
  vocab = spec.vocab_size
  parameters = {
    'embedding': jax.random.normal(keys[0], (vocab, WIDTH)) * 0.1,
    'mix': jax.random.normal(keys[1], (3, WIDTH, WIDTH)) * (3 * WIDTH) ** -0.5,
    'router': jax.random.normal(keys[2], (WIDTH, EXPERTS)) * WIDTH**-0.5,
    'up': jax.random.normal(keys[3], (EXPERTS, WIDTH, HIDDEN)) * WIDTH**-0.5,
    'down': jax.random.normal(keys[4], (EXPERTS, HIDDEN, WIDTH)) * HIDDEN**-0.5,
    'head': jax.random.normal(keys[5], (WIDTH, vocab)) * 0.01,
  }
  return {'parameters': parameters, 'optimizer': OPTIMIZER.init(parameters)}


def experts(parameters, x):
  """Output of the experts for tokens x [tokens, width], and the balancing loss."""
  tokens = x.shape[0]
  capacity = int(CAPACITY_FACTOR * CHOSEN * tokens / EXPERTS)
  shares = jax.nn.softmax(x @ parameters['router'])
  weights, chosen = jax.lax.top_k(shares, CHOSEN)
  weights = (weights / weights.sum(-1, keepdims=True)).reshape(-1)
  chosen = chosen.reshape(-1)  # [tokens * CHOSEN]
  one_hot = jax.nn.one_hot(chosen, EXPERTS, dtype=jnp.int32)
  place = (jnp.cumsum(one_hot, 0) * one_hot).sum(-1) - 1  # among the tokens of its expert
  slot = jnp.where(place < capacity, chosen * capacity + place, EXPERTS * capacity)
  source = jnp.arange(tokens * CHOSEN) // CHOSEN
  rows = jnp.zeros((EXPERTS * capacity, WIDTH)).at[slot].set(x[source], mode='drop')
  rows = rows.reshape(EXPERTS, capacity, WIDTH)
  hidden = jax.nn.gelu(jnp.einsum('ecw,ewh->ech', rows, parameters['up']))
  out = jnp.einsum('ech,ehw->ecw', hidden, parameters['down']).reshape(-1, WIDTH)
  out = out.at[slot].get(mode='fill', fill_value=0) * weights[:, None]
  balance = EXPERTS * (shares.mean(0) * one_hot.mean(0)).sum()
  return jax.ops.segment_sum(out, source, tokens), balance


def all_experts(parameters, x):
  """The same without a limit on capacity, so that a token's output depends on it alone."""
  weights, chosen = jax.lax.top_k(jax.nn.softmax(x @ parameters['router']), CHOSEN)
  weights = weights / weights.sum(-1, keepdims=True)
  gates = (jax.nn.one_hot(chosen, EXPERTS) * weights[..., None]).sum(-2)
  hidden = jax.nn.gelu(jnp.einsum('tw,ewh->eth', x, parameters['up']))
  return jnp.einsum('eth,ehw,te->tw', hidden, parameters['down'], gates), 0.0


def logits_of(parameters, inputs, mlp):
  x = parameters['embedding'][inputs]
  before = [jnp.pad(x, ((0, 0), (i, 0), (0, 0)))[:, : x.shape[1]] for i in range(3)]
  x = x + sum(each @ parameters['mix'][i] for i, each in enumerate(before))
  flat = x.reshape(-1, WIDTH)
  out, balance = mlp(parameters, flat)
  return (flat + out).reshape(x.shape) @ parameters['head'], balance


def train_step(state, batch, progress):
  def loss_of(parameters):
    logits, balance = logits_of(parameters, batch['inputs'], experts)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch['targets'])
    return losses.mean() + BALANCE_WEIGHT * balance, losses.mean()

  (_, loss), gradients = jax.value_and_grad(loss_of, has_aux=True)(state['parameters'])
  updates, optimizer = OPTIMIZER.update(gradients, state['optimizer'], state['parameters'])
  parameters = optax.apply_updates(state['parameters'], updates)
  return {'parameters': parameters, 'optimizer': optimizer}, {'loss': loss}


def predict(state, inputs):
  return logits_of(state['parameters'], inputs, all_experts)[0]
