"""Proposers turn a proposal of the strategy into an edit of the program, with a hypothesis.

`base` has the interface. `mutate/` makes random edits, `llm/` asks language models, `agent/` runs a
coding agent, `prompt/` writes what models and agents are shown; `replay`, `placebo` and `auto` are
one file each. May import `knowledge`, `programs`, `sandbox`, `ledger` (to read another run's edits)
and the root modules; never `research` or `search`.
"""

from autoresearch_jax.proposers.base import (
  PROPOSERS,
  NothingToPropose,
  ProposalContext,
  Proposer,
)

__all__ = ['PROPOSERS', 'NothingToPropose', 'ProposalContext', 'Proposer']
