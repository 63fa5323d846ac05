"""GPT-2 and its optimizer, as nanoGPT and llm.c train it: the starting point of their presets.

Learned positions, pre-norm with LayerNorm, GELU, a head that shares the token embedding; AdamW
with warm-up, cosine decay and clipped gradients (Radford, 2019; Brown, arXiv 2005.14165). Three
pure functions are all that the trial engine uses, in this order, traced and exported:

    init(key, spec) -> state
    train_step(state, batch, progress) -> (state, metrics)
    predict(state, inputs) -> logits

Letters in shapes: b sequences, t positions, d width, h heads, v vocabulary.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from autoresearch_jax.ops.attention import attention
from autoresearch_jax.ops.data_parallel import mean_over_devices

# Model. Values are GPT-2 small's.
DEPTH = 12  # transformer blocks
HEADS = 12  # attention heads of a block
WIDTH = 768  # of the residual stream, a multiple of HEADS
MLP_RATIO = 4  # hidden width of the MLP / width
BIAS = True  # of linear layers and norms
DROPOUT_RATE = 0.0  # of embeddings, attention weights, and what each block adds
INIT_STD = 0.02  # standard deviation of all weights at the start ...
SCALED_INIT = True  # ... divided by sqrt(2 · DEPTH) in layers that add to the residual stream
VOCAB_MULTIPLE = 128  # rows of the embedding are rounded up to a multiple of it

# Batch.
BATCH_SIZE = 512  # sequences per train step, all devices together: 2^19 tokens of 1024
MICRO_BATCH_SIZE = 32  # sequences of one device in one forward and backward pass

# Optimizer: AdamW (arXiv 1711.05101). Values are llm.c's.
LEARNING_RATE = 0.0006
ADAM_BETAS = (0.9, 0.95)
ADAM_EPS = 1e-8
WEIGHT_DECAY = 0.1  # decoupled, of matrices and embeddings alone
MAX_GRADIENT_NORM = 1.0  # of all gradients together
WARMUP_RATIO = 0.037  # share of progress over which the learning rate rises from 0: 700 of 18,865
WARMDOWN_RATIO = 0.963  # share of progress, at the end, over which it falls
FINAL_LR_FRAC = 0.0  # what it falls to, as a fraction of its peak


class State(NamedTuple):
  """All that training carries from step to step; `key` is for dropout."""

  model: Any  # a GPT, which is a pytree; optax's types know none
  optimizer: Any
  key: jax.Array


def init(key: jax.Array, spec) -> State:
  model_key, key = jax.random.split(key)
  model: Any = GPT(nnx.Rngs(model_key), spec)
  return State(model, make_optimizer().init(model), key)


def train_step(state: State, batch: dict[str, jax.Array], progress: jax.Array):
  """One optimizer step on `batch`: inputs and targets, int32 [b, t]; progress in [0, 1)."""
  key, dropout_key = jax.random.split(state.key)
  keys = jax.random.split(dropout_key, len(batch['inputs']))  # the first of a micro-batch is used
  loss, gradients = mean_over_devices(by_micro_batches, state.model, batch | {'keys': keys})
  updates, optimizer = make_optimizer().update(gradients, state.optimizer, state.model)
  rate = LEARNING_RATE * schedule(progress)
  model = optax.apply_updates(state.model, jax.tree.map(lambda u: -rate * u, updates))
  return State(model, optimizer, key), {'loss': loss}


def predict(state: State, inputs: jax.Array) -> jax.Array:
  """Logits, float32 [b, t, v]."""
  return state.model(inputs)


def by_micro_batches(model: 'GPT', batch: dict[str, jax.Array]):
  """Mean loss of one device's batch and its gradients, in micro-batches that fit its memory."""
  size = len(batch['inputs'])
  parts = -(-size // MICRO_BATCH_SIZE)  # rounded up
  while size % parts:
    parts += 1
  if parts == 1:
    return jax.value_and_grad(mean_loss)(model, batch)

  def add(total, part):
    return jax.tree.map(jnp.add, total, jax.value_and_grad(mean_loss)(model, part)), None

  # Sequence i goes to part i mod `parts`.
  split = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch)
  zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, model))
  total, _ = jax.lax.scan(add, zero, split)
  return jax.tree.map(lambda x: x / parts, total)


def mean_loss(model: 'GPT', batch: dict[str, jax.Array]) -> jax.Array:
  """Cross-entropy in nats a token."""
  logits = model(batch['inputs'], batch['keys'][0])
  return optax.softmax_cross_entropy_with_integer_labels(logits, batch['targets']).mean()


# The model.


