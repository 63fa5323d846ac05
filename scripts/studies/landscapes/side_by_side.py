"""Trains a program with many values of constants and on many seeds side by side, by `jax.vmap`.

The program's own functions are traced, as the tracer exports them; constants are replaced by inputs
while they are. `record_edits.py` calls this, for programs that it has made itself.
"""

import dataclasses
import functools
import importlib.util
import math
import pathlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from autoresearch_jax.data import loader
from autoresearch_jax.programs import contract
from autoresearch_jax.runner.compile import CPU_COMPILER_OPTIONS
from autoresearch_jax.tracer.flat_program import FlatProgram
from autoresearch_jax.types import Dataset, Program, Spec


def imported(program: Program) -> ModuleType:
  """Runs the entry of a program, which this script has made from the library's own edits."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, program.entry)
    path.write_text(program.text(), encoding='utf-8')
    spec = importlib.util.spec_from_file_location('landscape_program', path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
  return module


class Training:
  """A program's functions over flat leaves, with some constants as inputs.

  Attributes:
    flat: The functions as the tracer exports them.
  """

  def __init__(
    self,
    module: ModuleType,
    spec: Spec,
    names: tuple[str, ...],
    versions: Mapping[str, tuple[str, list[Callable[..., Any]]]],
  ):
    """Makes them.

    Args:
      module: The program.
      spec: The problem.
      names: Names of the inputs.
      versions: Those that select a function -> its name, and the functions.
    """
    self.flat = FlatProgram(module, 'model.py', spec)
    self._module, self._names, self._spec = module, names, spec
    self._versions = versions

  def lowered_init(self, keys: np.ndarray) -> Any:
    """Traces `init` for some keys side by side."""
    return jax.jit(jax.vmap(self.flat.init)).lower(keys)

  def compiled(
    self, leaves: Any, values: np.ndarray, data: Any, evaluation: Any, limit: float
  ) -> 'CompiledRun':
    """Compiles training and evaluation of all values and seeds side by side."""
    inputs, targets, weights = evaluation
    self.flat.predict_shape = contract.predict_outputs(self._spec, inputs.shape[1])

    def one(leaves, value, batch_inputs, batch_targets, progress, steps):
      with self._constants(value):

        def step(i, carry):
          leaves, failed = carry
          out = self.flat.train_step(*leaves, batch_inputs[i], batch_targets[i], progress[i])
          loss = out[len(leaves) + self.flat.metric_names.index('loss')]
          bad = ~(loss <= limit) & (failed == 0)
          return tuple(out[: len(leaves)]), jnp.where(bad, i + 1, failed)

        leaves, failed = jax.lax.fori_loop(0, steps, step, (tuple(leaves), jnp.int32(0)))

        def loss_of(batch):
          return cross_entropy(self.flat.predict(*leaves, batch[0]), batch[1])

        losses = jax.lax.map(loss_of, (inputs, targets))
        return (losses * weights).sum(), failed

    by_seed = jax.vmap(one, in_axes=(0, None, 0, 0, None, None))
    run = jax.jit(jax.vmap(by_seed, in_axes=(0, 0, None, None, None, None)))
    steps = data[0].shape[1]
    lowered = run.lower(leaves, values, *data, np.zeros(steps, np.float32), 1)
    executable = lowered.compile(CPU_COMPILER_OPTIONS)
    memory: Any = executable.memory_analysis()
    state = sum(leaf.nbytes for leaf in leaves)
    peak = memory.temp_size_in_bytes + state
    return CompiledRun(executable, self._flops(leaves, values, data), peak)

  def _flops(self, leaves: Any, values: np.ndarray, data: Any) -> float:
    """FLOPs of one train step of one training, by XLA's count before optimization."""

    def step(leaves, value, inputs, targets):
      with self._constants(value):
        return self.flat.train_step(*leaves, inputs, targets, jnp.float32(0))

    first = [leaf[0, 0] for leaf in leaves]
    lowered = jax.jit(step).lower(first, values[0], data[0][0, 0], data[1][0, 0])
    analysis = lowered.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    return float((analysis or {}).get('flops', 0.0))

  def _constants(self, values: Any) -> Any:
    patches: dict[str, Any] = {}
    for name, value in zip(self._names, values, strict=True):
      if name in self._versions:
        function, versions = self._versions[name]
        patches[function] = functools.partial(selected, jnp.int32(value), versions)
      else:
        patches[name] = value
    return Patched(self._module, patches)


def selected(index: jax.Array, versions: list[Callable[..., Any]], *arguments: Any) -> jax.Array:
  """Returns what one of some functions returns."""
  return jax.lax.select_n(index, *(version(*arguments) for version in versions))


class Patched:
  """Sets attributes of a module during a trace, and restores them."""

  def __init__(self, module: ModuleType, values: Mapping[str, Any]):
    self._module, self._values = module, values

  def __enter__(self) -> None:
    self._before = {name: getattr(self._module, name) for name in self._values}
    vars(self._module).update(self._values)

  def __exit__(self, *_: object) -> None:
    vars(self._module).update(self._before)


@dataclasses.dataclass(frozen=True)
class CompiledRun:
  """Trains and evaluates all values and seeds of a program.

  Attributes:
    executable: The executable.
    flops: FLOPs of a train step of one training.
    peak_bytes: Memory of all of them.
  """

  executable: Callable[..., Any]
  flops: float
  peak_bytes: int

  def __call__(
    self, leaves: Any, values: np.ndarray, data: Any, steps: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the metric and the step of divergence (0 for none), both [values, seeds]."""
    progress = np.zeros(data[0].shape[1], np.float32)
    progress[:steps] = (np.arange(steps) / steps).astype(np.float32)
    metric, failed = self.executable(leaves, values, *data, progress, steps)
    return np.asarray(metric), np.asarray(failed)


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
  logits = logits.astype(jnp.float32)
  chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
  return jax.nn.logsumexp(logits, axis=-1) - chosen


def evaluation_data(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """The validation split in batches, and the weight of each loss in the metric."""
  batches = list(loader.validation(dataset))
  inputs, targets = (np.stack([b[name] for b in batches]) for name in ('inputs', 'targets'))
  if dataset.kind != 'language_model':
    return inputs, targets, np.full(targets.shape, 1 / targets.size, np.float32)
  lengths = np.load(dataset.token_bytes)[targets]
  weights = (lengths > 0) / (math.log(2) * lengths.sum())
  return inputs, targets, weights.astype(np.float32)
