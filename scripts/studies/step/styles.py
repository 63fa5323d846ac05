"""Programs in many styles, each trained in the engine and in a plain JAX loop.

  python scripts/studies/step/styles.py [--only=muon,eigh] [--steps=20] [--pairs=0] [--out=FILE]

A battery: every optimizer of optax and optax.contrib, operations in a step (all that LAPACK
computes among them), and types of the state. All train on handwritten digits. Of each it prints
whether both sides train, by how much the losses of the last step differ, relatively, and with
--pairs the ratio of their durations, as `autoresearch measure plain` does. The exit code is 1 if a
program fails on one side only, or if the losses differ by more than 1e-3.

To add a style, add a row to OPTIMIZERS, OPERATIONS or STATES.
"""

import dataclasses
import math
import pathlib
import sys
from collections.abc import Iterator, Sequence

import msgspec
from absl import app, flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.config import ConfigError, from_config_dict, load
from autoresearch_jax.measure.plain_sides import PlainSides, compare
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.runner.client import RunnerError
from autoresearch_jax.types import Budget

_ONLY = flags.DEFINE_list('only', [], 'Styles to try; by default all.')
_STEPS = flags.DEFINE_integer('steps', 20, 'Steps of a training.', 1)
_PAIRS = flags.DEFINE_integer('pairs', 0, 'Trainings of each side that are timed.', 0)
_SECONDS = flags.DEFINE_float('seconds', 0.5, 'Of a training that is timed, about.', 0.1)
_OUT = flags.DEFINE_string('out', '', 'JSON file for the results.')

TOLERANCE = 1e-3  # of the last loss, relative
RATE = 1e-2

# Names of optax -> how they are made. `O` is optax, `C` optax.contrib.
OPTIMIZERS = {
  'adabelief': 'O.adabelief(R)',
  'adadelta': 'O.adadelta(1.0)',
  'adafactor': 'O.adafactor(R)',
  'adagrad': 'O.adagrad(R)',
  'adam': 'O.adam(R)',
  'adamax': 'O.adamax(R)',
  'adamaxw': 'O.adamaxw(R)',
  'adamw': 'O.adamw(R)',
  'adan': 'O.adan(R)',
  'amsgrad': 'O.amsgrad(R)',
  'fromage': 'O.fromage(R)',
  'lamb': 'O.lamb(R)',
  'lars': 'O.lars(R)',
  'lbfgs': 'O.lbfgs()',
  'lion': 'O.lion(R / 10)',
  'nadam': 'O.nadam(R)',
  'nadamw': 'O.nadamw(R)',
  'noisy_sgd': 'O.noisy_sgd(R, key=0)',
  'novograd': 'O.novograd(R)',
  'optimistic_gradient_descent': 'O.optimistic_gradient_descent(R)',
  'optimistic_adam_v2': 'O.optimistic_adam_v2(R)',
  'polyak_sgd': 'O.polyak_sgd()',
  'radam': 'O.radam(R)',
  'rmsprop': 'O.rmsprop(R)',
  'rprop': 'O.rprop(R)',
  'sgd': 'O.sgd(R, momentum=0.9, nesterov=True)',
  'sign_sgd': 'O.sign_sgd(R / 10)',
  'sm3': 'O.sm3(R)',
  'yogi': 'O.yogi(R)',
  'multi_steps': 'O.MultiSteps(O.adam(R), 2).gradient_transformation()',
  'lookahead_free_chain': 'O.chain(O.clip_by_global_norm(1.0), O.ema(0.9), O.scale(-R))',
  'apply_if_finite': 'O.apply_if_finite(O.adam(R), 5)',
  'inject_hyperparams': 'O.inject_hyperparams(O.adam)(learning_rate=R)',
  'masked': 'O.masked(O.adam(R), lambda p: jax.tree.map(lambda x: x.ndim > 1, p))',
  'acprop': 'C.acprop(R / 10)',
  'ademamix': 'C.ademamix(R)',
  'simplified_ademamix': 'C.simplified_ademamix(R)',
  'adopt': 'C.adopt(R)',
  'cocob': 'C.cocob()',
  'dadapt_adamw': 'C.dadapt_adamw(1.0)',
  'dog': 'C.dog()',
  'dowg': 'C.dowg()',
  'galore': 'C.galore(R, rank=8)',
  'mechanize': 'C.mechanize(O.adam(R))',
  'momo': 'C.momo(R)',
  'momo_adam': 'C.momo_adam(R)',
  'muon': 'C.muon(R)',
  'prodigy': 'C.prodigy(1.0)',
  'reduce_on_plateau': 'O.chain(O.adam(R), C.reduce_on_plateau())',
  'sam': 'C.sam(O.sgd(R), O.chain(C.normalize(), O.sgd(0.05)), sync_period=2)',
  'schedule_free_adamw': 'C.schedule_free_adamw(R)',
  'schedule_free_sgd': 'C.schedule_free_sgd(R)',
  'sophia': 'C.sophia(R)',
}

