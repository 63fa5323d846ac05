"""Streams of trials through an acceptance rule, driven as the research loop drives it.

No strategy and no program: a trial is an edit of the incumbent with a name, and `measure` says
what a program gets on a seed. For tests of rules, ours and third parties', and for
`scripts/measure_acceptance.py`, which counts what a rule keeps.
"""

import dataclasses
from collections.abc import Callable, Iterator

from autoresearch_jax import types
from autoresearch_jax.acceptance import Acceptance
from autoresearch_jax.acceptance.runs import original
from autoresearch_jax.history import judge

OBJECTIVE = types.Objective('val_loss', 'minimize')
PROGRAM = types.Program((('model.py', ''),), 'model.py')
EDIT = types.Edit(PROGRAM, 'an edit', types.Hypothesis('a claim'))

# (first trial of the program, seed) -> the metric, or how the run failed
Measure = Callable[[int, int], float | types.Status]


@dataclasses.dataclass(frozen=True)
class Stream:
  """A run so far: an immutable value, so that several futures can start from one past."""

  rule: Acceptance
  state: object
  trials: tuple[types.Trial, ...] = ()
  incumbent: types.Trial | None = None

  @classmethod
  def start(cls, rule: Acceptance, measure: Measure, edit: types.Edit = EDIT) -> 'Stream':
    """With the baseline measured and decided."""
    proposal = types.Proposal(types.Operation.DRAFT, seeds=tuple(range(rule.baseline_seeds)))
    return cls(rule, rule.init(OBJECTIVE)).ran(proposal, measure, edit)

  def step(self, measure: Measure, edit: types.Edit = EDIT) -> 'Stream':
    """One trial more: what the rule asks for, else an edit of the incumbent."""
    wanted, state = self.rule.ask(self.state)
    asked = dataclasses.replace(self, state=state)
    if wanted is not None:
      return asked.ran(wanted, measure, self.trials[wanted.parents[0]].edit)
    parents = () if self.incumbent is None else (self.incumbent.id,)
    return asked.ran(types.Proposal(types.Operation.IMPROVE, parents), measure, edit)

  def settled(self, measure: Measure) -> Iterator['Stream']:
    """Steps as long as the rule asks for replications."""
    stream = self
    while stream.rule.ask(stream.state)[0] is not None:
      stream = stream.step(measure)
      yield stream

  def ran(self, proposal: types.Proposal, measure: Measure, edit: types.Edit) -> 'Stream':
    trial = finished(len(self.trials), proposal, measure, edit)
    verdict, state = judge(self.rule, self.state, trial, OBJECTIVE, self.incumbent)
    decided = dataclasses.replace(trial, verdict=verdict)
    kept = verdict.decision is types.Decision.KEEP
    return Stream(
      self.rule, state, (*self.trials, decided), decided if kept else self.incumbent
    )


def finished(
  number: int, proposal: types.Proposal, measure: Measure, edit: types.Edit = EDIT
) -> types.Trial:
  """The trial as an executor returns it, without a verdict; one failed seed fails it."""
  trial = types.Trial(number, proposal, edit, types.Result(number, types.Status.OK))
  values = [measure(original(trial), seed) for seed in proposal.seeds]
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
