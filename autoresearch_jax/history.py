"""What the ledger's events mean: trials, the incumbent, results.tsv's rows, and folded states.

`History` is the projection everybody reads (loop, workspace, live view, report); `replay` folds
the states of strategy and acceptance. Both see events and nothing else, so the same ledger
always gives the same answer.
"""

import collections
import dataclasses
import functools
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Set
from typing import Any, Self

import msgspec
import numpy as np

from autoresearch_jax.acceptance import Acceptance
from autoresearch_jax.config import Config
from autoresearch_jax.failures import ADVICE, RULE, STRATEGY, PartError, blaming
from autoresearch_jax.ledger import (
  Confirmed,
  Consulted,
  Decided,
  Declined,
  Edited,
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
from autoresearch_jax.search import Strategy
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
  Verdict,
  from_builtins,
  from_json,
  to_json,
)

BASELINE = 0  # the trial id of the unmodified program


@dataclasses.dataclass(frozen=True)
class States:
  """What strategy and acceptance remember. Immutable values, so keeping an old one is free.

  unasked: both states before the last `ask`, to which a declined proposal goes back; None once a
  trial was told of since, which must not be forgotten with it.
  """

  strategy: Any
  acceptance: Any
  unasked: tuple[Any, Any] | None = None

  @classmethod
  def first(cls, objective: Objective, strategy: Strategy, acceptance: Acceptance) -> Self:
    with blaming(STRATEGY, strategy, 'at its start'):
      searching = strategy.init(objective)
    with blaming(RULE, acceptance, 'at its start'):
      return cls(searching, acceptance.init(objective))

  def asked(self, strategy: Any, acceptance: Any) -> Self:
    return dataclasses.replace(
      self, strategy=strategy, acceptance=acceptance, unasked=(self.strategy, self.acceptance)
    )

  def declined(self) -> Self:
    return self if self.unasked is None else type(self)(*self.unasked)

  def told(self, strategy: Any, acceptance: Any) -> Self:
    return dataclasses.replace(self, strategy=strategy, acceptance=acceptance, unasked=None)

  def encoded(self) -> bytes:
    return msgspec.json.encode(self)


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
  lessons: those that a language model drew last. confirmed: what the closing act measured, by trial
  and seed; it stands apart from `trials` and `results`, since nobody who decides may see it.

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
    self.confirmed: dict[int, dict[int, Result]] = {}
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
    if not isinstance(event, Started | Resumed | Stopped | Consulted | Learned | Confirmed):
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
      case Confirmed():
        self.confirmed.setdefault(event.trial, {})[event.seed] = event.result

  def _count_time(self, record: Record) -> None:
    """Wall time is that of the search: no pause before a resume, and no closing act."""
    if not isinstance(record.event, Started | Resumed | Confirmed):
      self.wall_seconds += max(0.0, record.time - self.last_time)
    self.last_time = record.time

  def _take_edit(self, event: Edited, when: float) -> None:
    assert self.open is not None and self.open.trial == event.trial
    self.proposals[event.trial] = self.open.proposal
    self.open, self.declined_in_a_row = None, 0
    self._write(event.trial, event.edit, when)
    (self._prepared if event.ahead else self._running)[event.trial] = None
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


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of results.tsv but for the commit: the original's columns."""

  trial: int
  value: float
  memory_gb: float
  status: Decision
  description: str


def rows(history: History) -> list[Row]:
  """A row for each decided trial, in the order of decisions.

  What has no number is a `crash`, whose zeros nobody takes for a score: also a trial that was
  cancelled or pruned, and the duplicate of one without a number. A duplicate has the numbers of
  the trial it repeats.
  """
  return [row(history, trial) for trial in history.trials.values()]


