"""The research loop: ask, propose, submit, decide, append, tell.

All collaborators are given; nothing is built here. Every step is an event before it has an
effect, so a process killed at any line leaves a ledger from which the next one goes on: proposals
without a program get theirs, trials without a result are submitted again under the same id.

While trials run the next one is asked for, written and traced, in a thread (`thinking`). Results
that come in meanwhile wait until it has its program, so that a proposer's view of the run stands
still; and the order of events does not depend on how fast anybody thinks, unless several trials are
prepared: then those take the free slots while another one is written.
"""

import contextlib
import dataclasses
import pathlib
import types
from collections.abc import Callable

import numpy as np

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.executors import Executor, Unavailable
from autoresearch_jax.knowledge import Memory, Question, duplicates, planner
from autoresearch_jax.ledger.events import (
  Consulted,
  Decided,
  Declined,
  Edited,
  Event,
  Finished,
  Learned,
  Proposed,
  Released,
  Stopped,
)
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.messages import ADVICE, STRATEGY, PartError, blaming
from autoresearch_jax.programs import catalogue, rebase
from autoresearch_jax.proposers import NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.report import View
from autoresearch_jax.research import pruning
from autoresearch_jax.research.decisions import (
  States,
  generator,
  judge,
  next_proposal,
  revised,
  tell,
  undecided,
)
from autoresearch_jax.research.proposer_thread import Thinking
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import (
  REPEATS,
  SILENT,
  Decision,
  Edit,
  Hypothesis,
  Operation,
  Program,
  Progress,
  Proposal,
  Result,
  Spec,
  Status,
  TrialRequest,
  from_json,
  to_json,
)

PATIENCE = 5  # proposals in a row without a program before the run stops
MAX_TWINS = 100  # trials in a row that repeat others before the run stops
WAIT_SECONDS = 0.5  # longest sleep between looks at the clock and at the stop signal
HEAR_SECONDS = 0.1  # the same, while a proposer thinks


