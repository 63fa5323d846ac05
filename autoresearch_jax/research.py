"""The research loop: ask, propose, submit, decide, append, tell.

All collaborators are given; nothing is built here. Every step is an event before it has an
effect, so a process killed at any line leaves a ledger from which the next one goes on: proposals
without a program get theirs, trials without a result are submitted again under the same id.
"""

import dataclasses
import types
from collections.abc import Callable

import numpy as np

from autoresearch_jax.acceptance import Acceptance
from autoresearch_jax.executors import Executor, Unavailable
from autoresearch_jax.failures import ADVICE, PartError
from autoresearch_jax.history import (
  BASELINE,
  History,
  States,
  generator,
  judge,
  next_proposal,
  tell,
  undecided,
)
from autoresearch_jax.ledger import (
  Decided,
  Declined,
  Edited,
  Event,
  Finished,
  Ledger,
  Proposed,
  Stopped,
)
from autoresearch_jax.proposers import Context, NothingToPropose, Proposer
from autoresearch_jax.report import View
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import (
  REPEATS,
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
from autoresearch_jax.workspace import Workspace

PATIENCE = 5  # proposals in a row without a program before the run stops
WAIT_SECONDS = 0.5  # longest sleep between looks at the clock and at the stop signal


@dataclasses.dataclass
class Research:
  """One run, at the point where `history` and `states` (from `replay`) say it is.

  start: the unmodified program. stop: gives the reason once the run shall end, '' until then.
  """

  ledger: Ledger
  history: History
  states: States
  workspace: Workspace
  strategy: Strategy
  proposer: Proposer
  acceptance: Acceptance
  executor: Executor
  spec: Spec
  start: Program
  max_trials: int
  view: View
  stop: Callable[[], str]
  unavailable: bool = dataclasses.field(default=False, init=False)  # the machine failed
  broken: bool = dataclasses.field(default=False, init=False)  # strategy or acceptance failed

  def run(self) -> str:
    """Researches until there is a reason to stop; returns it, a sentence."""
    try:
      self._take_up()
      while not (reason := self._reason_to_stop()):
        self._fill_slots()
        for news in self.executor.wait(WAIT_SECONDS):
          self._take(news)
        self.view.tick()
    except Unavailable as error:  # trials under way have no result, so they are run again
      reason, self.unavailable = str(error), True
    except PartError as error:  # its states are folded again by the next start
      reason, self.broken = f'{error} {ADVICE}', True
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
    for trial in self.history.undecided:
      self._decide(trial)
    for trial in self.history.running:
      self._submit(trial)

  def _reason_to_stop(self) -> str:
    if reason := self.stop():
      return reason
    if self.failed:
      why = self.history.results[BASELINE].reason
      return (
        f'The baseline failed, so nothing can be compared with it: {why} Mend it and start again '
        f'with another --workdir; this one keeps the failure on record.'
      )
    if self.history.running:
      return ''
    if self._full:
      return f'All {self.max_trials} trials that config.search.max_trials allows are done.'
    if self.history.declined_in_a_row >= PATIENCE:
      return f'{PATIENCE} proposals in a row came to nothing.'
    return ''

  @property
  def _full(self) -> bool:
    return 0 < self.max_trials <= self.history.next_trial

  def _fill_slots(self) -> None:
    while len(self.history.running) < self.executor.slots and self._may_start():
      self._ask()
      if not self._propose() and self.history.running:
        return  # a result may bring the strategy on another thought
      self.view.tick()

  def _may_start(self) -> bool:
    waits_for_baseline = self.history.next_trial > BASELINE not in self.history.trials
    tired = self.history.declined_in_a_row >= PATIENCE
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

  def _propose(self) -> bool:
    """Gets the open proposal its program and submits it; False when there is none to be had."""
    assert self.history.open is not None
    trial, proposal = self.history.open.trial, self.history.open.proposal
    try:
      edit = self._edit(proposal)
    except NothingToPropose as none:
      self._decline(Declined(trial, str(none)))
      return False
    except PartError:
      raise
    except Exception as error:  # a proposer is not ours: whatever it raises is put on record
      self._decline(Declined(trial, f'{type(error).__name__}: {error}', failed=True))
      return False
    self._append(Edited(trial, edit))
    self.workspace.record_trial(self.history, trial)
    self._submit(trial)
    return True

  def _edit(self, proposal: Proposal) -> Edit:
    if self.history.next_trial == BASELINE:
      claim = 'The unmodified program is what all others are compared with.'
      return Edit(self.start, 'baseline', Hypothesis(claim))
    parents = self._parents(proposal)
    if proposal.operation in REPEATS:
      first = self.history.program(proposal.parents[0])
      text = f'{proposal.operation} trial {first}: {self.history.edits[first].description}'
      return Edit(parents[0], text, Hypothesis('The same program again, to know it better.'))
    edit = proposal.edit or self.proposer.propose(
      proposal, self._context(proposal, parents), self._generator()
    )
    _require_editable(edit, parents[0], self.history.config.editable)
    return edit

  def _parents(self, proposal: Proposal) -> tuple[Program, ...]:
    unknown = [trial for trial in proposal.parents if trial not in self.history.edits]
    if unknown or (proposal.operation in REPEATS and not proposal.parents):
      raise ValueError(f'The strategy named parents {proposal.parents}; no such trial exists.')
    programs = tuple(self.history.edits[trial].program for trial in proposal.parents)
    return programs or (self.history.edits[BASELINE].program,)

  def _context(self, proposal: Proposal, parents: tuple[Program, ...]) -> Context:
    history = self.history
    return Context(
      parents=parents,
      history=types.MappingProxyType(history.trials),
      editable=history.config.editable,
      objective=history.objective,
      spec=self.spec,
      tried=history.digests,
      kept=history.kept_programs,
      undecided=undecided(
        self.acceptance, self.states.acceptance, history.trials, proposal.context
      ),
    )

  def _decline(self, event: Declined) -> None:
    self._append(event)
    self.states = self.states.declined()

  def _submit(self, trial: int) -> None:
    proposal = self.history.proposals[trial]
    repeats = proposal.operation in REPEATS or trial == BASELINE
    request = TrialRequest(
      trial=trial,
      program=self.history.edits[trial].program,
      seeds=proposal.seeds,
      budget=self.spec.budget.scaled(proposal.fidelity),
      known={} if repeats else self.history.known(proposal.fidelity),
      parents=proposal.parents,
    )
    self.executor.submit(request)

  def _take(self, news: Progress | Result) -> None:
    if isinstance(news, Progress):
      self.view.progress(news)
    elif news.trial in self.history.running and not self._damaged_by_stop(news):
      self._finish(news)

  def _damaged_by_stop(self, result: Result) -> bool:
    """Ctrl-C reaches every process of the terminal: what failed after it is run again later."""
    return result.status != Status.OK and bool(self.stop())

  def _finish(self, result: Result) -> None:
    try:
      self._append(Finished(result.trial, result))
    except (TypeError, ValueError) as error:  # msgspec's are among them
      reason = f'The executor returned a result that cannot be recorded: {error!r:.300}'
      self._append(Finished(result.trial, Result(result.trial, Status.CRASH, reason)))
    self._decide(result.trial)

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
