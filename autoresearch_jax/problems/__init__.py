"""Problems: what is researched - a starting program, data, a metric, a scorer's kind.

A problem is a frozen dataclass of options (`config.data`), registered by name in `PROBLEMS`.
"""

import pathlib
from collections.abc import Callable
from typing import Any, Protocol

from autoresearch_jax.registry import Registry
from autoresearch_jax.types import Dataset

PROBLEMS = Registry('problem', __name__)


class Problem(Protocol):
  """The contract of a problem; `tests/problems/contract.py` checks every registered one."""

  def shapes(self) -> dict[str, Any]:
    """The fields of `Spec` that this problem decides: kind and shapes."""
    ...

  def metrics(self) -> tuple[str, ...]:
    """What a trial's evaluation measures: the names that config.metric may be."""
    ...

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Makes the data once below `cache` (atomic, checked, reused later) and says what it does."""
    ...

  def hidden(self) -> tuple[pathlib.Path, ...]:
    """Files and folders whose content would give validation data away: never shown to a tracer."""
    ...
