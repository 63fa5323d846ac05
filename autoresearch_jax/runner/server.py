"""The runner process. It owns the accelerator, the data, the clock and the metrics.

Started by `client` as `python -m autoresearch_jax.runner.server`, it stays warm across trials. No
candidate Python ever runs here: it loads artifacts, compiles them, trains and evaluates. It exits
when its stdin closes, so it never outlives the controller, and on SIGTERM.

Protocol, JSON lines. Requests and their results:

    {"method": "start", "setup": RunnerSetup}    devices, peak FLOP/s, memory
    {"method": "load", "artifact": path}         fingerprint and facts of the artifact
    {"method": "compile"}                        seconds, FLOPs, bytes
    {"method": "calibrate", "artifact": path, "step_seconds": 0.1}
                                                 seconds of a step of the reference
    {"method": "run", "seed": 0, "budget": Budget, "on_test": false, "rungs": [PruningRung],
     "checkpoint": CheckpointPlan or null, "save": SavePlan or null, "state": path}
                                                 progress messages, then a measurement
    {"method": "score", "state": path, "on_test": false}
                                                 metrics of saved parameters
    {"method": "reference", "artifact": path}    whether it has float64; kernels only
    {"method": "try_metrics"}                    nothing; an error if the user's cannot be used
    {"method": "prefetch", "number": 1, "artifact": path, "compile": true}
                                                 no result

Each reply is a line {"progress": ...}, {"result": ...} or {"error": status, "reason": ...}. A
prefetch (see `program_cache`) runs in a background thread. When it is over, a line
{"prefetched": number} is written between the others; its outcome is not reported.
"""

import functools
import gc
import math
import os
import pathlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import grain  # noqa: F401 - the loader imports it on first use, which would count for a trial
import jax
import msgspec
import numpy as np

from autoresearch_jax.config import Limits
from autoresearch_jax.data import loader
from autoresearch_jax.runner import devices, executable_cache
from autoresearch_jax.runner.checkpoint import Checkpointer
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.clock import Clock, Heartbeat
from autoresearch_jax.runner.compile import CompiledProgram
from autoresearch_jax.runner.evaluate import EvaluationError, evaluate, first_batch_loss
from autoresearch_jax.runner.kernels.runner import KernelRunner
from autoresearch_jax.runner.own_metrics import OwnMetricError, OwnMetrics
from autoresearch_jax.runner.process import RequestReader, end_on_sigterm
from autoresearch_jax.runner.program_cache import ProgramCache
from autoresearch_jax.runner.pruning import RungMonitor, TrialPruned
from autoresearch_jax.runner.reference import (
  CalibratedClock,
  Reference,
  accelerator_reference,
  program_reference,
)
from autoresearch_jax.runner.saved_state import StateSaver, evaluate_saved
from autoresearch_jax.runner.train import Diverged, TooSlow, TrainResult, train
from autoresearch_jax.types import (
  Budget,
  CheckpointPlan,
  Cost,
  Dataset,
  Measurement,
  PruningRung,
  SavePlan,
  Status,
)

MAX_CURVE_POINTS = 64
PHASE_SEED_STRIDE = 1_000_003  # between the data seeds of a trial's phases
STEADY_TOLERANCE = 0.02  # of an accelerator's speed: changes below are noise of its measurement
MAX_STALL_FRACTION = 0.01  # of a budget in seconds, for which the process may have stalled
# By how much training may exceed a budget in seconds: this fraction of it, or so many seconds, plus
# the time of a step. The last calls are in flight by then, and a busy machine delays them.
OVERRUN_FRACTION, OVERRUN_SECONDS = 0.02, 0.5


