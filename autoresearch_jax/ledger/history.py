"""`History`: the state of a run, computed from the ledger's events.

The controller, the workspace, the live view and the report all read a run through it. It depends on
events only, so the same ledger always gives the same history.
"""

import collections
import functools
import statistics
from collections.abc import Iterable, Mapping, Set
from typing import Any, Self

import msgspec

from autoresearch_jax.config import Config, Search
from autoresearch_jax.ledger.canaries import Canaries
from autoresearch_jax.ledger.events import (
  Ablated,
  CanaryJudged,
  Consulted,
  Decided,
  Declined,
  Edited,
  Event,
  FinalScored,
  Finished,
  HandedOver,
  Learned,
  LedgerError,
  Planted,
  Proposed,
  Record,
  Released,
  Resumed,
  Retold,
  SeedFailed,
  SeedFinished,
  Started,
  Steered,
)
from autoresearch_jax.ledger.imports import ImportLog
from autoresearch_jax.ledger.steering import Steering
from autoresearch_jax.types import (
  RERUNS,
  UNEVALUATED,
  Decision,
  Edit,
  Exchange,
  Hardware,
  Lesson,
  Objective,
  Program,
  Proposal,
  ReferenceStep,
  Result,
  SeedResult,
  Spend,
  Status,
  Trial,
  from_builtins,
  original_of,
)

BASELINE = 0  # id of the trial that runs the starting program
_SEARCH = (Proposed, Edited, Finished, Decided, Declined, Released)  # events that count as turns
_OUTSIDE = (Started, Resumed, FinalScored, Ablated, Retold)  # before which no search went on


