"""What a strategy asks for, what the calls of a model cost, and what was learned."""

import dataclasses
import enum
from collections.abc import Collection, Mapping
from typing import Literal

from autoresearch_jax.types.program import Edit


class Operation(enum.StrEnum):
  """What to do with the parents of a proposal: draft, improve, debug, merge, replicate or promote.

  Example:
    >>> import autoresearch_jax as ar
    >>> ar.Operation('improve') is ar.Operation.IMPROVE
    True
  """

  DRAFT = 'draft'  # edit the problem's starting program (which, unedited, is the baseline)
  IMPROVE = 'improve'
  DEBUG = 'debug'
  MERGE = 'merge'
  REPLICATE = 'replicate'  # train the same program on other seeds
  PROMOTE = 'promote'  # train the same program with a larger budget


RERUNS = (Operation.REPLICATE, Operation.PROMOTE)  # they train their first parent's program again
# Kinds of edits a strategy may request: change constants only, change structure only, remove one
# component, or rewrite the program.
GUIDANCE = ('tuning', 'creative', 'ablation', 'rewrite')


@dataclasses.dataclass(frozen=True)
class Proposal:
  """A strategy's request for a trial.

  Attributes:
    operation: The kind of the proposal.
    parents: Trial ids; the first one's program is edited. Empty for the starting program.
    context: Trial ids to show to the proposer.
    fidelity: Fraction of the budget.
    seeds: One training run each.
    edit: Set by strategies that choose constants themselves; no proposer is called then.
    guidance: One of GUIDANCE, or ''. Proposers may ignore it.
    question: What the strategy wants to learn, in prose, for proposers that prompt a model.

  Example:
    >>> import autoresearch_jax as ar
    >>> ar.Proposal(ar.Operation.IMPROVE, parents=(3,), seeds=(0, 1)).fidelity
    1.0
  """

  operation: Operation
  parents: tuple[int, ...] = ()
  context: tuple[int, ...] = ()
  fidelity: float = 1.0
  seeds: tuple[int, ...] = (0,)
  edit: Edit | None = None
  guidance: str = ''
  question: str = ''


@dataclasses.dataclass(frozen=True)
class Exchange:
  """One call of a language model or an agent, recorded before it is sent and after it ends.

  Tokens and dollars are upper bounds while the call is pending or if the API does not report them.
  """

  id: str  # the same in both records
  model: str
  purpose: str  # such as 'propose' or 'distill'
  state: Literal['sent', 'answered', 'failed']
  role: str = ''
  request: str = ''  # text (JSON, for an API)
  response: str = ''
  error: str = ''  # a sentence if the call failed
  seconds: float = 0.0
  input_tokens: int = 0
  output_tokens: int = 0
  dollars: float = 0.0


@dataclasses.dataclass(frozen=True)
class Spend:
  """The total cost of calls to models and agents."""

  calls: int = 0
  input_tokens: int = 0
  output_tokens: int = 0
  dollars: float = 0.0

  @property
  def tokens(self) -> int:
    return self.input_tokens + self.output_tokens

  def __add__(self, other: 'Spend') -> 'Spend':
    return Spend(
      *(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self))
    )

  def __sub__(self, other: 'Spend') -> 'Spend':
    return self + Spend(-other.calls, -other.input_tokens, -other.output_tokens, -other.dollars)


@dataclasses.dataclass(frozen=True)
class Lesson:
  """A conclusion drawn from a group of trials."""

  text: str  # a sentence
  trials: tuple[int, ...]  # ids
  tags: tuple[str, ...] = ()  # mechanisms and constants that it is about
  effect: float | None = None  # on the score (larger is better); None if not quantitative
  uncertainty: float | None = None  # standard deviation of `effect`
  author: str = ''  # the model that wrote it; '' if it was computed


def original_of(
  trial: int, proposals: Mapping[int, Proposal], operations: Collection[Operation]
) -> int:
  """Returns the trial that a chain of reruns started from.

  Args:
    trial: Any trial.
    proposals: By trial; a parent that does not exist ends the chain.
    operations: The operations that count as reruns.
  """
  while (proposal := proposals.get(trial)) and proposal.operation in operations:
    if not proposal.parents:
      break
    trial = proposal.parents[0]
  return trial
