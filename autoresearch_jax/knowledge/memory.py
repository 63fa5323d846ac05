"""The memory of a run: each hypothesis with what was predicted and what came of it.

A `Memory` looks at the run's trials through views that grow, and takes in what is new whenever it
is asked something. What it says depends on the trials and their order alone, never on when it was
asked: the same ledger always gives the same memory.

An effect is the mean score over all runs of a program minus that of its parent's, with the standard
deviation s·√(1/m + 1/n) for m and n runs, where s is the seed-to-seed deviation pooled over all
programs with several runs. A child of a lucky parent therefore looks worse than it is, and gets its
due when the parent is replicated.
"""

import bisect
import dataclasses
import itertools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from autoresearch_jax.knowledge import changes, lessons
from autoresearch_jax.knowledge.changes import Change
from autoresearch_jax.knowledge.measured import Measured, Programs
from autoresearch_jax.knowledge.retrieval import Index
from autoresearch_jax.types import Decision, Hypothesis, Lesson, Objective, Status, Trial

# What says that the program is at fault: a crash may be the machine's, the others are no trials.
FAILURES = (Status.INVALID, Status.OOM, Status.DIVERGED, Status.TIMEOUT, Status.PRUNED)


@dataclasses.dataclass(frozen=True)
class Entry:
  """One edit that was tried, under the id of the first trial that had its program.

  parent: the first trial of the program that was edited. predicted, predicted_sd: of the
  hypothesis; effect: measured score minus the parent's (larger is better) over all runs of both,
  effect_sd: standard deviation of that by the noise between seeds; None where they are unknown.
  status, decision, reason: of the program's trial that tells most: the one that was kept, else the
  last of the largest budget that has a score. kept: whether it was, at last.

  score: mean over its runs, None without any. changes: constants that differ from the parent's,
  (name, old, new), None for one that is not there. structural: whether anything else of the program
  was changed but comments. surprise: how far the outcome is from the
  prediction, in standard deviations of the two together; for a failure how firmly its edit was
  predicted to help (0 where it was not); None where nothing was predicted or measured.
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
  score: float | None = None
  runs: int = 0
  changes: tuple[Change, ...] = ()
  structural: bool = False
  surprise: float | None = None

  @property
  def failed(self) -> bool:
    """Whether the program came to no score by a fault of its own."""
    return self.status in FAILURES and self.effect is None


class Memory:
  """history: trials by id. kept: first trials of kept programs. told: an LLM's lessons.

  All three may be views that grow; they must stand still while the memory is asked. It may be
  asked from several threads.
  """

  def __init__(
    self,
    history: Mapping[int, Trial],
    objective: Objective,
    kept: Set[int] = frozenset(),
    told: Sequence[Lesson] = (),
  ):
    self.history, self.objective, self.kept, self.told = history, objective, kept, told
    self._programs = Programs(objective)
    self._taken = 0
    self._order: list[int] = []
    self._built: dict[int, tuple[object, Entry]] = {}
    self._changes: dict[int, tuple[tuple[Change, ...], bool]] = {}
    self._index = Index()
    self._unindexed: dict[int, None] = {}
    self._rules: tuple[object, tuple[lessons.Ranked, ...]] = (None, ())
    self._lock = threading.RLock()

  @property
  def entries(self) -> Mapping[int, Entry]:
    """By trial id, in their order; the baseline and repeats are none.

    A view: an entry is made when it is looked at, and looking again shows what came meanwhile.
    """
    with self._lock:
      self._take()
      return _Entries(self._order, self._entry)

  @property
  def noise(self) -> float | None:
    """Seed-to-seed standard deviation of the score, over all programs; None before two runs."""
    with self._lock:
      self._take()
      return self._programs.noise

  def lessons(self) -> tuple[Lesson, ...]:
    """By rules from groups of trials, and those an LLM wrote; the most certain first."""
    with self._lock:
      self._take()
      state = (self._taken, len(self.kept))
      if self._rules[0] != state:
        found = [self._entry(trial) for trial in self._order]
        constants = {trial: p.constants for trial, p in self._programs.known.items()}
        self._rules = (state, lessons.distil(found, constants))
      return lessons.ordered(self._rules[1], self.told)

  def search(self, query: str, limit: int = 5) -> tuple[Entry, ...]:
    """Entries that have to do with the query's words, by relevance, surprise and recency.

    query: free text; nothing in it is an operator. Empty where no word of it occurs.
    """
    with self._lock:
      self._take()
      for trial in self._unindexed:
        self._index.put(self._entry(trial))
      self._unindexed = {t: None for t in self._unindexed if self._is_orphan(t)}
      found = self._index.find(query, limit, lambda trial: self._entry(trial).surprise or 0.0)
      return tuple(self._entry(trial) for trial in found)

  def _take(self) -> None:
    """Takes in the trials that are new; views give them in the order in which they came."""
    for trial in list(itertools.islice(self.history.values(), self._taken, None)):
      self._taken += 1
      for first in self._programs.take(trial):
        if self._programs.known[first].parent is not None:
          if first == trial.id:
            bisect.insort(self._order, first)
          self._unindexed[first] = None

  def _entry(self, trial: int) -> Entry:
    program = self._programs.known[trial]
    parent = self._programs.parent(program)
    stamp = (
      program.version,
      parent and parent.version,
      self._programs.noise,
      trial in self.kept,
    )
    built = self._built.get(trial)
    if built is None or built[0] != stamp:
      built = self._built[trial] = (stamp, self._made(program, parent))
    return built[1]

  def _made(self, program: Measured, parent: Measured | None) -> Entry:
    edit, shown = program.first.edit, program.shown
    belief = edit.hypothesis
    changed, structural = self._changed(program, parent)
    effect, effect_sd = _effect(program, parent, self._programs.noise)
    return Entry(
      trial=program.first.id,
      parent=parent.first.id if parent else program.parent,
      description=edit.description,
      claim=belief.claim,
      tags=belief.mechanisms,
      status=shown.result.status,
      decision=shown.verdict.decision if shown.verdict else None,
      kept=program.first.id in self.kept,
      reason=shown.verdict.reason if shown.verdict else shown.result.reason,
      predicted=belief.predicted_effect,
      predicted_sd=belief.uncertainty,
      effect=effect,
      effect_sd=effect_sd,
      author=edit.author,
      role=edit.role,
      score=program.score,
      runs=program.runs,
      changes=changed,
      structural=structural,
      surprise=surprise(belief, shown.result.status, effect, effect_sd),
    )

  def _is_orphan(self, trial: int) -> bool:
    """Whether what was edited has not come yet, so that the changes are not known."""
    return self._programs.parent(self._programs.known[trial]) is None

  def _changed(self, program: Measured, parent: Measured | None) -> tuple[tuple[Change, ...], bool]:
    """What became of the constants, and whether anything else was changed."""
    trial = program.first.id
    if parent is None:
      return (), False
    if trial not in self._changes:
      found = changes.changes(parent.constants, program.constants)
      self._changes[trial] = found, parent.rest != program.rest
    return self._changes[trial]


class _Entries(Mapping[int, Entry]):
  """A view of the entries, which are made when they are looked at."""

  def __init__(self, order: list[int], made: Callable[[int], Entry]):
    self._order, self._made = order, made

  def __getitem__(self, trial: int) -> Entry:
    if trial not in self:
      raise KeyError(trial)
    return self._made(trial)

  def __contains__(self, trial: object) -> bool:
    at = bisect.bisect_left(self._order, trial) if isinstance(trial, int) else len(self._order)
    return at < len(self._order) and self._order[at] == trial

  def __iter__(self) -> Iterator[int]:
    return iter(self._order)

  def __len__(self) -> int:
    return len(self._order)


def surprise(
  belief: Hypothesis, status: Status, effect: float | None, effect_sd: float | None
) -> float | None:
  """How far the outcome is from what was predicted, in standard deviations; see `Entry`.

  |effect - predicted| / √(predicted_sd² + effect_sd²). A failure has no effect; it is no better
  than its parent whatever it is worth, so that it counts as 0 for a prediction above that, and
  confirms one below.
  """
  predicted = belief.predicted_effect
  if predicted is None:
    return None
  if effect is not None:
    distance, spread = effect - predicted, effect_sd or 0.0
  elif status in FAILURES:
    distance, spread = max(predicted, 0.0), 0.0
  else:
    return None
  spread = math.hypot(belief.uncertainty or 0.0, spread)
  return abs(distance) / spread if spread else None


def _effect(
  program: Measured, parent: Measured | None, noise: float | None
) -> tuple[float | None, float | None]:
  """The gain over the parent and its standard deviation; None where they are unknown."""
  if parent is None or not (program.runs and parent.runs):
    return None, None
  spread = None if noise is None else noise * math.sqrt(1 / program.runs + 1 / parent.runs)
  return program.mean - parent.mean, spread
