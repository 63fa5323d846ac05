"""Proposers: turn a proposal into an edit with a hypothesis.

A proposer is a frozen dataclass of options, registered by name in `PROPOSERS`. It is called in a
thread of its own while trials run; the loop tells it of no result meanwhile, so what it looks at
stands still until it answers.

Proposers that ask a language model or an agent record every call before it is sent and when it
has ended (`Context.record`), so that what was spent is known whatever happens; and they may have a
program traced before they give it away (`Context.check`). `close`, where a proposer has it, ends
what it started; it comes from another thread when the run is stopped.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Set
from typing import Protocol

import numpy as np

from autoresearch_jax.knowledge import Memory, Question
from autoresearch_jax.registry import Registry
from autoresearch_jax.types import (
  Edit,
  Exchange,
  Lesson,
  Objective,
  Program,
  Proposal,
  Spec,
  Spend,
  Trial,
)

PROPOSERS = Registry('proposer', __name__)


def _accepts(program: Program) -> str:
  del program
  return ''


def _forgets(record: object) -> None:
  del record


@dataclasses.dataclass(frozen=True)
class Context:
  """What a proposer may look at, and what it may ask the loop.

  parents: programs of `proposal.parents`, in order (never empty: the start when there are none).
  history: finished trials by id. editable: names of the files an edit may change.
  tried: digests of all programs that were proposed before; an edit must not repeat one.
  kept: the trials whose programs were kept, by the trial that first had the program: an edit that
  only looked better has its KEEP on a later trial, which replicated or promoted it.
  undecided: trials of `proposal.context` whose DISCARD replications may yet change.
  underway: edits of trials that run or wait to run, by id, without those that repeat others.
  history, tried and kept are views that grow with the run; copy what is to be remembered.

  memory: what the trials so far have taught; None where the config switches it off. questions:
  what a planner would like to know next, the best first; empty where it is switched off.
  trial: the id that the edit's trial will have. scratch: a folder for the proposer's own use, None
  where there is none. hidden: paths that nothing which works for a proposer may read: the
  problem's validation data, and but for `scratch` the run's folder, whose ledger has what was
  scored on the test split.

  refuse: why a program should not be tried, in a sentence, at no cost (it nearly repeats a trial);
  '' when nothing speaks against it. check: the same, and then a trace, which takes seconds; the
  sentence is the tracer's. A program that was checked needs no second trace when its trial begins.
  record: puts a call on record; returns when it is. learn: puts lessons on record, in place of
  those that were learnt before. spend: what all calls of this run have cost so far.
  """

  parents: tuple[Program, ...]
  history: Mapping[int, Trial]
  editable: tuple[str, ...]
  objective: Objective
  spec: Spec
  tried: Set[str] = frozenset()
  kept: Set[int] = frozenset()
  undecided: Set[int] = frozenset()
  underway: Mapping[int, Edit] = dataclasses.field(default_factory=dict)
  memory: Memory | None = None
  questions: tuple[Question, ...] = ()
  trial: int = 0
  scratch: pathlib.Path | None = None
  hidden: tuple[pathlib.Path, ...] = ()
  refuse: Callable[[Program], str] = _accepts
  check: Callable[[Program], str] = _accepts
  record: Callable[[Exchange], None] = _forgets
  learn: Callable[[tuple[Lesson, ...]], None] = _forgets
  spend: Callable[[], Spend] = Spend


class NothingToPropose(Exception):
  """The proposer has no further edit for this proposal; the sentence says why."""


class Proposer(Protocol):
  """The contract of a proposer; `tests/proposers/contract.py` checks every registered one."""

  def propose(self, proposal: Proposal, context: Context, rng: np.random.Generator) -> Edit:
    """An edit of `context.parents[0]`. Raises NothingToPropose."""
    ...
