"""Simulates runs on all cores; the results do not depend on the number of workers.

The runs of one problem instance are a batch: a worker makes the instance once and simulates them in
turn. After BATCH_SECONDS it returns the finished runs, so a stop or kill loses little. Workers are
spawned processes that exit with their parent. They do not run the caller's script again, so that a
script needs no main guard; what is defined in the script itself therefore needs one worker. With
one worker, everything runs in this process.
"""

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

import threadpoolctl

from autoresearch_jax.benchmark.results import BenchmarkRun
from autoresearch_jax.benchmark.runners.simulate import SimulationError
from autoresearch_jax.benchmark.runners.specs import (
  RunSpec,
  defined_in_script,
  import_modules,
  modules_of,
)
from autoresearch_jax.messages import say

BATCH_SECONDS = 10.0  # after which a worker returns, once its current run has finished
STOP_POLL_SECONDS = 0.5
BATCHES_PER_WORKER = 2  # running or queued, so that no worker is ever idle


def run_all(
  specs: Iterable[RunSpec],
  workers: int,
  versions: Mapping[str, str],
  stop: Callable[[], str] = lambda: '',
) -> Generator[list[BenchmarkRun], None, None]:
  """Yields finished runs, in no order.

  Args:
    specs: The runs to simulate.
    workers: Number of processes; 0 for one per core.
    versions: Versions of packages, stored with each run.
    stop: Returns a reason to stop early, or ''.

  Raises:
    SimulationError: A run failed. The other workers are terminated.
  """
  batches = _batches(specs)
  workers = min(workers or available_cores(), max(1, len(batches)))
  local = defined_in_script(spec for batch in batches for spec in batch)
  if workers > 1 and local:
    say(
      f'All runs take turns in this process: {local} is defined in the script itself, where worker '
      f'processes cannot import it. Move it into a module to use {workers} processes.',
      file=sys.stderr,
    )
    workers = 1
  if workers == 1:
    yield from _run_here(batches, dict(versions), stop)
  else:
    yield from _run_in_pool(batches, workers, dict(versions), stop)


def available_cores() -> int:
  """Returns the number of cores that this process may use."""
  with contextlib.suppress(AttributeError):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def run_batch(
  specs: list[RunSpec], versions: dict[str, str]
) -> tuple[list[BenchmarkRun], list[RunSpec]]:
  """Simulates runs of one instance for BATCH_SECONDS. Returns them and the remaining specs."""
  first, runs, deadline = specs[0], [], 0.0
  with first.problem.opened(first.instance_seed) as instance:
    for spec in specs:
      runs.append(spec.run(instance, versions))
      deadline = (
        deadline or time.monotonic() + BATCH_SECONDS
      )  # the first run is slow: it finds the optimum
      if time.monotonic() > deadline:
        break
  return runs, specs[len(runs) :]


def _batches(specs: Iterable[RunSpec]) -> list[list[RunSpec]]:
  """Groups specs by instance. Problems alternate, to estimate the remaining time early."""
  ordered = sorted(specs, key=_instance)
  return [list(group) for _, group in itertools.groupby(ordered, key=_instance)]


def _instance(spec: RunSpec) -> tuple[int, str]:
  return spec.instance_seed, spec.problem.label


def _run_here(
  batches: list[list[RunSpec]], versions: dict[str, str], stop: Callable[[], str]
) -> Generator[list[BenchmarkRun], None, None]:
  with threadpoolctl.threadpool_limits(1):  # as in workers: the order of sums depends on it
    while batches and not stop():
      runs, left = run_batch(batches[0], versions)
      batches = [left, *batches[1:]] if left else batches[1:]
      yield runs


def _run_in_pool(
  batches: list[list[RunSpec]], workers: int, versions: dict[str, str], stop: Callable[[], str]
) -> Generator[list[BenchmarkRun], None, None]:
  modules = modules_of([spec for batch in batches for spec in batch])
  pool = concurrent.futures.ProcessPoolExecutor(
    workers, multiprocessing.get_context('spawn'), _begin_worker
  )
  waiting, running = batches[::-1], set()
  try:
    while (waiting or running) and not stop():
      while waiting and len(running) < BATCHES_PER_WORKER * workers:
        with _without_script():
          running.add(pool.submit(_run_in_worker, modules, waiting.pop(), versions))
      done, running = concurrent.futures.wait(
        running, STOP_POLL_SECONDS, return_when=concurrent.futures.FIRST_COMPLETED
      )
      for future in done:
        runs, left = _result(future)
        if left:
          waiting.append(left)
        yield runs
    if not (waiting or running):
      pool.shutdown()
  finally:
    _terminate(pool)


@contextlib.contextmanager
def _without_script() -> Iterator[None]:
  """Keeps a worker that starts meanwhile from running the caller's script again.

  `multiprocessing` reads these attributes of `__main__`, and a script without a main guard would
  compare again in every worker.
  """
  main = vars(sys.modules['__main__'])
  hidden = {name: main[name] for name in ('__file__', '__spec__') if name in main}
  main.pop('__file__', None)
  main['__spec__'] = None
  try:
    yield
  finally:
    main.update(hidden)


def _result(future: concurrent.futures.Future) -> tuple[list[BenchmarkRun], list[RunSpec]]:
  try:
    return future.result()
  except concurrent.futures.BrokenExecutor as error:
    raise SimulationError(
      f'A worker process died ({error}). Finished runs are kept, and the same command '
      'resumes. If memory ran out, use fewer workers.'
    ) from error


def _terminate(pool: concurrent.futures.ProcessPoolExecutor) -> None:
  """Terminates the workers; their unfinished runs are repeated next time."""
  processes = list((pool._processes or {}).values())
  pool.shutdown(wait=False, cancel_futures=True)
  for process in processes:
    process.terminate()
  for process in processes:
    process.join()


def _run_in_worker(
  modules: list[str], specs: list[RunSpec], versions: dict[str, str]
) -> tuple[list[BenchmarkRun], list[RunSpec]]:
  """As `run_batch`, after importing modules. Raises SimulationError if one cannot be imported."""
  try:
    import_modules(modules)
  except ImportError as error:
    raise SimulationError(
      f'A worker process cannot import a strategy, acceptance rule or problem: {error}. Move it '
      'into an importable module, or use one worker.'
    ) from error
  with threadpoolctl.threadpool_limits(1):
    return run_batch(specs, versions)


def _begin_worker() -> None:
  """Runs in a new worker before its first batch."""
  for number in (signal.SIGINT, signal.SIGHUP):  # they reach all processes; the parent handles them
    signal.signal(number, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_DFL)
  threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
  parent = multiprocessing.parent_process()
  assert parent is not None
  parent.join()
  os._exit(1)
