"""Training under the budget: feeds batches, keeps the device busy, stops on time.

One call holds several steps. The next call is dispatched before the last one's losses are read,
so the device never waits for the host; near the end calls shrink until the budget is met to the
step. At rungs, and there alone, the queue runs dry and the clock stands still, so that the
runner can look at the state; with a budget that is not in seconds, not a bit of it is changed.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from autoresearch_jax.runner.clock import Clock, Rate, steps_that_fit
from autoresearch_jax.runner.compile import Compiled, Phase, compilations, seed_key
from autoresearch_jax.types import Budget, PruningRung

Batches = Iterator[dict[str, np.ndarray]]
# After each call: (fraction of the budget, step, loss).
Say = Callable[[float, int, float], None]
# At each rung: (rung, mean loss since the one before, the state's leaves, seconds so
# far). What it raises ends the training.
Look = Callable[[PruningRung, float, Any, float], None]

CALL_SECONDS = 0.25  # of a call once a step's seconds are known: short enough to stop on time
IN_FLIGHT = 2  # calls on the device's queue: one runs while the host reads the one before
INIT_SECONDS, INIT_STEPS = 1.0, 10  # what `init` may take where the budget is not in seconds
LAST_PROGRESS = np.float32(1 - 2**-24)  # progress is below 1, whatever the rounding


class Diverged(Exception):
  """The loss became NaN or passed the limit; the sentence says at which step."""


class TooSlow(Exception):
  """Not one step fits into the budget, or `init` takes too long; the sentence says how long."""


@dataclasses.dataclass
class Trained:
  """A trained state and what it took. curve: (progress, loss) at the end of each call."""

  leaves: Any
  seconds: float = 0.0
  steps: int = 0
  tokens: int = 0
  flops: float = 0.0
  compilations: int = 0
  metrics: dict[str, float] = dataclasses.field(default_factory=dict)
  curve: list[tuple[float, float]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Call:
  """Steps on the device's queue whose losses have not been read yet."""

  phase: int
  count: int
  progress: float  # at the last of its steps
  metrics: dict[str, jax.Array]


def train(
  compiled: Compiled,
  seed: int,
  budget: Budget,
  feeds: Sequence[Batches],
  loss_limit: float,
  say: Say,
  rungs: Sequence[PruningRung] = (),
  look: Look | None = None,
) -> Trained:
  """Trains from `init(key(seed))` until the budget is spent; `feeds` has batches for each phase.

  rungs: in the order of their progress; `look` is called at the first step past each.
  Raises Diverged, TooSlow, and ValueError when a step costs nothing of the budget's unit.
  """
  meter = _Meter(compiled.phases, budget, _pace(compiled, seed, feeds), rungs)
  compiled_before = compilations()
  # The clock runs while `init` does: what a program computes there is not free either.
  clock = Clock()
  trained = Trained(jax.block_until_ready(compiled.init(seed_key(seed))))
  meter.started(clock.seconds())
  queue: list[_Call] = []
  since: list[np.ndarray] = []  # losses since the last rung
  while True:
    index, fractions = meter.next_steps(queue, clock.seconds())
    if len(fractions):
      queue.append(_dispatch(compiled, index, fractions, feeds[index], trained))
    if not queue:
      break
    due = meter.due(queue, clock.seconds())
    full = len(queue) >= IN_FLIGHT or not len(fractions)
    for _ in range(len(queue) if due else int(full)):
      call = queue.pop(0)
      losses = np.asarray(call.metrics['loss'])[: call.count]
      meter.finished(call, clock.seconds())
      _check(losses, meter.steps - call.count, call.progress, loss_limit)
      since.append(losses)
      trained.curve.append((call.progress, float(losses[-1])))
      trained.metrics = {k: float(np.asarray(v)[call.count - 1]) for k, v in call.metrics.items()}
      say(call.progress, meter.steps, float(losses[-1]))
    seconds = clock.seconds()
    if due and look and (rung := meter.looked(seconds)):
      loss = float(np.concatenate(since).mean())
      with clock.paused():
        look(rung, loss, trained.leaves, seconds)
      since.clear()
  trained.seconds = clock.seconds()
  compiled.pace[:] = meter.step_seconds
  trained.compilations = compilations() - compiled_before
  return trained