# What `update` of some optimizers takes besides gradients, state and parameters.
EXTRA = {
  'lbfgs': 'value=loss, grad=gradients, value_fn=loss_of',
  'polyak_sgd': 'value=loss',
  'momo': 'value=loss',
  'momo_adam': 'value=loss',
  'reduce_on_plateau': 'value=loss',
  'sophia': 'obj_fn=loss_of',
}

# Expressions of `h`, hidden features [32, 64], and `s`, a symmetric positive definite matrix
# [64, 64] of theirs; each is added to the loss, so that it is differentiated where that works.
OPERATIONS = {
  'cholesky': 'jnp.linalg.cholesky(s).diagonal()',
  'qr': 'jnp.linalg.qr(s)[1].diagonal()',
  'svd': 'jnp.linalg.svd(s)[1]',
  'svdvals': 'jnp.linalg.svdvals(h)',
  'eigh': 'jnp.linalg.eigh(s)[0]',
  'eigvalsh': 'jnp.linalg.eigvalsh(s)',
  'eig': 'jnp.abs(jnp.linalg.eig(jax.lax.stop_gradient(s))[0])',
  'lu': 'jax.scipy.linalg.lu(s)[2].diagonal()',
  'schur': 'jnp.abs(jax.scipy.linalg.schur(jax.lax.stop_gradient(s))[0].diagonal())',
  'hessenberg': 'jax.scipy.linalg.hessenberg(jax.lax.stop_gradient(s)).diagonal()',
  'solve': 'jnp.linalg.solve(s, h.T)',
  'solve_triangular': 'jax.scipy.linalg.solve_triangular(s, h.T, lower=True)',
  'cho_solve': 'jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(s), h.T)',
  'inv': 'jnp.linalg.inv(s)',
  'pinv': 'jnp.linalg.pinv(s)',
  'det': 'jnp.log(jnp.linalg.det(s / jnp.trace(s) * 64) ** 2 + 1)',
  'slogdet': 'jnp.linalg.slogdet(s)[1]',
  'lstsq': 'jnp.linalg.lstsq(jax.lax.stop_gradient(s), h.T)[0]',
  'matrix_power': 'jnp.linalg.matrix_power(s / jnp.trace(s), 3)',
  'matrix_rank': 'jnp.linalg.matrix_rank(s).astype(float)',
  'expm': 'jax.scipy.linalg.expm(s / jnp.trace(s))',
  'sqrtm': 'jnp.abs(jax.scipy.linalg.sqrtm(jax.lax.stop_gradient(s)))',
  'batched_cholesky': 'jnp.linalg.cholesky(jnp.stack([s, 2 * s]))',
  'batched_eigh': 'jnp.linalg.eigh(jnp.stack([s, 2 * s]))[0]',
  'fft': 'jnp.abs(jnp.fft.fft(h)) ** 2',
  'rfft2': 'jnp.abs(jnp.fft.rfft2(h.reshape(32, 8, 8))) ** 2',
  'conv1d': "jax.lax.conv_general_dilated(h[:, :, None], h[:3, :8, None].swapaxes(1, 2), (1,), "
  "'SAME', dimension_numbers=('NWC', 'WIO', 'NWC'))",
  'conv2d': "jax.lax.conv_general_dilated(h.reshape(32, 8, 8, 1), h[:9, :16].reshape(3, 3, 1, 16), "
  "(1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))",
  'conv_depthwise': "jax.lax.conv_general_dilated(h.reshape(32, 4, 4, 4), h[:9, :4].reshape(3, 3, "
  "1, 4), (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count=4)",
  'conv_transpose': "jax.lax.conv_transpose(h.reshape(32, 8, 8, 1), h[:9, :8].reshape(3, 3, 1, 8), "
  "(2, 2), 'SAME')",
  'convolve': 'jnp.convolve(h[0], h[1])',
  'max_pool': "nn.max_pool(h.reshape(32, 8, 8, 1), (2, 2), (2, 2))",
  'avg_pool': "nn.avg_pool(h.reshape(32, 8, 8, 1), (2, 2), (2, 2))",
  'sort': 'jnp.sort(h, -1) * jnp.arange(64)',
  'argsort': 'jnp.take_along_axis(h, jnp.argsort(h, -1), -1) * jnp.arange(64)',
  'top_k': 'jax.lax.top_k(h, 8)[0]',
  'approx_max_k': 'jax.lax.approx_max_k(h, 8)[0]',
  'searchsorted': 'jnp.searchsorted(jnp.sort(h[0]), h[1]).astype(float)',
  'unique': 'jnp.unique(jnp.round(h[0]), size=64)',
  'histogram': 'jnp.histogram(h, 16)[0].astype(float)',
  'gather': 'h[:, jnp.arange(64) * 7 % 64]',
  'scatter_add': 'jnp.zeros((16, 64)).at[jnp.arange(32) % 16].add(h)',
  'scatter_max': 'jnp.zeros((16, 64)).at[jnp.arange(32) % 16].max(h)',
  'segment_sum': 'jax.ops.segment_sum(h, jnp.arange(32) % 8, 8)',
  'cumsum': 'jnp.cumsum(h, 0)',
  'cumprod': 'jnp.cumprod(1 + h / 100, 0)',
  'cumlogsumexp': 'jax.lax.cumlogsumexp(h, 0)',
  'associative_scan': 'jax.lax.associative_scan(lambda a, b: a * 0.9 + b, h)',
  'scan': 'jax.lax.scan(lambda c, x: (jnp.tanh(c + x), c), h[0], h)[1]',
  'while_loop': 'jax.lax.stop_gradient(jax.lax.while_loop(lambda x: x.sum() < 1e4, '
  'lambda x: 2 * x, jnp.abs(h) + 1))',
  'fori_loop': 'jax.lax.fori_loop(0, 8, lambda i, x: jnp.sin(x + i), h)',
  'map': 'jax.lax.map(lambda row: row * row.sum(), h)',
  'cond': 'jax.lax.cond(h.sum() > 0, jnp.sin, jnp.cos, h)',
  'switch': 'jax.lax.switch(jnp.int32(h.sum()) % 3, [jnp.sin, jnp.cos, jnp.tanh], h)',
  'checkpoint': 'jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))(h)',
  'vmap_grad': 'jax.vmap(jax.grad(lambda x: jnp.tanh(x).sum()))(h)',
  'hessian': 'jax.hessian(lambda x: jnp.tanh(x).sum())(h[0])',
  'jvp': 'jax.jvp(jnp.tanh, (h,), (h,))[1]',
  'einsum': "jnp.einsum('bi,bj,ij->b', h, h, s)",
  'bfloat16': '(h.astype(jnp.bfloat16) @ s.astype(jnp.bfloat16)).astype(jnp.float32) / 1e3',
  'float16': 'h.astype(jnp.float16).astype(jnp.float32)',
  'complex': 'jnp.abs(jnp.exp(1j * h)) * h',
  'int8_dot': 'jax.lax.stop_gradient((jnp.round(h).astype(jnp.int8) @ '
  'jnp.round(h.T).astype(jnp.int8)).astype(float))',
  'uint32_hash': '(jnp.uint32(2654435761) * jnp.arange(64, dtype=jnp.uint32) % 97)'
  '.astype(float) * h',
  'bitcast': 'jax.lax.bitcast_convert_type(h, jnp.int32).astype(float) / 1e9',
  'dot_product_attention': 'jax.nn.dot_product_attention(*[h.reshape(2, 16, 4, 16)] * 3)',
  'logsumexp': 'jax.nn.logsumexp(h, -1)',
  'gelu': 'jax.nn.gelu(h)',
  'erf_inv': 'jax.scipy.special.erfinv(jnp.tanh(h) * 0.9)',
  'digamma': 'jax.scipy.special.digamma(jnp.abs(h) + 1)',
  'gammainc': 'jax.scipy.special.gammainc(2.0, jnp.abs(h) + 0.1)',
  'betainc': 'jax.scipy.special.betainc(2.0, 3.0, jax.nn.sigmoid(h))',
  'bessel': 'jax.scipy.special.i0e(h)',
  'normal': 'jax.random.normal(key, h.shape) * h',
  'gamma': 'jax.random.gamma(key, jnp.abs(h) + 1)',
  'categorical': 'jax.random.categorical(key, h).astype(float)',
  'permutation': 'jax.random.permutation(key, h)',
  'bernoulli': 'jax.random.bernoulli(key, 0.5, h.shape) * h',
  'truncated_normal': 'jax.random.truncated_normal(key, -1, 1, h.shape) * h',
  'poisson': 'jax.random.poisson(key, 2.0, h.shape) * h',
  'dirichlet': 'jax.random.dirichlet(key, jnp.ones(8), (32,))',
  'map_coordinates': "jax.scipy.ndimage.map_coordinates(h, [h[:, :8] % 31, h[:, 8:16] % 63], 1)",
  'resize': "jax.image.resize(h.reshape(32, 8, 8), (32, 16, 16), 'bilinear')",
  'interp': 'jnp.interp(h, jnp.arange(8.0), jnp.arange(8.0) ** 2)',
  'roll': 'jnp.roll(h, 3, 1) * h',
  'nan_to_num': 'jnp.nan_to_num(jnp.log(h))',
  'custom_vjp': 'clipped(h)',
}  # fmt: skip

