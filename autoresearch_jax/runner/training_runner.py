"""The runner of programs that train: it has the data, the clock and the metrics."""

import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import grain  # noqa: F401 - the loader imports it on first use, which would count for a trial
import jax
import numpy as np

from autoresearch_jax.data import loader
from autoresearch_jax.runner import devices, executable_cache
from autoresearch_jax.runner import target as targets
from autoresearch_jax.runner.base import Runner
from autoresearch_jax.runner.checkpoint import Checkpointer
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.clock import Clock, Heartbeat
from autoresearch_jax.runner.compile import CompiledProgram
from autoresearch_jax.runner.evaluate import (
  EvaluationError,
  evaluate,
  first_batch_loss,
  validation_loss,
)
from autoresearch_jax.runner.own_metrics import OwnMetricError, OwnMetrics
from autoresearch_jax.runner.program_cache import ProgramCache
from autoresearch_jax.runner.pruning import RungMonitor, TrialPruned
from autoresearch_jax.runner.reference import (
  CalibratedClock,
  Reference,
  accelerator_reference,
  program_reference,
)
from autoresearch_jax.runner.row_losses import RowRecorder
from autoresearch_jax.runner.saved_state import StateSaver, evaluate_saved
from autoresearch_jax.runner.train import Diverged, TooSlow, TrainResult, train
from autoresearch_jax.types import (
  COSTS_TO_TARGET,
  TARGET_METRIC,
  Budget,
  CheckpointPlan,
  Cost,
  Dataset,
  Measurement,
  PruningRung,
  SavePlan,
  Status,
  test_metric,
)

MAX_CURVE_POINTS = 64
PHASE_SEED_STRIDE = 1_000_003  # between the data seeds of a trial's phases
STEADY_TOLERANCE = 0.02  # of an accelerator's speed: changes below are noise of its measurement
MAX_STALL_FRACTION = 0.01  # of a budget in seconds, for which the process may have stalled
# By how much training may exceed a budget in seconds: this fraction of it, or so many seconds, plus
# the time of a step. The last calls are in flight by then, and a busy machine delays them.
OVERRUN_FRACTION, OVERRUN_SECONDS = 0.02, 0.5


