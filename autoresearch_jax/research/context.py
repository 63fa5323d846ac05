"""Makes the `ProposalContext`: what a proposer sees of the run.

The driver adds services such as tracing, logging of model calls, and a scratch folder.
"""

from collections.abc import Callable, Mapping, Set

from autoresearch_jax.knowledge import Memory, Question, planner
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.research import steering
from autoresearch_jax.research.actions import Settings
from autoresearch_jax.research.tried import TriedPrograms
from autoresearch_jax.types import Program, Proposal, Trial


def proposal_context(
  history: History,
  proposal: Proposal,
  settings: Settings,
  *,
  parents: tuple[Program, ...],
  undecided: Set[int],
  trials: Mapping[int, Trial],
  memory: Callable[[], Memory],
  tried: TriedPrograms | None,
) -> ProposalContext:
  """Returns the context of the open proposal.

  Args:
    history: The run so far.
    proposal: The open proposal.
    settings: The controller's settings.
    parents: Programs of the proposal's parents.
    undecided: Trials in its context whose DISCARD may still change.
    trials: A read-only view of `history.trials`.
    memory: Returns earlier hypotheses, their outcomes and lessons.
    tried: Programs so far; None if duplicates are allowed.
  """

  def check_duplicate(program: Program) -> str:
    if why := steering.why_protected(history, parents[0], program):
      return why
    found = tried.find(program, proposal) if tried is not None else None
    return found[1] if found else ''

  return ProposalContext(
    parents=parents,
    history=trials,
    editable=settings.editable,
    objective=settings.objective,
    spec=settings.spec,
    constraints=settings.constraints,
    tried=history.digests,
    kept=history.kept_programs,
    undecided=undecided,
    pending={
      trial: history.edits[trial]
      for trial in (*history.running, *history.prepared)
      if history.original(trial) == trial
    },
    memory=memory() if settings.memory else None,
    questions=_questions(history, proposal, settings, memory),
    trial_id=history.next_trial,
    check_duplicate=check_duplicate,
    structural_edits=settings.structural_edits,
    spend=lambda: history.spend,
    hints=steering.hints(history),
    idea=steering.idea(history),
    protected=tuple(history.steering.protected),
    refused_imports=history.imports.refused.keys(),
  )


def _questions(
  history: History, proposal: Proposal, settings: Settings, memory: Callable[[], Memory]
) -> tuple[Question, ...]:
  """Returns the planner's suggestions for an edit of the proposal's parent."""
  if not settings.planner:
    return ()
  parent = history.original(proposal.parents[0]) if proposal.parents else BASELINE
  areas = () if settings.spec.kind in ('construction', 'kernel', 'strategy') else planner.AREAS
  return planner.rank_questions(memory(), parent, areas=areas)
