"""Trains under the budget: feeds batches, keeps the device busy, stops on time.

One call runs several steps. The next call is dispatched before the losses of the last one are read,
so the device never waits for the host. Near the end, calls get shorter, until the budget is used to
the step. All calls are waited for and the clock is paused only at rungs, so that the runner can
evaluate the state (`pruning.py`, `target.py`), when the clock is calibrated, and when a long run is
saved (`checkpoint.py`). Unless the budget is in seconds, none of these changes a bit of the result.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from autoresearch_jax.runner.checkpoint import Checkpointer, TrainState, restored_leaves
from autoresearch_jax.runner.clock import Clock, StepCost, steps_that_fit
from autoresearch_jax.runner.compile import (
  CompiledPhase,
  CompiledProgram,
  compilations,
  prng_key_data,
)
from autoresearch_jax.types import Budget, PruningRung

Batches = Iterator[dict[str, np.ndarray]]
# Called after each call on the device: (fraction of the budget, step, loss).
OnCall = Callable[[float, int, float], None]
# Called at each rung: (rung, mean loss since the rung before, leaves of the state, seconds so far).
# Training ends if it returns True, and with whatever it raises.
OnRung = Callable[[PruningRung, float, Any, float], bool | None]

CALL_SECONDS = 0.25  # of a call, once the duration of a step is known; short enough to stop on time
MAX_CALLS_IN_FLIGHT = 2  # one runs on the device while the host reads the one before
# What `init` may take where the budget is not in seconds: so many seconds, or train steps, and the
# time to draw its state, of which a slow core makes so many bytes a second.
MAX_INIT_SECONDS, MAX_INIT_STEPS, INIT_BYTES_PER_SECOND = 1.0, 10, 50e6
MAX_PROGRESS = np.float32(1 - 2**-24)  # progress stays below 1 in spite of rounding


class Diverged(Exception):
  """The loss became NaN or exceeded its limit; the message says at which step."""


class TooSlow(Exception):
  """Not one step fits into the budget, or `init` takes too long; the message has the durations."""


@dataclasses.dataclass
class TrainResult:
  """A trained state and what it cost.

  Attributes:
    leaves: Leaves of the state, on the devices.
    seconds: Training time on the trial's clock, which counts against the budget.
    wall_seconds: The same by the wall clock.
    calibration_seconds: Wall-clock seconds in which the clock was calibrated; in neither of them.
    steps: Train steps.
    tokens: Tokens (examples).
    flops: FLOPs, all devices together.
    compilations: XLA compilations while the clock ran; must be 0.
    metrics: The program's metrics at the last step.
    curve: (progress, loss) at the end of each call.
    batches: Batches of each phase that were trained on.
  """

  leaves: Any
  seconds: float = 0.0
  wall_seconds: float = 0.0
  calibration_seconds: float = 0.0
  steps: int = 0
  tokens: int = 0
  flops: float = 0.0
  compilations: int = 0
  metrics: dict[str, float] = dataclasses.field(default_factory=dict)
  curve: list[tuple[float, float]] = dataclasses.field(default_factory=list)
  batches: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Call:
  """Steps dispatched to the device whose losses have not been read yet.

  Attributes:
    phase: Index of their phase.
    count: Number of steps.
    progress: Progress at the last of them.
    metrics: Metrics of the steps, `count` or more values each.
  """

  phase: int
  count: int
  progress: float
  metrics: dict[str, Any]


def train(
  compiled: CompiledProgram,
  seed: int,
  budget: Budget,
  batches: Sequence[Batches],
  loss_limit: float,
  on_call: OnCall,
  rungs: Sequence[PruningRung] = (),
  on_rung: OnRung | None = None,
  make_clock: Callable[[], Clock] = Clock,
  checkpointer: Checkpointer | None = None,
) -> TrainResult:
  """Trains from `init(key(seed))` until the budget is used, or `on_rung` ends it.

  Args:
    compiled: The program, with its constants bound.
    seed: Seed of the key that `init` gets.
    budget: The budget.
    batches: Batches for each phase.
    loss_limit: A higher loss counts as divergence.
    on_call: Called after each call on the device.
    rungs: Rungs in the order of their progress.
    on_rung: Called at the first step past each rung.
    make_clock: Makes the trial's clock, which then runs.
    checkpointer: Saves the run, and has what it continues from. `batches` then begin with the one
      before the next.

  Raises:
    Diverged: the loss became NaN or exceeded `loss_limit`.
    TooSlow: not one step fits into the budget, or `init` takes too long.
    ValueError: a step costs nothing in the unit of the budget.
  """
  tracker = _BudgetTracker(compiled.phases, budget, _step_seconds(compiled, seed, batches), rungs)
  compilations_before = compilations()
  # The clock runs during `init` too: what a program computes there is not free.
  clock = make_clock()
  result = TrainResult(jax.block_until_ready(compiled.init(prng_key_data(seed))))
  tracker.start(clock.seconds(), sum(leaf.nbytes for leaf in result.leaves))
  queue: list[_Call] = []
  losses_since_rung: list[np.ndarray] = []
  if checkpointer is not None and checkpointer.resumed is not None:
    losses_since_rung = _resume(checkpointer.resumed, result, tracker, clock)
  while True:
    index, progress = tracker.next_steps(queue, clock.seconds())
    if len(progress):
      queue.append(_dispatch(compiled, index, progress, batches[index], result))
    if not queue:
      break
    rung_due, burst_due = tracker.rung_due(queue, clock.seconds()), clock.is_due()
    fraction = tracker.spent(queue, clock.seconds()) / budget.amount
    save_due = checkpointer and checkpointer.is_due(clock.wall_seconds(), fraction)
    wait = len(queue) >= MAX_CALLS_IN_FLIGHT or not len(progress)
    for _ in range(len(queue) if rung_due or burst_due or save_due else int(wait)):
      call = queue.pop(0)
      metrics = {name: np.asarray(values)[: call.count] for name, values in call.metrics.items()}
      losses = metrics['loss']
      tracker.complete(call, clock.seconds())
      _check_losses(losses, tracker.steps - call.count, call.progress, loss_limit)
      losses_since_rung.append(losses)
      result.curve.append((call.progress, float(losses[-1])))
      result.metrics = {name: float(values[-1]) for name, values in metrics.items()}
      on_call(call.progress, tracker.steps, float(losses[-1]))
    if burst_due:
      clock.calibrate()
      tracker.last_completed = clock.seconds()
    seconds = clock.seconds()
    if rung_due and on_rung and (rung := tracker.pop_rung(seconds)):
      loss = float(np.concatenate(losses_since_rung).mean())
      with clock.paused():
        is_over = on_rung(rung, loss, result.leaves, seconds)
      if is_over:
        break
      losses_since_rung.clear()
    if save_due and checkpointer:
      state = _state(result, tracker, clock, losses_since_rung)
      with clock.paused():
        checkpointer.save(state)
  result.seconds, result.wall_seconds = clock.seconds(), clock.wall_seconds()
  result.calibration_seconds = clock.calibration_seconds
  compiled.step_seconds[:] = tracker.step_seconds
  result.compilations = compilations() - compilations_before
  return result


def _state(
  result: TrainResult, tracker: '_BudgetTracker', clock: Clock, losses: Sequence[np.ndarray]
) -> TrainState:
  """What a run continues from. No call is in flight."""
  return TrainState(
    leaves=result.leaves,
    steps=result.steps,
    tokens=result.tokens,
    flops=result.flops,
    batches=list(result.batches),
    clock=clock.state(),
    losses=[float(loss) for part in losses for loss in part],
    metrics=result.metrics,
    curve=list(result.curve),
    **tracker.state(),
  )


def _resume(
  saved: TrainState, result: TrainResult, tracker: '_BudgetTracker', clock: Clock
) -> list[np.ndarray]:
  """Continues from a saved state; returns the losses since the last rung."""
  result.leaves = jax.block_until_ready(restored_leaves(result.leaves, saved.leaves))
  result.steps, result.tokens, result.flops = saved.steps, saved.tokens, saved.flops
  result.batches, result.metrics = list(saved.batches), dict(saved.metrics)
  result.curve = [(progress, loss) for progress, loss in saved.curve]
  clock.restore(saved.clock)
  tracker.restore(saved, clock.seconds())
  return [np.asarray(saved.losses, np.float32)] if saved.losses else []


class _BudgetTracker:
  """How much of the budget is used, dispatched steps included, and which steps come next.

  Attributes:
    rungs: Rungs that were not reached yet.
    phases: The program's phases.
    budget: The budget.
    step_seconds: Estimated duration of a step of each phase.
    steps: Completed steps.
    last_completed: Time on the clock when the last call completed.
    dispatched: Steps, tokens or FLOPs dispatched so far.
  """

  def __init__(
    self,
    phases: Sequence[CompiledPhase],
    budget: Budget,
    step_seconds: list[float],
    rungs: Sequence[PruningRung],
  ):
    self.rungs = list(rungs)
    self.phases = phases
    self.budget = budget
    self.step_seconds = step_seconds
    self.steps = 0
    self.last_completed = 0.0
    self.dispatched = 0.0
    self._progress = np.float32(0.0)

  def start(self, now: float, state_bytes: int) -> None:
    """Records that `init` is done. Where the budget is not in seconds, its duration is bounded."""
    self.last_completed = now
    limit = max(MAX_INIT_SECONDS, MAX_INIT_STEPS * self.step_seconds[0])
    limit += state_bytes / INIT_BYTES_PER_SECOND
    if self.budget.unit != 'seconds' and now > limit:
      raise TooSlow(
        f'`init` takes {now:.1f} s, and {limit:.1f} s are allowed for {MAX_INIT_STEPS} train steps '
        f'and a state of {state_bytes / 2**20:.1f} MiB; it must create the state, not train it.'
      )

  def state(self) -> dict[str, Any]:
    """Its part of a TrainState. No call is in flight."""
    return {
      'dispatched': self.dispatched,
      'progress': float(self._progress),
      'rungs_left': len(self.rungs),
    }

  def restore(self, saved: TrainState, now: float) -> None:
    """Continues from a saved state, at a time on the clock."""
    self.steps, self.dispatched, self.last_completed = saved.steps, saved.dispatched, now
    self._progress = np.float32(saved.progress)
    self.rungs = self.rungs[len(self.rungs) - saved.rungs_left :]

  def next_steps(self, queue: Sequence[_Call], now: float) -> tuple[int, np.ndarray]:
    """What to dispatch next.

    Returns:
      The index of the phase, and the progress at each step, float32; empty when the budget is used.
    """
    spent = self.spent(queue, now)
    index = next(
      i
      for i, phase in enumerate(self.phases)
      if spent < phase.until * self.budget.amount or phase is self.phases[-1]
    )
    phase, seconds = self.phases[index], max(self.step_seconds[index], 1e-9)
    cost = StepCost(phase.tokens, phase.flops, seconds).in_unit_of(self.budget)
    max_steps = min(phase.steps_per_call, max(1, int(CALL_SECONDS / seconds)))
    ends = [rung.progress for rung in self.rungs[:1]]
    if index < len(self.phases) - 1:
      ends.append(phase.until)
    for end in ends:
      max_steps = min(max_steps, max(1, math.ceil((end * self.budget.amount - spent) / cost)))
    count = steps_that_fit(self.budget, spent, cost, max_steps)
    if not count and not self.dispatched:
      raise TooSlow(
        f'Not one train step fits into the budget of {self.budget.amount:g} s: `init` takes '
        f'{now:.2f} s and a step {seconds:.2f} s; use a smaller batch or a smaller model.'
      )
    self.dispatched += count * cost
    progress = (spent + cost * np.arange(count)) / self.budget.amount
    # A calibrated clock may be set back a little, but progress never goes back.
    progress = np.clip(progress.astype(np.float32), self._progress, MAX_PROGRESS)
    self._progress = progress[-1] if count else self._progress
    return index, progress

  def spent(self, queue: Sequence[_Call], now: float) -> float:
    """The part of the budget that is used once the queue is done, in the budget's unit."""
    if self.budget.unit != 'seconds':
      return self.dispatched
    expected = sum(call.count * self.step_seconds[call.phase] for call in queue)
    return max(now, self.last_completed + expected)

  def rung_due(self, queue: Sequence[_Call], now: float) -> bool:
    """Whether the next rung, but not the end of the budget, is reached once the queue is done."""
    spent = self.spent(queue, now)
    return bool(self._reached(spent)) and spent < self.budget.amount

  def pop_rung(self, now: float) -> PruningRung | None:
    """The last rung that is reached now that the queue is done; removes it and earlier ones.

    None if the steps took less time than expected, as the first ones do.
    """
    reached = self._reached(self.spent((), now))
    del self.rungs[: len(reached)]
    return reached[-1] if reached else None

  def _reached(self, spent: float) -> list[PruningRung]:
    return [rung for rung in self.rungs if rung.progress * self.budget.amount <= spent]

  def complete(self, call: _Call, now: float) -> None:
    """Records that a call is done. It began when the last one ended: the queue is never empty."""
    observed = (now - self.last_completed) / call.count
    self.step_seconds[call.phase] = (self.step_seconds[call.phase] + observed) / 2
    self.last_completed = now
    self.steps += call.count


