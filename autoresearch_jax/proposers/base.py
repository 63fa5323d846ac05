"""The interface of a proposer: what it is given, what it returns, and how it says no.

A proposer writes the edits of a run. It is called in a background thread while trials train, and
the run does not change under it: what `ProposalContext` shows stays as it is until the proposer
returns. A new proposer is one file in this package with one `PROPOSERS.register` line, or an
entry point `autoresearch_jax.proposer` of another package.
"""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Set
from typing import ClassVar

import numpy as np

from autoresearch_jax.knowledge import Memory, Question
from autoresearch_jax.knowledge.outcomes import ProgramOutcomes
from autoresearch_jax.ledger.events import ImportRefused, StoreRead
from autoresearch_jax.programs.catalogue import Catalogue
from autoresearch_jax.registry import Registry
from autoresearch_jax.types import (
  Constraint,
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

PROPOSERS = Registry('proposer', __package__ or '')


def _accept(program: Program) -> str:
  del program
  return ''


def _discard(record: object) -> None:
  del record


@dataclasses.dataclass(frozen=True)
class ProposalContext:
  """What a proposer sees of the run, and the services that the run offers it.

  `history`, `tried` and `kept` are views that grow with the run; copy what must outlive the call.

  Attributes:
    parents: Programs of `proposal.parents`, in that order. Never empty: where the proposal names
      no parent, the only one is the unmodified program.
    history: Finished trials by id.
    editable: Names of the files that an edit may change.
    objective: The metric and its direction.
    spec: The problem as programs see it: shapes, platform, budget.
    tried: Digests of all programs proposed so far. An edit must not repeat one of them.
    kept: Ids of trials whose programs were kept. A program counts under the first trial that ran
      it, even if it was a later replication or promotion that decided to keep it.
    undecided: Ids among `proposal.context` whose DISCARD may still be overturned by a replication.
    pending: Edits of trials that run or wait to run, by trial id. Replications and promotions are
      left out.
    memory: What the trials so far have taught; None if the config switches it off.
    questions: What the planner would like to learn next, best first; empty if it is switched off.
    trial_id: Id that the trial of this edit will get.
    scratch: A folder that the proposer may use; None if there is none.
    hidden: Paths that no process started by a proposer may read: the validation data and, except
      for `scratch`, the run's folder, whose ledger holds the test scores.
    check_duplicate: Returns why a program is refused as a duplicate of an earlier trial, or ''.
      Takes microseconds.
    check: As `check_duplicate`, and then traces the program, which takes seconds. Returns the
      tracer's error message, or ''. A checked program is not traced again when its trial starts.
    record: Writes a call of a model or an agent to the ledger. Returns once it is stored.
    record_lessons: Writes lessons to the ledger, in place of all earlier ones.
    structural_edits: The program's own, from the `edits.py` of a folder outside of the library;
      those of the packaged programs are known to `mutate` anyway.
    spend: Returns what all calls of this run have cost so far.
    constraints: Bounds that a trial must respect to be kept.
    hints: What the user has asked proposers to consider, oldest first.
    idea: What the user wants this edit to do, in words; '' for what the proposer likes.
    protected: Names of constants, functions and classes that no edit may change.
    refused_imports: Ids of findings that cannot be tried in this run.
    record_import: Writes to the ledger that a store of findings was read, or that a finding cannot
      be tried.
  """

  parents: tuple[Program, ...]
  history: Mapping[int, Trial]
  editable: tuple[str, ...]
  objective: Objective
  spec: Spec
  tried: Set[str] = frozenset()
  kept: Set[int] = frozenset()
  undecided: Set[int] = frozenset()
  pending: Mapping[int, Edit] = dataclasses.field(default_factory=dict)
  memory: Memory | None = None
  questions: tuple[Question, ...] = ()
  trial_id: int = 0
  scratch: pathlib.Path | None = None
  hidden: tuple[pathlib.Path, ...] = ()
  check_duplicate: Callable[[Program], str] = _accept
  check: Callable[[Program], str] = _accept
  record: Callable[[Exchange], None] = _discard
  record_lessons: Callable[[tuple[Lesson, ...]], None] = _discard
  structural_edits: Catalogue = ()
  spend: Callable[[], Spend] = Spend
  constraints: tuple[Constraint, ...] = ()
  hints: tuple[str, ...] = ()
  idea: str = ''
  protected: tuple[str, ...] = ()
  refused_imports: Set[str] = frozenset()
  record_import: Callable[[StoreRead | ImportRefused], None] = _discard

  def outcomes(self) -> ProgramOutcomes:
    """Computes the outcomes of all programs in the history, reruns pooled."""
    return ProgramOutcomes(self.history, self.objective, self.kept, self.undecided)


class NothingToPropose(Exception):
  """The proposer has no edit for this proposal; the message says why."""


class Proposer(abc.ABC):
  r"""Turns a proposal of the strategy into an edit with a hypothesis.

  A proposer is usually a frozen dataclass whose fields are its options. Calls of language models
  and agents must be recorded (`ProposalContext.record`) before they are sent and again when they
  have ended, so that the cost is known even if the run is killed in between.
  `tests/proposers/test_contract.py` runs every registered proposer through the same checks.

  Example:
    With `@PROPOSERS.register('halve')` above it, this one is `config.proposer = 'halve'`:

    >>> @dataclasses.dataclass(frozen=True)
    ... class Halve(Proposer):
    ...   constant: str = 'LEARNING_RATE'  # becomes an option
    ...
    ...   def propose(self, proposal, context, rng):
    ...     program = context.parents[0]
    ...     text = program.text() + f'{self.constant} /= 2\n'
    ...     claim = f'{self.constant} is too large.'
    ...     return Edit(program.with_text(text), f'halve {self.constant}', Hypothesis(claim))

    >>> import numpy as np
    >>> from autoresearch_jax.types import Budget, Hypothesis, Operation
    >>> program = Program((('model.py', 'WIDTH = 64\n'),), entry='model.py')
    >>> context = ProposalContext(
    ...   parents=(program,),
    ...   history={},
    ...   editable=('model.py',),
    ...   objective=Objective('val_loss', 'minimize'),
    ...   spec=Spec('supervised', 'cpu', num_devices=1, budget=Budget(10.0, 'seconds')),
    ... )
    >>> proposal = Proposal(Operation.IMPROVE, parents=(0,))
    >>> edit = Halve('WIDTH').propose(proposal, context, np.random.default_rng(0))
    >>> edit.description
    'halve WIDTH'
    >>> edit.program.text()
    'WIDTH = 64\nWIDTH /= 2\n'
  """

  # Whether it reads hints and ideas in words (`context.hints`, `context.idea`).
  reads_text: ClassVar[bool] = False

  @abc.abstractmethod
  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns an edit of `context.parents[0]`.

    Args:
      proposal: What the strategy asks for: operation, parents, guidance, fidelity.
      context: What is known of the run.
      rng: Source of all randomness, so that a resumed run proposes the same edits.

    Returns:
      The new program, a one-line description, and the hypothesis behind it.

    Raises:
      NothingToPropose: There is no edit for this proposal. The run asks for the next one.
    """

  @property
  def title(self) -> str:
    """What the run's first line says about the proposer; '' stands for its registered name."""
    return ''

  def close(self) -> None:  # noqa: B027 - most proposers start nothing that has to be ended
    """Ends what the proposer started. Called from another thread when the run stops."""
