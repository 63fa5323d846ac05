"""The proposer that steps in when a model or an agent has no edit, so that the run goes on."""

import dataclasses

import numpy as np

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.base import (
  PROPOSERS,
  NothingToPropose,
  ProposalContext,
  Proposer,
)
from autoresearch_jax.types import Edit, Proposal

MAX_ATTEMPTS = 5  # to get an edit that does not duplicate a trial
MAX_REASON = 160  # characters of the reason in the description


@dataclasses.dataclass(frozen=True)
class FallbackProposer:
  """Another proposer with its default options.

  Attributes:
    name: Its registered name.
    proposer: The proposer.
  """

  name: str
  proposer: Proposer

  @classmethod
  def of(cls, name: str, owner: str) -> 'FallbackProposer | None':
    """Makes the fallback of a proposer.

    Args:
      name: Registered name of the fallback; '' for none.
      owner: Registered name of the proposer that needs it.

    Raises:
      ValueError: The fallback is the owner itself, or cannot be made.
    """
    if not name:
      return None
    if name == owner:
      raise ValueError(f"fallback is {name!r} itself; name another proposer, or '' for none.")
    try:
      return cls(name, PROPOSERS.make(name))
    except ValueError as error:
      raise ValueError(f'fallback is {name!r}, which cannot be made: {error}') from None

  def propose(
    self, reason: str, proposal: Proposal, context: ProposalContext, rng: np.random.Generator
  ) -> Edit:
    """Returns an edit whose description and claim say that the fallback made it, and why.

    Args:
      reason: Why the owner has no edit, as a sentence.
      proposal: What the strategy asks for.
      context: What is known of the run.
      rng: Source of randomness.

    Raises:
      NothingToPropose: The fallback has none either.
    """
    duplicate = ''
    for _ in range(MAX_ATTEMPTS):
      try:
        edit = self.proposer.propose(proposal, context, rng)
      except NothingToPropose as nothing:
        raise NothingToPropose(
          f'{reason} The fallback {self.name} has no edit either: {nothing}'
        ) from None
      if not (duplicate := context.check_duplicate(edit.program)):
        return self._attributed(edit, reason)
    raise NothingToPropose(f'{reason} The edits of the fallback {self.name} failed: {duplicate}')

  def close(self) -> None:
    """Ends what the proposer started."""
    self.proposer.close()

  def _attributed(self, edit: Edit, reason: str) -> Edit:
    claim = f'{edit.hypothesis.claim} Proposed by the fallback {self.name}: {reason}'
    brief = one_line(reason, MAX_REASON).rstrip('.')
    return dataclasses.replace(
      edit,
      description=f'{edit.description} (by {self.name}: {brief})',
      hypothesis=dataclasses.replace(edit.hypothesis, claim=claim),
    )