class _Meter:
  """How much of the budget is used, steps on the queue included, and what comes next."""

  def __init__(
    self,
    phases: Sequence[Phase],
    budget: Budget,
    step_seconds: list[float],
    rungs: Sequence[PruningRung],
  ):
    self.rungs = list(rungs)  # that were not reached yet
    self.phases = phases
    self.budget = budget
    self.step_seconds = step_seconds  # estimate for each phase
    self.steps = 0  # read
    self.read_at = 0.0
    self.counted = 0.0  # steps, tokens or FLOPs sent to the device

  def started(self, now: float) -> None:
    """Takes in when the first step may begin. Where time is not the budget, `init` is bounded."""
    self.read_at = now
    if self.budget.unit != 'seconds' and now > max(INIT_SECONDS, INIT_STEPS * self.step_seconds[0]):
      raise TooSlow(
        f'`init` takes {now:.1f} s, longer than {INIT_STEPS} train steps; it may make a state '
        'and not train it.'
      )

  def next_steps(self, queue: Sequence[_Call], now: float) -> tuple[int, np.ndarray]:
    """The phase of the next call and the progress at each of its steps; none when used up."""
    spent = self.spent(queue, now)
    index = next(
      i
      for i, p in enumerate(self.phases)
      if spent < p.until * self.budget.amount or p is self.phases[-1]
    )
    phase, seconds = self.phases[index], max(self.step_seconds[index], 1e-9)
    per_step = Rate(phase.tokens, phase.flops, seconds).per_step(self.budget)
    most = min(phase.call_steps, max(1, int(CALL_SECONDS / seconds)))
    ends = [rung.progress for rung in self.rungs[:1]]
    if index < len(self.phases) - 1:
      ends.append(phase.until)
    for end in ends:
      most = min(most, max(1, math.ceil((end * self.budget.amount - spent) / per_step)))
    count = steps_that_fit(self.budget, spent, per_step, most)
    if not count and not self.counted:
      raise TooSlow(
        f'Not one train step fits into the budget of {self.budget.amount:g} s: `init` takes '
        f'{now:.2f} s and a step {seconds:.2f} s; use a smaller batch or a smaller model.'
      )
    self.counted += count * per_step
    fractions = (spent + per_step * np.arange(count)) / self.budget.amount
    return index, np.minimum(fractions.astype(np.float32), LAST_PROGRESS)

  def spent(self, queue: Sequence[_Call], now: float) -> float:
    """What is used of the budget once the queue has run, in the budget's unit."""
    if self.budget.unit != 'seconds':
      return self.counted
    expected = sum(call.count * self.step_seconds[call.phase] for call in queue)
    return max(now, self.read_at + expected)

  def due(self, queue: Sequence[_Call], now: float) -> bool:
    """Whether the next rung is reached once the queue has run, and the budget is not."""
    spent = self.spent(queue, now)
    return bool(self._passed(spent)) and spent < self.budget.amount

  def looked(self, now: float) -> PruningRung | None:
    """The last rung that is passed now that the queue has run; it does not come again.

    None where the steps took less than was expected: at first they take a fraction of it.
    """
    passed = self._passed(self.spent((), now))
    del self.rungs[: len(passed)]
    return passed[-1] if passed else None

  def _passed(self, spent: float) -> list[PruningRung]:
    return [c for c in self.rungs if c.progress * self.budget.amount <= spent]

  def finished(self, call: _Call, now: float) -> None:
    """Takes in when a call ended. The queue was never empty, so it ran since the one before."""
    observed = (now - self.read_at) / call.count
    self.step_seconds[call.phase] = (self.step_seconds[call.phase] + observed) / 2
    self.read_at = now
    self.steps += call.count


def _dispatch(
  compiled: Compiled, index: int, fractions: np.ndarray, feed: Batches, trained: Trained
) -> _Call:
  """Sends steps to the device without waiting; `trained` gets the state they will leave."""
  phase, count = compiled.phases[index], len(fractions)
  inputs, targets = _stacked(compiled, phase, feed, count)
  progress = np.zeros((phase.call_steps,), np.float32)
  progress[:count] = fractions
  trained.leaves, metrics = phase.run(trained.leaves, inputs, targets, progress, np.int32(count))
  trained.steps += count
  trained.tokens += phase.tokens * count
  trained.flops += phase.flops * count
  return _Call(index, count, float(fractions[-1]), metrics)


def _stacked(
  compiled: Compiled, phase: Phase, feed: Batches, count: int
) -> tuple[jax.Array, jax.Array]:
  """`count` batches in arrays of call_steps; what is above `count` stays zero and is not read."""
  batches = [next(feed) for _ in range(count)]
  placed = []
  for name in ('inputs', 'targets'):
    first = batches[0][name]
    array = np.zeros((phase.call_steps, *first.shape), first.dtype)
    for i, batch in enumerate(batches):
      array[i] = batch[name]
    placed.append(compiled.place(array, 1))
  return placed[0], placed[1]


def _pace(compiled: Compiled, seed: int, feeds: Sequence[Batches]) -> list[float]:
  """Seconds of one step of each phase: known, or found out. Takes a batch of each either way."""
  if not compiled.pace:
    return _warm_up(compiled, seed, feeds)
  for feed in feeds:
    next(feed)  # so that what is trained on does not depend on what ran before
  return list(compiled.pace)


def _warm_up(compiled: Compiled, seed: int, feeds: Sequence[Batches]) -> list[float]:
  """Seconds of one step of each phase, run on a state that is thrown away."""
  seconds = []
  for index, feed in enumerate(feeds):
    thrown_away = Trained(compiled.init(seed_key(seed)))
    jax.block_until_ready(thrown_away.leaves)
    start = time.monotonic()
    call = _dispatch(compiled, index, np.zeros((1,), np.float32), feed, thrown_away)
    jax.block_until_ready((thrown_away.leaves, call.metrics))
    seconds.append(time.monotonic() - start)
  return seconds


def _check(losses: np.ndarray, first_step: int, progress: float, limit: float) -> None:
  bad = ~(np.isfinite(losses) & (losses <= limit))
  if bad.any():
    at = int(np.argmax(bad))
    raise Diverged(
      f'The training loss was {losses[at]:g} at step {first_step + at} ({progress:.0%} of the '
      f'budget), and the limit is {limit:g}. Lower a learning rate or bound what grew.'
    )
