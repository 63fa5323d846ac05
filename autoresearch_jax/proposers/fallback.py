"""Who proposes when a model or an agent has nothing: a run does not end for want of an answer."""

import dataclasses

import numpy as np

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.base import PROPOSERS, NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.types import Edit, Proposal

DRAWS = 5  # for an edit that does not nearly repeat a trial
REASON = 160  # characters of the reason that is in the description


@dataclasses.dataclass(frozen=True)
class Fallback:
  """The proposer of a name, with the options that it has by itself."""

  name: str
  proposer: Proposer

  @classmethod
  def of(cls, name: str, whose: str) -> 'Fallback | None':
    """None for ''. whose: the proposer it stands in for. Raises ValueError."""
    if not name:
      return None
    if name == whose:
      raise ValueError(f"fallback is {name!r} itself; name another proposer, or '' for none.")
    try:
      return cls(name, PROPOSERS.make(name))
    except ValueError as error:
      raise ValueError(f'fallback is {name!r}, which cannot be had: {error}') from None

  def propose(
    self, why: str, proposal: Proposal, context: ProposalContext, rng: np.random.Generator
  ) -> Edit:
    """An edit that says by whom it is and why: briefly in its description, in full in its claim.

    why: the other proposer had nothing, in a sentence. Raises NothingToPropose.
    """
    refused = ''
    for _ in range(DRAWS):
      try:
        edit = self.proposer.propose(proposal, context, rng)
      except NothingToPropose as none:
        raise NothingToPropose(f'{why} Nor has {self.name} anything: {none}') from None
      if not (refused := context.check_duplicate(edit.program)):
        return self._said(edit, why)
    raise NothingToPropose(f'{why} What {self.name} proposed was refused: {refused}')

  def close(self) -> None:
    """Ends what it started, where it starts anything."""
    self.proposer.close()

  def _said(self, edit: Edit, why: str) -> Edit:
    claim = f'{edit.hypothesis.claim} Proposed by {self.name} instead: {why}'
    return dataclasses.replace(
      edit,
      description=f'{edit.description} (by {self.name}: {one_line(why, REASON).rstrip(".")})',
      hypothesis=dataclasses.replace(edit.hypothesis, claim=claim),
    )
