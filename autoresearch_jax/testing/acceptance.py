"""Streams of trials through an acceptance rule, driven as the research loop drives it.

No strategy and no program: a trial is an edit of the incumbent with a name, and `measure` says
what a program gets on a seed. For tests of rules, ours and third parties', and for
`scripts/studies/acceptance/measure_acceptance.py`, which counts what a rule keeps.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from autoresearch_jax import types
from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.acceptance.program_runs import original_of
from autoresearch_jax.research.decisions import judge

OBJECTIVE = types.Objective('val_loss', 'minimize')
PROGRAM = types.Program((('model.py', ''),), 'model.py')
EDIT = types.Edit(PROGRAM, 'an edit', types.Hypothesis('a claim'))

# (first trial of the program, seed) -> the metric, or how the run failed
Measure = Callable[[int, int], float | types.Status]


@dataclasses.dataclass(frozen=True)
class Stream:
  """A run so far: an immutable value, so that several futures can start from one past.

  trials: decided ones in the order of their verdicts. flying: (id, proposal) of those submitted
  and not come back. edits: of all of them, by id.
  """

  rule: AcceptanceRule
  state: Any
  trials: tuple[types.Trial, ...] = ()
  flying: tuple[tuple[int, types.Proposal], ...] = ()
  edits: tuple[types.Edit, ...] = ()
  incumbent: types.Trial | None = None

  @classmethod
  def start(cls, rule: AcceptanceRule, measure: Measure, edit: types.Edit = EDIT) -> 'Stream':
    """With the baseline measured and decided."""
    proposal = types.Proposal(types.Operation.DRAFT, seeds=tuple(range(rule.baseline_seeds)))
    return cls(rule, rule.init(OBJECTIVE)).ran(proposal, measure, edit)

  def step(self, measure: Measure, edit: types.Edit = EDIT) -> 'Stream':
    """One trial more, from asking to its verdict: what the rule wants, else a new challenger."""
    stream, wanted = self.asked()
    return stream.ran(wanted or stream.challenge(), measure, edit)

  def replications(self, measure: Measure) -> Iterator['Stream']:
    """Steps for as long as the rule asks for replications."""
    stream = self
    while stream.asked()[1] is not None:
      stream = stream.step(measure)
      yield stream

  def settled(self, measure: Measure) -> 'Stream':
    """After all replications that the rule asks for."""
    return [self, *self.replications(measure)][-1]

  def asked(self) -> tuple['Stream', types.Proposal | None]:
    wanted, state = self.rule.ask(self.state)
    return dataclasses.replace(self, state=state), wanted

  def challenge(self) -> types.Proposal:
    """An edit of the incumbent."""
    parents = () if self.incumbent is None else (self.incumbent.id,)
    return types.Proposal(types.Operation.IMPROVE, parents)

  def ran(self, proposal: types.Proposal, measure: Measure, edit: types.Edit = EDIT) -> 'Stream':
    """With the proposal submitted and come back."""
    stream = self.submitted(proposal, edit)
    return stream.came_back(stream.flying[-1], measure)

  def submitted(self, proposal: types.Proposal, edit: types.Edit = EDIT) -> 'Stream':
    if proposal.operation is types.Operation.REPLICATE:
      edit = self.edits[proposal.parents[0]]
    flying = (*self.flying, (len(self.edits), proposal))
    return dataclasses.replace(self, flying=flying, edits=(*self.edits, edit))

  def came_back(self, flight: tuple[int, types.Proposal], measure: Measure) -> 'Stream':
    """With this flight's trial measured and decided."""
    number, proposal = flight
    trial = finished(number, proposal, measure, self.edits[number])
    verdict, state = judge(self.rule, self.state, trial, OBJECTIVE, self.incumbent)
    decided = dataclasses.replace(trial, verdict=verdict)
    return dataclasses.replace(
      self,
      state=state,
      trials=(*self.trials, decided),
      flying=tuple(other for other in self.flying if other != flight),
      incumbent=decided if verdict.decision is types.Decision.KEEP else self.incumbent,
    )


def finished(
  number: int, proposal: types.Proposal, measure: Measure, edit: types.Edit = EDIT
) -> types.Trial:
  """The trial as an executor returns it, without a verdict; one failed seed fails it."""
  trial = types.Trial(number, proposal, edit, types.Result(number, types.Status.OK))
  values = [measure(original_of(trial), seed) for seed in proposal.seeds]
  failed = [value for value in values if isinstance(value, types.Status)]
  if failed:
    result = types.Result(number, failed[0], reason='It broke.')
    return dataclasses.replace(trial, result=result)
  measurements = tuple(
    types.Measurement(seed, {OBJECTIVE.metric: value}, types.Cost())
    for seed, value in zip(proposal.seeds, values, strict=True)
    if not isinstance(value, types.Status)
  )
  return dataclasses.replace(
    trial, result=dataclasses.replace(trial.result, measurements=measurements)
  )
