"""What the ledger's events mean: trials, the incumbent, results.tsv's rows, and folded states.

`History` is the projection everybody reads (loop, workspace, live view, report); `replay` folds
the states of strategy and acceptance. Both see events and nothing else, so the same ledger
always gives the same answer.
"""

import collections
import dataclasses
import functools
import statistics
from collections.abc import Collection, Iterable, Mapping, Set
from typing import Self

import msgspec

from autoresearch_jax.config import Config
from autoresearch_jax.ledger.events import (
  Consulted,
  Decided,
  Declined,
  Edited,
  FinalScored,
  Finished,
  Learned,
  LedgerError,
  Proposed,
  Record,
  Released,
  Resumed,
  Started,
  Stopped,
)
from autoresearch_jax.types import (
  REPEATS,
  UNTRIED,
  Decision,
  Edit,
  Exchange,
  Lesson,
  Objective,
  Operation,
  Proposal,
  Result,
  Spend,
  Status,
  Trial,
  from_builtins,
)

BASELINE = 0  # the trial id of the unmodified program


class History:
  """The events so far, as what they add up to. `apply` takes them in order, one by one.

  trials: decided ones, in the order of their verdicts. open: a proposal that waits for its
  program. turn: how many events were decisions; what random numbers are drawn from, so that a
  stop and a start in between (session events) and calls of models change none of them. asked_at:
  the turn in which `open` was asked for.
  training_seconds: of all runs. pruned: trials that were ended early; saved_seconds: of training,
  by that. prepared: trials that have a program and wait for their release. begun_after:
  for each trial, how many had a verdict when it began.
  discouraged: a proposal came to nothing and no result came in since. spent: by the calls' ids.
  lessons: those that a language model drew last. final_results: what the final evaluation
  measured, by trial and seed; it stands apart from `trials` and `results`, since nobody who decides
  may see it.

  What the loop asks for at each trial is kept as the events come, never searched for in all trials.
  """

  def __init__(self) -> None:
    self.started: Started | None = None
    self.open: Proposed | None = None
    self.turn = 0
    self.asked_at = 0
    self.declined_in_a_row = 0
    self.proposals: dict[int, Proposal] = {}
    self.edits: dict[int, Edit] = {}
    self.edited_at: dict[int, float] = {}
    self.begun_after: dict[int, int] = {}
    self.results: dict[int, Result] = {}
    self.trials: dict[int, Trial] = {}
    self.kept: list[int] = []
    self._kept_programs: dict[int, None] = {}
    self._digests: dict[str, None] = {}
    self._running: dict[int, None] = {}
    self._prepared: dict[int, None] = {}
    self._undecided: dict[int, None] = {}
    self.discouraged = False
    self.twins_in_a_row = 0
    self.spend = Spend()
    self._spent: dict[str, Spend] = {}
    self.lessons: list[Lesson] = []
    self.final_results: dict[int, dict[int, Result]] = {}
    self._known: dict[float, dict[str, int]] = collections.defaultdict(dict)
    self.training_seconds = 0.0
    self.pruned = 0
    self.saved_seconds = 0.0
    self.wall_seconds = 0.0
    self.last_time = 0.0

  @classmethod
  def of(cls, records: Iterable[Record]) -> Self:
    history = cls()
    for record in records:
      history.apply(record)
    return history

  def apply(self, record: Record) -> None:
    event = record.event
    self._count_time(record)
    if not isinstance(event, Started | Resumed | Stopped | Consulted | Learned | FinalScored):
      self.turn += 1
    match event:
      case Started():
        self.started = event
      case Resumed():
        self.declined_in_a_row = self.twins_in_a_row = 0
      case Proposed():
        self.open, self.asked_at = event, self.turn
      case Declined():
        self.open, self.declined_in_a_row = None, self.declined_in_a_row + 1
        self.discouraged = True
      case Edited():
        self._take_edit(event, record.time)
      case Released():
        self._take_release(event, record.time)
      case Consulted():
        self._take_exchange(event.exchange)
      case Learned():
        self.lessons[:] = event.lessons
      case Finished():
        self._take_result(event.trial, event.result)
      case Decided():
        self._take_verdict(event)
      case FinalScored():
        self.final_results.setdefault(event.trial, {})[event.seed] = event.result

  def _count_time(self, record: Record) -> None:
    """Wall time is that of the search: no pause before a resume, and no closing act."""
    if not isinstance(record.event, Started | Resumed | FinalScored):
      self.wall_seconds += max(0.0, record.time - self.last_time)
    self.last_time = record.time

  def _take_edit(self, event: Edited, when: float) -> None:
    assert self.open is not None and self.open.trial == event.trial
    self.proposals[event.trial] = self.open.proposal
    self.open, self.declined_in_a_row = None, 0
    self._write(event.trial, event.edit, when)
    (self._prepared if event.prefetched else self._running)[event.trial] = None
    self.begun_after[event.trial] = len(self.trials)

  def _write(self, trial: int, edit: Edit, when: float) -> None:
    self.edits[trial], self.edited_at[trial] = edit, when
    self._digests[edit.program.digest] = None

  def _take_release(self, event: Released, when: float) -> None:
    self._prepared.pop(event.trial)
    self._running[event.trial] = None
    self.begun_after[event.trial] = len(self.trials)
    if event.proposal is not None:
      self.proposals[event.trial] = event.proposal
    if event.edit is not None:
      self._write(event.trial, event.edit, when)

  def _take_exchange(self, exchange: Exchange) -> None:
    """A call counts by its last record: what it cost, or the most that it can cost."""
    cost = Spend(1, exchange.input_tokens, exchange.output_tokens, exchange.dollars)
    before = self._spent.get(exchange.id, Spend())
    self.spend, self._spent[exchange.id] = self.spend - before + cost, cost

  def _take_result(self, trial: int, result: Result) -> None:
    self.results[trial] = result
    self._undecided[trial] = None
    self._running.pop(trial, None)
    self.discouraged = False
    repeats = result.status == Status.DUPLICATE
    self.twins_in_a_row = self.twins_in_a_row + 1 if repeats else 0
    self.training_seconds += sum(m.cost.training_seconds for m in result.measurements)
    if result.status == Status.PRUNED:
      self.pruned += 1
      self.training_seconds += result.facts.get('pruned', {}).get('seconds', 0.0)
      self.saved_seconds += result.facts.get('pruned', {}).get('saved_seconds', 0.0)
    if result.fingerprint and result.status not in UNTRIED:
      self._known[self.proposals[trial].fidelity].setdefault(result.fingerprint, trial)

  def _take_verdict(self, event: Decided) -> None:
    trial = self.finished(event.trial)
    self._undecided.pop(event.trial)
    self.trials[event.trial] = dataclasses.replace(trial, verdict=event.verdict)
    if event.verdict.decision == Decision.KEEP:
      self.kept.append(event.trial)
      self._kept_programs[self.program(event.trial)] = None

  @functools.cached_property
  def config(self) -> Config:
    """Raises LedgerError when it was written by a version whose configs are others."""
    assert self.started is not None
    try:
      return from_builtins(self.started.config, Config)
    except msgspec.ValidationError as error:
      raise LedgerError(
        f'The run was begun with a config that this version cannot read: {error}. Use the version '
        f'that wrote it, or name another --workdir.'
      ) from None

  @functools.cached_property
  def objective(self) -> Objective:
    return self.config.objective

  @property
  def next_trial(self) -> int:
    return len(self.edits)

  @property
  def incumbent(self) -> Trial | None:
    return self.trials[self.kept[-1]] if self.kept else None

  @property
  def kept_programs(self) -> Set[int]:
    """First trials of the programs that were kept, as a view."""
    return self._kept_programs.keys()

  @property
  def digests(self) -> Set[str]:
    """Of all programs, as a view: a copy would cost each trial the more, the more there were."""
    return self._digests.keys()

  @property
  def running(self) -> list[int]:
    """Trials that have a program and no result yet."""
    return list(self._running)

  @property
  def prepared(self) -> list[int]:
    """Trials that have a program, and wait until a slot is free."""
    return list(self._prepared)

  @property
  def undecided(self) -> list[int]:
    """Trials that have a result and no verdict yet."""
    return list(self._undecided)

  def finished(self, trial: int) -> Trial:
    """The trial as acceptance gets it: with its result, without a verdict."""
    return Trial(trial, self.proposals[trial], self.edits[trial], self.results[trial])

  def parent(self, trial: int) -> int | None:
    """The trial whose program was edited; a draft's is the baseline, which itself has none."""
    parents = self.proposals[trial].parents
    return parents[0] if parents else BASELINE if trial != BASELINE else None

  def program(self, trial: int) -> int:
    """The first trial with this one's program: itself, unless it repeats another."""
    return repeated(trial, self.proposals, REPEATS)

  def known(self, fidelity: float) -> dict[str, int]:
    """Fingerprint -> the first trial that had it, of those trained for the same budget.

    A copy: executors look at it from other threads, and must not see what comes later.
    """
    return dict(self._known.get(fidelity, ()))

  def noise(self) -> float | None:
    """Standard deviation of the metric over the baseline's seeds; None with fewer than two."""
    result = self.results.get(BASELINE)
    values = [m.metrics.get(self.objective.metric) for m in result.measurements] if result else []
    values = [value for value in values if value is not None]
    return statistics.stdev(values) if len(values) > 1 else None


def repeated(
  trial: int, proposals: Mapping[int, Proposal], operations: Collection[Operation]
) -> int:
  """The trial at the end of the first parents, followed as long as trials are of `operations`.

  An id that is in no proposal, which a strategy may invent, ends the way.
  """
  while (proposal := proposals.get(trial)) and proposal.operation in operations:
    if not proposal.parents:
      break
    trial = proposal.parents[0]
  return trial