PROGRAM = """
import dataclasses, functools
from typing import Any, NamedTuple
import jax, jax.numpy as jnp, optax
import optax as O
import optax.contrib as C
from flax import linen as nn, struct, nnx

BATCH_SIZE = 32
R = {rate}
OPTIMIZER = {optimizer}

@jax.custom_vjp
def clipped(x):
  return x
clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -0.1, 0.1),))

def weights_of(key, spec):
  a, b = jax.random.split(key)
  return {{'hidden': jax.random.normal(a, (*spec.input_shape, 64)) / 8, 'bias': jnp.zeros(64),
          'head': jax.random.normal(b, (64, spec.num_classes)) / 8}}

def features(p, x):
  return jax.nn.gelu(x @ p['hidden'] + p['bias'])

def init(key, spec):
  weights, key = weights_of(key, spec), jax.random.fold_in(key, 1)
  return {{'weights': weights, 'optimizer': OPTIMIZER.init(weights), 'key': key}}

def train_step(state, batch, progress):
  key, new_key = jax.random.split(state['key'])
  def loss_of(p):
    h = features(p, batch['inputs'])
    s = h.T @ h + jnp.eye(64)
    del s
    loss = O.softmax_cross_entropy_with_integer_labels(h @ p['head'], batch['targets']).mean()
    {operation}
    return loss
  loss, gradients = jax.value_and_grad(loss_of)(state['weights'])
  extra = dict({extra})
  updates, new = OPTIMIZER.update(gradients, state['optimizer'], state['weights'], **extra)
  weights = O.apply_updates(state['weights'], updates)
  return {{'weights': weights, 'optimizer': new, 'key': new_key}}, {{'loss': loss}}

def predict(state, inputs):
  return features(state['weights'], inputs) @ state['weights']['head']
"""

