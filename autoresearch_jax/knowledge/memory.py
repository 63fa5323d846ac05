"""The memory of a run: each hypothesis with what was predicted and what came of it.

A `Memory` looks at the run's trials through views that grow, and takes in what is new whenever it
is asked something.
"""

import dataclasses
from collections.abc import Mapping, Sequence, Set

from autoresearch_jax.types import Decision, Lesson, Objective, Status, Trial


@dataclasses.dataclass(frozen=True)
class Entry:
  """One edit that was tried, under the id of the first trial that had its program.

  parent: the trial that was edited. predicted, predicted_sd: of the hypothesis; effect: measured
  score minus the parent's (larger is better) over all runs of both, effect_sd: standard deviation
  of that by the noise between seeds; None where they are unknown. kept: whether it was, at last.
  """

  trial: int
  parent: int | None
  description: str
  claim: str
  tags: tuple[str, ...]
  status: Status
  decision: Decision | None
  kept: bool
  reason: str
  predicted: float | None = None
  predicted_sd: float | None = None
  effect: float | None = None
  effect_sd: float | None = None
  author: str = ''
  role: str = ''


class Memory:
  """history: trials by id. kept: first trials of kept programs. told: an LLM's lessons."""

  def __init__(
    self,
    history: Mapping[int, Trial],
    objective: Objective,
    kept: Set[int] = frozenset(),
    told: Sequence[Lesson] = (),
  ):
    self.history, self.objective, self.kept, self.told = history, objective, kept, told

  @property
  def entries(self) -> Mapping[int, Entry]:
    """By trial id, in their order; the baseline and repeats are none."""
    raise NotImplementedError

  def lessons(self) -> tuple[Lesson, ...]:
    """By rules from groups of trials, and those an LLM wrote; the most certain first."""
    raise NotImplementedError

  def search(self, query: str, limit: int = 5) -> tuple[Entry, ...]:
    """Entries that have to do with the query's words, by relevance and surprise."""
    raise NotImplementedError
