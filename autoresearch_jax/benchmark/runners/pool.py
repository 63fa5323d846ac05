"""Plays specs over the cores of this machine; the runs are the same for any number of workers.

Cells of one instance are played one after the other by one worker, which makes the instance once;
after SLICE seconds it hands back what it has, so that a stop or a kill loses little. Workers are
fresh processes (spawn) that end with their parent, whatever ends it. One worker is this process.
"""

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping

import threadpoolctl

from autoresearch_jax.benchmark.results import BenchmarkRun
from autoresearch_jax.benchmark.runners.simulate import SimulationError
from autoresearch_jax.benchmark.runners.specs import RunSpec, import_modules, modules_of

SLICE = 10.0  # seconds after which a worker reports, a spec under way excepted
LOOK = 0.5  # seconds between looks at the stop signal
AHEAD = 2  # batches a worker has waiting, so that it is never idle


def run_all(
  specs: Iterable[RunSpec],
  workers: int,
  versions: Mapping[str, str],
  stop: Callable[[], str] = lambda: '',
) -> Generator[list[BenchmarkRun], None, None]:
  """Yields finished runs as they come, in no order, until all are or `stop` says why not.

  workers: processes, 0 for one a core. Raises SimulationError for the first run that cannot be
  played, after which the others are ended.
  """
  batches = _batches(specs)
  workers = min(workers or cores(), max(1, len(batches)))
  alone = workers == 1
  yield from (_here if alone else _spread)(batches, workers, dict(versions), stop)


def cores() -> int:
  """How many this process may use."""
  with contextlib.suppress(AttributeError):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def run_batch(
  specs: list[RunSpec], versions: dict[str, str]
) -> tuple[list[BenchmarkRun], list[RunSpec]]:
  """Plays specs of one instance for SLICE seconds. Returns the runs, and the specs left."""
  first, runs, deadline = specs[0], [], 0.0
  with first.problem.opened(first.instance_seed) as instance:
    for spec in specs:
      runs.append(spec.run(instance, versions))
      deadline = deadline or time.monotonic() + SLICE  # the first run also found the optimum
      if time.monotonic() > deadline:
        break
  return runs, specs[len(runs) :]


def _batches(specs: Iterable[RunSpec]) -> list[list[RunSpec]]:
  """Cells by instance; all problems take turns, so that the time left can be told early."""
  ordered = sorted(specs, key=_instance)
  return [list(group) for _, group in itertools.groupby(ordered, key=_instance)]


def _instance(spec: RunSpec) -> tuple[int, str]:
  return spec.instance_seed, spec.problem.label


def _here(
  batches: list[list[RunSpec]], workers: int, versions: dict[str, str], stop: Callable[[], str]
) -> Generator[list[BenchmarkRun], None, None]:
  del workers
  with threadpoolctl.threadpool_limits(1):  # as in workers, so that sums have the same order
    while batches and not stop():
      runs, left = run_batch(batches[0], versions)
      batches = [left, *batches[1:]] if left else batches[1:]
      yield runs


def _spread(
  batches: list[list[RunSpec]], workers: int, versions: dict[str, str], stop: Callable[[], str]
) -> Generator[list[BenchmarkRun], None, None]:
  modules = modules_of([spec for batch in batches for spec in batch])
  pool = concurrent.futures.ProcessPoolExecutor(
    workers, multiprocessing.get_context('spawn'), _begin_worker
  )
  waiting, flying = batches[::-1], set()
  try:
    while (waiting or flying) and not stop():
      while waiting and len(flying) < AHEAD * workers:
        flying.add(pool.submit(_in_worker, modules, waiting.pop(), versions))
      done, flying = concurrent.futures.wait(
        flying, LOOK, return_when=concurrent.futures.FIRST_COMPLETED
      )
      for future in done:
        runs, left = _result(future)
        if left:
          waiting.append(left)
        yield runs
    if not (waiting or flying):
      pool.shutdown()
  finally:
    _end(pool)


def _result(future: concurrent.futures.Future) -> tuple[list[BenchmarkRun], list[RunSpec]]:
  try:
    return future.result()
  except concurrent.futures.BrokenExecutor as error:
    raise SimulationError(
      f'A worker process died ({error}). Finished runs are kept; the same command goes on. If '
      'memory ran out, use fewer workers.'
    ) from error


def _end(pool: concurrent.futures.ProcessPoolExecutor) -> None:
  """Ends the workers now: what they are at is played again next time."""
  processes = list((pool._processes or {}).values())
  pool.shutdown(wait=False, cancel_futures=True)
  for process in processes:
    process.terminate()
  for process in processes:
    process.join()


def _in_worker(
  modules: list[str], specs: list[RunSpec], versions: dict[str, str]
) -> tuple[list[BenchmarkRun], list[RunSpec]]:
  """Raises SimulationError where a module of the specs is not to be had."""
  try:
    import_modules(modules)
  except ImportError as error:
    raise SimulationError(
      f'A worker process cannot import what defines the strategies, rules and problems: {error}. '
      'Put them into a module on the path, or use one worker.'
    ) from error
  with threadpoolctl.threadpool_limits(1):
    return run_batch(specs, versions)


def _begin_worker() -> None:
  """Runs in a new worker before its first batch."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent decides
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os._exit(1)
