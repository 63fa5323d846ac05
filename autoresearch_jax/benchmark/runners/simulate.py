"""Plays one run of a strategy on a simulation: the research loop without git, SQLite or processes.

The rules are those of `research/loop.py`, and so are the random numbers: with one slot, a strategy
does here what it would do there. With several slots the clock is simulated: results are told in the
order in which their trials would end. Programs that are equal have the same fingerprint.

What it keeps of a run is what a user would take home at each moment: the regret of the incumbent
by the metric without noise. It writes nothing; `results.py` does.
"""

import collections
import dataclasses
import heapq
import types

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.benchmark.regret import RegretCurve
from autoresearch_jax.benchmark.simulations import Instance
from autoresearch_jax.ledger.history import BASELINE, repeated
from autoresearch_jax.messages import PartError
from autoresearch_jax.proposers import NothingToPropose, ProposalContext
from autoresearch_jax.research.decisions import (
  States,
  generator,
  judge,
  next_proposal,
  tell,
  undecided,
)
from autoresearch_jax.research.loop import PATIENCE
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import (
  REPEATS,
  UNTRIED,
  Decision,
  Edit,
  Hypothesis,
  Operation,
  Program,
  Proposal,
  Result,
  Status,
  Trial,
  TrialRequest,
)

ROUNDING = 1e-9  # rungs such as 1/3, or a metric's parts, do not add up exactly
MAX_TRIALS = (
  100  # for each training run of the budget: a rung of 1/81 has room, an endless run none
)


class SimulationError(ValueError):
  """A run that cannot be played or compared: the problem or the strategy breaks its contract."""


@dataclasses.dataclass(frozen=True)
class SimulatedRun:
  """What is kept of a run.

  statuses: how many trials ended how. kept: trials kept after the baseline. false_keeps: those of
  them that were truly worse than the incumbent before; another program of equal worth is none,
  since a rule may keep it for its size. run_seconds: device seconds of one
  training run of the start. runs, seconds, calls: used in all.
  """

  curve: RegretCurve
  statuses: dict[str, int]
  kept: int
  false_keeps: int
  runs: float
  seconds: float
  calls: int
  run_seconds: float


def simulate(
  strategy: Strategy,
  acceptance: AcceptanceRule,
  instance: Instance,
  seed: int,
  budget: float,
  slots: int = 1,
) -> SimulatedRun:
  """Plays until `budget` training runs are used or five proposals in a row came to nothing.

  seed: root of the strategy's and the proposer's randomness. Raises SimulationError.
  """
  run = _Run(strategy, acceptance, instance, seed, budget, slots)
  try:
    run.simulate()
  except PartError as error:
    raise SimulationError(str(error)) from error
  return run.played()


