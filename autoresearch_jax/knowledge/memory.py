"""The memory of a run: every hypothesis with its outcome, lessons, and a search over them.

A `Memory` reads the run's trials through views that grow, and takes in new ones whenever it is
queried. Its answers depend on the trials and their order alone, never on when it was queried: the
same ledger always gives the same memory.
"""

import bisect
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from autoresearch_jax.knowledge import lessons
from autoresearch_jax.knowledge.constant_changes import ConstantChange, constant_changes
from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome, effect_of, surprise
from autoresearch_jax.knowledge.program_results import ProgramResult, ProgramResults
from autoresearch_jax.knowledge.retrieval import HypothesisIndex
from autoresearch_jax.types import Lesson, Objective, Trial


class Memory:
  """Everything a run has learned. Safe to use from several threads.

  Attributes:
    history: Finished trials by id. Like `kept` and `model_lessons`, this may be a view that grows,
      as long as it does not change during a query.
    objective: The metric and its direction.
    kept: First trials of the programs that were kept.
    model_lessons: Lessons that a language model wrote.
  """

  def __init__(
    self,
    history: Mapping[int, Trial],
    objective: Objective,
    kept: Set[int] = frozenset(),
    model_lessons: Sequence[Lesson] = (),
  ):
    self.history, self.objective = history, objective
    self.kept, self.model_lessons = kept, model_lessons
    self._programs = ProgramResults(objective)
    self._num_added = 0
    self._order: list[int] = []
    self._cache: dict[int, tuple[object, HypothesisOutcome]] = {}
    self._changes: dict[int, tuple[tuple[ConstantChange, ...], bool]] = {}
    self._index = HypothesisIndex()
    self._unindexed: dict[int, None] = {}
    self._derived: tuple[object, tuple[lessons.RankedLesson, ...]] = (None, ())
    self._lock = threading.RLock()

  @property
  def hypotheses(self) -> Mapping[int, HypothesisOutcome]:
    """All edits that were tried, by trial id, without the baseline and reruns.

    This is a view: items are computed on access, and a later access shows later results.
    """
    with self._lock:
      self._update()
      return _HypothesisView(self._order, self._hypothesis)

  @property
  def noise(self) -> float | None:
    """Standard deviation of the score between seeds; None until some program has two runs."""
    with self._lock:
      self._update()
      return self._programs.noise

  @property
  def degrees_of_freedom(self) -> int:
    """Degrees of freedom of `noise`."""
    with self._lock:
      self._update()
      return self._programs.degrees_of_freedom

  def lessons(self) -> tuple[Lesson, ...]:
    """Returns lessons derived by rules and those a language model wrote, most certain first."""
    with self._lock:
      self._update()
      state = (self._num_added, len(self.kept))
      if self._derived[0] != state:
        tested = [self._hypothesis(trial) for trial in self._order]
        constants = {trial: p.constants for trial, p in self._programs.by_trial.items()}
        self._derived = (state, lessons.derive_lessons(tested, constants))
      return lessons.rank_lessons(self._derived[1], self.model_lessons)

  def search(self, query: str, limit: int = 5) -> tuple[HypothesisOutcome, ...]:
    """Returns hypotheses that share words with a query, by relevance, surprise and recency.

    Args:
      query: Free text. It has no operators.
      limit: Maximum number of results.
    """
    with self._lock:
      self._update()
      for trial in self._unindexed:
        self._index.put(self._hypothesis(trial))
      self._unindexed = {t: None for t in self._unindexed if self._lacks_parent(t)}
      found = self._index.search(
        query, limit, lambda trial: self._hypothesis(trial).surprise or 0.0
      )
      return tuple(self._hypothesis(trial) for trial in found)

  def _update(self) -> None:
    """Adds the trials that are new; the view yields trials in the order of their arrival."""
    for trial in list(itertools.islice(self.history.values(), self._num_added, None)):
      self._num_added += 1
      for first in self._programs.add(trial):
        if self._programs.by_trial[first].parent is not None:
          if first == trial.id:
            bisect.insort(self._order, first)
          self._unindexed[first] = None

  def _hypothesis(self, trial: int) -> HypothesisOutcome:
    program = self._programs.by_trial[trial]
    parent = self._programs.parent(program)
    stamp = (
      program.version,
      parent and parent.version,
      self._programs.noise,
      trial in self.kept,
    )
    cached = self._cache.get(trial)
    if cached is None or cached[0] != stamp:
      cached = self._cache[trial] = (stamp, self._build(program, parent))
    return cached[1]

  def _build(self, program: ProgramResult, parent: ProgramResult | None) -> HypothesisOutcome:
    edit, shown = program.first.edit, program.representative
    hypothesis = edit.hypothesis
    changes, structural = self._changes_of(program, parent)
    effect, effect_sd = effect_of(program, parent, self._programs.noise)
    return HypothesisOutcome(
      trial=program.first.id,
      parent=parent.first.id if parent else program.parent,
      description=edit.description,
      claim=hypothesis.claim,
      tags=hypothesis.mechanisms,
      status=shown.result.status,
      decision=shown.verdict.decision if shown.verdict else None,
      kept=program.first.id in self.kept,
      reason=shown.verdict.reason if shown.verdict else shown.result.reason,
      predicted=hypothesis.predicted_effect,
      predicted_sd=hypothesis.uncertainty,
      effect=effect,
      effect_sd=effect_sd,
      author=edit.author,
      role=edit.role,
      score=program.score,
      runs=program.runs,
      changes=changes,
      structural=structural,
      surprise=surprise(hypothesis, shown.result.status, effect, effect_sd),
    )

  def _lacks_parent(self, trial: int) -> bool:
    """Whether the edited program has not arrived yet, so that the changes are not known."""
    return self._programs.parent(self._programs.by_trial[trial]) is None

  def _changes_of(
    self, program: ProgramResult, parent: ProgramResult | None
  ) -> tuple[tuple[ConstantChange, ...], bool]:
    """Returns the constants that changed, and whether anything else did."""
    trial = program.first.id
    if parent is None:
      return (), False
    if trial not in self._changes:
      changes = constant_changes(parent.constants, program.constants)
      self._changes[trial] = changes, parent.structure != program.structure
    return self._changes[trial]


class _HypothesisView(Mapping[int, HypothesisOutcome]):
  """A mapping over sorted trial ids whose values are computed on access."""

  def __init__(self, order: list[int], build: Callable[[int], HypothesisOutcome]):
    self._order, self._build = order, build

  def __getitem__(self, trial: int) -> HypothesisOutcome:
    if trial not in self:
      raise KeyError(trial)
    return self._build(trial)

  def __contains__(self, trial: object) -> bool:
    at = bisect.bisect_left(self._order, trial) if isinstance(trial, int) else len(self._order)
    return at < len(self._order) and self._order[at] == trial

  def __iter__(self) -> Iterator[int]:
    return iter(self._order)

  def __len__(self) -> int:
    return len(self._order)
