"""The artifacts of traced programs on disk, shared by all slots of an executor. No jax here."""

import contextlib
import dataclasses
import pathlib
import shutil
import threading
from collections.abc import Iterator

from autoresearch_jax.tracer.client import TraceResult
from autoresearch_jax.types import Budget, Program, Status

MAX_ARTIFACTS = 64  # kept on disk for replicates; the least recently used are deleted


@dataclasses.dataclass
class ArtifactStore:
  """Artifacts in a folder of their own, and the results of their traces. Thread-safe.

  Attributes:
    folder: The folder; its contents are deleted at first.
    suspects: Artifacts that a runner was prefetching when another trial failed.
  """

  folder: pathlib.Path
  suspects: set[pathlib.Path] = dataclasses.field(default_factory=set)

  def __post_init__(self) -> None:
    shutil.rmtree(self.folder, ignore_errors=True)  # left by an earlier process
    self._results: dict[pathlib.Path, TraceResult] = {}  # the most recently used last
    self._lock = threading.Lock()
    self._trace_locks: dict[pathlib.Path, threading.Lock] = {}

  def path(self, program: Program, budget: Budget) -> pathlib.Path:
    """Where the artifact of a program for a budget is stored."""
    name = f'{program.digest[:32]}-{budget.amount!r}-{budget.unit}.artifact'
    return self.folder / name

  @contextlib.contextmanager
  def locked(self, path: pathlib.Path) -> Iterator[TraceResult | None]:
    """Keeps other threads from tracing the same program; yields its result if it is known."""
    with self._lock:
      trace_lock = self._trace_locks.setdefault(path, threading.Lock())
    with trace_lock:
      yield self._find(path)

  def add(self, path: pathlib.Path, result: TraceResult) -> None:
    """Remembers the result of a trace, if it is due to the program and not to the machine."""
    if result.status not in (Status.OK, Status.INVALID):
      return
    with self._lock:
      self._results[path] = result
      while len(self._results) > MAX_ARTIFACTS:
        oldest = next(iter(self._results))
        del self._results[oldest]
        self._trace_locks.pop(oldest, None)
        oldest.unlink(missing_ok=True)

  def _find(self, path: pathlib.Path) -> TraceResult | None:
    with self._lock:
      result = self._results.pop(path, None)
      if result is None or (result.status == Status.OK and not path.exists()):
        return None
      self._results[path] = result
      return result