class _Run:
  """One run under way."""

  def __init__(
    self,
    strategy: Strategy,
    acceptance: AcceptanceRule,
    instance: Instance,
    seed: int,
    budget: float,
    slots: int,
  ):
    self.strategy, self.acceptance, self.instance = strategy, acceptance, instance
    self.seed, self.budget, self.slots = seed, budget, slots
    self.objective, self.start = instance.objective, instance.start
    self.spec = instance.spec
    self.states = States.first(self.objective, strategy, acceptance)
    self.turn = self.calls = self.declined_in_a_row = 0
    self.clock = self.committed = 0.0
    self.full = False
    self.proposals: dict[int, Proposal] = {}
    self.edits: list[Edit] = []
    self.trials: dict[int, Trial] = {}
    self.tried: dict[str, None] = {}
    self.kept: dict[int, None] = {}
    self.known: dict[float, dict[str, int]] = collections.defaultdict(dict)
    self.flying: list[tuple[float, int, Result]] = []  # a heap: (when it ends, trial, result)
    self.incumbent: Trial | None = None
    self.score = _Score(instance)

  def simulate(self) -> None:
    self._fill_slots()
    while self.flying:
      self.clock, trial, result = heapq.heappop(self.flying)
      self._finish(trial, result)
      self._fill_slots()

  def played(self) -> SimulatedRun:
    score = self.score
    baseline = self.trials[BASELINE].result.measurements
    return SimulatedRun(
      curve=score.curve(),
      statuses=dict(sorted(score.statuses.items())),
      kept=score.kept,
      false_keeps=score.false_keeps,
      runs=score.runs,
      seconds=score.seconds,
      calls=self.calls,
      run_seconds=baseline[0].cost.total_seconds,
    )

  def _fill_slots(self) -> None:
    while len(self.flying) < self.slots and self._may_start():
      if not self._begin() and self.flying:
        return  # a result may bring the strategy on another thought

  def _may_start(self) -> bool:
    waits_for_baseline = len(self.edits) > BASELINE not in self.trials
    return not (waits_for_baseline or self.full or self.declined_in_a_row >= PATIENCE)

  def _begin(self) -> bool:
    """Asks, gets the program and submits it; False when nothing came of it."""
    proposal = self._ask()
    charge = proposal.fidelity * len(proposal.seeds)
    if self.committed + charge > self.budget + ROUNDING:
      self.full = True
      return False
    if len(self.edits) >= MAX_TRIALS * self.budget:
      raise SimulationError(
        f'It began {len(self.edits)} trials within {self.budget:g} training runs; {MAX_TRIALS} a '
        'training run is the most. Take higher fidelities.'
      )
    self.turn += 1
    try:
      edit = self._edit(proposal)
    except NothingToPropose:
      self.turn, self.declined_in_a_row = self.turn + 1, self.declined_in_a_row + 1
      self.states = self.states.declined()
      return False
    self.turn, self.declined_in_a_row = self.turn + 1, 0
    self.committed += charge
    self._submit(proposal, edit)
    return True

  def _ask(self) -> Proposal:
    if not self.edits:
      return Proposal(Operation.DRAFT, seeds=tuple(range(self.acceptance.baseline_seeds)))
    generated = generator(self.seed, self.turn)
    try:
      proposal, self.states = next_proposal(
        self.strategy, self.acceptance, self.states, generated, self.proposals
      )
    except PartError as error:
      raise SimulationError(str(error)) from error
    return proposal

  def _edit(self, proposal: Proposal) -> Edit:
    if not self.edits:
      return Edit(self.start, 'baseline', Hypothesis(''))
    parents = self._parents(proposal)
    if proposal.operation in REPEATS:
      text = f'{proposal.operation} trial {proposal.parents[0]}'
      return Edit(parents[0], text, Hypothesis(''))
    if proposal.edit is not None:
      return proposal.edit
    self.calls += 1
    context = ProposalContext(
      parents=parents,
      history=types.MappingProxyType(self.trials),
      editable=(self.start.entry,),
      objective=self.objective,
      spec=self.spec,
      tried=self.tried.keys(),
      kept=self.kept.keys(),
      undecided=undecided(self.acceptance, self.states.acceptance, self.trials, proposal.context),
    )
    return self.instance.propose(proposal, context, generator(self.seed, self.turn))

  def _parents(self, proposal: Proposal) -> tuple[Program, ...]:
    known = all(0 <= trial < len(self.edits) for trial in proposal.parents)
    if not known or (proposal.operation in REPEATS and not proposal.parents):
      raise SimulationError(f'It named parents {proposal.parents}; no such trial exists.')
    return tuple(self.edits[trial].program for trial in proposal.parents) or (self.start,)

  def _submit(self, proposal: Proposal, edit: Edit) -> None:
    trial = len(self.edits)
    repeats = proposal.operation in REPEATS or trial == BASELINE
    digest = edit.program.digest
    self.proposals[trial] = proposal
    self.edits.append(edit)
    self.tried[digest] = None
    known = {} if repeats else self.known[proposal.fidelity]
    if digest in known:
      result = _duplicate(trial, digest, known[digest])
    else:
      budget = self.spec.budget.scaled(proposal.fidelity)
      request = TrialRequest(trial, edit.program, proposal.seeds, budget, known, proposal.parents)
      result = self.instance.measure(request)
      if not result.fingerprint:
        result = dataclasses.replace(result, fingerprint=digest)
    heapq.heappush(self.flying, (self.clock + _seconds(result), trial, result))

  def _finish(self, trial: int, result: Result) -> None:
    proposal, before = self.proposals[trial], self.incumbent
    finished = Trial(trial, proposal, self.edits[trial], result)
    verdict, judging = judge(
      self.acceptance, self.states.acceptance, finished, self.objective, before
    )
    finished = dataclasses.replace(finished, verdict=verdict)
    self.trials[trial] = finished
    if result.status not in UNTRIED:
      self.known[proposal.fidelity].setdefault(result.fingerprint, trial)
      self.known[proposal.fidelity].setdefault(finished.edit.program.digest, trial)
    if verdict.decision is Decision.KEEP:
      self.incumbent = finished
      self.kept[repeated(trial, self.proposals, REPEATS)] = None
    elif trial == BASELINE:
      raise SimulationError(f'The baseline failed, so nothing can be compared: {verdict.reason}')
    told = tell(self.strategy, self.states.strategy, finished)
    self.states = self.states.told(told, judging)
    self.turn += 2  # the events Finished and Decided
    self.score.add(finished, self.calls)


class _Score:
  """What a run has used and what its incumbent is truly worth."""

  def __init__(self, instance: Instance):
    self.instance, self.optimum = instance, instance.optimum
    worst = instance.value(instance.start)
    if worst is None or worst == self.optimum:
      raise SimulationError(
        f'The start of this instance has the value {worst} and the optimum is {self.optimum}: '
        'regret has no scale. Take another seed or other options.'
      )
    self.worst = worst
    self.regret = 1.0
    self.runs = self.seconds = 0.0
    self.kept = self.false_keeps = 0
    self.statuses: collections.Counter[str] = collections.Counter()
    self.steps = [(0.0, 0.0, 0, 1.0)]

  def add(self, trial: Trial, calls: int) -> None:
    self.runs += trial.proposal.fidelity * len(trial.proposal.seeds)
    self.seconds += _seconds(trial.result)
    self.statuses[trial.result.status.value] += 1
    assert trial.verdict is not None
    if trial.verdict.decision is Decision.KEEP and trial.id != BASELINE:
      self._keep(trial, calls)

  def _keep(self, trial: Trial, calls: int) -> None:
    regret = self._regret(trial.edit.program)
    self.kept += 1
    self.false_keeps += regret > self.regret + ROUNDING
    if regret != self.regret:
      self.steps.append((self.runs, self.seconds, calls, regret))
    self.regret = regret

  def _regret(self, program: Program) -> float:
    """A program that fails is worth the start, to which its user goes back."""
    value = self.instance.value(program)
    value = self.worst if value is None else value
    return (self.optimum - value) / (self.optimum - self.worst) + 0.0  # no -0.0 at the optimum

  def curve(self) -> RegretCurve:
    return RegretCurve(*(tuple(column) for column in zip(*self.steps, strict=True)))


def _duplicate(trial: int, digest: str, first: int) -> Result:
  reason = f'The same program as trial {first}.'
  return Result(trial, Status.DUPLICATE, reason, digest, duplicate_of=first)


def _seconds(result: Result) -> float:
  """Of the device: what a simulation says of the whole trial, failed or not, else of its runs."""
  told = result.facts.get('seconds')
  return sum(m.cost.total_seconds for m in result.measurements) if told is None else told
