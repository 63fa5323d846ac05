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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from autoresearch_jax.ops.attention import attention
from autoresearch_jax.ops.cross_entropy import softcap, softcap_cross_entropy
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
SCALAR_LR = 0.5  # Adam: z; r takes a hundredth of it
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
  """All that training carries from step to step."""

  model: 'GPT'
  optimizer: Any


def init(key: jax.Array, spec) -> State:
  model = GPT(key, spec)
  return State(model, make_optimizer(model.width).init(model))


def train_step(state: State, batch: dict[str, jax.Array], progress: jax.Array):
  """One optimizer step on `batch`: inputs and targets, int32 [b, t]; progress in [0, 1)."""
  model = state.model
  loss, gradients = loss_and_gradients(model, batch)
  updates, optimizer = make_optimizer(model.width).update(
    gradients, state.optimizer, model, progress=progress
  )
  rate = learning_rate_factor(progress)
  model = optax.apply_updates(model, jax.tree.map(lambda u: rate * u, updates))
  return State(model, optimizer), {'loss': loss}


def predict(state: State, inputs: jax.Array) -> jax.Array:
  """Logits, float32 [b, t, v]."""
  model = state.model
  return softcap(linear(model(inputs), model.head[...]), LOGIT_CAP)


def loss_and_gradients(model: 'GPT', batch: dict[str, jax.Array]):
  """Mean loss of the batch, taken in micro-batches that fit the memory."""
  size = len(batch['inputs'])
  parts = max(1, size // (MICRO_BATCH_SIZE * model.spec.num_devices))
  while size % parts:
    parts += 1
  if parts == 1:
    return jax.value_and_grad(mean_loss)(model, batch)

  def add(total, part):
    return jax.tree.map(jnp.add, total, jax.value_and_grad(mean_loss)(model, part)), None

  # Sequence i goes to part i mod `parts`, so that every device has its share of every part.
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
    keys = jax.random.split(key, 4)
    valued = sum(has_value_embedding(i) for i in range(DEPTH))
    self.embedding = nnx.Param(self.stored(EMBEDDING_STD * normal(keys[0], vocab, self.width)))
    self.head = nnx.Param(HEAD_STD * normal(keys[1], self.width, vocab))
    values = uniform(keys[2], valued, vocab, self.width, width=self.width)
    self.value_embeddings = nnx.Param(self.stored(values))
    self.value_gates = nnx.Param(jnp.zeros((valued, VALUE_GATE_CHANNELS, heads)))
    self.residual = nnx.Param(jnp.full(DEPTH, RESIDUAL_INIT))
    self.skip = nnx.Param(jnp.full(DEPTH, SKIP_INIT))
    self.blocks = jax.vmap(lambda k: Block(k, self.width))(jax.random.split(keys[3], DEPTH))

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

  def __init__(self, key: jax.Array, width: int):
    attention_key, mlp_key = jax.random.split(key)
    self.attention = Attention(attention_key, width)
    self.mlp = MLP(mlp_key, width)

  def __call__(self, x: jax.Array, value, rotary, window: int, platform: str) -> jax.Array:
    x = x + self.attention(norm(x), value, rotary, window, platform)
    return x + self.mlp(norm(x))


class Attention(nnx.Module):
  """Causal multi-head attention: rotary, then norm of queries and keys; gated value embedding."""

  def __init__(self, key: jax.Array, width: int):
    q, k, v = jax.random.split(key, 3)
    self.q = nnx.Param(uniform(q, width, width, width=width))
    self.k = nnx.Param(uniform(k, width, width, width=width))
    self.v = nnx.Param(uniform(v, width, width, width=width))
    self.out = nnx.Param(jnp.zeros((width, width)))

  def __call__(self, x: jax.Array, value, rotary, window: int, platform: str) -> jax.Array:
    q, k, v = (split_heads(linear(x, w[...])) for w in (self.q, self.k, self.v))
    if value is not None:
      v = v + gated(x, *value)
    q, k = norm(rotate(q, rotary)), norm(rotate(k, rotary))
    y = attention(q, k, v, window=window, platform=platform)
    return linear(y.reshape(x.shape), self.out[...])


class MLP(nnx.Module):
  """Wide layer, activation, back to the width."""

  def __init__(self, key: jax.Array, width: int):
    self.up = nnx.Param(uniform(key, width, MLP_RATIO * width, width=width))
    self.down = nnx.Param(jnp.zeros((MLP_RATIO * width, width)))

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
  return table_VxD.at[tokens].get(mode='promise_in_bounds', wrap_negative_indices=False)


def unstack(blocks: Block) -> list[Block]:
  """The layers of a Block whose arrays have a leading layer axis."""
  leaves, structure = jax.tree.flatten(blocks)
  layers = zip(*(jnp.unstack(leaf) for leaf in leaves), strict=True)
  return [jax.tree.unflatten(structure, layer) for layer in layers]


def normal(key: jax.Array, *shape: int) -> jax.Array:
  return jax.random.normal(key, shape)


def uniform(key: jax.Array, *shape: int, width: int) -> jax.Array:
  """Uniform with standard deviation width^-½."""
  bound = (3 / width) ** 0.5
  return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


# The optimizer.


def learning_rate_factor(progress: jax.Array) -> jax.Array:
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


def make_optimizer(width: int) -> optax.GradientTransformationExtraArgs:
  """One transformation a group; their learning rates are the peaks of the schedule."""
  scale = (width / 768) ** -0.5
  return optax.partition(
    {
      'embedding': adam(EMBEDDING_LR * scale),
      'value_embeddings': adam(EMBEDDING_LR * scale),
      'head': adam(UNEMBEDDING_LR * scale),
      'residual': adam(SCALAR_LR * 0.01),
      'skip': adam(SCALAR_LR, SKIP_BETA1),
      'matrices': muon(MATRIX_LR),
    },
    group_of_each,
  )


def group_of_each(model: GPT):
  """The same tree with the name of each parameter's group."""
  own = ('embedding', 'value_embeddings', 'head', 'residual', 'skip')

  def group(path, _):
    return path[0].name if path[0].name in own else 'matrices'

  return jax.tree_util.tree_map_with_path(group, model)


def adam(rate: float, beta1: float = ADAM_BETA1) -> optax.GradientTransformation:
  return optax.adam(rate, beta1, ADAM_BETA2, ADAM_EPS)


class MuonState(NamedTuple):
  """Per shape of matrix, over all layers: first [n, inputs, outputs]: momentum.

  second [n, 1, outputs] or [n, inputs, 1]: mean squares of the orthogonal directions.
  """

  step: jax.Array
  first: dict[str, jax.Array]
  second: dict[str, jax.Array]


def muon(rate: float) -> optax.GradientTransformationExtraArgs:
  """Muon (Keller Jordan, 2024) with NorMuon and cautious decay; weights are [inputs, outputs]."""

  def init_fn(params) -> MuonState:
    first = jax.tree.map(jnp.zeros_like, by_shape(params))
    return MuonState(jnp.zeros((), jnp.int32), first, jax.tree.map(mean_square, first))

  def update_fn(gradients, state: MuonState, params=None, *, progress, **_):
    beta, decay = momentum(state.step), weight_decay(progress)
    gradient = by_shape(gradients)
    first = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, state.first, gradient)
    nesterov = jax.tree.map(lambda m, g: beta * m + (1 - beta) * g, first, gradient)
    orthogonal = jax.tree.map(orthogonalize, nesterov)
    second = jax.tree.map(normuon_average, state.second, orthogonal)
    direction = jax.tree.map(normuon_scale, orthogonal, second)
    decayed = jax.tree.map(lambda d, p: d + decay * cautious(d, p), direction, by_shape(params))
    update = jax.tree.map(lambda d: -rate * max(1, d.shape[2] / d.shape[1]) ** 0.5 * d, decayed)
    return split_like(update, gradients), MuonState(state.step + 1, first, second)

  return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def orthogonalize(x: jax.Array) -> jax.Array:
  """Singular values of each matrix in [n, rows, columns] to about 1, by Polar Express steps."""
  dtype = x.dtype
  tall = x.shape[1] > x.shape[2]
  x = x.swapaxes(1, 2) if tall else x
  x = x / (1.02 * jnp.linalg.norm(x, axis=(1, 2), keepdims=True) + 1e-6)

  def step(x, abc):
    a, b, c = abc
    square = x @ x.swapaxes(1, 2)
    return a * x + (b * square + c * square @ square) @ x, None

  x, _ = jax.lax.scan(step, x, jnp.array(POLAR_EXPRESS, x.dtype))
  return (x.swapaxes(1, 2) if tall else x).astype(dtype)