class TrainingRunner(Runner):
  """Trains and evaluates programs.

  Attributes:
    dataset: Data of the problem.
    peak_flops: Peak FLOP/s of one device; 0 if it is not known.
    peak_source: Where that figure is from.
    programs: The compiled programs.
  """

  def __init__(self, setup: RunnerSetup):
    self.dataset: Dataset = setup.dataset
    cache = pathlib.Path(setup.cache)
    # Without these two, programs that compile in less than a second are not cached.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
    executable_cache.install(cache / 'xla')
    super().__init__(setup)
    self.peak_flops, self.peak_source = devices.peak_flops(self.devices[0], cache)
    self.programs = ProgramCache(self.devices, self.limits)
    self.own_metrics = OwnMetrics(self.dataset, self.limits) if self.dataset.own_metrics else None
    self._compiled: CompiledProgram | None = None  # the present trial's
    self._saver = StateSaver()
    self._heartbeat = Heartbeat()
    self._reference: Reference | None = None
    self._reference_from = ('', 0.0)  # artifact and duration of a step

  def describe(self) -> dict[str, Any]:
    peak = {'peak_flops': self.peak_flops, 'peak_source': self.peak_source}
    return {**super().describe(), **peak}

  def load(self, path: str, any_devices: bool = False) -> dict[str, Any]:
    self._compiled = None
    return self.programs.load(path, any_devices)

  def compile(self) -> dict[str, Any]:
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
    rows: str = '',
  ) -> dict[str, Any]:
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
    monitor = self._monitor(compiled, rows)
    if checkpointer is not None:
      monitor.restore(checkpointer.evaluations)
    on_call = targets.ProgressReport(on_progress)
    target = self._target(compiled, budget, on_call.repeat)
    began = time.monotonic()
    try:
      trained = train(
        compiled, seed, budget, batches, self.limits.max_loss, on_call,
        targets.checks() if target else rungs,
        (lambda rung, loss, leaves, seconds: target.check(leaves)) if target else monitor.evaluate,
        self._make_clock(budget), checkpointer,
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
    if target:
      _require_reached(target, trained, budget)
    metrics = self._metrics(compiled, trained, on_test, on_progress)
    cost = self._cost(compiled, trained, time.monotonic() - start, peak_before)
    monitor.finish(trained.leaves, trained.seconds)
    train_metrics = {f'train_{k}': v for k, v in trained.metrics.items() if math.isfinite(v)}
    curve = trained.curve[:: max(1, len(trained.curve) // MAX_CURVE_POINTS)]
    if target:
      metrics |= _costs_to_target(trained, on_test)
    measurement = Measurement(seed, {**metrics, **train_metrics}, cost)
    saved = save is not None and save.wants(measurement.metrics)
    if saved:
      self._saver.save(compiled.artifact, trained.leaves, pathlib.Path(state))
    return {
      'measurement': measurement, 'curve': curve, 'rungs': monitor.evaluations, 'saved': saved
    }  # fmt: skip

  def _metrics(
    self,
    compiled: CompiledProgram,
    trained: TrainResult,
    on_test: bool,
    on_progress: Callable[..., None],
  ) -> dict[str, float]:
    """The metrics of a trained state. Raises RunnerError if it leaks or they are not finite."""
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
    return metrics

  def score(self, state: str, on_test: bool, on_progress: Callable[..., None]) -> dict[str, float]:
    assert self._compiled is not None
    try:
      return evaluate_saved(
        self._compiled, pathlib.Path(state), self.dataset, on_test,
        heartbeat=lambda: on_progress(1.0, 0, 0.0, 'evaluate'), own=self.own_metrics,
      )  # fmt: skip
    except (EvaluationError, ValueError, OSError) as error:
      raise RunnerError(Status.INVALID, str(error)) from None

  def try_metrics(self) -> dict[str, float]:
    try:
      return {} if self.own_metrics is None else self.own_metrics.dry_run()
    except OwnMetricError as error:
      raise RunnerError(Status.INVALID, str(error)) from None

  def prefetch(self, path: str, compile: bool, on_done: Callable[[], None]) -> None:
    self.programs.prefetch(path, compile, on_done)

  def _make_clock(self, budget: Budget) -> Callable[[], Clock]:
    """Makes the clock of the next training: calibrated where the budget asks for that."""
    reference = self._reference
    if not budget.is_calibrated() or reference is None:
      return Clock
    steady = budget.clock == 'auto' and self.devices[0].platform != 'cpu'
    tolerance = STEADY_TOLERANCE if steady else 0.0
    return lambda: CalibratedClock(reference, budget.amount, tolerance)

  def _monitor(self, compiled: CompiledProgram, rows: str) -> RungMonitor:
    """Evaluates at rungs: for pruning, or to record the losses of rows in a file."""
    if rows:
      return RowRecorder(compiled, self.dataset, pathlib.Path(rows))
    return RungMonitor(lambda leaves: self._first_batch_loss(compiled, leaves))

  def _target(
    self, compiled: CompiledProgram, budget: Budget, heartbeat: Callable[[], None]
  ) -> targets.TargetMonitor | None:
    if budget.target_loss is None:
      return None
    return targets.TargetMonitor(
      budget.target_loss,
      lambda leaves: self._first_batch_loss(compiled, leaves),
      lambda leaves: validation_loss(compiled, leaves, self.dataset, heartbeat),
    )

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


def _costs_to_target(trained: TrainResult, on_test: bool) -> dict[str, float]:
  """What a training run took, as metrics. Seconds are those that count against the budget."""
  costs = (trained.seconds, trained.steps, trained.tokens, trained.flops)
  found = {name: float(cost) for name, cost in zip(COSTS_TO_TARGET, costs, strict=True)}
  return {test_metric(name): value for name, value in found.items()} if on_test else found


def _require_reached(target: targets.TargetMonitor, trained: TrainResult, budget: Budget) -> None:
  """Raises RunnerError if training has used up its budget without reaching the target."""
  if not target.reached and not target.check_end(trained.leaves):
    raise RunnerError(
      Status.INFEASIBLE,
      f'{TARGET_METRIC} was {target.loss:.4f} at the end of the budget, {budget.amount:g} '
      f'{budget.unit}, and the target is {budget.target_loss:g}: it must fall faster.',
    )
