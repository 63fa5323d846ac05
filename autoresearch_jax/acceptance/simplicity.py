"""A tie-break around another rule: at equal score the smaller program wins.

When the inner rule discards a trial that scored no worse than the incumbent, and whose program has
fewer nodes in its syntax tree, the trial is kept. Karpathy's program.md (autoresearch, 2026) asks
the agent for the same: equal results with less code are a win. Docstrings do not count, and
comments and layout have no nodes, so that deleting explanations gains nothing.

It does not test for significance. With one run per program, half of the simplifications that change
nothing pass, and 16 % of those that cost one standard error. A negative `tolerance` requires more
than an equal score. A challenger that the inner rule is still replicating is left to it.
"""

import ast
import dataclasses
import functools
import math
import warnings
from typing import Any

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.acceptance.noise import NoiseState, metric_values, standard_error
from autoresearch_jax.acceptance.strict import gain_over, verdict_without_comparison
from autoresearch_jax.types import Decision, Objective, Program, Proposal, Status, Trial, Verdict


@dataclasses.dataclass(frozen=True)
class SimplicityState:
  """The inner rule's state and the noise.

  Attributes:
    inner: State of the inner rule.
    noise: The pooled seed noise, for `tolerance`.
  """

  inner: Any
  noise: NoiseState


@ACCEPTANCE.register('simplicity')
@dataclasses.dataclass(frozen=True)
class Simplicity(AcceptanceRule):
  """Keeps simplifications that the inner rule discards.

  Attributes:
    inner: Registered name of the inner rule.
    inner_options: Its options.
    tolerance: How many standard errors worse a smaller program may score.
    min_nodes_saved: How many syntax-tree nodes smaller it must be.
    baseline_seeds: The inner rule's option, here so that a config can set it for any rule; 0 for
      the inner rule's number, which the field then holds.
  """

  inner: str = 'noise'
  inner_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  tolerance: float = 0.0
  min_nodes_saved: int = 1
  baseline_seeds: int = 0

  def __post_init__(self) -> None:
    inner = self.inner_options.get('baseline_seeds', self.baseline_seeds)
    if self.baseline_seeds and inner != self.baseline_seeds:
      raise ValueError(
        f'baseline_seeds is {self.baseline_seeds}, but {inner} in inner_options; set it once.'
      )
    if not math.isfinite(self.tolerance):
      raise ValueError(f'tolerance is {self.tolerance}; it must be finite.')
    if self.min_nodes_saved < 1:
      raise ValueError(f'min_nodes_saved is {self.min_nodes_saved}; it must be at least 1.')
    object.__setattr__(self, 'baseline_seeds', self.rule.baseline_seeds)  # checks it, too

  @functools.cached_property
  def rule(self) -> AcceptanceRule:
    """The inner rule."""
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
    verdict, inner = self.rule.decide(state.inner, trial, incumbent)
    noise = state.noise
    if trial.result.status is Status.OK:
      noise = noise.pool(metric_values(noise.objective, trial))
    state = SimplicityState(inner, noise)
    if verdict.decision is Decision.DISCARD and not self.rule.undecided(inner, trial):
      reason = self._simplification(state, trial, incumbent)
      verdict = Verdict(Decision.KEEP, f'{verdict.reason} {reason}') if reason else verdict
    return verdict, state

  def undecided(self, state: SimplicityState, trial: Trial) -> bool:
    return self.rule.undecided(state.inner, trial)

  def without_tests(self, state: SimplicityState) -> SimplicityState | None:
    inner = self.rule.without_tests(state.inner)
    return None if inner is None else dataclasses.replace(state, inner=inner)

  def _simplification(self, state: SimplicityState, trial: Trial, incumbent: Trial | None) -> str:
    """Returns why the trial is a simplification, '' when it is not."""
    objective = state.noise.objective
    if incumbent is None or verdict_without_comparison(objective, trial, incumbent) is not None:
      return ''
    gain = gain_over(objective, trial, incumbent)
    if gain < -self.tolerance * standard_error(state.noise, trial, incumbent):
      return ''
    new, old = (count_program_nodes(t.edit.program) for t in (trial, incumbent))
    if new is None or old is None or new > old - self.min_nodes_saved:
      return ''
    return (
      f'Kept as the simpler program at {"no worse" if gain >= 0 else "nearly the same"} score: '
      f'{new} syntax-tree nodes vs. {old}.'
    )


def count_program_nodes(program: Program) -> int | None:
  """Returns the syntax-tree nodes of a program's Python files, None when one does not parse."""
  counts = [count_nodes(text) for name, text in program.files if name.endswith('.py')]
  known = [count for count in counts if count is not None]
  return sum(known) if len(known) == len(counts) else None


@functools.lru_cache(maxsize=64)
def count_nodes(text: str) -> int | None:
  """Returns the nodes of a file's syntax tree without docstrings, None when it does not parse."""
  try:
    with warnings.catch_warnings():  # about the candidate, such as an invalid escape
      warnings.simplefilter('ignore')
      tree = ast.parse(text)
    return sum(1 for _ in ast.walk(tree)) - 2 * sum(_has_docstring(n) for n in ast.walk(tree))
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return None


def _has_docstring(node: ast.AST) -> bool:
  """Returns whether the node starts with a docstring: an expression node and its constant."""
  if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
    return False
  first = node.body[0] if node.body else None
  if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant):
    return False
  return isinstance(first.value.value, str)