def row(history: History, trial: Trial) -> Row:
  """A decided trial's row, which is final unless it is a duplicate of one without a verdict."""
  assert trial.verdict is not None
  decision, status, source = trial.verdict.decision, trial.result.status, trial
  description = trial.edit.description
  if status == Status.DUPLICATE:
    first = trial.result.duplicate_of
    description += f' (duplicate of trial {first})'
    source = history.trials.get(first, trial) if first is not None else trial
  elif status not in (Status.OK, Status.CRASH):
    description += f' ({status.value})'
  value = None if decision == Decision.CRASH else source.metric(history.objective.metric)
  if value is None:
    return Row(trial.id, 0.0, 0.0, Decision.CRASH, description)
  peak = max(m.cost.peak_bytes for m in source.result.measurements)
  return Row(trial.id, value, peak / 2**30, decision, description)


def generator(seed: int, turn: int) -> np.random.Generator:
  """Random numbers of the decision that becomes event number `turn`, session events left out."""
  return np.random.default_rng([seed, turn])


def next_proposal(
  strategy: Strategy,
  acceptance: Acceptance,
  states: States,
  rng: np.random.Generator,
  proposals: Mapping[int, Proposal],
) -> tuple[Proposal, States]:
  """What is tried next: a replication that acceptance waits for, else the strategy's wish.

  proposals: those of all trials so far; what repeats a replicate is made to repeat its original.
  Raises PartError, also for a proposal that no loop can run; see `require_runnable`.
  """
  when = f'when it was asked for trial {len(proposals)}'
  with blaming(RULE, acceptance, when):
    wanted, judging = acceptance.ask(states.acceptance)
    if wanted is not None:
      return _of_original(_sound(wanted), proposals), states.asked(states.strategy, judging)
  with blaming(STRATEGY, strategy, when):
    proposal, searching = strategy.ask(states.strategy, rng)
    return _of_original(_sound(proposal), proposals), states.asked(searching, judging)


def _sound(proposal: Proposal) -> Proposal:
  """The proposal as the ledger will give it back. Raises ValueError, TypeError."""
  return from_json(to_json(require_runnable(proposal)), Proposal)


def require_runnable(proposal: Proposal) -> Proposal:
  """Raises ValueError when it trains for no share of the budget, or on no list of seeds."""
  if not 0 < proposal.fidelity <= 1:
    raise ValueError(
      f'The proposal has the fidelity {proposal.fidelity}; it is a share of the budget, above 0 '
      'and at most 1.'
    )
  if not proposal.seeds or len(set(proposal.seeds)) < len(proposal.seeds):
    raise ValueError(
      f'The proposal has the seeds {proposal.seeds}; a trial needs one or more, all different.'
    )
  return proposal


def _of_original(proposal: Proposal, proposals: Mapping[int, Proposal]) -> Proposal:
  """A repeat of a replicate as one of the trial that was replicated, to which its runs belong.

  Ledger, archives and acceptance rules all look at the first parent alone. A promotion stays what
  it is: it has a score of its own, at another budget than the trial it promotes.
  """
  if proposal.operation not in REPEATS or not proposal.parents:
    return proposal
  first, *others = proposal.parents
  original = repeated(first, proposals, (Operation.REPLICATE,))
  if original == first:
    return proposal
  return dataclasses.replace(proposal, parents=(original, *others))


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


def judge(
  acceptance: Acceptance, state: Any, trial: Trial, objective: Objective, incumbent: Trial | None
) -> tuple[Verdict, Any]:
  """The verdict on a finished trial.

  The rule decides about trials that have a metric and trained for the whole budget: what trained
  for less does not compare with the incumbent. It sees failures too, since they may be
  replications that it waits for, but their verdicts are not its own. Raises PartError.
  """
  failure = _failure(trial, objective)
  if trial.proposal.fidelity < 1:
    share = f'{trial.proposal.fidelity:.2%} of the budget'
    early = Verdict(Decision.DISCARD, f'Trained for {share}, so it is not kept yet.')
    return failure or early, state
  if failure is not None:
    status = Status.CRASH if trial.result.status == Status.OK else trial.result.status
    broken = Result(trial.id, status, failure.reason)
    trial = dataclasses.replace(trial, result=broken)
  with blaming(RULE, acceptance, f'when it judged trial {trial.id}'):
    verdict, state = acceptance.decide(state, trial, incumbent)
    verdict = from_json(to_json(verdict), Verdict)
  return failure or verdict, state