# Programs whose state has another type: {how it is wrapped, unwrapped, and defined}.
STATES = {
  'namedtuple': ('class S(NamedTuple):\n  value: Any', 'S(x)', 'x.value'),
  'tuple': ('', '(x, jnp.int32(0))', 'x[0]'),
  'list': ('', '[x]', 'x[0]'),
  'flax_struct': ('@struct.dataclass\nclass S:\n  value: Any', 'S(x)', 'x.value'),
  'register_dataclass': (
    '@jax.tree_util.register_dataclass\n@dataclasses.dataclass\nclass S:\n  value: Any',
    'S(x)',
    'x.value',
  ),
  'static_field': (
    '@functools.partial(jax.tree_util.register_dataclass, data_fields=["value"], '
    'meta_fields=["name"])\n@dataclasses.dataclass(frozen=True)\nclass S:\n  value: Any\n'
    '  name: str = "static"',
    'S(x)',
    'x.value',
  ),
  'pytree_class': (
    '@jax.tree_util.register_pytree_node_class\nclass S:\n  def __init__(self, value):\n'
    '    self.value = value\n  def tree_flatten(self):\n    return (self.value,), None\n'
    '  @classmethod\n  def tree_unflatten(cls, _, children):\n    return cls(*children)',
    'S(x)',
    'x.value',
  ),
  'partial': ('', 'jax.tree_util.Partial(jnp.sin, x)', 'x.args[0]'),
  'nnx_module': (
    'class S(nnx.Module):\n  def __init__(self, value):\n'
    '    self.value = nnx.data(jax.tree.map(nnx.Variable, value))',
    'S(x)',
    'jax.tree.map(lambda v: v[...], x.value, is_leaf=lambda v: isinstance(v, nnx.Variable))',
  ),
  'frozen_dict': ('from flax.core import freeze, unfreeze', 'freeze(x)', 'unfreeze(x)'),
  'none_leaves': ('', '(x, None)', 'x[0]'),
}
DTYPES = (
  'bool', 'int4', 'int8', 'int16', 'int32', 'uint4', 'uint8', 'uint16', 'uint32', 'float16',
  'bfloat16', 'float8_e4m3fn', 'float8_e5m2', 'complex64',
)  # fmt: skip


