"""A slot runs one trial at a time, with a tracer and a warm runner on its share of the machine.

A trial is traced to an artifact, which the runner compiles, trains and evaluates. Whatever the
program does ends in a Result. A runner that dies or is late is restarted, and the next trial is not
affected. Slots wait for each other only when they trace the same program. No jax here.

While a trial trains, the programs of later trials are prefetched in the same runner; see
`prefetches`.
"""

import contextlib
import dataclasses
import errno
import itertools
import pathlib
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

from autoresearch_jax.config import Limits
from autoresearch_jax.executors import Unavailable, tpu_environment
from autoresearch_jax.executors.artifacts import ArtifactStore
from autoresearch_jax.executors.prefetches import Prefetches
from autoresearch_jax.executors.running_trial import (
  CHECKPOINTS,
  REFERENCE,
  RunningTrial,
  broken_constraint,
  duplicate,
  run_name,
  state_name,
)
from autoresearch_jax.executors.sharing import ResourceShare
from autoresearch_jax.executors.tracing import SlotTracer
from autoresearch_jax.messages import ExplainedError, require_disk_space
from autoresearch_jax.runner.client import RunnerClient, RunnerError, RunnerSetup
from autoresearch_jax.tracer.client import TracerClient, TraceResult
from autoresearch_jax.types import (
  STATES,
  Budget,
  CheckpointPlan,
  Dataset,
  Hardware,
  KernelSpec,
  Program,
  Progress,
  ReferenceStep,
  Result,
  SeedResult,
  Spec,
  Status,
  TrialRequest,
  from_builtins,
)

MAX_ATTEMPTS = 3  # to start a runner, or to run a trial whose runner is killed
RETRY_SECONDS = 2.0  # between attempts to start a runner
BUSY_SECONDS = 60.0  # for which busy devices are waited for


@dataclasses.dataclass(frozen=True)
class SlotContext:
  """What the slots of an executor have in common.

  Attributes:
    spec: The problem, at full budget.
    dataset: Data of the problem.
    hidden: Paths that a tracer must never read.
    limits: Limits of a trial.
    scratch: Folder for traces, artifacts and logs.
    cache: Folder for compiled programs.
    artifacts: Artifacts of all traced programs.
    report: Receives progress and finished training runs, from the slots' threads.
    checkpoint_seconds: Seconds between two checkpoints of a training run; 0 for none.
  """

  spec: Spec
  dataset: Dataset
  hidden: tuple[pathlib.Path, ...]
  limits: Limits
  scratch: pathlib.Path
  cache: pathlib.Path
  artifacts: ArtifactStore
  report: Callable[[Progress | SeedResult], object]
  checkpoint_seconds: float = 0.0


