"""What the proposers inside simulations share: an edit that was not tried before.

A proposal whose kind of edit is used up, such as to mend the last edit of a program in a way that
was not tried, gets another kind: a run ends when nothing is left to try, not a wish.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from autoresearch_jax.proposers import NothingToPropose, ProposalContext
from autoresearch_jax.types import Edit, Hypothesis, Operation, Program, Proposal

TRIES = 200  # edits drawn before a proposer gives up; each is bolder than the one before
GUIDED = 10  # of these, how many follow the proposal's operation and guidance
CROSSED = 5  # of these, how many mere crossovers a merge tries before it changes something too
ANEW = 20  # from then on, all constants or bits of a program are drawn anew


class Draft(NamedTuple):
  """A program with what was done to it. mechanism: a tag for the hypothesis."""

  program: Program
  description: str
  mechanism: str


def untried(context: ProposalContext, draw: Callable[[int], Draft]) -> Edit:
  """The first of `draw(0)`, `draw(1)`, ... that is new. Raises NothingToPropose after TRIES."""
  parent = context.parents[0]
  for attempt in range(TRIES):
    draft = draw(attempt)
    if draft.program != parent and draft.program.digest not in context.tried:
      claim = f'It is better to {draft.description}.'
      return Edit(draft.program, draft.description, Hypothesis(claim, (draft.mechanism,)))
  raise NothingToPropose(f'{TRIES} edits of the program were all tried before.')


def wish(proposal: Proposal, attempt: int) -> Proposal:
  """What to follow: the proposal at first, a plain improvement after GUIDED attempts."""
  return proposal if attempt < GUIDED else Proposal(Operation.IMPROVE)


def partner(proposal: Proposal, context: ProposalContext) -> Program | None:
  """The program to merge the parent with; None when the proposal is not a merge of two."""
  parents: Sequence[Program] = context.parents
  return parents[1] if proposal.operation is Operation.MERGE and len(parents) > 1 else None
