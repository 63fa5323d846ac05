"""MAP-Elites with islands, as in OpenEvolve: keep the best program of every kind.

Source: Mouret and Clune, "Illuminating search spaces by mapping elites", 2015, arXiv 1504.04909;
OpenEvolve (codelion/openevolve), `database.py`, whose names and defaults are used.

The feature map has a cell for each bin of complexity (number of characters) and diversity (average
number of lines that differ from a reference set, the first programs of the run). Each island has
its own map. A cell's elite is its best program, and the archive holds the best elites of all maps.
A parent is sampled by

- exploration (probability 0.2): any elite of the current island;
- exploitation (0.7): any member of the archive, from the current island if it has one there;
- fitness (0.1): any program, in proportion to its score scaled to [0, 1].

The proposer also sees the island's top elites and some elites of other cells. A new program joins
the island that it was proposed on; islands take turns. They form a ring: every `migration_interval`
trials, the best `migration_rate` of each island is copied to both neighbours. When all islands
together exceed `population_size`, the worst programs are removed.

Differences from OpenEvolve: the bins span the living programs' range at the time of sampling, so
that they need no rebuilding; diversity counts lines, not characters, because the programs of one
run are nearly equal.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import Archive, FloatColumn, IntColumn, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.membership import IslandMembership
from autoresearch_jax.search.options import require_at_least, require_fractions
from autoresearch_jax.search.pending import PendingProposals
from autoresearch_jax.search.selection import normalize_scores, sample_index
from autoresearch_jax.search.similarity import Embedding, num_differing_lines
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

MIN_WEIGHT = 1e-3  # of the worst program when sampling by fitness, as in OpenEvolve


@dataclasses.dataclass(frozen=True)
class MapElitesState:
  """The programs with their features and islands.

  Attributes:
    objective: The run's objective.
    archive: Trials with a score.
    complexity: Number of characters of each row's program.
    diversity: Average number of lines in which each row's program differs from the reference set.
    islands: Which rows live on which island.
    diversity_reference: The reference set.
    pending: Proposals without a result, labelled with their island.
    num_asked: Proposals so far.
    num_told: Trials finished so far.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  complexity: IntColumn = dataclasses.field(default_factory=IntColumn)
  diversity: FloatColumn = dataclasses.field(default_factory=FloatColumn)
  islands: IslandMembership = dataclasses.field(default_factory=IslandMembership)
  diversity_reference: tuple[Embedding, ...] = ()
  pending: PendingProposals = dataclasses.field(default_factory=PendingProposals)
  num_asked: int = 0
  num_told: int = 0


