"""The runner: the one process that holds the accelerator, the data, the clock and the metric.

Started by `runner/client.py` as `python -m autoresearch_jax.runner.server`, it stays warm across
trials and reads one JSON request a line. No candidate Python ever runs here: it loads artifacts,
compiles them, trains and evaluates. It ends when its input closes, so it never outlives the
controller.

    {"do": "start", "setup": Setup}                 -> devices, peak FLOP/s, memory
    {"do": "load", "artifact": path}                -> fingerprint and facts of the artifact
    {"do": "compile"}                               -> seconds, FLOPs, bytes
    {"do": "run", "seed": 0, "budget": Budget, "on_test": false, "rungs": [PruningRung]}
                                                    -> progress lines, then a measurement
    {"do": "prepare", "number": 1, "artifact": path, "compiled": true}
                                                    no answer

Each answer is a line {"progress": ...}, {"done": ...} or {"failed": status, "reason": sentence}.
What is to be prepared is loaded, and compiled where that is asked for, in a thread of its own,
beside any training, for when its turn comes. Nothing comes of it until then, what is wrong with it
included, but for a line {"prepared": number} among the others when that is over.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import gc
import math
import os
import pathlib
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TextIO, TypeVar

import grain  # noqa: F401 - the loader imports it when first used, which a trial would pay for
import jax
import msgspec
import numpy as np

from autoresearch_jax.artifact import reader as artifacts
from autoresearch_jax.artifact.fingerprint import fingerprint
from autoresearch_jax.config import Limits
from autoresearch_jax.data import loader
from autoresearch_jax.runner import devices
from autoresearch_jax.runner.client import KEPT_COMPILED, RunnerFailed, Setup
from autoresearch_jax.runner.clock import Heartbeat
from autoresearch_jax.runner.compile import (
  Compiled,
  DoesNotDivide,
  DoesNotFit,
  Frame,
  compile_frame,
)
from autoresearch_jax.runner.evaluate import NotAllowed, evaluate, glance
from autoresearch_jax.runner.rungs import Hopeless, Watch
from autoresearch_jax.runner.train import Diverged, TooSlow, Trained, train
from autoresearch_jax.types import Budget, Cost, Dataset, Measurement, PruningRung, Status

T = TypeVar('T')

CURVE_POINTS = 64
PHASE_SEED = 1_000_003  # between the seeds of a trial's phases
MAX_STOPPED = 0.01  # share of a budget in seconds that the process may have stood still
# How late training may be where seconds are its budget: this share of it, or so many seconds, and
# the time of a step. The last calls are on the queue by then, and a busy machine slows them down.
LATE_SHARE, LATE_SECONDS = 0.02, 0.5
CACHE_BYTES = 4 * 2**30  # compiled programs on disk; those not used longest make room


@dataclasses.dataclass(frozen=True)
class Loaded:
  """An artifact that was read and checked. about: its fingerprint and facts."""

  artifact: artifacts.Artifact
  about: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Ahead:
  """An artifact that another thread prepares, in one step or two."""

  loading: Future[Loaded]
  compiling: Future[Compiled] | None


class Runner:
  """Holds devices and compiled programs; one method a request.

  One thread calls it, but for `prepare`, which any may call.
  """

  def __init__(self, setup: Setup):
    self.dataset: Dataset = setup.dataset
    self.limits: Limits = setup.limits
    cache = pathlib.Path(setup.cache)
    jax.config.update('jax_compilation_cache_dir', str(cache / 'xla'))
    # Without these two, programs that compile in under a second are not cached.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
    jax.config.update('jax_compilation_cache_max_size', CACHE_BYTES)
    self.devices = devices.require_platform(setup.platform)
    self.peak_flops, self.peak_source = devices.peak_flops(self.devices[0], cache)
    self._compiled: collections.OrderedDict[str, Compiled] = collections.OrderedDict()
    self._frames: collections.OrderedDict[str, Frame] = collections.OrderedDict()
    self._loaded: Loaded | None = None
    self._coming: Future[Compiled] | None = None  # of what is loaded, where that was prepared
    self._turn: Frame | None = None  # what has its turn, and stays
    self._current: Compiled | None = None
    self._heartbeat = Heartbeat()
    self._lock = threading.Lock()  # over what is kept
    self._ahead: collections.OrderedDict[str, Ahead] = collections.OrderedDict()
    self._preparing = concurrent.futures.ThreadPoolExecutor(1, 'prepare')
    self._compiling = threading.Lock()  # what is prepared waits for what has its turn

  def describe(self) -> dict[str, Any]:
    return {
      'platform': self.devices[0].platform,
      'device': self.devices[0].device_kind,
      'num_devices': len(self.devices),
      'peak_flops': self.peak_flops,
      'peak_source': self.peak_source,
      'memory_bytes': self._memory_limit(),
    }

  def load(self, path: str) -> dict[str, Any]:
    """Reads an artifact defensively and takes its fingerprint."""
    with self._lock:
      ahead = self._ahead.pop(path, None)
    self._loaded = self._current = self._coming = None
    if ahead:
      self._loaded, self._coming = _finished(ahead.loading), ahead.compiling
    self._loaded = self._loaded or self._load(path)
    return self._loaded.about

  def compile(self) -> dict[str, Any]:
    """Compiles the loaded artifact, or finds it compiled. Refuses what does not fit."""
    assert self._loaded is not None
    start = time.monotonic()
    if self._coming:
      _finished(self._coming)
    frame = self._turn = self._frame(self._loaded.artifact)
    if self._coming or frame.key not in self._compiled:
      # What only older programs hold must not count as the new one's memory.
      gc.collect()
    with self._going_first():
      found = self._compiled_of(frame)
    self._current = found.given(frame)
    return {
      'seconds': time.monotonic() - start,
      'flops_per_step': found.flops_per_step,
      'analysis_bytes': found.analysis_bytes,
      'steps_per_call': [phase.call_steps for phase in found.phases],
    }

  def prepare(self, path: str, compiled: bool, done: Callable[[], None]) -> None:
    """Has an artifact loaded, or compiled too, beside whatever runs; `done` is called afterwards.

    What fails or has not begun when its turn comes is left to `load` and `compile`, and so are the
    sentences.
    """

    def reading() -> Loaded:
      loaded = self._load(path)
      self._frame(loaded.artifact)
      return loaded

    def compiling() -> Compiled:
      frame = self._frame(loading.result().artifact)
      with self._compiling:
        return self._compiled_of(frame)

    loading = self._preparing.submit(reading)
    ahead = Ahead(loading, self._preparing.submit(compiling) if compiled else None)
    (ahead.compiling or loading).add_done_callback(lambda _: done())
    with self._lock:
      _keep(self._ahead, path, ahead)

  def run(
    self,
    seed: int,
    budget: Budget,
    say: Any,
    on_test: bool = False,
    rungs: Sequence[PruningRung] = (),
  ) -> dict[str, Any]:
    """Trains and evaluates one seed of the compiled program; on_test: on the test split."""
    assert self._current is not None
    compiled = self._current
    # Each phase draws in an order of its own: one order would show the second the same rows again.
    feeds = [
      loader.batches(
        self.dataset, phase.batch_size, phase.sequence_length, seed + PHASE_SEED * index
      )
      for index, phase in enumerate(compiled.phases)
    ]
    allocated = devices.allocator_peak(self.devices[0])
    watch = Watch(lambda leaves: self._glance(compiled, leaves))
    began = time.monotonic()
    try:
      trained = train(compiled, seed, budget, feeds, self.limits.max_loss, say, rungs, watch.look)
    except Hopeless as error:
      facts = {'looks': {str(seed): watch.looks}, 'pruned': watch.ended}
      raise RunnerFailed(Status.PRUNED, str(error), facts) from None
    except Diverged as error:
      raise RunnerFailed(Status.DIVERGED, str(error)) from None
    except TooSlow as error:
      self._require_awake(began, compiled, 0.0)
      raise RunnerFailed(Status.TIMEOUT, str(error)) from None
    if budget.unit == 'seconds':
      self._require_awake(began, compiled, MAX_STOPPED * budget.amount)
      self._require_on_time(trained, budget, compiled)
    if trained.compilations:
      raise RunnerFailed(Status.CRASH, f'{trained.compilations} compilations ran inside the clock.')
    start = time.monotonic()
    try:
      metrics = evaluate(
        compiled,
        trained.leaves,
        self.dataset,
        np.random.default_rng(),  # unknown to the program, and of no effect on the score
        alive=lambda: say(1.0, trained.steps, trained.curve[-1][1], 'evaluate'),
        training_seconds=trained.seconds,
        training_tokens=trained.tokens,
        on_test=on_test,
      )
    except NotAllowed as error:
      raise RunnerFailed(Status.INVALID, str(error)) from None
    if not all(math.isfinite(value) for value in metrics.values()):
      raise RunnerFailed(
        Status.DIVERGED, f'The validation score is not a finite number after training: {metrics}.'
      )
    cost = self._cost(compiled, trained, time.monotonic() - start, allocated)
    train_metrics = {f'train_{k}': v for k, v in trained.metrics.items() if math.isfinite(v)}
    curve = trained.curve[:: max(1, len(trained.curve) // CURVE_POINTS)]
    measurement = Measurement(seed, {**metrics, **train_metrics}, cost)
    return {'measurement': measurement, 'curve': curve, 'looks': watch.looks}

  def _glance(self, compiled: Compiled, leaves: Any) -> float:
    return glance(compiled, leaves, self.dataset)

  def _require_awake(self, began: float, compiled: Compiled, most: float) -> None:
    stopped = self._heartbeat.stopped(began)
    if stopped > most:
      compiled.pace.clear()  # or the next attempt would think that no step fits
      raise RunnerFailed(
        Status.CRASH,
        f'The runner stood still for {stopped:.1f} s while it trained (a stopped process or a '
        'paused machine), which is too long for its seconds to count.',
        passing=True,
      )

  def _require_on_time(self, trained: Trained, budget: Budget, compiled: Compiled) -> None:
    """Else a program whose steps get long near the end would train for as long as it likes."""
    may_take = budget.amount + max(LATE_SHARE * budget.amount, LATE_SECONDS)
    if trained.seconds > may_take + trained.seconds / trained.steps:
      compiled.pace.clear()  # as above
      raise RunnerFailed(
        Status.TIMEOUT,
        f'Training took {trained.seconds:.1f} s, and its budget is {budget.amount:g} s: the last '
        'steps took far longer than those before. Make all steps alike.',
        passing=True,
      )

  def _load(self, path: str) -> Loaded:
    try:
      artifact = artifacts.read(pathlib.Path(path), self.limits)
    except artifacts.ArtifactError as error:
      raise RunnerFailed(Status.INVALID, str(error)) from None
    platform = 'gpu' if artifact.platform == 'cuda' else artifact.platform
    if platform != self.devices[0].platform:
      raise RunnerFailed(
        Status.INVALID,
        f'The artifact is for {platform}, and this runner has {self.devices[0].platform}.',
      )
    about = {'fingerprint': fingerprint(artifact), 'facts': artifact.facts()}
    return Loaded(artifact, about)

  def _frame(self, artifact: artifacts.Artifact) -> Frame:
    # Not by the fingerprint: programs that only report other metrics share that.
    frame = self._frames.get(artifact.digest) or Frame.of(artifact)
    with self._lock:
      _keep(self._frames, artifact.digest, frame, self._turn and self._turn.artifact.digest)
    return frame

  @contextlib.contextmanager
  def _going_first(self) -> Iterator[None]:
    """Nothing that is prepared begins to compile meanwhile; what has begun is not waited for."""
    held = self._compiling.acquire(blocking=False)
    try:
      yield
    finally:
      if held:
        self._compiling.release()

  def _compiled_of(self, frame: Frame) -> Compiled:
    found = self._compiled.get(frame.key) or self._compile_new(frame)
    with self._lock:
      _keep(self._compiled, frame.key, found, self._turn and self._turn.key)
    return found

  def _compile_new(self, frame: Frame) -> Compiled:
    limit = self._memory_limit()
    try:
      return compile_frame(frame, self.devices, limit)
    except DoesNotFit as error:
      facts = {'needed_bytes': error.needed, 'device_bytes': error.limit}
      raise RunnerFailed(Status.OOM, str(error), facts) from None
    except DoesNotDivide as error:
      raise RunnerFailed(Status.INVALID, str(error)) from None

  def _memory_limit(self) -> int:
    return self.limits.device_bytes or devices.memory_limit(self.devices[0])

  def _cost(
    self, compiled: Compiled, trained: Trained, evaluate_seconds: float, allocated: int
  ) -> Cost:
    rate = trained.flops / trained.seconds if trained.seconds else 0.0
    # The allocator's peak is never reset, so it says something only when this trial raised it.
    peak = devices.allocator_peak(self.devices[0])
    allocator = peak if peak > allocated else 0
    return Cost(
      training_seconds=trained.seconds,
      evaluate_seconds=evaluate_seconds,
      steps=trained.steps,
      tokens=trained.tokens,
      flops=trained.flops,
      mfu_percent=100 * rate / (self.peak_flops * len(self.devices)),
      peak_bytes=max(compiled.analysis_bytes, allocator),
      analysis_bytes=compiled.analysis_bytes,
      allocator_bytes=allocator,
      parameters=compiled.artifact.parameters,
      compilations_in_clock=trained.compilations,
    )


def _keep(
  kept: collections.OrderedDict[str, Any], key: str, value: Any, current: str | None = None
) -> None:
  """Puts `value` last, but before what is current, and lets go of what was not used longest."""
  kept[key] = value
  kept.move_to_end(key)
  if current in kept:
    kept.move_to_end(current)
  while len(kept) > KEPT_COMPILED:
    kept.popitem(last=False)


def _finished(future: Future[T]) -> T | None:
  """What another thread makes, waited for; None where it has not begun, and does not, or failed."""
  if future.cancel():
    return None
  try:
    return future.result()
  except Exception:
    return None


def answer(runner: Runner, request: dict[str, Any], write: Any) -> dict[str, Any]:
  """Does one request; what the program is to blame for becomes {"failed": ...}."""

  def say(fraction: float, step: int, loss: float, phase: str = 'train') -> None:
    write({'progress': {'phase': phase, 'fraction': fraction, 'step': step, 'loss': loss}})

  try:
    match request['do']:
      case 'load':
        return {'done': runner.load(request['artifact'])}
      case 'compile':
        return {'done': runner.compile()}
      case 'run':
        budget = msgspec.convert(request['budget'], Budget)
        rungs = msgspec.convert(request.get('rungs', ()), tuple[PruningRung, ...])
        on_test = request.get('on_test', False)
        return {'done': runner.run(request['seed'], budget, say, on_test, rungs)}
      case other:
        raise ValueError(f'The runner does not know the request {other!r}.')
  except RunnerFailed as failed:
    return {
      'failed': failed.status,
      'reason': str(failed),
      'facts': failed.facts,
      'passing': failed.passing,
    }
  except Exception as error:
    traceback.print_exc()
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if 'RESOURCE_EXHAUSTED' in str(error):
      return {'failed': Status.OOM, 'reason': f'The device ran out of memory: {first}'}
    reason = f'The runner failed in {request["do"]}: {type(error).__name__}: {first}'
    return {'failed': Status.CRASH, 'reason': reason}


class Inbox:
  """What `source` asks for; its end means that the controller is gone, and ends this process.

  A thread reads, so that the end is seen in the middle of a trial too, and what is to be prepared.
  requests: each wants an answer. ahead: artifacts to prepare.
  """

  def __init__(self, source: TextIO):
    self.requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    self.ahead: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    self._source = source
    threading.Thread(target=self._read, name='inbox', daemon=True).start()

  def _read(self) -> None:
    for line in self._source:
      message = msgspec.json.decode(line)
      if message['do'] == 'prepare':
        self.ahead.put(message)
      else:
        self.requests.put(message)
    os._exit(0)


def serve(inbox: Inbox, answers: TextIO) -> None:
  """Answers requests for ever, unless this process cannot be a runner."""
  writing = threading.Lock()

  def write(message: dict[str, Any]) -> None:
    with writing:
      answers.write(msgspec.json.encode(message).decode() + '\n')
      answers.flush()

  def prepare(runner: Runner) -> None:
    while message := inbox.ahead.get():
      done = functools.partial(write, {'prepared': message['number']})
      runner.prepare(message['artifact'], message['compiled'], done)

  try:
    runner = Runner(msgspec.convert(inbox.requests.get()['setup'], Setup))
  except Exception as error:
    write({'failed': Status.CRASH, 'reason': str(error)})
    return
  # What was imported stays; leaving it out makes reading an artifact a third faster.
  gc.collect()
  gc.freeze()
  write({'done': runner.describe()})
  threading.Thread(target=prepare, args=(runner,), name='ahead', daemon=True).start()
  while True:
    write(answer(runner, inbox.requests.get(), write))


def main() -> None:
  # Libraries print to standard output; the channel to the controller is kept for answers.
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  serve(Inbox(sys.stdin), answers)


if __name__ == '__main__':
  main()