class Runner:
  """Trains and evaluates programs on its devices; one method for each request.

  One thread calls it; any thread may call `programs.prefetch`.

  Attributes:
    dataset: Data of the problem.
    limits: Limits of a trial.
    devices: The local devices.
    peak_flops: Peak FLOP/s of one device; 0 if it is not known.
    peak_source: Where that figure is from.
    programs: The compiled programs.
  """

  def __init__(self, setup: RunnerSetup):
    self.dataset: Dataset = setup.dataset
    self.limits: Limits = setup.limits
    cache = pathlib.Path(setup.cache)
    # Without these two, programs that compile in less than a second are not cached.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
    executable_cache.install(cache / 'xla')
    self.devices = devices.require_platform(setup.platform)
    self.peak_flops, self.peak_source = devices.peak_flops(self.devices[0], cache)
    self.programs = ProgramCache(self.devices, self.limits)
    self.own_metrics = OwnMetrics(self.dataset, self.limits) if self.dataset.own_metrics else None
    self._compiled: CompiledProgram | None = None  # the present trial's
    self._saver = StateSaver()
    self._heartbeat = Heartbeat()
    self._reference: Reference | None = None
    self._reference_from = ('', 0.0)  # artifact and duration of a step

  def describe(self) -> dict[str, Any]:
    """The devices, for the record of each trial."""
    return {
      'platform': self.devices[0].platform,
      'device': self.devices[0].device_kind,
      'num_devices': len(self.devices),
      'peak_flops': self.peak_flops,
      'peak_source': self.peak_source,
      'memory_bytes': self.programs.memory_limit(),
      'hardware': devices.hardware(self.devices),
    }

  def load(self, path: str) -> dict[str, Any]:
    """Loads an artifact and returns its fingerprint and facts. Raises RunnerError."""
    self._compiled = None
    return self.programs.load(path)

  def compile(self) -> dict[str, Any]:
    """Compiles the loaded artifact and returns facts about that. Raises RunnerError."""
    start = time.monotonic()
    compiled = self._compiled = self.programs.compile()
    if self.own_metrics is not None:
      self.own_metrics.compile()
    shares = [phase.share for phase in compiled.phases if phase.share]
    notes = [share.note for share in shares if share.note]
    return {
      'seconds': time.monotonic() - start,
      **({'replicated_fraction': max(each.replicated for each in shares)} if shares else {}),
      **({'devices_note': notes[0]} if notes else {}),
      'flops_per_step': compiled.flops_per_step,
      'analysis_bytes': compiled.analysis_bytes,
      'steps_per_call': [phase.steps_per_call for phase in compiled.phases],
      'dispatch': [phase.dispatch for phase in compiled.phases],
    }

  def calibrate(self, path: str, step_seconds: float) -> dict[str, Any]:
    """Makes a program's train step the reference of calibrated clocks; see `reference`.

    Args:
      path: The artifact of the run's baseline.
      step_seconds: Duration of a step of the reference when the run began; 0 to measure it now.

    Raises:
      RunnerError: the artifact is rejected, or does not fit on the devices.
    """
    made_from = (path, step_seconds)
    if self._reference is None or self._reference_from != made_from:
      self._reference = None  # frees its memory
      if self.devices[0].platform == 'cpu':
        compiled = self.programs.compile_other(path)
        phase = compiled.phases[0]
        batches = loader.batches(self.dataset, phase.batch_size, phase.sequence_length, 0)
        self._reference = program_reference(compiled, next(batches), step_seconds)
      else:
        self._reference = accelerator_reference(self.devices, step_seconds)
      self._reference_from = path, self._reference.step_seconds
    return {'step_seconds': self._reference.step_seconds}

  def run(
    self,
    seed: int,
    budget: Budget,
    on_progress: Callable[..., None],
    on_test: bool = False,
    rungs: Sequence[PruningRung] = (),
    checkpoint: CheckpointPlan | None = None,
    save: SavePlan | None = None,
    state: str = '',
  ) -> dict[str, Any]:
    """Trains and evaluates the compiled program.

    Args:
      seed: Seed of the initial state and of the order of the data.
      budget: Training budget.
      on_progress: Called with the fraction of the budget, the step, the loss and, while it
        evaluates, 'evaluate'.
      on_test: Evaluate on the test split instead of the validation split.
      rungs: Pruning rungs.
      checkpoint: Where the run is saved if it is long, and continues if it was.
      save: Which runs leave their parameters, in the folder `state`.
      state: That folder.

    Returns:
      `measurement`, the loss `curve`, the evaluations at `rungs`, and whether parameters are
      `saved`, in the background.

    Raises:
      RunnerError: the run failed, or was pruned.
    """
    assert self._compiled is not None
    compiled = self._compiled
    if self.devices[0].platform == 'cpu':
      self._saver.wait()  # or it would take cores from the training
    checkpointer = Checkpointer(checkpoint) if checkpoint is not None else None
    resumed = checkpointer.resumed if checkpointer else None
    trained_on = resumed.batches if resumed else []
    # Each phase has its own data order; otherwise the second would repeat the rows of the first.
    batches = [
      loader.batches(
        self.dataset,
        phase.batch_size,
        phase.sequence_length,
        seed + PHASE_SEED_STRIDE * index,
        skip=phase.batch_size * (trained_on[index] if index < len(trained_on) else 0),
      )
      for index, phase in enumerate(compiled.phases)
    ]
    peak_before = devices.allocator_peak(self.devices[0])
    monitor = RungMonitor(lambda leaves: self._first_batch_loss(compiled, leaves))
    if checkpointer is not None:
      monitor.restore(checkpointer.evaluations)
    began = time.monotonic()
    try:
      trained = train(
        compiled, seed, budget, batches, self.limits.max_loss, on_progress, rungs,
        monitor.evaluate, self._make_clock(budget), checkpointer,
      )  # fmt: skip
    except TrialPruned as error:
      facts = {'looks': {str(seed): monitor.evaluations}, 'pruned': monitor.pruned}
      raise RunnerError(Status.PRUNED, str(error), facts) from None
    except Diverged as error:
      raise RunnerError(Status.DIVERGED, str(error)) from None
    except TooSlow as error:
      self._check_stalls(began, compiled, 0.0)
      raise RunnerError(Status.TIMEOUT, str(error)) from None
    finally:
      if checkpointer is not None:
        checkpointer.close()
    if budget.unit == 'seconds':
      self._check_stalls(began, compiled, MAX_STALL_FRACTION * budget.amount)
      self._check_overrun(trained, budget, compiled)
    if trained.compilations:
      raise RunnerError(
        Status.CRASH, f'XLA compiled {trained.compilations} times while the trial was timed.'
      )
    start = time.monotonic()
    try:
      metrics = evaluate(
        compiled,
        trained.leaves,
        self.dataset,
        np.random.default_rng(),  # unpredictable for the program; does not affect the metrics
        heartbeat=lambda: on_progress(1.0, trained.steps, trained.curve[-1][1], 'evaluate'),
        training_seconds=trained.wall_seconds,
        training_tokens=trained.tokens,
        on_test=on_test,
        predict_seconds=self.limits.predict_seconds,
        own=self.own_metrics,
      )
    except EvaluationError as error:
      raise RunnerError(Status.INVALID, str(error)) from None
    if not all(math.isfinite(value) for value in metrics.values()):
      raise RunnerError(
        Status.DIVERGED,
        f'The validation metrics are not finite after training: {metrics}; lower a learning rate, '
        'or bound what `predict` returns.',
      )
    cost = self._cost(compiled, trained, time.monotonic() - start, peak_before)
    train_metrics = {f'train_{k}': v for k, v in trained.metrics.items() if math.isfinite(v)}
    curve = trained.curve[:: max(1, len(trained.curve) // MAX_CURVE_POINTS)]
    measurement = Measurement(seed, {**metrics, **train_metrics}, cost)
    saved = save is not None and save.wants(measurement.metrics)
    if saved:
      self._saver.save(compiled.artifact, trained.leaves, pathlib.Path(state))
    return {
      'measurement': measurement, 'curve': curve, 'rungs': monitor.evaluations, 'saved': saved
    }  # fmt: skip

  def score(self, state: str, on_test: bool, on_progress: Callable[..., None]) -> dict[str, float]:
    """Evaluates saved parameters of the compiled program, with the checks of a trial.

    Args:
      state: Folder of the parameters.
      on_test: Evaluate on the test split instead of the validation split.
      on_progress: Called after each batch, as by `run`.

    Raises:
      RunnerError: They cannot be read, or `predict` leaks.
    """
    assert self._compiled is not None
    try:
      return evaluate_saved(
        self._compiled, pathlib.Path(state), self.dataset, on_test,
        heartbeat=lambda: on_progress(1.0, 0, 0.0, 'evaluate'), own=self.own_metrics,
      )  # fmt: skip
    except (EvaluationError, ValueError, OSError) as error:
      raise RunnerError(Status.INVALID, str(error)) from None

  def try_metrics(self) -> None:
    """Tries the metrics of the user's own on made-up outputs. Raises RunnerError."""
    try:
      if self.own_metrics is not None:
        self.own_metrics.dry_run()
    except OwnMetricError as error:
      raise RunnerError(Status.INVALID, str(error)) from None

  def _make_clock(self, budget: Budget) -> Callable[[], Clock]:
    """Makes the clock of the next training: calibrated where the budget asks for that."""
    reference = self._reference
    if not budget.is_calibrated() or reference is None:
      return Clock
    steady = budget.clock == 'auto' and self.devices[0].platform != 'cpu'
    tolerance = STEADY_TOLERANCE if steady else 0.0
    return lambda: CalibratedClock(reference, budget.amount, tolerance)

  def _first_batch_loss(self, compiled: CompiledProgram, leaves: Any) -> float:
    return first_batch_loss(compiled, leaves, self.dataset)

  def _check_stalls(self, began: float, compiled: CompiledProgram, max_seconds: float) -> None:
    """Raises RunnerError if the process has stalled for longer since training began."""
    stalled = self._heartbeat.stalled_seconds(began)
    if stalled > max_seconds:
      compiled.step_seconds.clear()  # or the retry would find that no step fits into the budget
      raise RunnerError(
        Status.CRASH,
        f'The runner stalled for {stalled:.1f} s during training (a stopped process or a paused '
        'machine), so its timing is not valid.',
        retryable=True,
      )

  def _check_overrun(self, trained: TrainResult, budget: Budget, compiled: CompiledProgram) -> None:
    """Raises RunnerError if training overran its budget.

    Otherwise a program whose last steps are long could train for as long as it likes.
    """
    limit = budget.amount + max(OVERRUN_FRACTION * budget.amount, OVERRUN_SECONDS)
    if trained.seconds > limit + trained.seconds / trained.steps:
      compiled.step_seconds.clear()  # as above
      raise RunnerError(
        Status.TIMEOUT,
        f'Training took {trained.seconds:.1f} s, but its budget is {budget.amount:g} s: the last '
        'steps took far longer than the earlier ones. Make all steps take equally long.',
        retryable=True,
      )

  def _cost(
    self,
    compiled: CompiledProgram,
    trained: TrainResult,
    evaluate_seconds: float,
    peak_before: int,
  ) -> Cost:
    seconds = trained.wall_seconds
    flops_per_second = trained.flops / seconds if seconds else 0.0
    # The allocator's peak is never reset, so it tells something only if this trial raised it.
    peak = devices.allocator_peak(self.devices[0])
    allocator_bytes = peak if peak > peak_before else 0
    return Cost(
      training_seconds=seconds,
      speed=trained.seconds / seconds if seconds else 1.0,
      calibration_seconds=trained.calibration_seconds,
      evaluate_seconds=evaluate_seconds,
      steps=trained.steps,
      tokens=trained.tokens,
      flops=trained.flops,
      mfu_percent=self._mfu_percent(flops_per_second),
      peak_bytes=max(compiled.analysis_bytes, allocator_bytes),
      analysis_bytes=compiled.analysis_bytes,
      allocator_bytes=allocator_bytes,
      parameters=compiled.artifact.parameters,
      compilations_in_clock=trained.compilations,
    )

  def _mfu_percent(self, flops_per_second: float) -> float:
    """The share of the peak; 0 where the peak is not known."""
    if not self.peak_flops:
      return 0.0
    return 100 * flops_per_second / (self.peak_flops * len(self.devices))


def handle(
  runner: Runner | KernelRunner, request: dict[str, Any], write: Callable[..., None]
) -> dict[str, Any]:
  """Handles one request and returns the reply; failures become {"error": ...}."""

  def on_progress(fraction: float, step: int, loss: float | None, phase: str = 'train') -> None:
    write({'progress': {'phase': phase, 'fraction': fraction, 'step': step, 'loss': loss}})

  try:
    match request['method']:
      case 'load':
        result = runner.load(request['artifact'])
      case 'compile':
        result = runner.compile()
      case 'calibrate':
        result = runner.calibrate(request['artifact'], request['step_seconds'])
      case 'run':
        budget = msgspec.convert(request['budget'], Budget)
        rungs = msgspec.convert(request.get('rungs', ()), tuple[PruningRung, ...])
        on_test = request.get('on_test', False)
        checkpoint = msgspec.convert(request.get('checkpoint'), CheckpointPlan | None)
        plan, folder = msgspec.convert(request.get('save'), SavePlan | None), request.get('state')
        result = runner.run(
          request['seed'], budget, on_progress, on_test, rungs, checkpoint, plan, folder or ''
        )
      case 'score':
        result = runner.score(request['state'], request['on_test'], on_progress)
      case 'reference' if isinstance(runner, KernelRunner):
        result = runner.reference(request['artifact'])
      case 'try_metrics' if isinstance(runner, Runner):
        result = runner.try_metrics()
      case other:
        raise ValueError(f'The runner has no method {other!r}.')
    return {'result': result}
  except RunnerError as error:
    return {
      'error': error.status,
      'reason': str(error),
      'facts': error.facts,
      'retryable': error.retryable,
    }
  except OwnMetricError as error:  # no program is the cause
    return {'error': Status.CRASH, 'reason': str(error), 'ends_run': True}
  except Exception as error:
    traceback.print_exc()
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if 'RESOURCE_EXHAUSTED' in str(error):
      return {'error': Status.OOM, 'reason': f'The device ran out of memory: {first}'}
    reason = f'The runner failed during {request["method"]}: {type(error).__name__}: {first}'
    return {'error': Status.CRASH, 'reason': reason}


def serve(reader: RequestReader, replies: TextIO) -> None:
  """Serves requests for ever; returns only if the runner cannot be set up."""
  write_lock = threading.Lock()

  def write(message: dict[str, Any]) -> None:
    with write_lock:
      replies.write(msgspec.json.encode(message).decode() + '\n')
      replies.flush()

  def serve_prefetches(runner: Runner | KernelRunner) -> None:
    while message := reader.prefetches.get():
      on_done = functools.partial(write, {'prefetched': message['number']})
      runner.programs.prefetch(message['artifact'], message['compile'], on_done)

  try:
    setup = msgspec.convert(reader.requests.get()['setup'], RunnerSetup)
    runner = (KernelRunner if setup.dataset.kind == 'kernel' else Runner)(setup)
  except Exception as error:
    write({'error': Status.CRASH, 'reason': str(error)})
    return
  # Imported modules live for ever; excluding them from collection makes loading a third faster.
  gc.collect()
  gc.freeze()
  write({'result': runner.describe()})
  threading.Thread(target=serve_prefetches, args=(runner,), name='prefetches', daemon=True).start()
  while True:
    write(handle(runner, reader.requests.get(), write))


def main() -> None:
  """Serves requests on stdin with replies on stdout."""
  # Libraries print to stdout, so that goes to stderr; replies use a copy of the descriptor.
  replies = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  end_on_sigterm()
  serve(RequestReader(sys.stdin), replies)


if __name__ == '__main__':
  main()
