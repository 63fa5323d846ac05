"""A slot: a tracer and a warm runner on their share of the machine, both disposable. No jax here.

A trial goes tracer -> artifact -> runner -> measurement. Whatever the candidate does ends in a
Result; a runner that died or was late is replaced, and the next trial never notices. Nothing of one
slot waits for another's, but for the trace of the same program.

What is to be tried next is read beside a trial, and may be compiled there (`prepare`), in the same
runner. Where that fails meanwhile, the trial is tried again with nothing beside it: whatever a
program does to its reader and its compiler is on its own record.
"""

import collections
import contextlib
import dataclasses
import pathlib
import queue
import threading
import time
from typing import Any

from autoresearch_jax.config import Limits
from autoresearch_jax.executors import Unavailable
from autoresearch_jax.executors.artifacts import Artifacts
from autoresearch_jax.executors.sharing import Share
from autoresearch_jax.messages import require_room
from autoresearch_jax.runner.client import KEPT_COMPILED, RunnerFailed, RunnerProcess, Setup
from autoresearch_jax.tracer.client import Tracer, TraceResult
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

ATTEMPTS = 3  # runners that may fail to come up, or be killed in a trial, one after the other
PAUSE_SECONDS = 2.0  # between two such attempts
MAX_AHEAD = KEPT_COMPILED - 2  # prepared beside a trial; its own and the incumbent's stay compiled
# What may be the work of a program that is prepared: a crash, a hang, memory. Others are sentences.
DISTURBED = (Status.CRASH, Status.TIMEOUT, Status.OOM)


@dataclasses.dataclass(frozen=True)
class Site:
  """What the slots of an executor have in common. Field by field comments are in `Local`."""

  spec: Spec
  dataset: Dataset
  hidden: tuple[pathlib.Path, ...]
  limits: Limits
  scratch: pathlib.Path
  cache: pathlib.Path
  artifacts: Artifacts
  news: queue.SimpleQueue[Any]


