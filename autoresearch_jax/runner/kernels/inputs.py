"""Random and adversarial inputs of a kernel, drawn in the runner, where no program sees them."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from autoresearch_jax.artifact.header import Leaf
from autoresearch_jax.programs.contract import FLOATS
from autoresearch_jax.types import KernelInput, KernelSpec

Arrays = list[np.ndarray]

TYPICAL = 'typical'  # those that are timed, too
# Kind of inputs -> how a message describes it. Inputs with bounds stay inside of them.
KINDS = {
  TYPICAL: 'random',
  'large': 'large (1e4 times larger, or at the bounds)',
  'tiny': 'tiny (1e-12)',
  'denormal': 'denormal',
  'zeros': 'all zero',
  'repeated': 'all equal',
  'positive': 'positive',
  'sorted': 'sorted',
  'mixed': 'mixed (each row on a scale of its own, 1e-3 to 1e3)',
  'minus_infinity': 'random, with -inf in some places,',
  'plus_infinity': 'random, with +inf in some places,',
}
INFINITE = ('minus_infinity', 'plus_infinity')  # only for inputs without bounds
INFINITE_SHARE = 0.02  # of the values
FLOAT16 = 'float16'  # whose range is narrow
LARGE, LARGE_FLOAT16, TINY, TINY_FLOAT16 = 1e4, 1e2, 1e-12, 1e-3


def kinds(kernel: KernelSpec) -> list[str]:
  """The kinds of inputs that a kernel is compared on."""
  unbounded = any(_is_unbounded(each) for each in kernel.inputs)
  return [kind for kind in KINDS if unbounded or kind not in INFINITE]


def draw(kind: str, kernel: KernelSpec, rng: np.random.Generator) -> Arrays:
  """Draws one array for each input of a kernel."""
  return [_draw_one(kind, each, rng) for each in kernel.inputs]


def cotangents(outputs: Sequence[Leaf], rng: np.random.Generator) -> Arrays:
  """Draws a cotangent for each float output."""
  return [
    np.asarray(rng.standard_normal(each.shape, np.float32)).astype(jnp.dtype(each.dtype))
    for each in outputs
    if each.dtype in FLOATS
  ]


def shuffled(arrays: Arrays, rng: np.random.Generator) -> Arrays:
  """Other inputs of the same kind, made faster than drawn: each array is rotated at random."""
  return [np.roll(each.reshape(-1), rng.integers(each.size)).reshape(each.shape) for each in arrays]


def _is_unbounded(each: KernelInput) -> bool:
  return each.low is None or each.high is None


def _draw_one(kind: str, each: KernelInput, rng: np.random.Generator) -> np.ndarray:
  if each.low is None or each.high is None:
    return _unbounded(kind, each, rng)
  low, high = each.low, each.high
  share = _SHARES[kind](each.shape, rng)
  if each.dtype in FLOATS:
    values = np.clip(0.0, low, high) if kind == 'zeros' else low + (high - low) * share
  else:
    steps = np.floor((high - low + 1) * share)
    values = np.clip(0.0, low, high) if kind == 'zeros' else np.minimum(low + steps, high)
  return np.broadcast_to(values, each.shape).astype(jnp.dtype(each.dtype))


def _unbounded(kind: str, each: KernelInput, rng: np.random.Generator) -> np.ndarray:
  values = np.asarray(rng.standard_normal(each.shape, np.float32))
  narrow = each.dtype == FLOAT16
  dtype = jnp.dtype(each.dtype)
  match kind:
    case 'large':
      values = values * np.float32(LARGE_FLOAT16 if narrow else LARGE)
    case 'tiny':
      values = values * np.float32(TINY_FLOAT16 if narrow else TINY)
    case 'denormal':
      values = rng.uniform(-1, 1, each.shape) * float(jnp.finfo(dtype).tiny)
    case 'zeros':
      values = np.zeros(each.shape)
    case 'repeated':
      values = np.full(each.shape, rng.standard_normal())
    case 'positive':
      values = np.abs(values)
    case 'sorted':
      values = np.sort(values, axis=-1) if values.ndim else values
    case 'mixed':
      rows = (*each.shape[:-1], 1) if each.shape else ()
      values = values * 10 ** rng.uniform(-1 if narrow else -3, 1 if narrow else 3, rows)
    case 'minus_infinity' | 'plus_infinity':
      infinite = -np.inf if kind == 'minus_infinity' else np.inf
      values = np.where(rng.random(each.shape) < INFINITE_SHARE, infinite, values)
  return np.asarray(values).astype(dtype)


def _uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
  return np.asarray(rng.random(shape))


# Kind of inputs -> where values with bounds lie between these, 0 to 1.
_SHARES: dict[str, Callable[[tuple[int, ...], np.random.Generator], np.ndarray]] = {
  **dict.fromkeys(KINDS, _uniform),
  'large': lambda shape, rng: np.round(rng.random(shape)),
  'tiny': lambda shape, rng: 1e-6 * rng.random(shape),
  'denormal': lambda shape, rng: np.zeros(shape),
  'repeated': lambda shape, rng: np.full(shape, rng.random()),
  'positive': lambda shape, rng: 1 - 1e-6 * rng.random(shape),
  'sorted': lambda shape, rng: (
    np.sort(rng.random(shape), axis=-1) if shape else _uniform(shape, rng)
  ),
  'mixed': lambda shape, rng: rng.random(shape) ** 8,
}
