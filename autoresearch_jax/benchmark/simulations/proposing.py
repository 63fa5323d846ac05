"""What the proposers inside simulations share: they redraw an edit until its program is new.

When a kind of edit is exhausted (for example every tuning of one constant was tried), later draws
fall back to a plain improvement and then to larger changes. A run therefore ends when the programs
run out, not when one operation does.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from autoresearch_jax.proposers import NothingToPropose, ProposalContext
from autoresearch_jax.types import Edit, Hypothesis, Operation, Program, Proposal

MAX_ATTEMPTS = 200  # draws before the proposer gives up; later draws change more
GUIDED_ATTEMPTS = 10  # the first draws, which follow the proposal's operation and guidance
PURE_CROSSOVERS = 5  # the first draws of a merge, which only recombine the parents
REDRAW_ATTEMPT = 20  # from this draw on, all constants or bits are drawn anew


class DraftedEdit(NamedTuple):
  """A program and how it was made.

  Attributes:
    program: The edited program.
    description: What was changed, as a verb phrase.
    mechanism: A tag for the hypothesis.
  """

  program: Program
  description: str
  mechanism: str


def first_untried(context: ProposalContext, draw: Callable[[int], DraftedEdit]) -> Edit:
  """Returns the first of `draw(0)`, `draw(1)`, ... whose program was not tried before.

  Raises:
    NothingToPropose: None of `MAX_ATTEMPTS` draws is new.
  """
  parent = context.parents[0]
  for attempt in range(MAX_ATTEMPTS):
    draft = draw(attempt)
    if draft.program != parent and draft.program.digest not in context.tried:
      claim = f'It is better to {draft.description}.'
      return Edit(draft.program, draft.description, Hypothesis(claim, (draft.mechanism,)))
  raise NothingToPropose(f'All {MAX_ATTEMPTS} drawn edits of the program were tried before.')


def effective_proposal(proposal: Proposal, attempt: int) -> Proposal:
  """Returns the proposal, or a plain improvement after `GUIDED_ATTEMPTS` draws."""
  return proposal if attempt < GUIDED_ATTEMPTS else Proposal(Operation.IMPROVE)


def merge_partner(proposal: Proposal, context: ProposalContext) -> Program | None:
  """Returns the second parent of a merge; None when the proposal is not a merge of two."""
  parents: Sequence[Program] = context.parents
  return parents[1] if proposal.operation is Operation.MERGE and len(parents) > 1 else None