class History:
  """The state of a run: a projection of the ledger's events, which `apply` adds one by one.

  All attributes are updated incrementally, so the cost of an event does not grow with the run.

  Attributes:
    started: The event with the run's config, if it has occurred.
    changed_config: The config that the last resumption changed; None if none did.
    open_proposal: The proposal that has no program yet, if any.
    turn: Number of events so far that belong to the search. Random numbers are drawn from it, so
      session events (a stop, a resume) and calls of language models do not change them.
    open_turn: The turn that `open_proposal` began.
    declined_in_a_row: Proposals since the last one that got a program, in this session.
    duplicates_in_a_row: Duplicates since the last trial that was not one, in this session.
    declined_since_result: Whether a proposal was declined after the last result.
    proposals: By trial.
    edits: By trial; a trial exists from its edit on.
    edited_at: When each edit was recorded, in Unix seconds.
    decided_before: For each trial, how many trials had a verdict when it began.
    results: By trial, also those without a verdict.
    failures: Failures of running trials that are recorded and not yet results.
    seed_results: Finished training runs of running trials, by trial and seed.
    trials: Trials with a verdict, in the order of their verdicts.
    kept: Ids of the trials that were kept, in that order; the last one is the incumbent.
    spend: What all calls of language models and agents have cost.
    lessons: The latest lessons written by a language model.
    final_results: Results of the final evaluation by trial and seed. They are separate from
      `results`, since strategies, acceptance rules and proposers must not see them.
    ablations: Results of an ablation by digest of the program, whether they are on the test split,
      and seed.
    training_runs: Cost of all trials in training runs at the full budget: seeds times fidelity.
    training_seconds: Training time of all runs.
    pruned: Number of trials that were ended early.
    saved_seconds: Training time that this saved.
    wall_seconds: Wall-clock time of the search, without pauses and the final evaluation.
    began: Time of the first event, in Unix seconds.
    last_time: Time of the last event, in Unix seconds.
    steering: What requests have made of the run.
    program_trials: Decided trials of each program, by its first trial.
    tried_since_keep: New programs that were decided since the last keep or hand-over.
    handed_over: The event by which another strategy took over, if one did.
    reads_text: Whether the proposer reads words; None where it is not known.
    canaries: Planted programs, whose trials are in none of the other attributes.
    imports: What was read of stores of findings.
  """

  def __init__(self) -> None:
    self.started: Started | None = None
    self.changed_config: dict[str, Any] | None = None
    self.open_proposal: Proposed | None = None
    self.turn = 0
    self.open_turn = 0
    self.declined_in_a_row = 0
    self.duplicates_in_a_row = 0
    self.declined_since_result = False
    self.proposals: dict[int, Proposal] = {}
    self.edits: dict[int, Edit] = {}
    self.edited_at: dict[int, float] = {}
    self.decided_before: dict[int, int] = {}
    self.results: dict[int, Result] = {}
    self.seed_results: dict[int, dict[int, SeedResult]] = {}
    self.failures: dict[int, Result] = {}
    self.trials: dict[int, Trial] = {}
    self.kept: list[int] = []
    self.spend = Spend()
    self.lessons: list[Lesson] = []
    self.final_results: dict[int, dict[int, Result]] = {}
    self.ablations: dict[tuple[str, bool], dict[int, Result]] = {}
    self.training_runs = 0.0
    self.training_seconds = 0.0
    self.pruned = 0
    self.saved_seconds = 0.0
    self.wall_seconds = 0.0
    self.began = 0.0
    self.last_time = 0.0
    self.steering = Steering()
    self.program_trials: dict[int, list[int]] = {}
    self.tried_since_keep = 0
    self.handed_over: HandedOver | None = None
    self.reads_text: bool | None = None
    self.canaries = Canaries()
    self.imports = ImportLog()
    self._hardware: Hardware | None = None
    self._kept_programs: dict[int, None] = {}
    self._digests: dict[str, int] = {}  # of a program -> the first trial with it
    self._running: dict[int, None] = {}
    self._prepared: dict[int, None] = {}
    self._undecided: dict[int, None] = {}
    self._under_test: dict[int, int] = {}
    self._spent: dict[str, Spend] = {}
    self._fingerprints: dict[float, dict[str, int]] = collections.defaultdict(dict)

  @classmethod
  def of(cls, records: Iterable[Record]) -> Self:
    """Returns the history of a sequence of records."""
    history = cls()
    for record in records:
      history.apply(record)
    return history

  def apply(self, record: Record) -> None:
    """Adds the next event."""
    event = record.event
    self._count_time(record)
    if isinstance(event, _SEARCH):
      self.turn += 1
    match event:
      case Proposed():
        self.open_proposal, self.open_turn = event, self.turn
        self.steering.begin(event.request, event.trial)
      case Edited():
        self._apply_edit(event, record.time)
      case SeedFinished() | SeedFailed() | Finished():
        self._apply_result(event)
      case Decided():
        self._apply_verdict(event)
      case Declined():
        self._apply_declined(event)
      case Released():
        self._apply_release(event, record.time)
      case _:
        self._apply_other(event)

  def _apply_other(self, event: Event) -> None:
    """Adds an event that is none of the search itself."""
    match event:
      case Consulted() | Retold():
        self._apply_exchange(event.exchange)
      case Learned():
        self.lessons[:] = event.lessons
      case FinalScored() | Ablated():
        self._apply_retraining(event)
      case Started():
        self.started, self.spend, self.reads_text = event, event.spent, event.reads_text
        self._hardware = event.hardware or self._hardware
      case Resumed():
        self._apply_resumption(event)
      case Steered():
        self.steering.apply(event)
      case HandedOver():
        self.handed_over, self.tried_since_keep = event, 0
      case Planted() | CanaryJudged():
        self.canaries = self.canaries.after(event)
      case _:
        self.imports.apply(event)

  def _apply_retraining(self, event: FinalScored | Ablated) -> None:
    if isinstance(event, FinalScored):
      self.final_results.setdefault(event.trial, {})[event.seed] = event.result
    else:
      self.ablations.setdefault((event.program, event.on_test), {})[event.seed] = event.result

  def _apply_resumption(self, event: Resumed) -> None:
    self._hardware = event.hardware or self._hardware
    self.reads_text = event.reads_text
    self.declined_in_a_row = self.duplicates_in_a_row = 0
    if event.config is not None:
      earlier = self.changed_config or (self.started.config if self.started else {})
      # Earlier versions had not all fields.
      before, now = (vars(Search()) | found.get('search', {}) for found in (earlier, event.config))
      self.steering.drop_ends({name for name in now if now[name] != before.get(name)})
      self.changed_config = event.config
      self.__dict__.pop('config', None)

  def _count_time(self, record: Record) -> None:
    idle = self.steering.paused is not None and not (self._running or self._undecided)
    if not idle and not isinstance(record.event, _OUTSIDE):
      self.wall_seconds += max(0.0, record.time - self.last_time)
    self.began, self.last_time = self.began or record.time, record.time

  def _apply_edit(self, event: Edited, time: float) -> None:
    assert self.open_proposal is not None and self.open_proposal.trial == event.trial
    proposal = self.proposals[event.trial] = self.open_proposal.proposal
    self.training_runs += proposal.fidelity * len(proposal.seeds)
    self.open_proposal, self.declined_in_a_row = None, 0
    self._set_edit(event.trial, event.edit, time)
    (self._prepared if event.prefetched else self._running)[event.trial] = None
    self.decided_before[event.trial] = len(self.trials)

  def _apply_declined(self, event: Declined) -> None:
    if self.open_proposal is not None and self.open_proposal.request:
      self.steering.decline(self.open_proposal.request, event.reason)
    self.open_proposal, self.declined_in_a_row = None, self.declined_in_a_row + 1
    self.declined_since_result = True

  def _set_edit(self, trial: int, edit: Edit, time: float) -> None:
    self.edits[trial], self.edited_at[trial] = edit, time
    first = self._digests.setdefault(digest := edit.program.digest, trial)
    if self.edits[first].program != edit.program:  # a release has replaced that trial's program
      self._digests[digest] = trial

  def _apply_release(self, event: Released, time: float) -> None:
    self._prepared.pop(event.trial)
    self._running[event.trial] = None
    self.decided_before[event.trial] = len(self.trials)
    if event.proposal is not None:
      self.proposals[event.trial] = event.proposal
    if event.edit is not None:
      self._set_edit(event.trial, event.edit, time)

  def _apply_exchange(self, exchange: Exchange) -> None:
    """Counts a call with its latest record: an upper bound while it is pending, then its cost."""
    cost = Spend(1, exchange.input_tokens, exchange.output_tokens, exchange.dollars)
    before = self._spent.get(exchange.id, Spend())
    self.spend, self._spent[exchange.id] = self.spend - before + cost, cost

  def _apply_result(self, event: SeedFinished | SeedFailed | Finished) -> None:
    trial, result = event.trial, event.result
    if isinstance(result, SeedResult):
      before = self.seed_results.get(trial, {})
      self.seed_results[trial] = {**before, result.measurement.seed: result}
      return
    if isinstance(event, SeedFailed):
      self.failures[trial] = result
      return
    self.results[trial] = result
    self._undecided[trial] = None
    self._running.pop(trial, None)
    self.seed_results.pop(trial, None)
    self.failures.pop(trial, None)
    self.declined_since_result = False
    duplicate = result.status is Status.DUPLICATE
    self.duplicates_in_a_row = self.duplicates_in_a_row + 1 if duplicate else 0
    self.training_seconds += sum(m.cost.training_seconds for m in result.measurements)
    if result.status is Status.PRUNED:
      self.pruned += 1
      self.training_seconds += result.facts.get('pruned', {}).get('seconds', 0.0)
      self.saved_seconds += result.facts.get('pruned', {}).get('saved_seconds', 0.0)
    if result.fingerprint and result.status not in UNEVALUATED:
      self._fingerprints[self.proposals[trial].fidelity].setdefault(result.fingerprint, trial)

  def _apply_verdict(self, event: Decided) -> None:
    number = event.trial
    self._undecided.pop(number)
    self.trials[number] = Trial(
      number, self.proposals[number], self.edits[number], self.results[number], event.verdict
    )
    program = self.original(number)
    self.program_trials.setdefault(program, []).append(number)
    if event.verdict.decision is Decision.KEEP:
      self.tried_since_keep = 0
      self.kept.append(number)
      self._kept_programs[program] = None
    elif program == number:
      self.tried_since_keep += 1
    if event.verdict.undecided:
      self._under_test[program] = number
    elif event.verdict.undecided is not None:
      self._under_test.pop(program, None)
    for ended in event.verdict.ended:
      self._under_test.pop(ended, None)

  @functools.cached_property
  def config(self) -> Config:
    """The run's config, with what was changed when it was resumed.

    Raises:
      LedgerError: It was written by a version with other fields.
    """
    assert self.started is not None
    try:
      return from_builtins(self.changed_config or self.started.config, Config)
    except msgspec.ValidationError as error:
      raise LedgerError(
        f'This version cannot read the config that the run was started with: {error}. Use the '
        f'version that wrote it, or another --workdir.'
      ) from None

  @functools.cached_property
  def objective(self) -> Objective:
    """The metric that the run optimises."""
    return self.config.objective

  @property
  def next_trial(self) -> int:
    """Id of the next trial that gets a program."""
    return len(self.edits)

  @property
  def incumbent(self) -> Trial | None:
    """The trial that was kept last; None before there is one."""
    return self.trials[self.kept[-1]] if self.kept else None

  @property
  def best(self) -> int | None:
    """First trial of the program that was kept last; None before there is one."""
    return self.original(self.kept[-1]) if self.kept else None

  @property
  def kept_programs(self) -> Set[int]:
    """First trials of the programs that were kept, as a view."""
    return self._kept_programs.keys()

  @property
  def digests(self) -> Set[str]:
    """Digests of all programs, as a view."""
    return self._digests.keys()

  def trial_of(self, program: Program) -> int | None:
    """Returns the first trial of a program, in progress or done; None if there is none."""
    number = self._digests.get(program.digest)
    if number is None or self.edits[number].program != program:
      return None
    return self.original(number)

  @property
  def running(self) -> list[int]:
    """Trials that have begun and have no result, in the order in which they began."""
    return list(self._running)

  @property
  def prepared(self) -> list[int]:
    """Trials that have a program and wait for a free slot, oldest first."""
    return list(self._prepared)

  @property
  def undecided(self) -> list[int]:
    """Trials that have a result and no verdict, oldest result first."""
    return list(self._undecided)

  def under_test(self, except_for: int | None = None) -> dict[int, Trial]:
    """Returns first trial -> latest trial of the programs whose last verdict is undecided.

    Args:
      except_for: A trial whose program is left out.
    """
    left_out = None if except_for is None else self.original(except_for)
    return {n: self.trials[last] for n, last in self._under_test.items() if n != left_out}

  def finished(self, trial: int) -> Trial:
    """Returns a trial with its result and without a verdict, as the acceptance rule gets it."""
    return Trial(trial, self.proposals[trial], self.edits[trial], self.results[trial])

  def parent(self, trial: int) -> int | None:
    """Returns the trial whose program was edited: the baseline for drafts, None for itself."""
    parents = self.proposals[trial].parents
    return parents[0] if parents else BASELINE if trial != BASELINE else None

  def original(self, trial: int) -> int:
    """Returns the first trial with this one's program: itself, unless it is a rerun."""
    return original_of(trial, self.proposals, RERUNS)

  def lineage(self, trial: int) -> list[int]:
    """Returns the first trials of the programs from the baseline to that of a trial."""
    path = [self.original(trial)]
    while (parent := self.parent(path[-1])) is not None:
      path.append(self.original(parent))
    return path[::-1]

  @property
  def reference(self) -> ReferenceStep | None:
    """The train step that calibrated clocks of this run refer to; None before the baseline."""
    if BASELINE not in self.edits:
      return None
    known = [*self.seed_results.get(BASELINE, {}).values()]
    facts = [r.facts for r in (self.results.get(BASELINE), *known) if r is not None]
    seconds = (f['reference_step_seconds'] for f in facts if 'reference_step_seconds' in f)
    return ReferenceStep(self.edits[BASELINE].program, next(seconds, 0.0))

  @property
  def hardware(self) -> Hardware | None:
    """What the run's trials ran on; None if it is not known."""
    if self._hardware is not None or BASELINE not in self.results:
      return self._hardware
    facts = self.results[BASELINE].facts  # of a run from before the hardware was recorded
    if 'device' not in facts or facts.get('platform') not in ('gpu', 'tpu'):
      return None
    return Hardware(facts['device'], facts.get('num_devices', 1))

  def fingerprints(self, fidelity: float) -> Mapping[str, int]:
    """Returns fingerprint -> first trial with it, among trials of this fidelity.

    This is a live view. Copy it before passing it to another thread.
    """
    return self._fingerprints[fidelity]

  def noise(self) -> float | None:
    """Returns the metric's standard deviation over the baseline's seeds; None below two seeds."""
    result = self.results.get(BASELINE)
    values = [m.metrics.get(self.objective.metric) for m in result.measurements] if result else []
    values = [value for value in values if value is not None]
    return statistics.stdev(values) if len(values) > 1 else None
