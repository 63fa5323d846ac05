"""The queue of an executor's trials, which lets the training runs of one trial spread over slots.

The first part of a trial traces and compiles the program, and trains its first seed. Once that
training begins, the other seeds are parts of their own. An idle slot takes one, if no trial waits,
so that a baseline of eight seeds trains on eight slots at once. The parts' results are merged to
the result that one slot would have had: a failure of a seed hides what later seeds measured.
"""

import dataclasses
from collections.abc import Callable

from autoresearch_jax.types import (
  Measurement,
  Program,
  Progress,
  ReferenceStep,
  Result,
  SeedResult,
  Status,
  TrialRequest,
)

CANCELLED = 'The trial was cancelled.'
CANCELLED_EARLY = 'The trial was cancelled before it started.'


@dataclasses.dataclass(eq=False)
class Part:
  """Training runs of one trial for one slot.

  Attributes:
    trial: The trial.
    request: What the slot runs: the trial's request with these seeds only.
    order: The position of its first missing seed in the trial's request.
    done: Training runs that have finished, beyond those of the request.
    began: Monotonic time when a machine got it.
    failures: How often it was returned without a result, since a slot or a machine failed.
  """

  trial: 'SpreadTrial'
  request: TrialRequest
  order: int
  failures: int = 0
  done: tuple[SeedResult, ...] = ()
  began: float = 0.0


@dataclasses.dataclass(eq=False)
class SpreadTrial:
  """A trial whose seeds may train in several slots.

  Attributes:
    request: The trial.
    reference: The request's reference, with its duration once that is known.
    waiting: Positions of seeds that no part has yet.
    running: Parts in slots, or returned to the queue.
    results: Results of the other parts.
    spreads: Whether seeds may train elsewhere by now.
    cancelled: Whether it was cancelled.
  """

  request: TrialRequest
  reference: ReferenceStep | None = None
  waiting: list[int] = dataclasses.field(default_factory=list)
  running: list[Part] = dataclasses.field(default_factory=list)
  results: list[tuple[Part, Result]] = dataclasses.field(default_factory=list)
  spreads: bool = False
  cancelled: bool = False

  def first_part(self, spread: bool) -> Part:
    """Returns the part that begins the trial: with all seeds, or with the first missing one."""
    request, done = self.request, {run.measurement.seed for run in self.request.done}
    missing = [i for i, seed in enumerate(request.seeds) if seed not in done]
    part = Part(self, request, missing[0] if missing else 0)
    if spread and len(missing) > 1:
      self.waiting = missing[1:]
      wanted = {*done, request.seeds[missing[0]]}
      part.request = dataclasses.replace(
        request, seeds=tuple(seed for seed in request.seeds if seed in wanted)
      )
    self.running.append(part)
    return part

  def next_part(self) -> Part:
    """Returns a part with the next waiting seed."""
    order = self.waiting.pop(0)
    seeds = (self.request.seeds[order],)
    request = dataclasses.replace(
      self.request, seeds=seeds, known={}, done=(), reference=self.reference
    )
    part = Part(self, request, order)
    self.running.append(part)
    return part

  def finish(self, part: Part, result: Result) -> list[Part]:
    """Adds a part's result. Returns the running parts that it makes superfluous."""
    self.running.remove(part)
    self.results.append((part, result))
    failed = self._failed()
    if failed is None:
      return []
    self.waiting = [order for order in self.waiting if order < failed[0].order]
    return [other for other in self.running if other.order > failed[0].order]

  def is_over(self) -> bool:
    """Whether all parts that count have a result."""
    failed = self._failed()
    counts = [p for p in self.running if failed is None or p.order < failed[0].order]
    return not (self.waiting or counts)

  def merged(self) -> Result:
    """Returns the trial's result."""
    failed = self._failed()
    parts = sorted(self.results, key=lambda item: item[0].order)
    if failed is not None:
      parts = parts[: parts.index(failed) + 1]
    runs: dict[int, Measurement] = {}
    facts = {}
    for _, result in parts:
      runs.update({run.seed: run for run in result.measurements})
      for name, value in result.facts.items():
        if isinstance(value, dict):
          facts[name] = {**facts.get(name, {}), **value}
        else:
          facts.setdefault(name, value)
    ordered = tuple(runs[seed] for seed in self.request.seeds if seed in runs)
    if not parts:
      return Result(self.request.trial, Status.CANCELLED, CANCELLED)
    base = parts[-1][1] if failed is not None else parts[0][1]
    if self.cancelled and failed is None and len(ordered) < len(self.request.seeds):
      base = dataclasses.replace(base, status=Status.CANCELLED, reason=CANCELLED)
    return dataclasses.replace(base, trial=self.request.trial, measurements=ordered, facts=facts)

  def _failed(self) -> tuple[Part, Result] | None:
    """The first part, in the order of the seeds, that failed."""
    failed = [item for item in self.results if item[1].status is not Status.OK]
    return min(failed, key=lambda item: item[0].order, default=None)


