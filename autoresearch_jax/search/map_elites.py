"""MAP-Elites over islands, as OpenEvolve does it: keep the best program of every kind.

Source: Mouret and Clune, "Illuminating search spaces by mapping elites", 2015, arXiv 1504.04909;
OpenEvolve (codelion/openevolve), `database.py`, whose defaults are used.

A map has a cell for each bin of complexity (characters of the program) and diversity (lines that
differ from a reference set, the first programs told, on average). Each island has a map; a cell's
elite is its best program, and the archive holds the best elites of all maps. A parent is

- explored (0.2): any elite of the island whose turn it is,
- exploited (0.7): any member of the archive, of this island where there is one,
- or drawn by fitness (0.1): any program, in proportion to its score on the scale of [0, 1].

The proposer also sees the island's top elites and some elites of other cells. A trial joins the
island whose turn it was. Islands lie on a ring: every 50 trials the best 10 % of each are copied
to both neighbours. Beyond 1000 places on all islands, the worst is given up.

Otherwise than there: bins are laid between the least and the largest of the programs that are
alive whenever somebody asks, so that they need no rebuilding; diversity counts lines, not
characters, since the programs of one run are nearly equal.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import Archive, Floats, Ints, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.membership import Membership
from autoresearch_jax.search.options import require_at_least, require_share
from autoresearch_jax.search.pending import Underway
from autoresearch_jax.search.selection import draw, unit_interval
from autoresearch_jax.search.similarity import Sketch, differing
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

MIN_WEIGHT = 1e-3  # of the worst program in a draw by fitness, as in OpenEvolve


@dataclasses.dataclass(frozen=True)
class MapElitesState:
  """archive: trials with a score; complexity, diversity: one for each of its rows.

  islands: who lives where, by row. reference: programs that diversity is measured from.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  complexity: Ints = dataclasses.field(default_factory=Ints)
  diversity: Floats = dataclasses.field(default_factory=Floats)
  islands: Membership = dataclasses.field(default_factory=Membership)
  reference: tuple[Sketch, ...] = ()
  underway: Underway = dataclasses.field(default_factory=Underway)
  asked: int = 0
  told: int = 0


