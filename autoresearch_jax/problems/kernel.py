"""Kernels: a function to make fast, whose outputs must equal those of a reference.

The reference is a function in a file of the user's, which no edit changes. A program defines
`kernel` with the same inputs and outputs. The metric is its time relative to the reference's, both
compiled by XLA on the device of the run. The gate, the inputs and the timing are in
`runner/kernels`.
"""

import ast
import dataclasses
import hashlib
import math
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from autoresearch_jax.data import cache as caching
from autoresearch_jax.problems.base import PROBLEMS, Problem
from autoresearch_jax.types import Dataset, Direction, KernelInput, KernelSpec

FORMAT = 1  # change it with anything that changes what the same options measure
PROGRAMS = pathlib.Path(__file__).resolve().parents[1] / 'programs'
FILE = 'reference.py'  # the reference in the cache
MAX_INPUTS = 16
MAX_ELEMENTS = 2**30  # of an input
FLOATS = ('float32', 'bfloat16', 'float16')
INTEGERS = ('int32', 'int8', 'uint8', 'bool')
DTYPES = (*FLOATS, *INTEGERS)
_NUMBER = r'[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?'
_INPUT = re.compile(
  rf'\s*(\w+)\s*\[([\d\s,]*)\]\s*(?:in\s*\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\]\s*)?'
)


