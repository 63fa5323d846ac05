"""The proposer `auto`: `gemini` if an API key is set, else the random edits of `mutate`."""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.proposers.base import PROPOSERS, ProposalContext, Proposer
from autoresearch_jax.proposers.llm import API_KEY_VARIABLES, api_key
from autoresearch_jax.types import Edit, Proposal


@PROPOSERS.register('auto')
@dataclasses.dataclass(frozen=True)
class Auto(Proposer):
  """Chooses a proposer when the run starts.

  Attributes:
    gemini: Options of `gemini`, if that is chosen.
    mutate: Options of `mutate`, if that is chosen.
    chosen_name: Registered name of the chosen proposer.
    chosen: The chosen proposer.
  """

  gemini: dict[str, Any] = dataclasses.field(default_factory=dict)
  mutate: dict[str, Any] = dataclasses.field(default_factory=dict)
  chosen_name: str = dataclasses.field(init=False)
  chosen: Proposer = dataclasses.field(init=False, repr=False, compare=False)

  def __post_init__(self) -> None:
    name = 'gemini' if api_key() else 'mutate'
    options = self.gemini if name == 'gemini' else self.mutate
    object.__setattr__(self, 'chosen_name', name)
    object.__setattr__(self, 'chosen', PROPOSERS.make(name, options))

  @property
  def reads_text(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
    """Whether it reads hints and ideas in words."""
    return self.chosen.reads_text

  @property
  def title(self) -> str:
    """What was chosen and why. Never shows a key."""
    if self.chosen_name == 'mutate':
      return f'auto: mutate, since neither {" nor ".join(API_KEY_VARIABLES)} is set'
    return f'auto: {self.chosen.title or self.chosen_name}'

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns the edit of the chosen proposer. Raises NothingToPropose."""
    return self.chosen.propose(proposal, context, rng)

  def close(self) -> None:
    """Ends what the chosen proposer started."""
    self.chosen.close()
