"""FunSearch: islands of programs, clustered by their scores, with two samples per prompt.

Source: Romera-Paredes et al., "Mathematical discoveries from program search with large language
models", Nature 2024; google-deepmind/funsearch, `programs_database.py`. As there:

- A proposal samples an island uniformly, then two of its clusters by a softmax over their scores at
  temperature T = T0 · (1 - (n mod period) / period), where n is the number of programs on the
  island, then a program in each cluster by a softmax over the negative normalised length, so that
  short programs are preferred.
- The proposer sees the samples in ascending order of score. A new program joins the island that it
  came from.
- Periodically, the worse half of the islands is emptied, and each is founded again by the best
  program of a surviving island.

Differences from the paper: `reset_period` counts trials, not seconds; scores are scaled to [0, 1]
per island, because T0 assumes a scale; a program that was sampled twice is improved alone, because
it cannot be merged with itself. Replicates count towards the original's score.
"""

import dataclasses
import hashlib

import numpy as np

from autoresearch_jax.search.archive import Archive, IntColumn, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.instance_scores import instance_scores
from autoresearch_jax.search.membership import IslandMembership
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.pending import PendingProposals
from autoresearch_jax.search.selection import normalize_scores, sample_index, softmax
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

FUNCTIONS_PER_PROMPT = 2