@PROBLEMS.register('kernel')
@dataclasses.dataclass(frozen=True)
class Kernel(Problem):
  """A function to make fast at equal outputs.

  Attributes:
    reference: The file and the name of the reference function, `FILE:NAME`. Relative paths are
      looked up in the current folder, then in `autoresearch_jax/programs`.
    inputs: The arrays of a call, each as text: `float32[64,1024]`, or with the values that the
      reference is defined for, both ends included: `int32[64] in [0, 1023]`. Integers need those.
    gradients: Whether the gradients of the float inputs must be equal too. The time is then that of
      outputs and gradients together.
    rtol: Tolerated error as a fraction of each value; None for 1e-4 in float32, 2e-2 in bfloat16,
      2e-3 in float16.
    atol: Tolerated error as a fraction of an output's largest value; None for 1e-5 in float32, 4e-3
      in bfloat16, 1e-3 in float16.
  """

  reference: str = ''
  inputs: tuple[str, ...] = ()
  gradients: bool = False
  rtol: float | None = None
  atol: float | None = None

  def __post_init__(self) -> None:
    _reference(self.reference)
    if not 1 <= len(self.inputs) <= MAX_INPUTS:
      raise ValueError(
        f'config.data.inputs has {len(self.inputs)} arrays; give 1 to {MAX_INPUTS}, such as '
        "'float32[64,1024]'."
      )
    parsed = [parse_input(text) for text in self.inputs]
    if self.gradients and all(each.dtype in INTEGERS for each in parsed):
      raise ValueError(
        'config.data.gradients is True, but no input is a float. Set it to False, or give a float '
        'input.'
      )
    for name in ('rtol', 'atol'):
      value = getattr(self, name)
      if value is not None and not 0 <= value < 1:
        raise ValueError(
          f'config.data.{name} is {value}; it is a fraction, so set it to at least 0 and below 1.'
        )

  def shapes(self) -> dict[str, Any]:
    return {
      'kind': 'kernel',
      'kernel': KernelSpec(
        inputs=tuple(map(parse_input, self.inputs)),
        reference=_reference(self.reference)[1],
        gradients=self.gradients,
        rtol=self.rtol,
        atol=self.atol,
      ),
    }

  def metrics(self) -> Mapping[str, Direction]:
    return {
      'relative_time': 'minimize',
      'kernel_ms': 'minimize',
      'tolerance_used': 'minimize',
    }

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Copies the reference, so that what a run compares with does not change while it runs."""
    path, _ = _reference(self.reference)
    text = path.read_text(encoding='utf-8')
    options = {**dataclasses.asdict(self), 'reference': self.reference.rpartition(':')[2]}
    key = hashlib.sha256(msgspec.json.encode((FORMAT, text, options))).hexdigest()

    def make(folder: pathlib.Path) -> None:
      (folder / FILE).write_text(text, encoding='utf-8')
      say(f'Copied the reference {self.reference}.')

    folder, _ = caching.folder(cache / 'kernels', key[:16], make, say)
    return Dataset('kernel', fingerprint=key, test=str(folder), reference=str(folder / FILE))


def parse_input(text: str) -> KernelInput:
  """Returns the array that a text such as 'float32[8,128] in [0, 1]' describes.

  Raises:
    ValueError: It describes none.
  """
  found = _INPUT.fullmatch(text)
  sizes = found[2].replace(' ', '').split(',') if found and found[2].strip() else []
  if found is None or found[1] not in DTYPES or not all(sizes):
    raise ValueError(
      f"config.data.inputs has {text!r:.80}; write a dtype and a shape, such as 'float32[64,1024]' "
      f"or 'int32[64] in [0, 1023]'. Dtypes: {', '.join(DTYPES)}."
    )
  shape = tuple(map(int, sizes))
  if not 1 <= math.prod(shape) <= MAX_ELEMENTS:
    raise ValueError(
      f'config.data.inputs has {text!r:.80} with {math.prod(shape):,} numbers; 1 to '
      f'{MAX_ELEMENTS:,} are supported.'
    )
  dtype = found[1]
  low, high = (None, None) if found[3] is None else (float(found[3]), float(found[4]))
  if dtype == 'bool':
    low, high = 0.0, 1.0
  if low is None and dtype in INTEGERS:
    raise ValueError(
      f"config.data.inputs has {text!r:.80}; say which values it may have: '{text.strip():.60} in "
      "[0, 9]' for 0 to 9."
    )
  if low is not None and high is not None and not low < high:
    raise ValueError(f'config.data.inputs has {text!r:.80}; the first bound must be the lower one.')
  if dtype in INTEGERS and low is not None and high is not None:
    lowest, highest = {
      'int32': (-(2**31), 2**31 - 1), 'int8': (-128, 127), 'uint8': (0, 255), 'bool': (0, 1)
    }[dtype]  # fmt: skip
    if low % 1 or high % 1 or low < lowest or high > highest:
      raise ValueError(
        f'config.data.inputs has {text!r:.80}; bounds of {dtype} must be whole numbers between '
        f'{lowest} and {highest}.'
      )
  return KernelInput(shape, dtype, low, high)


def _reference(text: str) -> tuple[pathlib.Path, str]:
  """Returns the file and the name of the reference. Raises ValueError."""
  file, _, name = text.rpartition(':')
  if not file.endswith('.py') or not name.isidentifier():
    raise ValueError(
      f'config.data.reference is {text!r:.120}; write the file and the function, such as '
      "'my_kernel/reference.py:reference'."
    )
  path = next((p for p in (pathlib.Path(file), PROGRAMS / file) if p.is_file()), None)
  if path is None:
    raise ValueError(
      f'config.data.reference is {text!r:.120}, and there is no file {file}; name an existing one, '
      f'relative to the current folder {pathlib.Path.cwd()}, or absolute.'
    )
  try:
    body = ast.parse(path.read_text(encoding='utf-8')).body
  except (SyntaxError, ValueError) as error:
    raise ValueError(
      f'config.data.reference: {path} is not valid Python ({error}); repair it.'
    ) from None
  bound = {getattr(node, 'name', None) for node in body}
  bound |= {
    each.id for node in body for each in getattr(node, 'targets', ()) if hasattr(each, 'id')
  }
  if name not in bound:
    known = ', '.join(sorted(n.name for n in body if isinstance(n, ast.FunctionDef)))
    raise ValueError(
      f'config.data.reference is {text!r:.120}, but {file} defines no {name}; it defines: '
      f'{known or "no function"}.'
    )
  return path, name