class GPT(nnx.Module):
  """Tokens to logits. `spec` is static."""

  def __init__(self, rngs: nnx.Rngs, spec):
    self.spec = spec
    rows = -(-spec.vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE
    self.tokens = nnx.Param(INIT_STD * jax.random.normal(rngs(), (rows, WIDTH)))
    self.positions = nnx.Param(INIT_STD * jax.random.normal(rngs(), (spec.sequence_length, WIDTH)))
    self.blocks = nnx.List([Block(rngs, spec.platform) for _ in range(DEPTH)])
    self.norm = layer_norm(rngs, spec.platform)

  def __call__(self, tokens_BxT: jax.Array, dropout_key: jax.Array | None = None) -> jax.Array:
    """int32 [b, t] to float32 [b, t, v]; without a key nothing is dropped."""
    keys = [None] * (DEPTH + 1) if dropout_key is None else jax.random.split(dropout_key, DEPTH + 1)
    x = self.tokens[...][tokens_BxT] + self.positions[...][: tokens_BxT.shape[1]]
    x = dropout(x.astype(compute_dtype(self.spec.platform)), keys[0])
    for block, key in zip(self.blocks, keys[1:], strict=True):
      x = block(x, key)
    head_DxV = self.tokens[: self.spec.vocab_size].T.astype(x.dtype)
    return jnp.matmul(self.norm(x), head_DxV, preferred_element_type=jnp.float32)


class Block(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x))."""

  def __init__(self, rngs: nnx.Rngs, platform: str):
    self.attention_norm = layer_norm(rngs, platform)
    self.attention = Attention(rngs, platform)
    self.mlp_norm = layer_norm(rngs, platform)
    self.mlp = MLP(rngs, platform)

  def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
    keys = [None] * 3 if key is None else jax.random.split(key, 3)
    x = x + dropout(self.attention(self.attention_norm(x), keys[0]), keys[1])
    return x + dropout(self.mlp(self.mlp_norm(x)), keys[2])


class Attention(nnx.Module):
  """Causal multi-head attention."""

  def __init__(self, rngs: nnx.Rngs, platform: str):
    self.platform = platform
    self.qkv = linear(rngs, platform, WIDTH, 3 * WIDTH)
    self.out = linear(rngs, platform, WIDTH, WIDTH, adds=True)

  def __call__(self, x: jax.Array, key: jax.Array | None) -> jax.Array:
    heads_BxTxHxK = (*x.shape[:2], HEADS, WIDTH // HEADS)
    q, k, v = (part.reshape(heads_BxTxHxK) for part in jnp.split(self.qkv(x), 3, axis=-1))
    if key is not None and DROPOUT_RATE > 0:
      y = attention_with_dropout(q, k, v, key)
    else:
      y = attention(q, k, v, window=x.shape[1], platform=self.platform)
    return self.out(y.reshape(x.shape))


class MLP(nnx.Module):
  """Wide layer, activation, back to the width."""

  def __init__(self, rngs: nnx.Rngs, platform: str):
    self.up = linear(rngs, platform, WIDTH, MLP_RATIO * WIDTH)
    self.down = linear(rngs, platform, MLP_RATIO * WIDTH, WIDTH, adds=True)

  def __call__(self, x: jax.Array) -> jax.Array:
    return self.down(activation(self.up(x)))


def activation(x: jax.Array) -> jax.Array:
  """GELU (arXiv 1606.08415), like GPT-2's approximated by tanh."""
  return jax.nn.gelu(x)


def attention_with_dropout(q: jax.Array, k: jax.Array, v: jax.Array, key: jax.Array) -> jax.Array:
  """Causal attention, [b, t, h, k], of whose weights a share is dropped."""
  scores_BxHxTxT = jnp.einsum('bqhk,bshk->bhqs', q, k, preferred_element_type=jnp.float32)
  causal_TxT = jnp.tril(jnp.ones((q.shape[1], q.shape[1]), bool))
  scores_BxHxTxT = jnp.where(causal_TxT, scores_BxHxTxT / math.sqrt(q.shape[-1]), -jnp.inf)
  weights_BxHxTxT = dropout(jax.nn.softmax(scores_BxHxTxT).astype(v.dtype), key)
  return jnp.einsum('bhqs,bshk->bqhk', weights_BxHxTxT, v)


def dropout(x: jax.Array, key: jax.Array | None) -> jax.Array:
  """Sets a share of x to zero, and scales the rest up; nothing without a key."""
  if key is None or DROPOUT_RATE == 0:
    return x
  keep = jax.random.bernoulli(key, 1 - DROPOUT_RATE, x.shape)
  return jnp.where(keep, x / (1 - DROPOUT_RATE), 0).astype(x.dtype)


def linear(rngs: nnx.Rngs, platform: str, inputs: int, outputs: int, adds: bool = False):
  """A linear layer; `adds` if its outputs are added to the residual stream."""
  std = INIT_STD / math.sqrt(2 * DEPTH) if adds and SCALED_INIT else INIT_STD
  return nnx.Linear(
    inputs, outputs, use_bias=BIAS, dtype=compute_dtype(platform),
    kernel_init=nnx.initializers.normal(std), rngs=rngs,
  )  # fmt: skip


def layer_norm(rngs: nnx.Rngs, platform: str) -> nnx.LayerNorm:
  return nnx.LayerNorm(WIDTH, epsilon=1e-5, use_bias=BIAS, dtype=compute_dtype(platform), rngs=rngs)


def compute_dtype(platform: str):
  """Of activations; parameters are float32."""
  return jnp.float32 if platform == 'cpu' else jnp.bfloat16


# The optimizer.


def make_optimizer() -> optax.GradientTransformation:
  """What turns gradients into directions; the rate is `LEARNING_RATE * schedule(progress)`."""
  return optax.chain(
    optax.clip_by_global_norm(MAX_GRADIENT_NORM),
    optax.scale_by_adam(*ADAM_BETAS, ADAM_EPS),
    optax.add_decayed_weights(
      WEIGHT_DECAY, lambda model: jax.tree.map(lambda p: p.ndim > 1, model)
    ),
  )


def schedule(progress: jax.Array) -> jax.Array:
  """Linear warm-up, 1, warm-down by a cosine to FINAL_LR_FRAC."""
  up = progress / WARMUP_RATIO if WARMUP_RATIO > 0 else 1.0
  left = (1 - progress) / WARMDOWN_RATIO if WARMDOWN_RATIO > 0 else 1.0
  down = FINAL_LR_FRAC + (1 - FINAL_LR_FRAC) * (
    0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(left, 1.0))
  )
  return jnp.minimum(up, down)
