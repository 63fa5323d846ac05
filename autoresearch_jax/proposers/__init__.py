"""Proposers: turn a proposal into an edit with a hypothesis.

A proposer is a frozen dataclass of options, registered by name in `PROPOSERS`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from autoresearch_jax.registry import Registry
from autoresearch_jax.types import Edit, Objective, Program, Proposal, Spec, Trial

PROPOSERS = Registry('proposer', __name__)


@dataclasses.dataclass(frozen=True)
class Context:
  """What a proposer may look at.

  parents: programs of `proposal.parents`, in order (never empty: the start when there are none).
  history: finished trials by id. editable: names of the files an edit may change.
  tried: digests of all programs that were proposed before; an edit must not repeat one.
  """

  parents: tuple[Program, ...]
  history: Mapping[int, Trial]
  editable: tuple[str, ...]
  objective: Objective
  spec: Spec
  tried: frozenset[str] = frozenset()


class NothingToPropose(Exception):
  """The proposer has no further edit for this proposal; the sentence says why."""


class Proposer(Protocol):
  """The contract of a proposer; `tests/proposers/contract.py` checks every registered one."""

  def propose(self, proposal: Proposal, context: Context, rng: np.random.Generator) -> Edit:
    """An edit of `context.parents[0]`. Raises NothingToPropose."""
    ...