@STRATEGIES.register('map_elites')
@dataclasses.dataclass(frozen=True)
class MapElites(Strategy):
  """Samples a parent from the elites of a feature map.

  Attributes:
    exploration_ratio: Probability of a random elite of the current island.
    exploitation_ratio: Probability of a member of the archive; the rest is sampled by fitness.
    population_size: Programs on all islands together; a copy counts too.
    archive_size: The best elites, from which exploitation samples.
    num_islands: Number of islands.
    feature_bins: Bins per feature.
    migration_interval: Trials between two migrations.
    migration_rate: Fraction of each island that migrates.
    num_top_programs: How many of the island's best elites are shown to the proposer.
    num_diverse_programs: How many of its other elites are shown to the proposer.
    diversity_reference_size: Programs that diversity is measured against.
  """

  exploration_ratio: float = 0.2
  exploitation_ratio: float = 0.7
  population_size: int = 1000
  archive_size: int = 100
  num_islands: int = 5
  feature_bins: int = 10
  migration_interval: int = 50
  migration_rate: float = 0.1
  num_top_programs: int = 3
  num_diverse_programs: int = 2
  diversity_reference_size: int = 20

  def __post_init__(self) -> None:
    require_fractions(self, 'map_elites', 'exploration_ratio', 'exploitation_ratio')
    require_fractions(self, 'map_elites', 'migration_rate')
    require_at_least(0, self, 'map_elites', 'num_top_programs', 'num_diverse_programs')
    require_at_least(
      1,
      self,
      'map_elites',
      'archive_size',
      'num_islands',
      'feature_bins',
      'migration_interval',
      'diversity_reference_size',
    )
    if self.population_size < self.num_islands:
      raise ValueError(
        f'population_size of map_elites is {self.population_size}; each of the '
        f'{self.num_islands} islands needs at least one program.'
      )

  def init(self, objective: Objective) -> MapElitesState:
    return MapElitesState(objective)

  def ask(self, state: MapElitesState, rng: np.random.Generator) -> tuple[Proposal, MapElitesState]:
    if not len(state.archive):
      return Proposal(Operation.DRAFT), state
    island = state.num_asked % self.num_islands
    elites, islands = self.elites(state)
    own_elites = elites[islands == island]
    kind = rng.random()
    if kind < self.exploration_ratio:
      parent = rng.choice(own_elites)
    elif kind < self.exploration_ratio + self.exploitation_ratio:
      archive, is_own = elites[: self.archive_size], islands[: self.archive_size] == island
      parent = rng.choice(archive[is_own] if is_own.any() else archive)
    else:
      parent = self._sample_by_fitness(state, rng)
    inspirations = self._inspirations(own_elites, int(parent), rng)
    ids = state.archive.ids.array
    proposal = Proposal(Operation.IMPROVE, (int(ids[parent]),), tuple(ids[inspirations].tolist()))
    pending = state.pending.add(proposal, island)
    return proposal, dataclasses.replace(state, pending=pending, num_asked=state.num_asked + 1)

  def tell(self, state: MapElitesState, trial: Trial) -> MapElitesState:
    proposed, pending = state.pending.pop(trial)
    state = dataclasses.replace(state, pending=pending, num_told=state.num_told + 1)
    score = score_of(state.objective, trial)
    before = len(state.archive)
    if score is not None:
      state = dataclasses.replace(state, archive=state.archive.add(trial, score))
    if len(state.archive) > before:
      # A trial that this strategy did not propose, such as the baseline, joins all islands.
      islands = range(self.num_islands) if proposed is None else (proposed.label,)
      state = self._add_newest(state, trial, tuple(islands))
    return self._migrate(state) if state.num_told % self.migration_interval == 0 else state

  def elites(self, state: MapElitesState) -> tuple[np.ndarray, np.ndarray]:
    """Returns the elites in descending order of score.

    Returns:
      Row of the best program of each occupied cell, and its island. Both int64 [n].
    """
    rows, islands = state.islands.members.array, state.islands.islands.array
    scores = state.archive.scores.array[rows]
    order = np.argsort(-scores, kind='stable')
    rows, islands = rows[order], islands[order]
    cells = bin_index(state.complexity.array[rows], self.feature_bins) * self.feature_bins
    cells += bin_index(state.diversity.array[rows], self.feature_bins)
    _, first = np.unique(islands * self.feature_bins**2 + cells, return_index=True)
    first.sort()
    return rows[first], islands[first]

  def _sample_by_fitness(self, state: MapElitesState, rng: np.random.Generator) -> int:
    """Returns the row of any living program."""
    rows = np.unique(state.islands.members.array)
    return int(rows[sample_index(fitness_probabilities(state.archive.scores.array[rows]), rng)])

  def _inspirations(self, elites: np.ndarray, parent: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the rows of the top elites, then of some others, each of a different cell."""
    others = elites[elites != parent]
    top, rest = others[: self.num_top_programs], others[self.num_top_programs :]
    return np.append(top, rng.permutation(rest)[: self.num_diverse_programs])

  def _add_newest(
    self, state: MapElitesState, trial: Trial, islands: tuple[int, ...]
  ) -> MapElitesState:
    """Adds the features and the islands of the archive's newest row."""
    program = trial.edit.program
    embedding = Embedding.of(program)
    reference = state.diversity_reference
    if len(reference) < self.diversity_reference_size:
      reference = (*reference, embedding)
    diversity = float(num_differing_lines(embedding, reference).mean())
    return self._remove_worst(dataclasses.replace(
      state,
      complexity=state.complexity.append(sum(len(text) for _, text in program.files)),
      diversity=state.diversity.append(diversity),
      islands=state.islands.add(len(state.archive) - 1, islands),
      diversity_reference=reference,
    ))  # fmt: skip

  def _migrate(self, state: MapElitesState) -> MapElitesState:
    """Copies the best programs of each island, as it was before, to both of its neighbours."""
    islands = state.islands
    for island in range(self.num_islands):
      rows = state.islands.members_of(island)
      count = max(1, int(len(rows) * self.migration_rate))
      best = rows[np.argsort(-state.archive.scores.array[rows], kind='stable')[:count]]
      neighbours = ((island + 1) % self.num_islands, (island - 1) % self.num_islands)
      for row in best.tolist():
        islands = islands.add(row, dict.fromkeys(neighbours))
    return self._remove_worst(dataclasses.replace(state, islands=islands))

  def _remove_worst(self, state: MapElitesState) -> MapElitesState:
    """Removes the worst programs beyond `population_size`, but never an island's best."""
    islands = state.islands.islands.array
    excess = len(islands) - self.population_size
    if excess <= 0:
      return state
    scores = state.archive.scores.array[state.islands.members.array]
    remaining, alive = scores.copy(), np.ones(len(islands), bool)
    while excess:  # usually 1
      worst = np.argmin(remaining)
      remaining[worst] = np.inf
      same_island = np.flatnonzero(islands == islands[worst])
      if worst != same_island[np.argmax(scores[same_island])]:
        alive[worst] = False
        excess -= 1
    return dataclasses.replace(state, islands=state.islands.select(alive))


def bin_index(feature: np.ndarray, num_bins: int) -> np.ndarray:
  """Returns the bin of each value, with equal bins between minimum and maximum. int64 [n]."""
  low, high = feature.min(), feature.max()
  scaled = (feature - low) / (high - low) if high > low else np.zeros(len(feature))
  return np.minimum((scaled * num_bins).astype(np.int64), num_bins - 1)


def fitness_probabilities(scores: np.ndarray) -> np.ndarray:
  """Probabilities proportional to the scores scaled to [0, 1]. float64 [n]."""
  weights = np.maximum(normalize_scores(scores), MIN_WEIGHT)
  return weights / weights.sum()
