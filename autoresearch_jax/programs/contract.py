"""The contract of a program: the shapes that its functions take and must return.

Programs import `Phase` from here. The tracer exports against these shapes, and the artifact's
reader checks them again. No jax here.
"""

import dataclasses
import math
import re
from collections.abc import Sequence

from autoresearch_jax.types import Spec

FUNCTIONS = ('init', 'train_step', 'predict')
MAX_PHASES = 16
MAX_METRICS = 64
METRIC_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_./-]{0,63}')
# What jax exports for; `gpu` stands for NVIDIA's.
EXPORT_PLATFORMS = {'cpu': 'cpu', 'gpu': 'cuda', 'tpu': 'tpu'}
# Without 64-bit types: the runner computes, like jax by default, in 32 bits.
FLOATS = frozenset({'float8_e4m3fn', 'float8_e5m2', 'float16', 'bfloat16', 'float32'})
DTYPES = FLOATS | {
  *('bool', 'complex64', 'int4', 'int8', 'int16', 'int32'),
  *('uint4', 'uint8', 'uint16', 'uint32'),
}


@dataclasses.dataclass(frozen=True)
class Phase:
  """A part of training with its own batch shape, for batch-size and sequence-length curricula.

  Attributes:
    until: Fraction of the budget at which the phase ends; the last one ends at 1.
    batch_size: Sequences (examples) per train step, summed over all devices.
    sequence_length: Tokens per sequence; 0 where the problem has no sequences.
  """

  until: float
  batch_size: int
  sequence_length: int = 0


@dataclasses.dataclass(frozen=True)
class Shape:
  """Shape and dtype of an array, without jax.

  Attributes:
    shape: Of the array.
    dtype: NumPy's or ml_dtypes' name of it.
  """

  shape: tuple[int, ...]
  dtype: str

  def __str__(self) -> str:
    return f'{self.dtype}[{",".join(map(str, self.shape))}]'

  @property
  def size(self) -> int:
    return math.prod(self.shape)


class ContractError(Exception):
  """The program violates the contract; the message says how, and what to change."""


KEY = Shape((2,), 'uint32')
PROGRESS = Shape((), 'float32')
METRIC = Shape((), 'float32')


def batch_shapes(spec: Spec, phase: Phase) -> tuple[Shape, Shape]:
  """Shapes of a training batch's inputs and targets.

  Returns:
    Language models: int32 `[batch, time]` twice. Supervised problems: float32
    `[batch, *input_shape]`, and int32 `[batch]` or, in regression, float32
    `[batch, *output_shape]`. Constructions and kernels: float32 `[0]` twice, since
    they need no data.
  """
  match spec.kind:
    case 'language_model':
      rows = Shape((phase.batch_size, phase.sequence_length), 'int32')
      return rows, rows
    case 'supervised':
      inputs = Shape((phase.batch_size, *(spec.input_shape or ())), 'float32')
      if spec.is_regression:
        return inputs, Shape((phase.batch_size, *(spec.output_shape or ())), 'float32')
      return inputs, Shape((phase.batch_size,), 'int32')
    case 'construction' | 'kernel' | 'strategy':
      return Shape((0,), 'float32'), Shape((0,), 'float32')


def predict_inputs(spec: Spec, evaluation_batch: int) -> Shape:
  """Shape of the inputs of `predict` when a trial is evaluated."""
  return batch_shapes(spec, Phase(1.0, evaluation_batch, spec.sequence_length or 0))[0]


def predict_outputs(spec: Spec, evaluation_batch: int) -> tuple[int, ...]:
  """Shape of what `predict` must return; any float dtype."""
  match spec.kind:
    case 'language_model':
      return (evaluation_batch, spec.sequence_length or 0, spec.vocab_size or 0)
    case 'supervised':
      if spec.is_regression:
        return (evaluation_batch, *(spec.output_shape or ()))
      return (evaluation_batch, spec.num_classes or 0)
    case 'construction' | 'kernel' | 'strategy':
      return spec.output_shape or ()


def check_batch_size(value: object) -> int:
  """Validates the program's BATCH_SIZE. Raises ContractError."""
  if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2**24:
    raise ContractError(
      f'BATCH_SIZE is {value!r:.80}; set it to a positive int, the examples of one train step.'
    )
  return value


def check_phases(phases: object, spec: Spec) -> tuple[Phase, ...]:
  """Validates what `phases(spec)` returned. Raises ContractError."""
  if not isinstance(phases, Sequence) or not all(isinstance(p, Phase) for p in phases):
    raise ContractError(
      'phases(spec) must return a list of Phase(until, batch_size, sequence_length), imported '
      'from autoresearch_jax.programs.contract.'
    )
  if not 1 <= len(phases) <= MAX_PHASES:
    raise ContractError(
      f'phases(spec) returned {len(phases)} phases; return 1 to {MAX_PHASES} of them.'
    )
  before = 0.0
  for phase in phases:
    if not isinstance(phase.until, float | int) or not before < phase.until <= 1:
      raise ContractError(
        f'phases(spec) has until={phase.until!r:.40} after {before:g}; let `until` increase to 1.'
      )
    before = float(phase.until)
    check_batch_size(phase.batch_size)
    _check_length(phase, spec)
  if before != 1:
    raise ContractError(f'The last phase ends at until={before:g}; the last one must end at 1.')
  return tuple(Phase(float(p.until), p.batch_size, p.sequence_length) for p in phases)


def check_metric_names(names: Sequence[str]) -> None:
  """Raises ContractError for metrics without 'loss', too many of them, or an invalid name."""
  if 'loss' not in names:
    found = ', '.join(sorted(map(repr, names)))[:200] or 'nothing'
    raise ContractError(
      f"train_step's metrics hold {found}; return a dict of scalars with at least 'loss'."
    )
  if len(names) > MAX_METRICS:
    raise ContractError(
      f'train_step returns {len(names)} metrics; return at most {MAX_METRICS} scalars.'
    )
  for name in names:
    if not METRIC_NAME.fullmatch(name):
      raise ContractError(
        f'train_step has a metric named {name!r:.80}; use letters, digits and _ . / - only.'
      )


def _check_length(phase: Phase, spec: Spec) -> None:
  length = phase.sequence_length
  if isinstance(length, bool) or not isinstance(length, int):
    raise ContractError(f'phases(spec) has sequence_length={length!r:.40}; make it an int.')
  longest = spec.sequence_length or 0
  if spec.kind == 'language_model' and not 1 <= length <= longest:
    raise ContractError(
      f'phases(spec) has sequence_length={length}; rows hold 1 to {longest} tokens.'
    )
  if spec.kind != 'language_model' and length != 0:
    raise ContractError(
      f'phases(spec) has sequence_length={length}; this problem has no sequences, so make it 0.'
    )