@dataclasses.dataclass
class Research:
  """One run, at the point where `history` and `states` (from `replay`) say it is.

  start: the unmodified program. stop: gives the reason once the run shall end, '' until then.
  hidden: paths of data that proposers must not see.
  """

  ledger: Ledger
  history: History
  states: States
  workspace: Workspace
  strategy: Strategy
  proposer: Proposer
  acceptance: AcceptanceRule
  executor: Executor
  spec: Spec
  start: Program
  max_trials: int
  view: View
  stop: Callable[[], str]
  hidden: tuple[pathlib.Path, ...] = ()
  unavailable: bool = dataclasses.field(default=False, init=False)  # the machine failed
  broken: bool = dataclasses.field(default=False, init=False)  # strategy or acceptance failed

  def __post_init__(self) -> None:
    history = self.history
    self._thinking: Thinking | None = None
    self._landed: list[Result] = []  # that wait until the proposer has answered
    self._trials = types.MappingProxyType(history.trials)
    self._memory = Memory(self._trials, history.objective, history.kept_programs, history.lessons)
    self._twins: dict[float, duplicates.DuplicateIndex] = {}
    for trial in sorted(history.results):  # the order in which they began
      if (
        history.results[trial].status is not Status.DUPLICATE or history.results[trial].fingerprint
      ):
        self._remember(trial)

  def run(self) -> str:
    """Researches until there is a reason to stop; returns it, a sentence."""
    try:
      self._take_up()
      while not (reason := self._reason_to_stop()):
        self._advance()
        self._listen()
        self.view.tick()
    except Unavailable as error:  # trials under way have no result, so they are run again
      reason, self.unavailable = str(error), True
    except PartError as error:  # its states are folded again by the next start
      reason, self.broken = f'{error} {ADVICE}', True
    finally:
      self._stop_thinking()
    while self._landed:  # their verdicts come when the proposal that is open has its program
      self._record(self._landed.pop(0))
    self._append(Stopped(reason))
    return reason

  @property
  def failed(self) -> bool:
    """Whether the baseline got no score, so that nothing can be compared with it."""
    baseline = self.history.trials.get(BASELINE)
    verdict = baseline.verdict if baseline else None
    return verdict is not None and verdict.decision != Decision.KEEP

  def _take_up(self) -> None:
    """Goes on where the ledger ends."""
    self.workspace.reconcile(self.history)
    if self.history.open is None:
      self._settle()
    for trial in self.history.running:
      self._submit(trial)

  def _reason_to_stop(self) -> str:  # noqa: PLR0911 - a reason each
    if reason := self.stop():
      return reason
    if self.failed:
      why = self.history.results[BASELINE].reason
      return (
        f'The baseline failed, so nothing can be compared with it: {why} Mend it and start again '
        f'with another --workdir; this one keeps the failure on record.'
      )
    if self._underway or self._thinking:
      return ''
    if self._full:
      return f'All {self.max_trials} trials that config.search.max_trials allows are done.'
    if self.history.declined_in_a_row >= PATIENCE:
      return f'{PATIENCE} proposals in a row came to nothing.'
    if self.history.twins_in_a_row >= MAX_TWINS:
      return f'The last {MAX_TWINS} trials only repeated programs that were tried before.'
    return ''

  @property
  def _full(self) -> bool:
    return 0 < self.max_trials <= self.history.next_trial

  def _advance(self) -> None:
    """Begins what is ready for a free slot, and has further trials prepared."""
    while self._thinking is None:
      if self.history.prepared and self._free:
        self._release(self.history.prepared[0])
      elif self._may_ask():
        self._ask()
        self._begin_proposal()
      else:
        return
      self.view.tick()

  def _listen(self) -> None:
    """Waits for news of trials, or of the proposer."""
    if self._thinking is not None:
      answer = self._thinking.hear(HEAR_SECONDS, self._append)
      if answer is not None:
        self._thinking = None
        self._take_answer(answer)
        return
    for news in self.executor.wait(WAIT_SECONDS if self._thinking is None else 0.0):
      if isinstance(news, Progress):
        self.view.progress(news)
      else:
        self._landed.append(news)
    if self._thinking is None:
      self._settle()
    while self._thinking and self.history.prepared and self._idle:
      self._release(self.history.prepared[0])

  def _settle(self) -> None:
    """Decides about the trials that have a result."""
    for trial in self.history.undecided:  # from a stop while a proposer was thinking
      self._decide(trial)
    while self._landed:
      result = self._landed.pop(0)
      if self._record(result):
        self._decide(result.trial)

  @property
  def _underway(self) -> int:
    """How many trials have a program and no verdict."""
    history = self.history
    return len(history.running) + len(history.prepared) + len(history.undecided)

  @property
  def _free(self) -> bool:
    """Whether a slot has no trial; one without a verdict still has its slot."""
    return self._underway - len(self.history.prepared) < self.executor.slots

  @property
  def _idle(self) -> bool:
    """Whether a slot trains nothing, since its trial has landed."""
    running = {*self.history.running} - {result.trial for result in self._landed}
    return len(running) < self.executor.slots

  def _may_ask(self) -> bool:
    """Whether another trial is wanted; after a proposal came to nothing, a result comes first."""
    history = self.history
    underway = self._underway
    if underway >= self.executor.slots + history.config.search.prefetch or (
      underway and history.discouraged
    ):
      return False
    waits_for_baseline = history.next_trial > BASELINE not in history.trials
    tired = history.declined_in_a_row >= PATIENCE or history.twins_in_a_row >= MAX_TWINS
    return not (waits_for_baseline or tired or self._full or self.failed or self.stop())

  def _ask(self) -> None:
    trial = self.history.next_trial
    if self.history.open is not None:
      return  # a killed process asked already
    if trial == BASELINE:
      seeds = tuple(range(self.acceptance.baseline_seeds))
      self._append(Proposed(trial, Proposal(Operation.DRAFT, seeds=seeds)))
    else:
      proposal, states = next_proposal(
        self.strategy, self.acceptance, self.states, self._generator(), self.history.proposals
      )
      self._append(Proposed(trial, proposal))
      self.states = states

  def _begin_proposal(self) -> None:
    """Gets the open proposal its program: at once, or from the proposer, who may take its time."""
    assert self.history.open is not None
    proposal = self.history.open.proposal
    rng = generator(self.history.config.seed, self.history.asked_at)
    try:
      if edit := self._known_edit(proposal):
        self._take_edit(edit)
        return
      context = self._context(proposal, self._parents(proposal))
    except PartError:
      raise
    except Exception as error:
      self._take_answer(error)
      return
    budget, prefetched = self.spec.budget.scaled(proposal.fidelity), not self._free

    def think(thinking: Thinking) -> Edit:
      asking = dataclasses.replace(
        context,
        record=lambda exchange: thinking.note(Consulted(context.trial_id, exchange)),
        record_lessons=lambda lessons: thinking.note(Learned(tuple(lessons))),
      )
      edit = self.proposer.propose(proposal, asking, rng)
      if prefetched:
        with contextlib.suppress(Exception):  # the trial's own trace will meet it again
          self.executor.check(edit.program, budget)
      return edit

    self._thinking = Thinking(think)

  def _take_answer(self, answer: Edit | BaseException) -> None:
    """Records what came of the open proposal."""
    assert self.history.open is not None
    trial, proposal = self.history.open.trial, self.history.open.proposal
    try:
      if not isinstance(answer, BaseException):
        _require_editable(answer, self._parents(proposal)[0], self.history.config.editable)
    except Exception as error:
      answer = error
    if isinstance(answer, NothingToPropose):
      self._decline(Declined(trial, str(answer)))
    elif isinstance(answer, BaseException):  # whatever it raises is put on record, its exit too
      self._decline(Declined(trial, f'{type(answer).__name__}: {answer}', failed=True))
    else:
      self._take_edit(answer)

  def _take_edit(self, edit: Edit) -> None:
    """Makes a trial of the open proposal, which begins now or when a slot is free."""
    trial, prefetched = self.history.next_trial, not self._free
    self._append(Edited(trial, edit, prefetched))
    self.workspace.record_trial(self.history, trial)
    if not prefetched:
      self._submit(trial)

  def _release(self, trial: int) -> None:
    """Begins a trial that was prepared, as the strategy wants it now that it knows more."""
    proposal, edit = self.history.proposals[trial], self.history.edits[trial]
    wanted, states = revised(self.strategy, self.states, proposal)
    event = Released(trial)
    if wanted != proposal and (moved := self._moved(edit, proposal, wanted)) is not None:
      event = Released(trial, wanted, None if moved == edit else moved)
    self._append(event)
    if event.proposal is not None:
      self.states = states
      self.workspace.record_trial(self.history, trial)
    self._submit(trial)

  def _moved(self, edit: Edit, before: Proposal, after: Proposal) -> Edit | None:
    """The edit on the parent that is wanted now; None when it does not go there."""
    with blaming(STRATEGY, self.strategy, 'when it revised a prepared trial'):
      old, new = self._parents(before)[0], self._parents(after)[0]
    if after.operation in REPEATS:
      return self._repeat(after)
    program = edit.program if old == new else rebase.rebased(edit.program, old, new)
    return None if program is None else dataclasses.replace(edit, program=program)

  def _stop_thinking(self) -> None:
    if self._thinking is not None:
      self._thinking.abandon()
      self.proposer.close()

  def _known_edit(self, proposal: Proposal) -> Edit | None:
    """The edit of a proposal that needs no proposer."""
    if self.history.next_trial == BASELINE:
      claim = 'The unmodified program is what all others are compared with.'
      return Edit(self.start, 'baseline', Hypothesis(claim))
    parents = self._parents(proposal)
    if proposal.operation in REPEATS:
      return self._repeat(proposal)
    if proposal.edit is not None:
      _require_editable(proposal.edit, parents[0], self.history.config.editable)
    return proposal.edit

  def _repeat(self, proposal: Proposal) -> Edit:
    program, first = self._parents(proposal)[0], self.history.program(proposal.parents[0])
    text = f'{proposal.operation} trial {first}: {self.history.edits[first].description}'
    return Edit(program, text, Hypothesis('The same program again, to know it better.'))

  def _parents(self, proposal: Proposal) -> tuple[Program, ...]:
    unknown = [trial for trial in proposal.parents if trial not in self.history.edits]
    if unknown or (proposal.operation in REPEATS and not proposal.parents):
      raise ValueError(f'The strategy named parents {proposal.parents}; no such trial exists.')
    programs = tuple(self.history.edits[trial].program for trial in proposal.parents)
    return programs or (self.history.edits[BASELINE].program,)

  def _context(self, proposal: Proposal, parents: tuple[Program, ...]) -> ProposalContext:
    history = self.history
    budget = self.spec.budget.scaled(proposal.fidelity)

    def check_duplicate(program: Program) -> str:
      twin = self._twin(program, proposal)
      return twin[1] if twin else ''

    return ProposalContext(
      parents=parents,
      history=self._trials,
      editable=history.config.editable,
      objective=history.objective,
      spec=self.spec,
      tried=history.digests,
      kept=history.kept_programs,
      undecided=undecided(
        self.acceptance, self.states.acceptance, history.trials, proposal.context
      ),
      pending={
        trial: history.edits[trial]
        for trial in (*history.running, *history.prepared)
        if history.program(trial) == trial
      },
      memory=self._memory if history.config.knowledge.memory else None,
      questions=self._questions(proposal),
      trial_id=history.next_trial,
      scratch=self.workspace.scratch / 'proposer',
      hidden=(*self.hidden, self.workspace.directory.resolve()),
      check_duplicate=check_duplicate,
      check=lambda program: check_duplicate(program) or self.executor.check(program, budget),
      structural_edits=catalogue.own(history.config.program),
      spend=lambda: history.spend,
    )

  def _questions(self, proposal: Proposal) -> tuple[Question, ...]:
    """What the planner would like to know from an edit of the proposal's parent."""
    if not self.history.config.knowledge.planner:
      return ()
    parent = self.history.program(proposal.parents[0]) if proposal.parents else BASELINE
    areas = () if self.spec.kind == 'construction' else planner.AREAS
    return planner.rank_questions(self._memory, parent, areas=areas)

  def _decline(self, event: Declined) -> None:
    self._append(event)
    self.states = self.states.declined()

  def _submit(self, trial: int) -> None:
    proposal = self.history.proposals[trial]
    repeats = proposal.operation in REPEATS or trial == BASELINE
    twin = None if repeats else self._twin(self.history.edits[trial].program, proposal)
    if twin and twin[0] < trial:  # one that began later may have ended before a restart
      first, reason = twin
      self._landed.append(Result(trial, Status.DUPLICATE, reason, duplicate_of=first))
      if self._thinking is None:
        self._settle()
      return
    self._remember(trial)
    anew = repeats or self.history.config.search.allow_duplicates
    request = TrialRequest(
      trial=trial,
      program=self.history.edits[trial].program,
      seeds=proposal.seeds,
      budget=self.spec.budget.scaled(proposal.fidelity),
      known={} if anew else self.history.known(proposal.fidelity),
      parents=proposal.parents,
      rungs=pruning.rungs(self.history, trial, self.spec),
    )
    self.executor.submit(request)

  def _record(self, result: Result) -> bool:
    """Puts a result on record; False where it is nobody's, or says nothing of its trial."""
    if result.trial not in self.history.running or self._damaged_by_stop(result):
      return False
    try:
      self._append(Finished(result.trial, result))
    except (TypeError, ValueError) as error:  # msgspec's are among them
      reason = f'The executor returned a result that cannot be recorded: {error!r:.300}'
      self._append(Finished(result.trial, Result(result.trial, Status.CRASH, reason)))
    return True

  def _damaged_by_stop(self, result: Result) -> bool:
    """Ctrl-C reaches every process of the terminal: what failed after it is run again later."""
    return result.status != Status.OK and bool(self.stop())

  def _remember(self, trial: int) -> None:
    proposal = self.history.proposals[trial]
    if proposal.operation not in REPEATS:
      self._programs(proposal).add(trial, self.history.edits[trial].program)

  def _programs(self, proposal: Proposal) -> duplicates.DuplicateIndex:
    """Programs that were tried at the same fidelity."""
    tolerance = self.history.config.knowledge.duplicate_tolerance
    return self._twins.setdefault(proposal.fidelity, duplicates.DuplicateIndex(tolerance))

  def _twin(self, program: Program, proposal: Proposal) -> tuple[int, str] | None:
    """The trial that the program would repeat, or nearly so, and that as a sentence.

    A strategy that sets constants itself may take small steps; proposers may not.
    """
    if self.history.config.search.allow_duplicates:
      return None
    found = self._programs(proposal).find(program)
    if found is None:
      return None
    result = self.history.results.get(found.trial)
    if (result and result.status in SILENT) or not (found.exact or proposal.edit is None):
      return None
    return found.trial, duplicates.explain(found, self._memory.hypotheses.get(found.trial))

  def _decide(self, trial: int) -> None:
    finished = self.history.finished(trial)
    verdict, judged = judge(
      self.acceptance, self.states.acceptance, finished, self.history.objective,
      self.history.incumbent,
    )  # fmt: skip
    self._append(Decided(trial, verdict))
    told = tell(self.strategy, self.states.strategy, self.history.trials[trial])
    self.states = self.states.told(told, judged)
    self.workspace.record_verdict(self.history, trial)

  def _append(self, event: Event) -> None:
    record = self.ledger.append(event)
    self.history.apply(record)
    self.view.record(record, self.history)

  def _generator(self) -> np.random.Generator:
    return generator(self.history.config.seed, self.history.turn)


def _require_editable(edit: Edit, parent: Program, editable: tuple[str, ...]) -> None:
  """Raises ValueError when the edit cannot be recorded or touches more than the editable files."""
  from_json(to_json(edit), Edit)
  before, after = dict(parent.files), dict(edit.program.files)
  for name in sorted({*before, *after}):
    if before.get(name) != after.get(name) and name not in editable:
      raise ValueError(f'The edit changes {name}; only {", ".join(editable)} may be changed.')
  if edit.program.entry != parent.entry:
    raise ValueError(f'The edit makes {edit.program.entry} the entry; it is {parent.entry}.')
