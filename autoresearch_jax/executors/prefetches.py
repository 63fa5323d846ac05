"""Later trials' programs that a slot's runner loads and compiles while a trial trains. No jax here.

If the trial fails meanwhile, it is retried without any prefetch, so that only its own trial suffers
from what a program does to the reader or the compiler.
"""

import collections
import contextlib
import pathlib
import threading
import time

from autoresearch_jax.executors.artifacts import ArtifactStore
from autoresearch_jax.runner.client import COMPILE_CACHE_SIZE, RunnerClient, RunnerError
from autoresearch_jax.types import Budget, Program, Status

MAX_PREFETCHES = COMPILE_CACHE_SIZE - 2  # during a trial; its program and the incumbent stay cached
# Failures that a prefetched program may have caused: a crash, a hang, memory.
PREFETCH_FAILURES = (Status.CRASH, Status.TIMEOUT, Status.OOM)


class Prefetches:
  """The prefetches of one runner, and what is probably in its compile cache.

  `add` may be called from other threads.

  Args:
    runner: The runner.
    artifacts: Artifacts of all traced programs.
    timeout: Seconds that one prefetch may take.

  Attributes:
    count: Number of programs that were prefetched during the present trial.
  """

  def __init__(self, runner: RunnerClient, artifacts: ArtifactStore, timeout: float):
    self.count = 0
    self._runner, self._artifacts, self._timeout = runner, artifacts, timeout
    self._stopped = False  # until the next trial
    self._lock = threading.Lock()  # guards these two and the runner's prefetches
    self._compiled: collections.deque[str] = collections.deque(maxlen=COMPILE_CACHE_SIZE)

  def begin_trial(self) -> None:
    """Allows the prefetches of another trial."""
    with self._lock:
      self.count, self._stopped = 0, False

  def add(self, program: Program, budget: Budget, compile: bool) -> None:
    """Makes the runner load, and if `compile` compile, a traced program for a later trial.

    Does nothing for a program that was being prefetched when a trial failed.
    """
    path = self._artifacts.path(program, budget)
    with self._lock:
      if self._stopped or self.count >= MAX_PREFETCHES or path in self._artifacts.suspects:
        return
      self.count += 1
      self._runner.prefetch(path, compile)
      if compile:
        self.remember_compiled(program)

  def check_timeout(self, artifact: pathlib.Path) -> None:
    """Raises RunnerError if prefetches of other artifacts take too long.

    Otherwise a program that never finishes compiling would use a core for the rest of the run.
    """
    started = [at for path, at in [*self._runner.prefetching.values()] if path != artifact]
    timeout = self._timeout * len(started)  # they run one after the other
    if started and time.monotonic() - min(started) > timeout:
      raise RunnerError(
        Status.TIMEOUT,
        f'Prefetching later programs exceeded the timeout of {timeout:g} s '
        '(limits.compile_seconds).',
      )

  def may_have_caused(self, error: RunnerError, artifact: pathlib.Path) -> bool:
    """Whether a prefetch may have caused the error; if so, those programs become suspects."""
    others = {path for path, _ in [*self._runner.prefetching.values()]} - {artifact}
    if error.status not in PREFETCH_FAILURES or not others:
      return False
    self._artifacts.suspects |= others
    return True

  def stop(self) -> None:
    """Ends all prefetches, and allows no more before the next trial."""
    with self._lock:
      self._stopped = True
      if self._runner.prefetching:
        self._runner.close()

  def has_compiled(self, program: Program) -> bool:
    """Whether the program is probably in the compile cache of its runner."""
    return program.digest in self._compiled

  def remember_compiled(self, program: Program) -> None:
    """Marks the program as the most recently used one in the runner's compile cache."""
    with contextlib.suppress(ValueError):
      self._compiled.remove(program.digest)
    self._compiled.append(program.digest)

  def forget_compiled(self) -> None:
    """Empties the record of the compile cache, since the runner starts anew."""
    self._compiled.clear()
