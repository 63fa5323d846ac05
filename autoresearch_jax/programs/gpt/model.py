"""A GPT and its optimizer: the starting point of the research, and the file that gets rewritten.

It is the baseline of karpathy/autoresearch in Flax NNX and optax: rotary attention with sliding
windows, value embeddings, a path from the first embedding into every block, squared ReLU,
soft-capped logits; Muon (Polar Express, NorMuon, cautious decay) for matrices and Adam for the
rest. Three pure functions are all that the trial engine uses, in this order, traced and exported:

    init(key, spec) -> state
    train_step(state, batch, progress) -> (state, metrics)
    predict(state, inputs) -> logits

Letters in shapes: b sequences, t positions, d width, h heads, v vocabulary, n layers.
"""

import functools
import math
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from autoresearch_jax.ops.attention import attention
from autoresearch_jax.ops.cross_entropy import softcap, softcap_cross_entropy
from autoresearch_jax.ops.data_parallel import mean_over_devices
from autoresearch_jax.ops.linear import linear

# Model. Values are karpathy/autoresearch's, March 2026, unless a line says otherwise.
DEPTH = 8  # transformer blocks
ASPECT_RATIO = 64  # width = DEPTH * ASPECT_RATIO, rounded up to a multiple of HEAD_DIM
HEAD_DIM = 128  # width of one attention head
WINDOW_PATTERN = 'SSSL'  # a letter a layer, tiled: S sees half the context, L all; last always L
MLP_RATIO = 4  # hidden width of the MLP / width (GPT-2)
ROTARY_BASE = 10000.0  # longest rotary wavelength / 2 pi (RoFormer, arXiv 2104.09864)
LOGIT_CAP = 15.0  # logits = cap * tanh(x / cap) (Gemma 2 has 30; 15 is nanochat's)
VALUE_GATE_CHANNELS = 32  # channels of x that decide how much value embedding a head takes in
RESIDUAL_INIT = 1.0  # r: factor of x before each block
SKIP_INIT = 0.1  # z: factor of the first embedding, added to x before each block
EMBEDDING_STD = 1.0  # standard deviation of token embeddings at the start
HEAD_STD = 0.001  # standard deviation of the head at the start: near-uniform predictions

# Batch.
BATCH_SIZE = 256  # sequences per train step, all devices together: 2^19 tokens of 2048
MICRO_BATCH_SIZE = 128  # sequences of one device in one forward and backward pass

# Optimizer.
EMBEDDING_LR = 0.6  # Adam: token and value embeddings, at width 768
UNEMBEDDING_LR = 0.004  # Adam: head, at width 768
MATRIX_LR = 0.04  # Muon: every matrix in the blocks
SCALAR_LR = 0.5  # Adam: z
RESIDUAL_LR_FRAC = 0.01  # r learns at this fraction of SCALAR_LR
ADAM_BETA1 = 0.8
ADAM_BETA2 = 0.95
ADAM_EPS = 1e-10
SKIP_BETA1 = 0.96  # Adam's first beta for z alone
MOMENTUM_START = 0.85  # Muon's Nesterov momentum at step 0 ...
MOMENTUM_END = 0.95  # ... and from step MOMENTUM_STEPS on
MOMENTUM_STEPS = 300
NORMUON_BETA2 = 0.95  # decay of NorMuon's second moment (arXiv 2510.05491)
WEIGHT_DECAY = 0.2  # of Muon, at progress 0; falls linearly to 0
WARMUP_RATIO = 0.0  # share of progress over which the learning rate rises from 0
WARMDOWN_RATIO = 0.5  # share of progress, at the end, over which it falls
FINAL_LR_FRAC = 0.0  # what it falls to, as a fraction of its peak

# Five quintic steps towards the nearest orthogonal matrix (Polar Express, arXiv 2505.16932).
POLAR_EXPRESS = (
  (8.1566, -22.4833, 15.8788),
  (4.0429, -2.8089, 0.5000),
  (3.8917, -2.7725, 0.5061),
  (3.2858, -2.3681, 0.4645),
  (2.3465, -1.7098, 0.4232),
)


class State(NamedTuple):
  """All that training carries from step to step; `model` is a GPT."""

  model: Any
  optimizer: Any


