"""Trials on this machine: one slot with a tracer and a warm runner, both disposable.

A trial goes tracer -> artifact -> runner -> measurement. Whatever the candidate does ends in a
Result; a runner that died or was late is replaced, and the next trial never notices.
"""

import contextlib
import dataclasses
import pathlib
import queue
import shutil
import threading
import time
from typing import Any

from autoresearch_jax.config import Limits
from autoresearch_jax.executors import EXECUTORS, Unavailable
from autoresearch_jax.failures import of_machine, require_room
from autoresearch_jax.trial.running import RunnerFailed, RunnerProcess, Setup
from autoresearch_jax.trial.tracing import Tracer, TraceResult
from autoresearch_jax.types import (
  Budget,
  Dataset,
  Measurement,
  Program,
  Progress,
  Result,
  Spec,
  Status,
  TrialRequest,
  from_builtins,
)

ARTIFACTS_KEPT = 64  # traced programs whose artifact stays on disk, for replicates
ATTEMPTS = 3  # runners that may fail to come up, or be killed in a trial, one after the other
PAUSE_SECONDS = 2.0  # between two such attempts


@EXECUTORS.register('local')
@dataclasses.dataclass
class Local:
  """One trial at a time on all devices of this machine.

  spec: of the problem at full budget. hidden: what a tracer must never read. scratch: folder for
  traces, artifacts and logs. cache: folder for compiled programs, shared between runs.
  """

  spec: Spec
  dataset: Dataset
  hidden: tuple[pathlib.Path, ...]
  limits: Limits
  scratch: pathlib.Path
  cache: pathlib.Path
  slots: int = dataclasses.field(default=1, init=False)

  def __post_init__(self) -> None:
    self.scratch.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(self.scratch / 'artifacts', ignore_errors=True)  # an earlier process's
    self._requests: queue.SimpleQueue[TrialRequest | None] = queue.SimpleQueue()
    self._news: queue.SimpleQueue[Progress | Result | Unavailable] = queue.SimpleQueue()
    self._cancelled: set[int] = set()
    self._slot = _Slot(self, self._news)
    self._slot.tracer.check()
    self._thread = threading.Thread(target=self._work, name='slot', daemon=True)
    self._thread.start()

  def submit(self, request: TrialRequest) -> None:
    self._requests.put(request)

  def check(self, program: Program, budget: Budget) -> str:
    return self._slot.check(program, budget)

  def wait(self, timeout: float) -> list[Progress | Result]:
    news: list[Progress | Result] = []
    try:
      item = self._news.get(timeout=timeout)
      while not isinstance(item, Unavailable):
        news.append(item)
        item = self._news.get_nowait()
    except queue.Empty:
      return news
    if news:
      self._news.put(item)  # what came before it is told first; nothing comes after it
      return news
    raise item

  def cancel(self, trial: int) -> None:
    self._cancelled.add(trial)
    if self._slot.running == trial:
      self._slot.kill()

  def pids(self) -> dict[str, int | None]:
    """Process ids of the slot's runner and tracer, for whoever watches them."""
    return {'runner': self._slot.runner.pid, 'tracer': self._slot.tracer.pid}

  def close(self) -> None:
    self._requests.put(None)
    self._slot.closing = True
    self._slot.kill()
    self._thread.join(timeout=30)

  def _work(self) -> None:
    try:
      self._serve()
    except Unavailable as error:
      self._news.put(error)
    except OSError as error:
      self._news.put(Unavailable(f'No trial can be run here. {of_machine(error)}'))
    except Exception as error:  # else the caller would wait for ever
      reason = f'The executor failed: {type(error).__name__}: {error}'
      self._news.put(Unavailable(reason))

  def _serve(self) -> None:
    try:
      self._slot.start()
      while (request := self._requests.get()) is not None and not self._slot.closing:
        if request.trial in self._cancelled:
          self._news.put(_cancelled(request.trial))
          continue
        result = self._slot.trial(request)
        if not self._slot.closing:
          self._news.put(result)
    finally:
      self._slot.close()