@STRATEGIES.register('map_elites')
@dataclasses.dataclass(frozen=True)
class MapElites(Strategy):
  """explore, exploit: shares of the parents; the rest is drawn by fitness.

  population: places on all islands. archive: elites that are exploited. islands: how many. bins: of
  each feature. migrate_every: trials told between two migrations. migrants: share of an island
  that migrates. top, diverse: how many of an island's best elites, and of others, a proposer
  sees. reference: programs that diversity is measured from.
  """

  explore: float = 0.2
  exploit: float = 0.7
  population: int = 1000
  archive: int = 100
  islands: int = 5
  bins: int = 10
  migrate_every: int = 50
  migrants: float = 0.1
  top: int = 3
  diverse: int = 2
  reference: int = 20

  def __post_init__(self) -> None:
    require_share(self, 'map_elites', 'explore', 'exploit')
    require_share(self, 'map_elites', 'migrants')
    require_at_least(0, self, 'map_elites', 'top', 'diverse')
    require_at_least(
      1, self, 'map_elites', 'archive', 'islands', 'bins', 'migrate_every', 'reference'
    )
    if self.population < self.islands:
      raise ValueError(
        f'population of map_elites is {self.population}; it needs a place on each of the '
        f'{self.islands} islands.'
      )

  def init(self, objective: Objective) -> MapElitesState:
    return MapElitesState(objective)

  def ask(self, state: MapElitesState, rng: np.random.Generator) -> tuple[Proposal, MapElitesState]:
    if not len(state.archive):
      return Proposal(Operation.DRAFT), state
    island = state.asked % self.islands
    elites, homes = self.elites(state)
    here = elites[homes == island]
    kind = rng.random()
    if kind < self.explore:
      parent = rng.choice(here)
    elif kind < self.explore + self.exploit:
      best, own = elites[: self.archive], homes[: self.archive] == island
      parent = rng.choice(best[own] if own.any() else best)
    else:
      parent = self._by_fitness(state, rng)
    shown = self._inspirations(here, int(parent), rng)
    ids = state.archive.ids.array
    proposal = Proposal(Operation.IMPROVE, (int(ids[parent]),), tuple(ids[shown].tolist()))
    underway = state.underway.departed(proposal, island)
    return proposal, dataclasses.replace(state, underway=underway, asked=state.asked + 1)

  def tell(self, state: MapElitesState, trial: Trial) -> MapElitesState:
    flight, underway = state.underway.landed(trial)
    state = dataclasses.replace(state, underway=underway, told=state.told + 1)
    score = score_of(state.objective, trial)
    before = len(state.archive)
    if score is not None:
      state = dataclasses.replace(state, archive=state.archive.added(trial, score))
    if len(state.archive) > before:
      # What nobody asked for, such as the baseline, is given to all islands.
      homes = range(self.islands) if flight is None else (flight.label,)
      state = self._settled(state, trial, tuple(homes))
    return self._migrated(state) if state.told % self.migrate_every == 0 else state

  def elites(self, state: MapElitesState) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the best program of each occupied cell, and the island of each. Both int64 [n].

    The best come first.
    """
    rows, homes = state.islands.members.array, state.islands.islands.array
    scores = state.archive.scores.array[rows]
    order = np.argsort(-scores, kind='stable')
    rows, homes = rows[order], homes[order]
    cells = binned(state.complexity.array[rows], self.bins) * self.bins
    cells += binned(state.diversity.array[rows], self.bins)
    _, firsts = np.unique(homes * self.bins**2 + cells, return_index=True)
    firsts.sort()
    return rows[firsts], homes[firsts]

  def _by_fitness(self, state: MapElitesState, rng: np.random.Generator) -> int:
    """The row of any program that is alive."""
    rows = np.unique(state.islands.members.array)
    return int(rows[draw(fitness_odds(state.archive.scores.array[rows]), rng)])

  def _inspirations(self, here: np.ndarray, parent: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of the island's top elites, then of some others; all are of different cells."""
    others = here[here != parent]
    return np.append(others[: self.top], rng.permutation(others[self.top :])[: self.diverse])

  def _settled(self, state: MapElitesState, trial: Trial, homes: tuple[int, ...]) -> MapElitesState:
    """With the features and the homes of the newest row."""
    program = trial.edit.program
    sketch = Sketch.of(program)
    reference = state.reference
    if len(reference) < self.reference:
      reference = (*reference, sketch)
    return self._limited(dataclasses.replace(
      state,
      complexity=state.complexity.appended(sum(len(text) for _, text in program.files)),
      diversity=state.diversity.appended(float(differing(sketch, reference).mean())),
      islands=state.islands.joined(len(state.archive) - 1, homes),
      reference=reference,
    ))  # fmt: skip

  def _migrated(self, state: MapElitesState) -> MapElitesState:
    """With the best of each island, as it was before, on both of its neighbours too."""
    islands = state.islands
    for island in range(self.islands):
      rows = state.islands.on(island)
      count = max(1, int(len(rows) * self.migrants))
      best = rows[np.argsort(-state.archive.scores.array[rows], kind='stable')[:count]]
      neighbours = ((island + 1) % self.islands, (island - 1) % self.islands)
      for row in best.tolist():
        islands = islands.joined(row, dict.fromkeys(neighbours))
    return self._limited(dataclasses.replace(state, islands=islands))

  def _limited(self, state: MapElitesState) -> MapElitesState:
    """With at most `population` places: the worst are given up, but no island's best is."""
    homes = state.islands.islands.array
    excess = len(homes) - self.population
    if excess <= 0:
      return state
    scores = state.archive.scores.array[state.islands.members.array]
    left, alive = scores.copy(), np.ones(len(homes), bool)
    while excess:  # mostly one
      worst = np.argmin(left)
      left[worst] = np.inf
      places = np.flatnonzero(homes == homes[worst])
      if worst != places[np.argmax(scores[places])]:
        alive[worst] = False
        excess -= 1
    return dataclasses.replace(state, islands=state.islands.kept(alive))


def binned(feature: np.ndarray, bins: int) -> np.ndarray:
  """The bin of each value, in equal steps from the least to the largest. int64 [n]."""
  low, high = feature.min(), feature.max()
  share = (feature - low) / (high - low) if high > low else np.zeros(len(feature))
  return np.minimum((share * bins).astype(np.int64), bins - 1)


def fitness_odds(scores: np.ndarray) -> np.ndarray:
  """In proportion to the score, which is brought to [0, 1] first. float64 [n]."""
  weights = np.maximum(unit_interval(scores), MIN_WEIGHT)
  return weights / weights.sum()
