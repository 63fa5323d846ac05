"""Traced programs on disk: what one slot has traced, all of them train. No jax here."""

import contextlib
import dataclasses
import pathlib
import shutil
import threading
from collections.abc import Iterator

from autoresearch_jax.tracer.client import TraceResult
from autoresearch_jax.types import Budget, Program, Status

KEPT = 64  # traced programs whose artifact stays on disk, for replicates


@dataclasses.dataclass
class Artifacts:
  """The artifacts of one executor, in a folder that is its own. Thread-safe.

  suspects: those that a runner prepared when it failed with another trial.
  """

  folder: pathlib.Path
  suspects: set[pathlib.Path] = dataclasses.field(default_factory=set)

  def __post_init__(self) -> None:
    shutil.rmtree(self.folder, ignore_errors=True)  # an earlier process's
    self._traced: dict[pathlib.Path, TraceResult] = {}  # those used last at the end
    self._lock = threading.Lock()
    self._tracing: dict[pathlib.Path, threading.Lock] = {}

  def path(self, program: Program, budget: Budget) -> pathlib.Path:
    name = f'{program.digest[:32]}-{budget.amount!r}-{budget.unit}.artifact'
    return self.folder / name

  @contextlib.contextmanager
  def alone(self, path: pathlib.Path) -> Iterator[TraceResult | None]:
    """Keeps others from tracing the same program meanwhile; gives what is known of it."""
    with self._lock:
      tracing = self._tracing.setdefault(path, threading.Lock())
    with tracing:
      yield self._known(path)

  def keep(self, path: pathlib.Path, traced: TraceResult) -> None:
    """Remembers how a trace ended, where that says something of the program."""
    if traced.status not in (Status.OK, Status.INVALID):
      return
    with self._lock:
      self._traced[path] = traced
      while len(self._traced) > KEPT:
        oldest = next(iter(self._traced))
        del self._traced[oldest]
        self._tracing.pop(oldest, None)
        oldest.unlink(missing_ok=True)

  def _known(self, path: pathlib.Path) -> TraceResult | None:
    with self._lock:
      known = self._traced.pop(path, None)
      if known is None or (known.status == Status.OK and not path.exists()):
        return None
      self._traced[path] = known
      return known