def _dispatch(
  compiled: CompiledProgram,
  index: int,
  fractions: np.ndarray,
  batches: Batches,
  result: TrainResult,
) -> _Call:
  """Dispatches steps without waiting; `result` gets the leaves that they will produce.

  Args:
    compiled: The program.
    index: Index of the phase.
    fractions: Progress at each step, float32.
    batches: Batches of the phase.
    result: Updated with leaves, steps, tokens and FLOPs.
  """
  phase, count = compiled.phases[index], len(fractions)
  inputs, targets = compiled.put_batches(phase, [next(batches) for _ in range(count)])
  progress = np.zeros((phase.steps_per_call,), np.float32)
  progress[:count] = fractions
  result.leaves, metrics = phase.run(result.leaves, inputs, targets, progress, np.int32(count))
  result.steps += count
  result.batches += [0] * (index + 1 - len(result.batches))
  result.batches[index] += count
  result.tokens += phase.tokens * count
  result.flops += phase.flops * count
  return _Call(index, count, float(fractions[-1]), metrics)


def _step_seconds(compiled: CompiledProgram, seed: int, batches: Sequence[Batches]) -> list[float]:
  """Duration of a step of each phase, from the last run or measured. Draws one batch of each."""
  if not compiled.step_seconds:
    return _measure_step_seconds(compiled, seed, batches)
  for phase_batches in batches:
    next(phase_batches)  # so that the training data do not depend on what ran before
  return list(compiled.step_seconds)


def _measure_step_seconds(
  compiled: CompiledProgram, seed: int, batches: Sequence[Batches]
) -> list[float]:
  """Duration of a step of each phase, run on a state that is discarded."""
  seconds = []
  for index, phase_batches in enumerate(batches):
    discarded = TrainResult(compiled.init(prng_key_data(seed)))
    jax.block_until_ready(discarded.leaves)
    start = time.monotonic()
    call = _dispatch(compiled, index, np.zeros((1,), np.float32), phase_batches, discarded)
    jax.block_until_ready((discarded.leaves, call.metrics))
    seconds.append(time.monotonic() - start)
  return seconds


def _check_losses(losses: np.ndarray, first_step: int, progress: float, limit: float) -> None:
  """Raises Diverged if a loss is not finite or above the limit."""
  bad = ~(np.isfinite(losses) & (losses <= limit))
  if bad.any():
    at = int(np.argmax(bad))
    raise Diverged(
      f'The training loss was {losses[at]:g} at step {first_step + at} ({progress:.0%} of the '
      f'budget); the limit is {limit:g}. Lower a learning rate, or bound what grew.'
    )