def program(optimizer: str = 'O.adam(R)', operation: str = 'pass', extra: str = '') -> str:
  text = PROGRAM.format(rate=RATE, optimizer=optimizer, operation=operation, extra=extra)
  return text if operation == 'pass' else text.replace('    del s\n', '')


def state_program(define: str, wrap: str, unwrap: str) -> str:
  """The program with its weights in another container."""
  text = program().replace('def weights_of', f'{define}\ndef wrap(x):\n  return {wrap}\n'
    f'def unwrap(x):\n  return {unwrap}\n\ndef weights_of', 1)  # fmt: skip
  text = text.replace("{'weights': weights,", "{'weights': wrap(weights),")
  return text.replace("state['weights']", "unwrap(state['weights'])")


def dtype_program(dtype: str) -> str:
  """The program with one more leaf, which changes in each step."""
  text = program().replace("'key': key}", f"'key': key, 'more': jnp.ones(4, '{dtype}')}}")
  changed = f"(state['more'].astype(jnp.complex64) * 0.5).real.astype('{dtype}')"
  return text.replace("'key': new_key}", f"'key': new_key, 'more': {changed}}}")


def styles() -> Iterator[tuple[str, str]]:
  """Names of the styles, and their programs."""
  for name, optimizer in OPTIMIZERS.items():
    yield f'optimizer {name}', program(optimizer, extra=EXTRA.get(name, ''))
  for name, operation in OPERATIONS.items():
    yield f'operation {name}', program(operation=f'loss += 1e-4 * jnp.mean({operation})')
  for name, (define, wrap, unwrap) in STATES.items():
    yield f'state {name}', state_program(define, wrap, unwrap)
  for name in DTYPES:
    yield f'dtype {name}', dtype_program(name)