class _Slot:
  """A tracer and a runner, and the way of one trial through them."""

  def __init__(self, owner: Local, news: queue.SimpleQueue[Any]):
    self.owner = owner
    self.closing = False
    self.running: int | None = None
    self.tracer = Tracer(owner.limits, owner.hidden, owner.scratch / 'traces')
    self.runner = RunnerProcess(
      Setup(owner.spec.platform, owner.dataset, owner.limits, str(owner.cache)),
      owner.scratch / 'runner.log',
    )
    self._device: dict[str, Any] = {}
    self._devices = 0  # how many, once that is known; the same for every runner
    self._news = news
    self._traced: dict[tuple[str, Budget], TraceResult] = {}
    self._trace_lock = threading.Lock()  # over the tracer and what it made
    self._needs_tracer = False  # a trial waits for its trace, which `kill` shall end

  def start(self) -> None:
    with contextlib.suppress(RunnerFailed):  # `ready` says it of the first trial
      self.runner.start()
    self.tracer.start()

  def trial(self, request: TrialRequest) -> Result:
    """Runs one trial to its Result; never raises for what a candidate did."""
    self.running = request.trial
    try:
      return self._trial(request)
    except RunnerFailed as failed:
      return Result(request.trial, failed.status, str(failed))
    finally:
      self.running = None

  def kill(self) -> None:
    """Ends the trial that is going on; what is traced for another one goes on."""
    if self._needs_tracer or self.closing:
      self.tracer.kill()
    self.runner.kill()

  def close(self) -> None:
    self.tracer.close()
    self.runner.close()

  def _trial(self, request: TrialRequest) -> Result:
    began = time.monotonic()
    self._say(request, 'trace')
    self._warm_runner()
    path, traced, trace_seconds = self._traced_for(request)
    result = Result(request.trial, traced.status, traced.reason, isolation=traced.isolation)
    if traced.status != Status.OK:
      return result
    underway = _Underway(request, path, result, began, trace_seconds)
    for attempt in range(ATTEMPTS):
      try:
        self._measure(underway)
        break
      except RunnerFailed as failed:
        underway.failed(failed)
        ended = self.closing or request.trial in self.owner._cancelled
        if not failed.passing or ended or attempt == ATTEMPTS - 1:
          break
        self._warm_runner()
    if underway.result.status == Status.CRASH:
      require_room(self.owner.scratch)
      require_room(self.owner.cache)
    return dataclasses.replace(underway.result, measurements=tuple(underway.measurements))

  def _measure(self, underway: '_Underway') -> None:
    """Has the runner train the seeds that have no measurement yet. Raises RunnerFailed."""
    request, most = underway.request, self.owner.limits.compile_seconds
    loaded = self.runner.ask('load', most, artifact=str(underway.artifact))
    underway.loaded(loaded['fingerprint'], {**loaded['facts'], **self._device})
    if underway.result.fingerprint in request.known:
      underway.result = _duplicate(underway.result, request)
      return
    self._say(request, 'compile')
    compiled = self.runner.ask('compile', most)
    underway.result.facts.update(compiled)
    compile_seconds = compiled['seconds']
    for seed in request.seeds[len(underway.measurements) :]:
      underway.measured(self._run(request, seed), compile_seconds)
      compile_seconds = 0.0

  def _run(self, request: TrialRequest, seed: int) -> dict[str, Any]:
    def on_progress(news: dict[str, Any]) -> None:
      self._news.put(Progress(request.trial, seed=seed, **news))

    self._say(request, 'train', seed)
    limits = self.owner.limits
    return self.runner.ask(
      'run',
      limits.step_seconds,
      on_progress,
      limits.whole_run(request.budget),
      seed=seed,
      budget=request.budget,
      locked=request.locked,
      checkpoints=request.checkpoints,
    )

  def check(self, program: Program, budget: Budget) -> str:
    """The tracer's sentence on a program that may be run later; '' when it traced."""
    if not self._devices:
      return ''  # before the first trial nobody knows what to trace it for
    traced = self._trace(program, budget, aside=True)[1]
    return traced.reason if traced.status == Status.INVALID else ''

  def _traced_for(self, request: TrialRequest) -> tuple[pathlib.Path, TraceResult, float]:
    self._needs_tracer = True
    try:
      return self._trace(request.program, request.budget)
    finally:
      self._needs_tracer = False

  def _trace(
    self, program: Program, budget: Budget, aside: bool = False
  ) -> tuple[pathlib.Path, TraceResult, float]:
    """The program's artifact, and the seconds it took, 0 when it was there already."""
    key = (program.digest, budget)
    path = self._artifact_path(*key)
    with self._trace_lock:
      known = self._traced.get(key)
      if known and (known.status == Status.INVALID or path.exists()):
        return path, known, 0.0
      path.parent.mkdir(parents=True, exist_ok=True)
      spec = dataclasses.replace(self.owner.spec, budget=budget, num_devices=self._devices)
      batch = self.owner.dataset.evaluation_batch
      traced = self.tracer.trace(program, spec, batch, path, aside)
      for _ in range(ATTEMPTS - 1):
        if traced.killed and not self.closing:
          traced = self.tracer.trace(program, spec, batch, path, aside)
      if traced.status != Status.OK:
        require_room(self.owner.scratch)
      if traced.status in (Status.OK, Status.INVALID):
        self._traced[key] = traced
      while len(self._traced) > ARTIFACTS_KEPT:
        oldest = next(iter(self._traced))
        del self._traced[oldest]
        self._artifact_path(*oldest).unlink(missing_ok=True)
    return path, traced, traced.seconds

  def _artifact_path(self, digest: str, budget: Budget) -> pathlib.Path:
    name = f'{digest[:32]}-{budget.amount!r}-{budget.unit}.artifact'
    return self.owner.scratch / 'artifacts' / name

  def _warm_runner(self) -> None:
    """A runner that holds its devices; started anew when the last one died. Raises Unavailable."""
    for attempt in range(ATTEMPTS):
      try:
        return self._require_runner()
      except RunnerFailed as failed:
        if failed.status == Status.CANCELLED or self.closing:
          raise
        self.runner.close()
        self._device = {}
        if failed.status == Status.TIMEOUT or attempt == ATTEMPTS - 1:
          raise Unavailable(
            f'No trial can be run here: {failed} Mend it and start the same command again.'
          ) from failed
        time.sleep(PAUSE_SECONDS)

  def _require_runner(self) -> None:
    if not self.runner.alive:
      self.runner.close()
      self._device = {}
      self.runner.start()
    if not self._device:
      self._device = self.runner.ready()
      self._devices = self._device['num_devices']

  def _say(self, request: TrialRequest, phase: Any, seed: int = 0) -> None:
    self._news.put(Progress(request.trial, phase, seed))


