"""Metrics of the user's own: pure functions of outputs and targets, exported like a program.

`executors.own_metrics` has traced them in the sandbox, so no Python of the user's runs here. Each
held-out split has an artifact, whose `predict` takes the outputs and the targets of the whole split
and returns the values.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from autoresearch_jax.artifact import reader
from autoresearch_jax.artifact.header import ArtifactError
from autoresearch_jax.config import Limits
from autoresearch_jax.data import loader
from autoresearch_jax.problems.metrics import in_own_unit
from autoresearch_jax.types import Dataset, Direction

CERTAIN = 8.0  # logit of the right class where the others have 0
TRIES = 4  # random outputs of the dry run


class OwnMetricError(ValueError):
  """A metric of the user's cannot be used; the message says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class OwnMetrics:
  """The metrics of the user's own for a dataset.

  Attributes:
    dataset: Names them, and the folder of their artifacts.
    limits: Limits of the artifacts.
  """

  dataset: Dataset
  limits: Limits
  _compiled: set[bool] = dataclasses.field(default_factory=set, init=False, compare=False)

  @property
  def names(self) -> tuple[str, ...]:
    return tuple(name for name, _ in self.dataset.own_metrics)

  def measure(self, outputs: np.ndarray, targets: np.ndarray, on_test: bool) -> dict[str, float]:
    """The values by name, on the outputs of a whole held-out split.

    Args:
      outputs: float32 [examples, ...].
      targets: int32 [examples], or float32 [examples, ...].
      on_test: Whether the split is the test split.

    Raises:
      OwnMetricError: The artifact cannot be read.
    """
    flat = [in_own_unit(self.dataset, array).astype(np.float32) for array in (outputs, targets)]
    values = self._functions[on_test](np.concatenate(flat, axis=1)[None])
    return dict(zip(self.names, np.asarray(values, np.float64)[0].tolist(), strict=True))

  def compile(self) -> None:
    """Compiles the metrics of every held-out split, before any clock starts; once.

    Raises:
      OwnMetricError: An artifact cannot be read.
    """
    for on_test in self._functions.keys() - self._compiled:
      targets = self._targets(on_test)
      self.measure(self._random(targets, 0), targets, on_test)
      self._compiled.add(on_test)

  def dry_run(self) -> dict[str, float]:
    """Tries the metrics on made-up outputs for the validation targets.

    Returns:
      The values of the best constant predictions: the mean target, or the frequencies of classes.

    Raises:
      OwnMetricError: A metric cannot be used.
    """
    targets = self._targets(False)
    require_sensible(
      self.dataset.own_metrics,
      lambda outputs: self.measure(outputs, targets, False),
      self._right(targets),
      [self._random(targets, seed) for seed in range(TRIES)],
    )
    return self.measure(self._constant(targets), targets, False)

  @functools.cached_property
  def _functions(self) -> dict[bool, Any]:
    found = {}
    for on_test in (False, True) if self.dataset.test else (False,):
      path = pathlib.Path(self.dataset.own_metrics_artifact(on_test))
      try:
        artifact = reader.read(path, self.limits)
      except ArtifactError as error:
        raise OwnMetricError(
          f'The metrics of {self.dataset.own_metrics_folder} cannot be used: {error}; start a run '
          'with their config, which exports them.'
        ) from None
      state = [np.zeros(leaf.shape, leaf.dtype) for leaf in artifact.leaves]
      found[on_test] = functools.partial(jax.jit(artifact.exported[-1].call), *state)
    return found

  def _targets(self, on_test: bool) -> np.ndarray:
    targets = np.concatenate([b['targets'] for b in loader.validation(self.dataset, on_test)])
    return targets[: loader.held_out_examples(self.dataset, on_test)]

  def _right(self, targets: np.ndarray) -> np.ndarray:
    if targets.dtype.kind == 'f':
      return targets
    return CERTAIN * np.eye(self.dataset.num_classes, dtype=np.float32)[targets]

  def _constant(self, targets: np.ndarray) -> np.ndarray:
    if targets.dtype.kind == 'f':
      return np.broadcast_to(targets.mean(axis=0), targets.shape).astype(np.float32)
    counts = np.bincount(targets, minlength=self.dataset.num_classes)
    logits = np.log(np.maximum(counts, 0.5) / len(targets)).astype(np.float32)
    return np.broadcast_to(logits, (len(targets), len(logits)))

  def _random(self, targets: np.ndarray, seed: int) -> np.ndarray:
    shape = targets.shape if targets.dtype.kind == 'f' else (len(targets), self.dataset.num_classes)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def require_sensible(
  metrics: Sequence[tuple[str, Direction]],
  measure: Callable[[np.ndarray], Mapping[str, float]],
  right: np.ndarray,
  random: Sequence[np.ndarray],
) -> None:
  """Checks metrics on made-up outputs.

  Args:
    metrics: Names and directions.
    measure: Returns the values for outputs.
    right: Outputs that are as right as can be.
    random: Several outputs that know nothing.

  Raises:
    OwnMetricError: A metric is not finite, not repeatable, or constant, or right outputs are worse
      than random ones by its direction.
  """
  best, found, again = measure(right), [measure(outputs) for outputs in random], measure(random[0])
  for name, direction in metrics:
    values = [best[name], *(each[name] for each in found)]
    if not np.isfinite(values).all():
      raise OwnMetricError(
        f'{name} is {values[0]} for right outputs and {values[1]} for random ones; it must be '
        'finite for any finite outputs.'
      )
    if again[name] != found[0][name]:
      raise OwnMetricError(
        f'{name} is {found[0][name]} and then {again[name]} for the same outputs; it must be a '
        'pure function of its arguments.'
      )
    if len(set(values)) == 1:
      raise OwnMetricError(
        f'{name} is {values[0]} for right and for random outputs alike, so no model can improve '
        'it; use outputs and targets in the function.'
      )
    mean = float(np.mean(values[1:]))
    if (best[name] > mean) == (direction == 'minimize') and best[name] != mean:
      other = 'maximize' if direction == 'minimize' else 'minimize'
      raise OwnMetricError(
        f'{name} is {best[name]:.6g} for right outputs and {mean:.6g} for random ones, so '
        f'{direction!r} would reward errors; set its direction in config.data.own_metrics to '
        f'{other!r}.'
      )