@dataclasses.dataclass(frozen=True)
class FunSearchState:
  """The programs database.

  Attributes:
    objective: The run's objective.
    archive: Trials with a score.
    signatures: Cluster signature of each row of the archive.
    lengths: Number of characters of each row's program.
    islands: Which rows live on which island.
    pending: Proposals without a result, labelled with their island.
    num_since_reset: Trials finished since the last reset.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  signatures: IntColumn = dataclasses.field(default_factory=IntColumn)
  lengths: IntColumn = dataclasses.field(default_factory=IntColumn)
  islands: IslandMembership = dataclasses.field(default_factory=IslandMembership)
  pending: PendingProposals = dataclasses.field(default_factory=PendingProposals)
  num_since_reset: int = 0


@STRATEGIES.register('funsearch')
@dataclasses.dataclass(frozen=True)
class FunSearch(Strategy):
  """Samples programs from a random island for the next prompt.

  Attributes:
    num_islands: Number of islands.
    cluster_sampling_temperature_init: T0.
    cluster_sampling_temperature_period: Programs on an island until T starts over.
    reset_period: Trials between two resets of the worse islands.
    signature_digits: Significant digits to which metrics are rounded for a cluster's signature;
      programs whose metrics agree to that precision are one cluster.
  """

  num_islands: int = 10
  cluster_sampling_temperature_init: float = 0.1
  cluster_sampling_temperature_period: int = 30_000
  reset_period: int = 1000
  signature_digits: int = 3

  def __post_init__(self) -> None:
    require_at_least(
      1,
      self,
      'funsearch',
      'num_islands',
      'cluster_sampling_temperature_period',
      'reset_period',
      'signature_digits',
    )
    if not self.cluster_sampling_temperature_init > 0:
      raise ValueError(
        f'cluster_sampling_temperature_init is {self.cluster_sampling_temperature_init}; it must '
        f'be greater than 0.'
      )

  def init(self, objective: Objective) -> FunSearchState:
    return FunSearchState(objective)

  def ask(self, state: FunSearchState, rng: np.random.Generator) -> tuple[Proposal, FunSearchState]:
    if not len(state.archive):
      return Proposal(Operation.DRAFT), state
    if state.num_since_reset >= self.reset_period:
      state = self.reset_islands(state, rng)
    island = int(rng.integers(self.num_islands))
    ascending = self._sample_programs(state, island, rng)
    operation = Operation.MERGE if len(ascending) > 1 else Operation.IMPROVE
    # The first parent is the one that gets edited: the best.
    proposal = Proposal(operation, parents=ascending[::-1], context=ascending)
    pending = state.pending.add(proposal, island)
    return proposal, dataclasses.replace(state, pending=pending)

  def tell(self, state: FunSearchState, trial: Trial) -> FunSearchState:
    proposed, pending = state.pending.pop(trial)
    state = dataclasses.replace(state, pending=pending, num_since_reset=state.num_since_reset + 1)
    score = score_of(state.objective, trial)
    row = len(state.archive)
    archive = state.archive if score is None else state.archive.add(trial, score)
    if len(archive) == row:
      return dataclasses.replace(state, archive=archive)
    # A trial that this strategy did not propose, such as the baseline, joins all islands.
    islands = range(self.num_islands) if proposed is None else (proposed.label,)
    length = sum(len(text) for _, text in trial.edit.program.files)
    scores = instance_scores(state.objective, trial)
    return dataclasses.replace(
      state,
      archive=archive,
      signatures=state.signatures.append(signature_of(scores, self.signature_digits)),
      lengths=state.lengths.append(length),
      islands=state.islands.add(row, islands),
    )

  def reset_islands(self, state: FunSearchState, rng: np.random.Generator) -> FunSearchState:
    """Empties the worse half of the islands; a surviving island's best program founds each."""
    scores = state.archive.scores.array
    members = [state.islands.members_of(island) for island in range(self.num_islands)]
    founders = [int(rows[np.argmax(scores[rows])]) for rows in members]
    order = np.lexsort((rng.random(self.num_islands), scores[founders]))
    num_reset = self.num_islands // 2
    reset, surviving = order[:num_reset], order[num_reset:]
    islands = state.islands.select(~np.isin(state.islands.islands.array, reset))
    for island in sorted(reset.tolist()):
      islands = islands.add(founders[int(rng.choice(surviving))], (island,))
    return dataclasses.replace(state, islands=islands, num_since_reset=0)

  def temperature(self, num_programs: int) -> float:
    """Returns T on an island with this many programs."""
    period = self.cluster_sampling_temperature_period
    return self.cluster_sampling_temperature_init * (1 - num_programs % period / period)

  def _sample_programs(
    self, state: FunSearchState, island: int, rng: np.random.Generator
  ) -> tuple[int, ...]:
    """Returns the ids of one or two programs of an island, in ascending order of score."""
    rows = state.islands.members_of(island)
    first, clusters = cluster_by_signature(state.signatures.array[rows])
    # A cluster's score is that of its first program, as in the original.
    scores = state.archive.scores.array[rows[first]]
    weights = cluster_probabilities(scores, self.temperature(len(rows)))
    num_samples = min(FUNCTIONS_PER_PROMPT, len(first))
    sampled = sorted(
      (sample_index(weights, rng) for _ in range(num_samples)), key=scores.__getitem__
    )
    programs = (self._sample_program(state, rows[clusters == cluster], rng) for cluster in sampled)
    return tuple(dict.fromkeys(programs))

  @staticmethod
  def _sample_program(state: FunSearchState, rows: np.ndarray, rng: np.random.Generator) -> int:
    """Returns the id of a program of one cluster."""
    row = rows[sample_index(length_probabilities(state.lengths.array[rows]), rng)]
    return int(state.archive.ids.array[row])


def cluster_by_signature(signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Groups equal signatures.

  Returns:
    Index of each cluster's first program, int64 [clusters]; cluster of each program, int64 [n].
  """
  _, first, clusters = np.unique(signatures, return_index=True, return_inverse=True)
  return first, clusters


def cluster_probabilities(scores: np.ndarray, temperature: float) -> np.ndarray:
  """Softmax over the clusters' scores, which are scaled to [0, 1] first. float64 [clusters]."""
  return softmax(normalize_scores(scores) / temperature)


def length_probabilities(lengths: np.ndarray) -> np.ndarray:
  """Softmax over -(length - shortest) / longest. float64 [n]."""
  return softmax(-(lengths - lengths.min()) / (lengths.max() + 1e-6))


def signature_of(scores: dict[str, float], digits: int) -> int:
  """Returns a 63-bit hash of the scores, rounded to this many significant digits."""
  text = ' '.join(f'{name}={value:.{digits}g}' for name, value in sorted(scores.items()))
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), 'little') >> 1