class RequestQueue:
  """Trials that wait for slots, and trials whose seeds do. The owner serialises the calls.

  Args:
    spread: Whether seeds of one trial may train in several slots.
  """

  def __init__(self, spread: bool = True):
    self._spread = spread
    self._waiting: list[Part] = []  # first parts, and parts that were returned
    self._trials: list[SpreadTrial] = []  # that have begun and have no result

  def __len__(self) -> int:
    return len(self._waiting) + sum(len(t.waiting) for t in self._trials if t.spreads)

  def add(self, request: TrialRequest) -> None:
    """Adds a trial at the end."""
    trial = SpreadTrial(request, request.reference)
    self._waiting.append(trial.first_part(self._spread))

  def find(
    self, compiled: Callable[[Program], bool], elsewhere: Callable[[Program], bool]
  ) -> SpreadTrial | Part | None:
    """Returns what an idle slot should run next, for `take`; None if nothing.

    Args:
      compiled: Whether the slot has compiled a program.
      elsewhere: Whether another idle slot has.
    """
    spreading = [t for t in self._trials if t.spreads and t.waiting]
    for trial in spreading:
      if compiled(trial.request.program):
        return trial
    for part in self._waiting:
      program = part.request.program
      if compiled(program) or not elsewhere(program):
        return part
    return next((t for t in spreading if not elsewhere(t.request.program)), None)

  def take(self, found: SpreadTrial | Part) -> Part:
    """Returns the part of what `find` returned, which is now with a slot."""
    if isinstance(found, SpreadTrial):
      return found.next_part()
    self._waiting.remove(found)
    if found.trial not in self._trials:
      self._trials.append(found.trial)
    return found

  def progress(self, part: Part, progress: Progress) -> bool:
    """Receives a part's progress; returns whether other slots may take seeds of its trial now."""
    trial = part.trial
    if progress.phase != 'train' or trial.spreads or not trial.waiting:
      return False
    if progress.reference_seconds and trial.reference is not None:
      trial.reference = dataclasses.replace(
        trial.reference, step_seconds=progress.reference_seconds
      )
    trial.spreads = True
    return True

  def finish(self, part: Part, result: Result) -> tuple[Result | None, list[Part]]:
    """Receives a part's result.

    Returns:
      The trial's result if that was the last part, and the running parts that are to be cancelled.
    """
    trial = part.trial
    if trial not in self._trials or part not in trial.running:
      return None, []
    trial.spreads = True
    superfluous = trial.finish(part, result)
    if not trial.is_over():
      return None, superfluous
    self._forget(trial)
    return trial.merged(), superfluous

  def put_back(self, part: Part) -> None:
    """Returns a part whose slot failed to the head of the queue, with the runs that are done."""
    if part.trial in self._trials and part in part.trial.running:
      part.failures = 1 if part.done else part.failures + 1
      runs = {run.measurement.seed: run for run in (*part.request.done, *part.done)}
      part.request = dataclasses.replace(part.request, done=tuple(runs.values()))
      part.done = ()
      self._waiting.insert(0, part)

  def cancel(self, number: int) -> tuple[Result | None, list[Part]]:
    """Cancels a trial. Returns as `finish` does."""
    for part in self._waiting:
      if part.request.trial == number and part.trial not in self._trials:
        self._waiting.remove(part)
        return Result(number, Status.CANCELLED, CANCELLED_EARLY), []
    for trial in self._trials:
      if trial.request.trial == number:
        return self._cancel(trial)
    return None, []

  def _cancel(self, trial: SpreadTrial) -> tuple[Result | None, list[Part]]:
    trial.cancelled = True
    trial.waiting = []
    returned = [part for part in trial.running if part in self._waiting]
    for part in returned:
      trial.finish(part, Result(trial.request.trial, Status.CANCELLED, CANCELLED))
    running = [part for part in trial.running if part not in returned]
    if not trial.is_over():
      return None, running
    self._forget(trial)
    return trial.merged(), running

  def _forget(self, trial: SpreadTrial) -> None:
    self._trials.remove(trial)
    self._waiting = [part for part in self._waiting if part.trial is not trial]