class Slot:
  """Runs one trial at a time in its own thread.

  `cancel`, `stop`, `check` and `prefetch` may be called from other threads.

  Args:
    context: What it has in common with other slots.
    share: Its share of the machine.
    index: Its index.
    facts: Facts about the slot for the record of its trials.

  Attributes:
    request: The trial that it runs, or None. Its `done` has the seeds that are done by now.
    cancelled: Whether that trial was cancelled.
    began: Monotonic time when it got the trial.
  """

  def __init__(
    self,
    context: SlotContext,
    share: ResourceShare,
    index: int = 0,
    facts: dict[str, Any] | None = None,
  ):
    self.context, self.share = context, share
    self.request: TrialRequest | None = None
    self.closing = False
    self.cancelled = False
    self.began = 0.0
    self._facts = facts or {}
    suffix = f'-{index}' if index else ''
    self.tracer = TracerClient(context.limits, context.hidden, context.scratch / f'traces{suffix}')
    self.runner = RunnerClient(
      RunnerSetup(
        context.spec.platform,
        context.dataset,
        _limits(context.limits, share),
        str(context.cache),
      ),
      context.scratch / f'runner{suffix}.log',
      share.environment,
    )
    self._device: dict[str, Any] = {}  # description of the runner's devices
    self._hardware: Hardware | None = None
    self._started = threading.Event()  # or failed to
    self._traces = SlotTracer(self.tracer, share, context.artifacts, context.spec, context.dataset)
    self._prefetches = Prefetches(self.runner, context.artifacts, context.limits.compile_seconds)
    self._trial_is_tracing = False  # or waits for the tracer; `cancel` must end that

  def start(self) -> None:
    """Starts both processes and waits for the runner. Raises Unavailable."""
    with self.share.pinned():
      with contextlib.suppress(RunnerError):  # `_ensure_runner` reports it
        self.runner.start()
      self.tracer.start()
    with contextlib.suppress(RunnerError):  # it was closed meanwhile
      self._ensure_runner()

  def assign(self, request: TrialRequest) -> None:
    """Makes this the slot's trial, which `run_trial` runs and `cancel` cancels."""
    self._prefetches.begin_trial()
    self.request, self.cancelled, self.began = request, False, time.monotonic()

  def run_trial(self) -> Result:
    """Runs the slot's trial. Never raises for what a program did.

    Raises:
      Unavailable: no runner can be started.
      OSError: the operating system fails, for example with a full disk.
    """
    assert self.request is not None
    try:
      return self._run_trial(self.request)
    except RunnerError as error:
      return Result(self.request.trial, error.status, str(error))

  def cancel(self) -> None:
    """Cancels the slot's trial. A trace for another trial continues."""
    self.cancelled = True
    self._kill()

  def stop(self) -> None:
    """Stops all work, from another thread; `close` is then called in the slot's own thread."""
    self.closing = self._traces.closing = True
    self._kill()

  def hardware(self) -> Hardware | None:
    """Waits for the first runner, and returns what it runs on; None if it could not start."""
    self._started.wait()
    return self._hardware

  def close(self) -> None:
    """Ends both processes."""
    self._started.set()
    self.tracer.close()
    self.runner.close()

  @property
  def tracing(self) -> bool:
    return self._traces.busy

  @property
  def prefetches(self) -> int:
    """Number of programs that it has prefetched since it got its trial."""
    return self._prefetches.count

  def has_compiled(self, program: Program) -> bool:
    """Whether the program is probably in the compile cache of its runner."""
    return self._prefetches.has_compiled(program)

  def _kill(self) -> None:
    if self._trial_is_tracing or self.closing:
      self.tracer.kill()
    self.runner.kill()

  def _run_trial(self, request: TrialRequest) -> Result:
    began = time.monotonic()
    self._report(request, 'trace')
    self._ensure_runner()
    path, traced, trace_seconds = self._trace_for_trial(request)
    if self.cancelled:
      return Result(request.trial, Status.CANCELLED, 'The trial was cancelled.')
    result = Result(request.trial, traced.status, traced.reason, isolation=traced.isolation)
    if traced.status != Status.OK:
      return result
    trial = RunningTrial(request, path, result, began, trace_seconds)
    for attempt in range(MAX_ATTEMPTS):
      try:
        self._measure(trial)
        break
      except RunnerError as error:
        if error.ends_run:
          raise ExplainedError(errno.EIO, str(error)) from None
        trial.record_error(error)
        retryable = error.retryable or self._prefetches.may_have_caused(error, path)
        ended = self.closing or self.cancelled
        if not retryable or ended or attempt == MAX_ATTEMPTS - 1:
          break
        self._prefetches.stop()
        self._ensure_runner()
    if not self.closing:
      self._forget_checkpoints(request)
    if trial.result.status == Status.CRASH:
      require_disk_space(self.context.scratch)
      require_disk_space(self.context.cache)
    return trial.finished()

  def _measure(self, trial: RunningTrial) -> None:
    """Runs the seeds that have no measurement yet. Raises RunnerError."""
    request, timeout = trial.request, self.context.limits.compile_seconds
    if self.context.spec.kernel is not None:
      self._send_reference(trial, self.context.spec.kernel)
    loaded = self.runner.request('load', timeout, artifact=str(trial.artifact))
    self._prefetches.check_timeout(trial.artifact)
    trial.record_load(loaded['fingerprint'], {**loaded['facts'], **self._device, **self._facts})
    if trial.result.fingerprint in request.known:
      trial.result = duplicate(trial.result, request)
      return
    self._report(request, 'compile')
    compiled = self.runner.request('compile', timeout)
    trial.result.facts.update(compiled)
    if broken := broken_constraint(request.constraints, trial.result.facts):
      raise RunnerError(Status.INFEASIBLE, broken)
    self._prefetches.remember_compiled(request.program)
    if request.reference is not None and request.budget.is_calibrated():
      self._calibrate(trial, request.reference)
    compile_seconds = compiled['seconds']
    for seed in trial.missing_seeds:
      reference_seconds = trial.result.facts.get(REFERENCE, 0.0)
      self.context.report(
        Progress(request.trial, 'train', seed, reference_seconds=reference_seconds)
      )
      finished = trial.record_run(self._run(request, seed), compile_seconds)
      request = trial.with_saved(request, finished)
      self.request = dataclasses.replace(request, done=tuple(trial.done.values()))
      self.context.report(finished)
      compile_seconds = 0.0

  def _send_reference(self, trial: RunningTrial, kernel: KernelSpec) -> None:
    """Gives the runner the function that kernels are compared with. Raises RunnerError."""
    file = pathlib.Path(self.context.dataset.reference)
    program = Program(((file.name, file.read_text(encoding='utf-8')),), file.name)
    spec = dataclasses.replace(
      self.context.spec, kernel=dataclasses.replace(kernel, is_reference=True)
    )
    path = self.context.artifacts.folder / 'reference.artifact'
    traced, _ = self._traces.trace_to(path, program, spec)
    if traced.status != Status.OK:
      raise RunnerError(Status.CRASH, f'The reference cannot be traced: {traced.reason}')
    sent = self.runner.request('reference', self.context.limits.compile_seconds, artifact=str(path))
    trial.result.facts['reference_float64'] = sent['float64']

  def _calibrate(self, trial: RunningTrial, reference: ReferenceStep) -> None:
    """Gives the runner its reference. Raises RunnerError."""
    path, traced, reference = trial.artifact, None, trial.reference(reference)
    if reference.program != trial.request.program:
      path, traced, _ = self._trace_for_trial(
        dataclasses.replace(
          trial.request, program=reference.program, budget=self.context.spec.budget
        )
      )
    if traced is not None and traced.status != Status.OK:
      raise RunnerError(
        Status.CRASH, f'The reference program cannot be traced: {traced.reason}', retryable=True
      )
    calibrated = self.runner.request(
      'calibrate',
      self.context.limits.compile_seconds,
      artifact=str(path),
      step_seconds=reference.step_seconds,
    )
    trial.result.facts[REFERENCE] = calibrated['step_seconds']

  def _run(self, request: TrialRequest, seed: int) -> dict[str, Any]:
    def on_progress(progress: dict[str, Any]) -> None:
      self.context.report(Progress(request.trial, seed=seed, **progress))

    limits, save = self.context.limits, request.save
    return self.runner.request(
      'run',
      limits.step_seconds,
      on_progress,
      limits.run_timeout(request.budget),
      seed=seed,
      budget=_budget(request),
      on_test=request.on_test,
      rungs=request.rungs,
      checkpoint=self._checkpoint(request, seed),
      save=save,
      state=str(self.context.scratch / STATES / state_name(request.program, seed)),
    )

  def _checkpoint(self, request: TrialRequest, seed: int) -> CheckpointPlan | None:
    context = self.context
    if not context.checkpoint_seconds:
      return None
    name = run_name(request, seed, context.dataset, self._hardware)
    return CheckpointPlan(str(context.scratch / CHECKPOINTS / name), context.checkpoint_seconds)

  def _forget_checkpoints(self, request: TrialRequest) -> None:
    """Deletes the checkpoints of a trial that is over."""
    for seed in request.seeds:
      if (plan := self._checkpoint(request, seed)) is not None:
        shutil.rmtree(plan.folder, ignore_errors=True)

  def check(self, program: Program, budget: Budget) -> TraceResult | None:
    """Traces a program for a later trial; None before the number of devices is known."""
    if not self._traces.num_devices:
      return None
    return self._traces.trace(program, budget, background=True)[1]

  def prefetch(self, program: Program, budget: Budget, compile: bool) -> None:
    """Makes the runner load, and if `compile` compile, a traced program for a later trial."""
    self._prefetches.add(program, budget, compile)

  def _trace_for_trial(self, request: TrialRequest) -> tuple[pathlib.Path, TraceResult, float]:
    self._trial_is_tracing = True
    try:
      return self._traces.trace(request.program, request.budget)
    finally:
      self._trial_is_tracing = False

  def _ensure_runner(self) -> None:
    """Waits for a runner with its devices; restarts one that has died. Raises Unavailable.

    Busy devices are waited for: chips of a killed process stay busy for a while.
    """
    began = time.monotonic()
    for attempt in itertools.count(1):
      try:
        return self._start_runner()
      except RunnerError as error:
        if error.status == Status.CANCELLED or self.closing:
          raise
        self.runner.close()
        self._device = {}
        busy = tpu_environment.says_busy(str(error))
        if busy:
          tpu_environment.remove_stale_lock()
        patient = attempt < MAX_ATTEMPTS or (busy and time.monotonic() - began < BUSY_SECONDS)
        if error.status == Status.TIMEOUT or not patient:
          raise Unavailable(
            f'No trial can be run here: {error} Fix this and start the same command again.'
          ) from error
        time.sleep(RETRY_SECONDS)

  def _start_runner(self) -> None:
    if not self.runner.alive:
      self.runner.close()
      self._device = {}
      self._prefetches.forget_compiled()
      with self.share.pinned():
        self.runner.start()
    if self.closing:  # `stop` may have been called before there was a process to kill
      raise RunnerError(Status.CANCELLED, 'The trial was cancelled.')
    if not self._device:
      self._device = self.runner.wait_until_ready()
      self._traces.num_devices = self._device['num_devices']
      self._hardware = from_builtins(self._device.pop('hardware'), Hardware)
      self._started.set()

  def _report(self, request: TrialRequest, phase: Any, seed: int = 0) -> None:
    self.context.report(Progress(request.trial, phase, seed))


def _limits(limits: Limits, share: ResourceShare) -> Limits:
  """The limits of a slot's runner: where slots share memory, its part."""
  return dataclasses.replace(limits, device_bytes=limits.device_bytes or share.memory_bytes)


def _budget(request: TrialRequest) -> Budget:
  """The budget of a training run. One that is repeated takes as many steps as it did."""
  if request.save is None or not request.save.steps or request.budget.target_loss is not None:
    return request.budget
  return Budget(request.save.steps, 'steps')
