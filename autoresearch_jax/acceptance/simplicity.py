"""A tie-break around another rule: at equal score the smaller program wins.

Where the inner rule discards a trial that scored no worse than the incumbent, and whose program
has fewer nodes in its syntax tree, the trial is kept. Karpathy's program.md (autoresearch, 2026)
asks the agent for the same: equal results with less code are a win. Docstrings do not count,
comments and layout are no nodes, so that nobody wins by deleting explanations.

What it does not do: test. With one run a side, half of the simplifications that change nothing
pass, and 16 % of those that cost a standard deviation of the difference. A `tolerance` below 0
asks for more than an equal score. A challenger that the inner rule still replicates is left to it.
"""

import ast
import dataclasses
import functools
import math
import warnings
from typing import Any

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.acceptance.noise import NoiseState, difference_deviation, measured_values
from autoresearch_jax.acceptance.strict import gain_over, without_comparison
from autoresearch_jax.types import Decision, Objective, Program, Proposal, Status, Trial, Verdict


@dataclasses.dataclass(frozen=True)
class SimplicityState:
  """inner: the inner rule's state. noise: of the seeds inside single trials, for `tolerance`."""

  inner: Any
  noise: NoiseState


@ACCEPTANCE.register('simplicity')
@dataclasses.dataclass(frozen=True)
class Simplicity(AcceptanceRule):
  """inner, inner_options: name and options of the rule that decides otherwise.

  baseline_seeds: the inner rule's option, here so that configs set it whatever the rule; 0 leaves
  the inner rule's number, and the field then holds that.
  tolerance: how many deviations of the difference a smaller program may score worse. least: how
  many syntax-tree nodes a program must save.
  """

  inner: str = 'noise'
  inner_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  tolerance: float = 0.0
  least: int = 1
  baseline_seeds: int = 0

  def __post_init__(self) -> None:
    inner = self.inner_options.get('baseline_seeds', self.baseline_seeds)
    if self.baseline_seeds and inner != self.baseline_seeds:
      raise ValueError(
        f'baseline_seeds is {self.baseline_seeds}, but {inner} in inner_options; give it once.'
      )
    if not math.isfinite(self.tolerance):
      raise ValueError(f'tolerance is {self.tolerance}; a finite number is needed.')
    if self.least < 1:
      raise ValueError(f'least is {self.least}; a smaller program saves at least 1 node.')
    object.__setattr__(self, 'baseline_seeds', self.rule.baseline_seeds)  # refuses what cannot be

  @functools.cached_property
  def rule(self) -> AcceptanceRule:
    seeds = {'baseline_seeds': self.baseline_seeds} if self.baseline_seeds else {}
    return ACCEPTANCE.make(self.inner, {**self.inner_options, **seeds})

  def init(self, objective: Objective) -> SimplicityState:
    return SimplicityState(self.rule.init(objective), NoiseState(objective))

  def ask(self, state: SimplicityState) -> tuple[Proposal | None, SimplicityState]:
    proposal, inner = self.rule.ask(state.inner)
    return proposal, dataclasses.replace(state, inner=inner)

  def decide(
    self, state: SimplicityState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, SimplicityState]:
    """The inner rule's verdict, unless the trial is a simplification; see the Protocol."""
    verdict, inner = self.rule.decide(state.inner, trial, incumbent)
    noise = state.noise
    if trial.result.status is Status.OK:
      noise = noise.pooled(measured_values(noise.objective, trial))
    state = SimplicityState(inner, noise)
    if verdict.decision is Decision.DISCARD and not self.rule.undecided(inner, trial):
      simpler = self._simpler(state, trial, incumbent)
      verdict = Verdict(Decision.KEEP, f'{verdict.reason} {simpler}') if simpler else verdict
    return verdict, state

  def undecided(self, state: SimplicityState, trial: Trial) -> bool:
    return self.rule.undecided(state.inner, trial)

  def _simpler(self, state: SimplicityState, trial: Trial, incumbent: Trial | None) -> str:
    """Why the trial is a simplification; '' when it is none."""
    objective = state.noise.objective
    if incumbent is None or without_comparison(objective, trial, incumbent) is not None:
      return ''
    gain = gain_over(objective, trial, incumbent)
    if gain < -self.tolerance * difference_deviation(state.noise, trial, incumbent):
      return ''
    new, old = (program_nodes(t.edit.program) for t in (trial, incumbent))
    if new is None or old is None or new > old - self.least:
      return ''
    return (
      f'It is kept for being simpler at {"no worse" if gain >= 0 else "nearly the same"} score: '
      f'{new} syntax-tree nodes against {old}.'
    )


def program_nodes(program: Program) -> int | None:
  """Syntax-tree nodes of a program's Python files; None when one of them is no Python."""
  counts = [nodes(text) for name, text in program.files if name.endswith('.py')]
  known = [count for count in counts if count is not None]
  return sum(known) if len(known) == len(counts) else None


@functools.lru_cache(maxsize=64)
def nodes(text: str) -> int | None:
  """Nodes of a file's syntax tree without docstrings; None when it does not parse."""
  try:
    with warnings.catch_warnings():  # a candidate's invalid escape is no business of ours
      warnings.simplefilter('ignore')
      tree = ast.parse(text)
    return sum(1 for _ in ast.walk(tree)) - 2 * sum(_has_docstring(n) for n in ast.walk(tree))
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return None


def _has_docstring(node: ast.AST) -> bool:
  """Whether the node opens with a docstring: an expression node and its constant."""
  if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
    return False
  first = node.body[0] if node.body else None
  if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant):
    return False
  return isinstance(first.value.value, str)
