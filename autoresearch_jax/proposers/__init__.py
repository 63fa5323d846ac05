"""Proposers: turn a proposal into an edit with a hypothesis.

A proposer is a frozen dataclass of options, registered by name in `PROPOSERS`.
"""

import dataclasses
from collections.abc import Mapping, Set
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
  kept: the trials whose programs were kept, by the trial that first had the program: an edit that
  only looked better has its KEEP on a later trial, which replicated or promoted it.
  undecided: trials of `proposal.context` whose DISCARD replications may yet change.
  history, tried and kept are views that grow with the run; copy what is to be remembered.
  """

  parents: tuple[Program, ...]
  history: Mapping[int, Trial]
  editable: tuple[str, ...]
  objective: Objective
  spec: Spec
  tried: Set[str] = frozenset()
  kept: Set[int] = frozenset()
  undecided: Set[int] = frozenset()


class NothingToPropose(Exception):
  """The proposer has no further edit for this proposal; the sentence says why."""


class Proposer(Protocol):
  """The contract of a proposer; `tests/proposers/contract.py` checks every registered one."""

  def propose(self, proposal: Proposal, context: Context, rng: np.random.Generator) -> Edit:
    """An edit of `context.parents[0]`. Raises NothingToPropose."""
    ...
