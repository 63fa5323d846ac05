"""The proposer `auto`: a language model if an API key is set, else the random edits of `mutate`."""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.proposers.base import PROPOSERS, ProposalContext, Proposer
from autoresearch_jax.proposers.llm import API_KEY_VARIABLES, OPENAI_KEY_VARIABLE, api_key
from autoresearch_jax.proposers.llm.openai import INSTALL, is_installed
from autoresearch_jax.types import Edit, Proposal


@PROPOSERS.register('auto')
@dataclasses.dataclass(frozen=True)
class Auto(Proposer):
  """Chooses a proposer when the run starts: `gemini` or `openai` by the key that is set, or else
  `mutate`. Of two keys, Gemini's counts.

  Attributes:
    gemini: Options of `gemini`, if that is chosen.
    mutate: Options of `mutate`, if that is chosen.
    openai: Options of `openai`, if that is chosen.
    chosen_name: Registered name of the chosen proposer.
    chosen: The chosen proposer.
  """

  gemini: dict[str, Any] = dataclasses.field(default_factory=dict)
  mutate: dict[str, Any] = dataclasses.field(default_factory=dict)
  openai: dict[str, Any] = dataclasses.field(default_factory=dict)
  chosen_name: str = dataclasses.field(init=False)
  chosen: Proposer = dataclasses.field(init=False, repr=False, compare=False)

  def __post_init__(self) -> None:
    options = {'gemini': self.gemini, 'openai': self.openai, 'mutate': self.mutate}
    name = 'mutate'
    if api_key():
      name = 'gemini'
    elif api_key((OPENAI_KEY_VARIABLE,)) and is_installed():
      name = 'openai'
    object.__setattr__(self, 'chosen_name', name)
    object.__setattr__(self, 'chosen', PROPOSERS.make(name, options[name]))

  @property
  def reads_text(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
    """Whether it reads hints and ideas in words."""
    return self.chosen.reads_text

  @property
  def title(self) -> str:
    """What was chosen and why. Never shows a key."""
    if self.chosen_name != 'mutate':
      return f'auto: {self.chosen.title or self.chosen_name}'
    if api_key((OPENAI_KEY_VARIABLE,)):
      return f'auto: mutate, since {OPENAI_KEY_VARIABLE} needs the package openai: {INSTALL}'
    return (
      f'auto: mutate, since none of {", ".join((*API_KEY_VARIABLES, OPENAI_KEY_VARIABLE))} is set'
    )

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns the edit of the chosen proposer. Raises NothingToPropose."""
    return self.chosen.propose(proposal, context, rng)

  def close(self) -> None:
    """Ends what the chosen proposer started."""
    self.chosen.close()
