"""The interface of a problem: what is researched, on which data, scored by which metrics.

A problem is a frozen dataclass whose fields are its options (`config.data`), registered by name in
`PROBLEMS`. A new one is one file in this package, or an entry point `autoresearch_jax.problem` of
another package; a construction's verifier is in the same file.
"""

import abc
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from autoresearch_jax.registry import Registry
from autoresearch_jax.types import Dataset, Direction

PROBLEMS = Registry('problem', __package__ or '')


class Problem(abc.ABC):
  """Data, metrics and splits of a task.

  `tests/problems/test_contract.py` checks every registered problem.

  Example:
    With `@PROBLEMS.register('parity')` above it, this one is `config.problem = 'parity'`:

    >>> import dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Parity(Problem):
    ...   bits: int = 8  # becomes the option config.data.bits
    ...
    ...   def shapes(self):
    ...     return {'kind': 'supervised', 'input_shape': (self.bits,), 'num_classes': 2}
    ...
    ...   def metrics(self):
    ...     return {'val_loss': 'minimize', 'val_accuracy': 'maximize'}
    ...
    ...   def prepare(self, cache, say):
    ...     return Dataset('supervised', train=str(cache / 'train'), evaluation_batch=4)

    >>> Parity(bits=4).shapes()['input_shape']
    (4,)
  """

  @abc.abstractmethod
  def shapes(self) -> dict[str, Any]:
    """Returns the fields of `Spec` that the problem decides: its kind and its arrays' shapes."""

  @abc.abstractmethod
  def metrics(self) -> Mapping[str, Direction]:
    """The metrics that an evaluation measures, and whether less or more of each is better.

    `config.metric` is one of them. Measured but directionless quantities are left out.
    """

  @abc.abstractmethod
  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Makes the data below `cache` on first use: atomically, checked, and reused later.

    Args:
      cache: Folder for prepared data of all problems.
      say: Receives progress messages.

    Raises:
      ValueError: The options ask for what the data do not have.
      OSError: The data cannot be downloaded, read or written.
    """

  def hidden(self) -> tuple[pathlib.Path, ...]:
    """Returns files and folders that reveal validation data. The tracer cannot read them."""
    return ()

  def best_known(self, metric: str) -> float | None:
    """Returns the best known value of the metric, for regret in benchmarks; None if unknown."""
    del metric
    return None