@dataclasses.dataclass
class _Underway:
  """A traced trial and what its runners made of it so far; one that is killed has a successor."""

  request: TrialRequest
  artifact: pathlib.Path
  result: Result
  began: float
  trace_seconds: float
  measurements: list[Measurement] = dataclasses.field(default_factory=list)

  def loaded(self, fingerprint: str, facts: dict[str, Any]) -> None:
    facts = {**self.result.facts, **facts}
    self.result = dataclasses.replace(
      self.result, status=Status.OK, reason='', fingerprint=fingerprint, facts=facts
    )

  def measured(self, done: dict[str, Any], compile_seconds: float) -> None:
    measurement = from_builtins(done['measurement'], Measurement)
    for name in ('curve', 'looks'):
      seeds = self.result.facts.setdefault('curves' if name == 'curve' else name, {})
      seeds[str(measurement.seed)] = done[name]
    now = time.monotonic()
    cost = dataclasses.replace(
      measurement.cost,
      trace_seconds=self.trace_seconds,
      compile_seconds=compile_seconds,
      total_seconds=now - self.began,
    )
    self.measurements.append(dataclasses.replace(measurement, cost=cost))
    self.began, self.trace_seconds = now, 0.0  # another seed of the program traces nothing

  def failed(self, failed: RunnerFailed) -> None:
    facts = {**self.result.facts, **failed.facts}
    self.result = dataclasses.replace(
      self.result, status=failed.status, reason=str(failed), facts=facts
    )


def _duplicate(result: Result, request: TrialRequest) -> Result:
  earlier = request.known[result.fingerprint]
  if earlier in request.parents:
    reason = f'This change has no effect on the program: it traces to what trial {earlier} ran.'
  else:
    reason = f'Trial {earlier} already ran a program that traces to the same operations.'
  return dataclasses.replace(result, status=Status.DUPLICATE, reason=reason, duplicate_of=earlier)


def _cancelled(trial: int) -> Result:
  return Result(trial, Status.CANCELLED, 'The trial was cancelled before it began.')