@dataclasses.dataclass(frozen=True)
class StyleRow:
  """What became of a style.

  Attributes:
    name: Of the style.
    engine: Why it fails in the engine; '' if it trains.
    plain: The same in a plain loop.
    losses: At the last step, in the engine and in the plain loop.
    dispatch: How the engine dispatches the steps.
    ratio: Median ratio of the durations, engine / plain; 0 if they were not timed.
  """

  name: str
  engine: str = ''
  plain: str = ''
  losses: tuple[float, float] = (math.nan, math.nan)
  dispatch: str = ''
  ratio: float = 0.0

  @property
  def difference(self) -> float:
    """Of the losses, relative to the plain loop's."""
    return abs(self.losses[0] / self.losses[1] - 1)

  @property
  def is_sound(self) -> bool:
    """Whether both sides fail, or both train alike."""
    if self.engine or self.plain:
      return bool(self.engine and self.plain)
    return self.difference <= TOLERANCE

  def __str__(self) -> str:
    if self.engine or self.plain:
      engine, plain = (text[:300] or 'trains' for text in (self.engine, self.plain))
      return f'{self.name}: engine: {engine}; plain: {plain}'
    ratio = f', ratio {self.ratio:.3f}' if self.ratio else ''
    return f'{self.name}: difference {self.difference:.1e}, {self.dispatch}{ratio}'


def tried(sides: PlainSides, name: str, text: str) -> StyleRow:
  """Trains a style on both sides."""
  row = StyleRow(name)
  program = starting_program(sides.config).with_text(text)
  try:
    sides.load(program)
    loss = sides.engine(Budget(_STEPS.value, 'steps'))[1]
    row = dataclasses.replace(row, losses=(loss, math.nan), dispatch=','.join(sides.dispatch))
  except ConfigError as error:
    row = dataclasses.replace(row, engine=' '.join(str(error).split()))
  try:
    row = dataclasses.replace(row, losses=(row.losses[0], sides.plain(_STEPS.value)[1]))
  except ConfigError as error:
    row = dataclasses.replace(row, plain=' '.join(str(error).split()))
  if _PAIRS.value and not (row.engine or row.plain):
    found = compare(sides, program, _PAIRS.value, _SECONDS.value)
    row = dataclasses.replace(row, ratio=found.ratio)
  return row


def main(arguments: Sequence[str]) -> int:
  known = dict(styles())
  names = [name for name in known if not _ONLY.value or name.partition(' ')[2] in _ONLY.value]
  if len(arguments) > 1 or not names:
    raise app.UsageError(f'--only are of {", ".join(name.partition(" ")[2] for name in known)}.')
  rows: list[StyleRow] = []
  try:
    with PlainSides(from_config_dict(load('digits'))) as sides:
      for name in names:
        rows.append(tried(sides, name, known[name]))
        print(rows[-1], flush=True)
  except (ConfigError, RunnerError, OSError) as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  if _OUT.value:
    pathlib.Path(_OUT.value).write_bytes(msgspec.json.encode(rows))
  unsound = [row.name for row in rows if not row.is_sound]
  trained = sum(not (row.engine or row.plain) for row in rows)
  print(f'{trained} of {len(rows)} train on both sides; not alike: {", ".join(unsound) or "none"}.')
  return int(bool(unsound))


if __name__ == '__main__':
  app.run(main)