def mean_square(x: jax.Array) -> jax.Array:
  """Per output of [n, inputs, outputs], or per input where there are more of these."""
  axis = 1 if x.shape[2] >= x.shape[1] else 2
  return jnp.mean(jnp.square(x), axis=axis, keepdims=True)


def normuon_average(second: jax.Array, direction: jax.Array) -> jax.Array:
  return NORMUON_BETA2 * second + (1 - NORMUON_BETA2) * mean_square(direction)


def normuon_scale(direction: jax.Array, second: jax.Array) -> jax.Array:
  """Divides each row by its root mean square over time, and keeps the whole matrix's norm."""
  scale = jax.lax.rsqrt(jnp.maximum(second, 1e-10))
  row = mean_square(direction)
  before = jnp.sqrt(jnp.sum(row, axis=(1, 2), keepdims=True))
  after = jnp.sqrt(jnp.sum(row * jnp.square(scale), axis=(1, 2), keepdims=True))
  return direction * scale * (before / jnp.maximum(after, 1e-10))


def cautious(direction: jax.Array, param: jax.Array) -> jax.Array:
  """The parameter where the step, which is against the direction, shrinks it; else 0."""
  return jnp.where(direction * param >= 0, param, 0.0)


def by_shape(tree) -> dict[str, jax.Array]:
  """All stacks [n, inputs, outputs] of a tree, those of one shape joined into one array."""
  stacks: dict[str, list[jax.Array]] = {}
  for leaf in jax.tree.leaves(tree):
    stacks.setdefault(f'{leaf.shape[1]}x{leaf.shape[2]}', []).append(leaf)
  return {shape: jnp.concatenate(leaves) for shape, leaves in stacks.items()}


def split_like(stacks: dict[str, jax.Array], tree):
  """The inverse of `by_shape`, in the structure of `tree`."""
  used = dict.fromkeys(stacks, 0)

  def take(leaf):
    shape = f'{leaf.shape[1]}x{leaf.shape[2]}'
    start = used[shape]
    used[shape] += len(leaf)
    return stacks[shape][start : used[shape]]

  return jax.tree.map(take, tree)