def init(key: jax.Array, spec) -> State:
  model: Any = GPT(key, spec)
  return State(model, make_optimizer().init(model))


def train_step(state: State, batch: dict[str, jax.Array], progress: jax.Array):
  """One optimizer step on `batch`: inputs and targets, int32 [b, t]; progress in [0, 1)."""
  model = state.model
  loss, gradients = loss_and_gradients(model, batch)
  updates, optimizer = make_optimizer().update(gradients, state.optimizer, model, progress=progress)
  rates = learning_rates(model.width, progress)

  def step(path, param, update):
    return (param - rates[group_of(path)] * update).astype(param.dtype)

  model = jax.tree_util.tree_map_with_path(step, model, updates)
  return State(model, optimizer), {'loss': loss}


def predict(state: State, inputs: jax.Array) -> jax.Array:
  """Logits, float32 [b, t, v]."""
  model = state.model
  return softcap(linear(model(inputs), model.head[...]), LOGIT_CAP)


def loss_and_gradients(model: 'GPT', batch: dict[str, jax.Array]):
  """Mean loss of the batch and its gradients, of which each device computes its own rows'."""
  return mean_over_devices(by_micro_batches, model, batch)


def by_micro_batches(model: 'GPT', batch: dict[str, jax.Array]):
  """The same for one device, in micro-batches that fit its memory."""
  size = len(batch['inputs'])
  parts = -(-size // MICRO_BATCH_SIZE)  # rounded up
  while size % parts:
    parts += 1
  if parts == 1:
    return jax.value_and_grad(mean_loss)(model, batch)

  def add(total, part):
    return jax.tree.map(jnp.add, total, jax.value_and_grad(mean_loss)(model, part)), None

  # Sequence i goes to part i mod `parts`.
  split = jax.tree.map(lambda x: x.reshape(size // parts, parts, -1).swapaxes(0, 1), batch)
  zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, model))
  total, _ = jax.lax.scan(add, zero, split)
  return jax.tree.map(lambda x: x / parts, total)


def mean_loss(model: 'GPT', batch: dict[str, jax.Array]) -> jax.Array:
  x_RxD = model(batch['inputs']).reshape(-1, model.width)
  return softcap_cross_entropy(x_RxD, model.head[...], batch['targets'].reshape(-1), LOGIT_CAP)


# The model.


class GPT(nnx.Module):
  """Tokens to the normed output of the last block.

  `blocks` is one Block whose arrays have a leading axis n, so that the optimizer treats each kind
  of matrix at once. `spec` is static.
  """

  def __init__(self, key: jax.Array, spec):
    self.spec = spec
    self.width = -(-DEPTH * ASPECT_RATIO // HEAD_DIM) * HEAD_DIM
    vocab, heads = spec.vocab_size, self.width // HEAD_DIM
    valued = sum(has_value_embedding(i) for i in range(DEPTH))
    shapes = {
      'embedding': (vocab, self.width),
      'head': (self.width, vocab),
      'values': (valued, vocab, self.width),
      'qkv': (3, DEPTH, self.width, self.width),
      'up': (DEPTH, self.width, MLP_RATIO * self.width),
    }
    noise = dict(zip(shapes, draw(key, list(shapes.values())), strict=True))
    bound = (3 / self.width) ** 0.5  # uniform in ±bound has standard deviation width^-½
    self.embedding = nnx.Param(self.stored(EMBEDDING_STD * normal(noise['embedding'])))
    self.head = nnx.Param(HEAD_STD * normal(noise['head']))
    self.value_embeddings = nnx.Param(self.stored(bound * noise['values']))
    self.value_gates = nnx.Param(jnp.zeros((valued, VALUE_GATE_CHANNELS, heads)))
    self.residual = nnx.Param(jnp.full(DEPTH, RESIDUAL_INIT))
    self.skip = nnx.Param(jnp.full(DEPTH, SKIP_INIT))
    self.blocks = Block(bound * noise['qkv'], bound * noise['up'])

  def __call__(self, tokens_BxT: jax.Array) -> jax.Array:
    """int32 [b, t] to [b, t, d] in the compute dtype."""
    dtype, platform = self.compute_dtype, self.spec.platform
    rotary = rotary_angles(tokens_BxT.shape[1])
    x = norm(look_up(self.embedding[...], tokens_BxT).astype(dtype))
    first = x
    residual, skip = self.residual[...].astype(dtype), self.skip[...].astype(dtype)
    values = iter(zip(self.value_embeddings[...], self.value_gates[...], strict=True))
    for i, block in enumerate(unstack(self.blocks)):
      x = residual[i] * x + skip[i] * first
      value = None
      if has_value_embedding(i):
        table, gate = next(values)
        value = (look_up(table, tokens_BxT).astype(dtype), gate)
      x = block(x, value, rotary, window_of(i, self.spec.sequence_length), platform)
    return norm(x)

  @property
  def compute_dtype(self):
    return jnp.float32 if self.spec.platform == 'cpu' else jnp.bfloat16

  def stored(self, embedding: jax.Array) -> jax.Array:
    """Embeddings are held in the compute dtype, everything else in float32."""
    return embedding.astype(self.compute_dtype)


class Block(nnx.Module):
  """x + attention(norm(x)), then x + mlp(norm(x))."""

  def __init__(self, qkv: jax.Array, up: jax.Array):
    self.attention = Attention(qkv)
    self.mlp = MLP(up)

  def __call__(self, x: jax.Array, value, rotary, window: int, platform: str) -> jax.Array:
    x = x + self.attention(norm(x), value, rotary, window, platform)
    return x + self.mlp(norm(x))


class Attention(nnx.Module):
  """Causal multi-head attention: norm of queries and keys, then rotary; gated value embedding.

  The original has rotary first: the same, since turning keeps lengths, for one pass more.
  """

  def __init__(self, qkv: jax.Array):
    self.q, self.k, self.v = (nnx.Param(w) for w in qkv)
    self.out = nnx.Param(jnp.zeros(qkv.shape[1:]))

  def __call__(self, x: jax.Array, value, rotary, window: int, platform: str) -> jax.Array:
    q, k, v = (split_heads(linear(x, w[...])) for w in (self.q, self.k, self.v))
    if value is not None:
      v = v + gated(x, *value)
    q, k = rotate(norm(q), rotary), rotate(norm(k), rotary)
    y = attention(q, k, v, window=window, platform=platform)
    return linear(y.reshape(x.shape), self.out[...])


class MLP(nnx.Module):
  """Wide layer, activation, back to the width."""

  def __init__(self, up: jax.Array):
    self.up = nnx.Param(up)
    self.down = nnx.Param(jnp.zeros(up.swapaxes(1, 2).shape))

  def __call__(self, x: jax.Array) -> jax.Array:
    return linear(activation(linear(x, self.up[...])), self.down[...])


def activation(x: jax.Array) -> jax.Array:
  """Squared ReLU (Primer, arXiv 2109.08668)."""
  return jnp.square(jax.nn.relu(x))


def norm(x: jax.Array) -> jax.Array:
  """RMS norm over the last axis, no weights; computed in float32."""
  wide = x.astype(jnp.float32)
  square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
  return (wide * jax.lax.rsqrt(square + jnp.finfo(jnp.float32).eps)).astype(x.dtype)


def gated(x: jax.Array, embedding_BxTxD: jax.Array, gate: jax.Array) -> jax.Array:
  """Value embeddings per head, times 2·sigmoid(x[..., :channels]·gate): 1 at the start."""
  weights_BxTxH = 2 * jax.nn.sigmoid(linear(x[..., :VALUE_GATE_CHANNELS], gate))
  return weights_BxTxH[..., None] * split_heads(embedding_BxTxD)


def rotary_angles(time: int) -> tuple[jax.Array, jax.Array]:
  """Cosine and sine, float32 [t, 1, head_dim / 2]."""
  rates = ROTARY_BASE ** -(jnp.arange(0, HEAD_DIM, 2) / HEAD_DIM)
  angles = jnp.arange(time)[:, None, None] * rates
  return jnp.cos(angles), jnp.sin(angles)


def rotate(x_BxTxHxK: jax.Array, rotary) -> jax.Array:
  """Turns the pairs (i, i + head_dim / 2) of each head by angles that grow with position."""
  cos, sin = (r.astype(x_BxTxHxK.dtype) for r in rotary)
  a, b = jnp.split(x_BxTxHxK, 2, axis=-1)
  return jnp.concatenate([a * cos + b * sin, b * cos - a * sin], axis=-1)


def split_heads(x_BxTxD: jax.Array) -> jax.Array:
  return x_BxTxD.reshape(*x_BxTxD.shape[:-1], -1, HEAD_DIM)


def has_value_embedding(layer: int) -> bool:
  """Every other layer, so that the last one has it."""
  return layer % 2 == (DEPTH - 1) % 2


def window_of(layer: int, sequence_length: int) -> int:
  """How many positions this layer looks back."""
  short = WINDOW_PATTERN[layer % len(WINDOW_PATTERN)] == 'S' and layer < DEPTH - 1
  return sequence_length // 2 if short else sequence_length


def look_up(table_VxD: jax.Array, tokens: jax.Array) -> jax.Array:
  """float32, so that gradients of a frequent token are summed in it: bfloat16 ends at 256 ones."""
  table_VxD = table_VxD.astype(jnp.float32)
  return table_VxD.at[tokens].get(mode='promise_in_bounds', wrap_negative_indices=False)


def unstack(blocks: Block) -> list[Block]:
  """The layers of a Block whose arrays have a leading layer axis."""
  leaves, structure = jax.tree.flatten(blocks)
  layers = zip(*(jnp.unstack(leaf) for leaf in leaves), strict=True)
  return [jax.tree.unflatten(structure, layer) for layer in layers]


def draw(key: jax.Array, shapes: list[tuple[int, ...]]) -> list[jax.Array]:
  """Uniform numbers in (-1, 1); one draw for all shapes compiles faster than one for each."""
  ends = np.cumsum([math.prod(shape) for shape in shapes])
  numbers = jax.random.uniform(key, (ends[-1],), minval=np.nextafter(np.float32(-1), 0))
  parts = jnp.split(numbers, ends[:-1])
  return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def normal(uniform: jax.Array) -> jax.Array:
  """Standard normal numbers from uniform ones in (-1, 1)."""
  return 2**0.5 * jax.lax.erf_inv(uniform)


# The optimizer.


def learning_rates(width: int, progress: jax.Array) -> dict[str, jax.Array]:
  """Of each parameter group, now."""
  scale = (width / 768) ** -0.5
  peak = {
    'embedding': EMBEDDING_LR * scale,
    'value_embeddings': EMBEDDING_LR * scale,
    'head': UNEMBEDDING_LR * scale,
    'residual': SCALAR_LR * RESIDUAL_LR_FRAC,
    'skip': SCALAR_LR,
    'matrices': MATRIX_LR,
  }
  return {group: rate * schedule(progress) for group, rate in peak.items()}


def schedule(progress: jax.Array) -> jax.Array:
  """Linear warm-up, 1, linear warm-down to FINAL_LR_FRAC."""
  up = progress / WARMUP_RATIO if WARMUP_RATIO > 0 else 1.0
  left = (1 - progress) / WARMDOWN_RATIO if WARMDOWN_RATIO > 0 else 1.0
  down = FINAL_LR_FRAC + (1 - FINAL_LR_FRAC) * jnp.minimum(left, 1.0)
  return jnp.minimum(up, down)


def weight_decay(progress: jax.Array) -> jax.Array:
  return WEIGHT_DECAY * (1 - progress)


def momentum(step: jax.Array) -> jax.Array:
  ramp = jnp.minimum(step / MOMENTUM_STEPS, 1.0)
  return MOMENTUM_START + (MOMENTUM_END - MOMENTUM_START) * ramp


def make_optimizer() -> optax.GradientTransformationExtraArgs:
  """What turns gradients into directions; `learning_rates` has the lengths of the steps."""
  adam = optax.scale_by_adam(ADAM_BETA1, ADAM_BETA2, ADAM_EPS)
  rules: dict[Hashable, Any] = {
    'adam': adam,
    'skip': optax.scale_by_adam(SKIP_BETA1, ADAM_BETA2, ADAM_EPS),
    'matrices': muon(),
  }

  def rule(path, _):
    return group if (group := group_of(path)) in rules else 'adam'

  return optax.partition(rules, lambda model: jax.tree_util.tree_map_with_path(rule, model))


def group_of(path) -> str:
  """A parameter's group: its own name, or 'matrices' for all that is multiplied in the blocks."""
  return 'matrices' if path[0].name in ('blocks', 'value_gates') else path[0].name


class MuonState(NamedTuple):
  """By shape of matrix: momentum [n, short, long] and NorMuon's mean squares [n, 1, long]."""

  step: jax.Array
  momentum: dict[str, jax.Array]
  squares: dict[str, jax.Array]


def muon() -> optax.GradientTransformationExtraArgs:
  """Muon (Keller Jordan, 2024) with NorMuon and cautious decay, for stacks of matrices.

  Each matrix is [inputs, outputs]. All of one shape are orthogonalized together, lying wide.
  """

  def init_fn(params) -> MuonState:
    zeros = jax.tree.map(jnp.zeros_like, by_shape(params))
    return MuonState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(mean_square, zeros))

  def update_fn(updates, state, params=None, *, progress: Any = 0.0, **_):
    beta, decay = momentum(state.step), weight_decay(progress)
    mix = functools.partial(jax.tree.map, lambda m, g: beta * m + (1 - beta) * g)
    gradients = by_shape(updates)
    first = mix(state.momentum, gradients)
    directions = jax.tree.map(orthogonalize, mix(first, gradients))
    moved = jax.tree.map(normuon, directions, state.squares)
    directions = {shape: direction for shape, (direction, _) in moved.items()}
    squares = {shape: square for shape, (_, square) in moved.items()}

    def finish(direction, param):
      rows, columns = param.shape[1:]
      shrink = jnp.where(direction * param >= 0, decay * param, 0.0)  # cautious: signs agree
      return max(1, columns / rows) ** 0.5 * (direction + shrink)

    updates = jax.tree.map(finish, split_like(directions, params), params)
    return updates, MuonState(state.step + 1, first, squares)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def orthogonalize(x: jax.Array) -> jax.Array:
  """Brings the singular values of each [short, long] matrix near 1, by Polar Express steps."""
  norms = jnp.sqrt(jnp.sum(jnp.square(x), axis=(1, 2), keepdims=True))
  y = (x / (1.02 * norms + 1e-6)).astype(jnp.float32)

  def step(y, abc):
    a, b, c = abc
    square = y @ y.swapaxes(1, 2)
    return a * y + (b * square + c * (square @ square)) @ y, None

  y, _ = jax.lax.scan(step, y, jnp.array(POLAR_EXPRESS, y.dtype))
  return y.astype(x.dtype)


def normuon(direction: jax.Array, squares: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Divides each column by its root mean square over time, keeping the norm of the matrix."""
  now = mean_square(direction)
  squares = NORMUON_BETA2 * squares + (1 - NORMUON_BETA2) * now
  scale = 1 / jnp.maximum(squares, 1e-10)
  before, after = (jnp.sum(s, axis=2, keepdims=True) for s in (now, now * scale))
  return direction * jnp.sqrt(scale * before / jnp.maximum(after, 1e-20)), squares


def mean_square(x: jax.Array) -> jax.Array:
  return jnp.mean(jnp.square(x), axis=1, keepdims=True)


def by_shape(tree) -> dict[str, jax.Array]:
  """The matrices of all stacks [n, inputs, outputs] in a tree, joined by shape, lying wide."""
  stacks: dict[str, list[jax.Array]] = {}
  for leaf in jax.tree.leaves(tree):
    stacks.setdefault(shape_name(leaf), []).append(wide(leaf))
  return {shape: jnp.concatenate(leaves) for shape, leaves in stacks.items()}


def split_like(stacks: dict[str, jax.Array], tree):
  """The inverse of `by_shape`."""
  used = dict.fromkeys(stacks, 0)

  def take(leaf):
    start = used[name := shape_name(leaf)]
    used[name] += len(leaf)
    part = stacks[name][start : used[name]]
    return part if part.shape == leaf.shape else part.swapaxes(1, 2)

  return jax.tree.map(take, tree)


def wide(x: jax.Array) -> jax.Array:
  return x.swapaxes(1, 2) if x.shape[1] > x.shape[2] else x


def shape_name(x: jax.Array) -> str:
  return '{}x{}'.format(*sorted(x.shape[1:]))