def tell(strategy: Strategy, state: Any, trial: Trial) -> Any:
  """The strategy's state after it was told of a decided trial. Raises PartError."""
  with blaming(STRATEGY, strategy, f'when it was told of trial {trial.id}'):
    return strategy.tell(state, trial)


def revised(strategy: Strategy, states: States, proposal: Proposal) -> tuple[Proposal, States]:
  """What the strategy wants by now in place of a proposal that was prepared. Raises PartError."""
  revise = getattr(strategy, 'revise', None)
  if revise is None:
    return proposal, states
  with blaming(STRATEGY, strategy, 'when it was asked whether a prepared trial still fits'):
    wanted, searching = revise(states.strategy, proposal)
    return _sound(wanted), States(searching, states.acceptance)


def undecided(
  acceptance: Acceptance, state: Any, trials: Mapping[int, Trial], shown: Iterable[int]
) -> frozenset[int]:
  """Those of the trials that are shown to a proposer whose discard replications may yet change."""
  found = [trials[number] for number in shown if number in trials]
  with blaming(RULE, acceptance, 'when it was asked what is undecided'):
    return frozenset(trial.id for trial in found if acceptance.undecided(state, trial))


def _failure(trial: Trial, objective: Objective) -> Verdict | None:
  """The verdict on a trial without a finite score; None for one that has it."""
  status, reason = trial.result.status, trial.result.reason
  score = objective.score(trial)
  if status == Status.OK and score is not None and math.isfinite(score):
    return None
  if status == Status.OK:
    reason = f'The executor measured no finite {objective.metric}.'
  if status in (Status.DUPLICATE, Status.CANCELLED, Status.PRUNED):
    return Verdict(Decision.DISCARD, reason or f'The trial is {status}.')
  return Verdict(Decision.CRASH, reason or f'The trial ended as {status}.')


def replay(
  records: Iterable[Record], strategy: Strategy, acceptance: Acceptance
) -> tuple[History, States]:
  """Folds all events. The states equal those of the process that wrote them, byte for byte.

  Raises LedgerError when strategy or acceptance answer otherwise than they did then: their code
  or options are not the ones that wrote the ledger. Raises PartError when one of them raises.
  """
  history, states = History(), States(None, None)
  for record in records:
    try:
      states = _after(record, history, states, strategy, acceptance)
    except PartError as error:
      raise PartError(f'Event {record.index} cannot be replayed. {error} {ADVICE}') from error
    history.apply(record)
  return history, states


def _after(
  record: Record, history: History, states: States, strategy: Strategy, acceptance: Acceptance
) -> States:
  """The states after an event that comes next in `history`."""
  match record.event:
    case Started(config=config):
      objective = from_builtins(config, Config).objective
      states = States.first(objective, strategy, acceptance)
    case Proposed(trial=trial, proposal=proposal) if trial != BASELINE:
      rng = generator(history.config.seed, history.turn)
      asked, states = next_proposal(strategy, acceptance, states, rng, history.proposals)
      _require_same(record, STRATEGY, proposal, asked)
    case Declined(trial=trial) if trial != BASELINE:
      states = states.declined()
    case Released(trial=trial, proposal=proposal) if proposal is not None:
      wanted, states = revised(strategy, states, history.proposals[trial])
      _require_same(record, STRATEGY, proposal, wanted)
    case Decided(trial=trial, verdict=verdict):
      finished = history.finished(trial)
      made, judged = judge(
        acceptance, states.acceptance, finished, history.objective, history.incumbent
      )
      _require_same(record, RULE, verdict, made)
      decided = dataclasses.replace(finished, verdict=verdict)
      states = states.told(tell(strategy, states.strategy, decided), judged)
  return states


def _require_same(record: Record, who: str, recorded: Any, now: Any) -> None:
  if recorded != now:
    raise LedgerError(
      f'Event {record.index} cannot be replayed: the {who} now answers {now!r:.200} where it '
      f'answered {recorded!r:.200}. Use the version of autoresearch_jax that wrote this ledger, '
      f'or start again with a new --workdir.'
    )
