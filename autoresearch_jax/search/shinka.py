"""ShinkaEvolve: a small archive on two islands; parents that are good and have few children.

Source: Lange, Imajuku and Cetin, "ShinkaEvolve: towards open-ended and sample-efficient program
evolution", 2025, arXiv 2509.19349; SakanaAI/ShinkaEvolve. As there:

- On an island drawn uniformly, a parent is drawn from the archive with the weight
  logistic(10 · (s - median) / MAD) / (1 + c), c being its children so far.
- The proposer changes a part of it (0.6), writes it anew (0.3, guidance 'rewrite'), or crosses it
  with another member of the archive (0.1). It sees the best programs and some of the archive.
- A near-duplicate of a member (cosine above 0.99, see `sketch.py`) does not enter the archive.
- Every 10 trials 10 % of each island's members, never its best, move to the next island, and a
  scratchpad is written anew.

Otherwise than there: a near-duplicate is noticed once it was run, since a strategy sees programs
only then (the wrapper `novelty` asks again for edits that come with a proposal). Without an LLM
the scratchpad is no text but the trials of the last ten that changed the score most, for better or
worse, against their parents; they come first in the context. The bandit over models is left out: a
proposal names no model.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import NONE, Archive, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least, require_share
from autoresearch_jax.search.pending import Underway
from autoresearch_jax.search.selection import draw, log_logistic, probabilities
from autoresearch_jax.search.similarity import Sketch, cosines, direction
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

STEEPNESS = 10.0  # of the parent's weight
EVERYWHERE = NONE  # the island of a program that lives on all of them


@dataclasses.dataclass(frozen=True)
class Member:
  """A program of the archive. row: in the table of trials. towards: its `direction`."""

  row: int
  island: int
  towards: bytes


@dataclasses.dataclass(frozen=True)
class Lesson:
  """What a trial taught: the size of its gain or loss against its parent."""

  trial: int
  size: float


@dataclasses.dataclass(frozen=True)
class ShinkaState:
  """trials: those with a score. members: the archive. start: of the first program told.

  scratchpad: ids that come first in the context. lessons: of the trials since it was written.
  moved: trials told at the last migration.
  """

  objective: Objective
  trials: Archive = dataclasses.field(default_factory=Archive)
  members: tuple[Member, ...] = ()
  start: Sketch | None = None
  scratchpad: tuple[int, ...] = ()
  lessons: tuple[Lesson, ...] = ()
  underway: Underway = dataclasses.field(default_factory=Underway)
  told: int = 0
  moved: int = 0


@STRATEGIES.register('shinka')
@dataclasses.dataclass(frozen=True)
class Shinka(Strategy):
  """islands: how many. archive: members on all of them. rewrite, cross: shares of the operations.

  threshold: the cosine above which a program is a near-duplicate. every: trials between two
  scratchpads and two migrations. migrants: share of an island's members that moves. best,
  inspirations, lessons: how many trials of each kind a proposer sees.
  """

  islands: int = 2
  archive: int = 40
  rewrite: float = 0.3
  cross: float = 0.1
  threshold: float = 0.99
  every: int = 10
  migrants: float = 0.1
  best: int = 2
  inspirations: int = 4
  lessons: int = 3

  def __post_init__(self) -> None:
    require_at_least(1, self, 'shinka', 'islands', 'archive', 'every')
    require_at_least(0, self, 'shinka', 'best', 'inspirations', 'lessons')
    require_share(self, 'shinka', 'rewrite', 'cross')
    require_share(self, 'shinka', 'migrants')
    if not 0 < self.threshold <= 1:
      raise ValueError(f'threshold of shinka is {self.threshold}; a cosine above 0 is wanted.')

  def init(self, objective: Objective) -> ShinkaState:
    return ShinkaState(objective)

  def ask(self, state: ShinkaState, rng: np.random.Generator) -> tuple[Proposal, ShinkaState]:
    if not state.members:
      return Proposal(Operation.DRAFT), state
    if state.told - state.moved >= self.every:
      state = self._migrated(state, rng)
    island = int(rng.integers(self.islands))
    members = _on(state.members, island) or state.members
    rows = np.array([member.row for member in members])
    scores, children = (c.array[rows] for c in (state.trials.scores, state.trials.children))
    parent = int(rows[draw(parent_odds(scores, children), rng)])
    proposal = self._proposal(state, parent, rng)
    return proposal, dataclasses.replace(
      state,
      trials=state.trials.asked(parent),
      underway=state.underway.departed(proposal, island),
    )

  def tell(self, state: ShinkaState, trial: Trial) -> ShinkaState:
    flight, underway = state.underway.landed(trial)
    score = score_of(state.objective, trial)
    before = len(state.trials)
    trials = state.trials if score is None else state.trials.added(trial, score)
    state = dataclasses.replace(state, underway=underway, trials=trials, told=state.told + 1)
    if len(trials) > before:
      # What nobody asked for, such as the baseline, lives on all islands.
      state = self._entered(state, trial, EVERYWHERE if flight is None else flight.label)
      state = _learned(state, trial.id)
    return self._written(state) if state.told % self.every == 0 else state

  def _proposal(self, state: ShinkaState, parent: int, rng: np.random.Generator) -> Proposal:
    ids = state.trials.ids.array
    others = [member.row for member in state.members if member.row != parent]
    shown = tuple(dict.fromkeys((*state.scratchpad, *self._shown(state, others, rng))))
    kind = rng.random()
    if kind < self.cross and others:
      partner = int(ids[others[int(rng.integers(len(others)))]])
      return Proposal(Operation.MERGE, (int(ids[parent]), partner), shown)
    guidance = 'rewrite' if kind >= 1 - self.rewrite else ''
    return Proposal(Operation.IMPROVE, (int(ids[parent]),), shown, guidance=guidance)

  def _shown(self, state: ShinkaState, others: list[int], rng: np.random.Generator) -> list[int]:
    """Ids of the best members but the parent, then of some others of the archive."""
    rows = np.array(others, np.int64)
    ranked = rows[np.argsort(-state.trials.scores.array[rows], kind='stable')]
    drawn = rng.permutation(ranked[self.best :])[: self.inspirations]
    return state.trials.ids.array[[*ranked[: self.best], *drawn]].tolist() if others else []

  def _entered(self, state: ShinkaState, trial: Trial, island: int) -> ShinkaState:
    """With the newest trial in the archive: if there is room, or in place of a worse one."""
    start = state.start or Sketch.of(trial.edit.program)
    state = dataclasses.replace(state, start=start)
    towards = direction(trial.edit.program, start)
    members = state.members
    if members and cosines(towards, tuple(m.towards for m in members)).max() > self.threshold:
      return state
    scores = state.trials.scores.array
    if len(members) >= self.archive:
      worst = min(members, key=lambda member: scores[member.row])
      if scores[-1] <= scores[worst.row]:
        return state
      members = tuple(member for member in members if member is not worst)
    newest = Member(len(state.trials) - 1, island, towards)
    return dataclasses.replace(state, members=(*members, newest))

  def _migrated(self, state: ShinkaState, rng: np.random.Generator) -> ShinkaState:
    """With some members of each island moved to the next one."""
    scores = state.trials.scores.array
    goes = {}
    for island in range(self.islands):
      own = [member for member in state.members if member.island == island]
      own.sort(key=lambda member: -scores[member.row])
      count = min(len(own) - 1, max(1, round(len(own) * self.migrants)))
      for place in rng.permutation(len(own) - 1)[:count].tolist() if len(own) > 1 else []:
        goes[own[1 + place].row] = (island + 1) % self.islands
    members = tuple(
      dataclasses.replace(member, island=goes.get(member.row, member.island))
      for member in state.members
    )
    return dataclasses.replace(state, members=members, moved=state.told)

  def _written(self, state: ShinkaState) -> ShinkaState:
    """With a new scratchpad, the largest lesson first."""
    largest = sorted(state.lessons, key=lambda lesson: -lesson.size)[: self.lessons]
    return dataclasses.replace(
      state, scratchpad=tuple(lesson.trial for lesson in largest), lessons=()
    )


def parent_odds(scores: np.ndarray, children: np.ndarray) -> np.ndarray:
  """In proportion to logistic(10 · (s - median) / MAD) / (1 + c). float64 [n].

  MAD: the median of the absolute deviations from the median; where it is 0, above the median
  counts as far above, and below as far below.
  """
  deviations = scores - np.median(scores)
  scale = np.median(np.abs(deviations))
  steps = deviations / scale if scale > 0 else np.sign(deviations) * 10
  return probabilities(log_logistic(STEEPNESS * steps) - np.log1p(children))


def _on(members: tuple[Member, ...], island: int) -> tuple[Member, ...]:
  return tuple(member for member in members if member.island in (island, EVERYWHERE))


def _learned(state: ShinkaState, trial: int) -> ShinkaState:
  """With the lesson of the newest trial, if its parent has a score."""
  above, scores = state.trials.above.array[-1], state.trials.scores.array
  if above == NONE:
    return state
  lesson = Lesson(trial, float(abs(scores[-1] - scores[above])))
  return dataclasses.replace(state, lessons=(*state.lessons, lesson))
