"""Gemini when a key for it is in the environment, else random edits: what `auto` stands for."""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.proposers.base import PROPOSERS, ProposalContext, Proposer
from autoresearch_jax.proposers.llm.keys import KEYS, key
from autoresearch_jax.types import Edit, Proposal


@PROPOSERS.register('auto')
@dataclasses.dataclass(frozen=True)
class Auto(Proposer):
  """The options of `config.proposer_options`: those of each proposer, under its name."""

  gemini: dict[str, Any] = dataclasses.field(default_factory=dict)
  mutate: dict[str, Any] = dataclasses.field(default_factory=dict)
  name: str = dataclasses.field(init=False)
  chosen: Proposer = dataclasses.field(init=False, repr=False, compare=False)

  def __post_init__(self) -> None:
    name = 'gemini' if key() else 'mutate'
    object.__setattr__(self, 'name', name)
    object.__setattr__(self, 'chosen', PROPOSERS.make(name, getattr(self, name)))

  @property
  def title(self) -> str:
    """What was chosen and why, for the first lines of the run; never a key."""
    if self.name == 'mutate':
      return f'auto: mutate, since neither {" nor ".join(KEYS)} is set'
    return f'auto: {self.chosen.title or self.name}'

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Whatever the chosen proposer answers, or raises."""
    return self.chosen.propose(proposal, context, rng)

  def close(self) -> None:
    """Ends what the chosen proposer started."""
    self.chosen.close()