class Slot:
  """One trial at a time, in one thread; `kill`, `check` and `prepare` may be called from others.

  request: the trial that it has; cancelled: whether that was; began: when it was taken; prepared:
  how many programs it was given to prepare since. facts: what its trials have on record of it.
  """

  def __init__(self, site: Site, share: Share, index: int = 0, facts: dict[str, Any] | None = None):
    self.site, self.share = site, share
    self.request: TrialRequest | None = None
    self.closing = False
    self.began, self.prepared = 0.0, 0
    self._alone = False  # a trial is tried again, with nothing beside it
    self._beside = threading.Lock()  # over these two and what its runner prepares
    self._facts = facts or {}
    self.cancelled = False
    suffix = f'-{index}' if index else ''
    self.tracer = Tracer(site.limits, site.hidden, site.scratch / f'traces{suffix}')
    self.runner = RunnerProcess(
      Setup(site.spec.platform, site.dataset, _limits(site.limits, share), str(site.cache)),
      site.scratch / f'runner{suffix}.log',
      share.environment,
    )
    self._device: dict[str, Any] = {}
    self._devices = 0  # how many, once that is known; the same for every runner
    self._warm: collections.deque[str] = collections.deque(maxlen=KEPT_COMPILED)
    self._tracing = threading.Lock()  # over the tracer
    self._needs_tracer = False  # a trial waits for its trace, which `kill` shall end

  def start(self) -> None:
    """Starts both processes and waits for the runner. Raises Unavailable."""
    with self.share.held():
      with contextlib.suppress(RunnerFailed):  # `_warm_runner` says it
        self.runner.start()
      self.tracer.start()
    with contextlib.suppress(RunnerFailed):  # it was closed meanwhile
      self._warm_runner()

  def take(self, request: TrialRequest) -> None:
    """Has this trial from now on, which `cancel` means."""
    with self._beside:
      self.request, self.cancelled = request, False
      self.began, self.prepared, self._alone = time.monotonic(), 0, False

  def trial(self) -> Result:
    """Runs the trial that it has to its Result; never raises for what a candidate did."""
    assert self.request is not None
    try:
      return self._trial(self.request)
    except RunnerFailed as failed:
      return Result(self.request.trial, failed.status, str(failed))

  def cancel(self) -> None:
    """Ends the trial that it has; what is traced for another one goes on."""
    self.cancelled = True
    self._kill()

  def end(self) -> None:
    """Ends everything from another thread, after which `close` is called in its own."""
    self.closing = True
    self._kill()

  def close(self) -> None:
    self.tracer.close()
    self.runner.close()

  @property
  def tracing(self) -> bool:
    return self._tracing.locked()

  def is_warm(self, program: Program) -> bool:
    """Whether its runner has the program compiled, as far as that is known here."""
    return program.digest in self._warm

  def _kill(self) -> None:
    if self._needs_tracer or self.closing:
      self.tracer.kill()
    self.runner.kill()

  def _trial(self, request: TrialRequest) -> Result:
    began = time.monotonic()
    self._say(request, 'trace')
    self._warm_runner()
    path, traced, trace_seconds = self._traced_for(request)
    if self.cancelled:
      return Result(request.trial, Status.CANCELLED, 'The trial was cancelled.')
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
        passing = failed.passing or self._was_disturbed(failed, path)
        ended = self.closing or self.cancelled
        if not passing or ended or attempt == ATTEMPTS - 1:
          break
        self._be_alone()
        self._warm_runner()
    if underway.result.status == Status.CRASH:
      require_room(self.site.scratch)
      require_room(self.site.cache)
    return dataclasses.replace(underway.result, measurements=tuple(underway.measurements))

  def _measure(self, underway: '_Underway') -> None:
    """Has the runner train the seeds that have no measurement yet. Raises RunnerFailed."""
    request, most = underway.request, self.site.limits.compile_seconds
    loaded = self.runner.ask('load', most, artifact=str(underway.artifact))
    self._require_room_beside(underway.artifact)
    underway.loaded(loaded['fingerprint'], {**loaded['facts'], **self._device, **self._facts})
    if underway.result.fingerprint in request.known:
      underway.result = _duplicate(underway.result, request)
      return
    self._say(request, 'compile')
    compiled = self.runner.ask('compile', most)
    underway.result.facts.update(compiled)
    self._remember(request.program)
    compile_seconds = compiled['seconds']
    for seed in request.seeds[len(underway.measurements) :]:
      underway.measured(self._run(request, seed), compile_seconds)
      compile_seconds = 0.0

  def _run(self, request: TrialRequest, seed: int) -> dict[str, Any]:
    def on_progress(news: dict[str, Any]) -> None:
      self.site.news.put(Progress(request.trial, seed=seed, **news))

    self._say(request, 'train', seed)
    limits = self.site.limits
    return self.runner.ask(
      'run',
      limits.step_seconds,
      on_progress,
      limits.run_timeout(request.budget),
      seed=seed,
      budget=request.budget,
      on_test=request.on_test,
      rungs=request.rungs,
    )

  def check(self, program: Program, budget: Budget) -> TraceResult | None:
    """How the trace of a program ends that may be run later; None when nobody can know yet."""
    if not self._devices:
      return None  # before the first trial nobody knows what to trace it for
    return self._trace(program, budget, aside=True)[1]

  def prepare(self, program: Program, budget: Budget, compiled: bool) -> None:
    """Has its runner read or compile a traced program meanwhile, unless that was of harm before."""
    path = self.site.artifacts.path(program, budget)
    with self._beside:
      if self._alone or self.prepared >= MAX_AHEAD or path in self.site.artifacts.suspects:
        return
      self.prepared += 1
      self.runner.prepare(path, compiled)
      if compiled:
        self._remember(program)

  def _require_room_beside(self, artifact: pathlib.Path) -> None:
    """Else what never compiles to the end would have a core for the rest of the night."""
    sent = [at for path, at in [*self.runner.preparing.values()] if path != artifact]
    most = self.site.limits.compile_seconds * len(sent)  # one is compiled after the other
    if sent and time.monotonic() - min(sent) > most:
      raise RunnerFailed(
        Status.TIMEOUT,
        f'What was compiled beside trials took longer than {most:g} s (limits.compile_seconds).',
      )

  def _was_disturbed(self, failed: RunnerFailed, artifact: pathlib.Path) -> bool:
    """Whether something was prepared beside a trial that failed; none of that ever is again."""
    beside = {path for path, _ in [*self.runner.preparing.values()]} - {artifact}
    if failed.status not in DISTURBED or not beside:
      return False
    self.site.artifacts.suspects |= beside
    return True

  def _be_alone(self) -> None:
    """Nothing is prepared from now on until the next trial, and what is underway ends."""
    with self._beside:
      self._alone = True
      if self.runner.preparing:
        self.runner.close()

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
    artifacts = self.site.artifacts
    path = artifacts.path(program, budget)
    with artifacts.alone(path) as known:
      if known is not None:
        return path, known, 0.0
      path.parent.mkdir(parents=True, exist_ok=True)
      spec = dataclasses.replace(self.site.spec, budget=budget, num_devices=self._devices)
      batch = self.site.dataset.evaluation_batch
      with self._tracing, self.share.held():
        traced = self.tracer.trace(program, spec, batch, path, aside)
        for _ in range(ATTEMPTS - 1):
          if traced.killed and not self.closing:
            traced = self.tracer.trace(program, spec, batch, path, aside)
      if traced.status != Status.OK:
        require_room(self.site.scratch)
      artifacts.keep(path, traced)
    return path, traced, traced.seconds

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
      self._warm.clear()
      with self.share.held():
        self.runner.start()
    if self.closing:  # `end` may have come before there was anything to end
      raise RunnerFailed(Status.CANCELLED, 'The trial was cancelled.')
    if not self._device:
      self._device = self.runner.ready()
      self._devices = self._device['num_devices']

  def _remember(self, program: Program) -> None:
    """The program was used last of those that are compiled."""
    with contextlib.suppress(ValueError):
      self._warm.remove(program.digest)
    self._warm.append(program.digest)

  def _say(self, request: TrialRequest, phase: Any, seed: int = 0) -> None:
    self.site.news.put(Progress(request.trial, phase, seed))


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
    for fact, found in (('curves', done['curve']), ('looks', done['looks'])):
      self.result.facts.setdefault(fact, {})[str(measurement.seed)] = found
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


def _limits(limits: Limits, share: Share) -> Limits:
  """What a runner may use: of a memory that slots share, its part."""
  return dataclasses.replace(limits, device_bytes=limits.device_bytes or share.memory_bytes)
