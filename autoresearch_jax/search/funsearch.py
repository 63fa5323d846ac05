"""FunSearch: islands of programs, clustered by what they score, two samples to a prompt.

Source: Romera-Paredes and others, "Mathematical discoveries from program search with large
language models", Nature 2024; google-deepmind/funsearch, `programs_database.py`. As there:

- A proposal takes a random island, draws two clusters of it by the softmax of their scores at the
  temperature T = T0 · (1 - (n mod period) / period), n programs being on the island, and in each
  cluster a program by the softmax of its negative normalised length: short ones are preferred.
- The proposer sees the samples sorted, the worse first. A trial joins the island it came from.
- Now and then the worse half of the islands is emptied, and each of them is founded anew by the
  best program of a surviving island.

Otherwise than there: islands are reset by the number of trials, not by hours; scores are brought
to [0, 1] on each island, since T0 supposes a scale; a program that was drawn twice is improved
alone, since it cannot be merged with itself. Replicates count towards the score of the original.
"""

import dataclasses
import hashlib

import numpy as np

from autoresearch_jax.search.archive import Archive, Ints, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.membership import Membership
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.parts import parts_of
from autoresearch_jax.search.pending import Underway
from autoresearch_jax.search.selection import draw, probabilities, unit_interval
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


@dataclasses.dataclass(frozen=True)
class FunSearchState:
  """archive: trials with a score; signatures, lengths: one for each of its rows.

  islands: who lives where, by row. told: trials told since the last reset.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  signatures: Ints = dataclasses.field(default_factory=Ints)
  lengths: Ints = dataclasses.field(default_factory=Ints)
  islands: Membership = dataclasses.field(default_factory=Membership)
  underway: Underway = dataclasses.field(default_factory=Underway)
  told: int = 0


@STRATEGIES.register('funsearch')
@dataclasses.dataclass(frozen=True)
class FunSearch(Strategy):
  """islands: how many. temperature: T0. period: programs until T starts over.

  reset_after: trials between two resets. digits: significant digits to which metrics are rounded
  before they make up a cluster's signature; trials whose metrics agree so far are one cluster.
  """

  islands: int = 10
  temperature: float = 0.1
  period: int = 30_000
  reset_after: int = 1000
  digits: int = 3

  def __post_init__(self) -> None:
    require_at_least(1, self, 'funsearch', 'islands', 'period', 'reset_after', 'digits')
    if not self.temperature > 0:
      raise ValueError(f'temperature of funsearch is {self.temperature}; it must be above 0.')

  def init(self, objective: Objective) -> FunSearchState:
    return FunSearchState(objective)

  def ask(self, state: FunSearchState, rng: np.random.Generator) -> tuple[Proposal, FunSearchState]:
    if not len(state.archive):
      return Proposal(Operation.DRAFT), state
    if state.told >= self.reset_after:
      state = self.reset(state, rng)
    island = int(rng.integers(self.islands))
    worst_first = self._samples(state, island, rng)
    operation = Operation.MERGE if len(worst_first) > 1 else Operation.IMPROVE
    # The best is edited, so it is the first parent.
    proposal = Proposal(operation, parents=worst_first[::-1], context=worst_first)
    underway = state.underway.departed(proposal, island)
    return proposal, dataclasses.replace(state, underway=underway)

  def tell(self, state: FunSearchState, trial: Trial) -> FunSearchState:
    flight, underway = state.underway.landed(trial)
    state = dataclasses.replace(state, underway=underway, told=state.told + 1)
    score = score_of(state.objective, trial)
    before = len(state.archive)
    archive = state.archive if score is None else state.archive.added(trial, score)
    if len(archive) == before:
      return dataclasses.replace(state, archive=archive)
    # What nobody asked for, such as the baseline, is given to all islands.
    homes = range(self.islands) if flight is None else (flight.label,)
    length = sum(len(text) for _, text in trial.edit.program.files)
    word = signature(parts_of(state.objective, trial), self.digits)
    return dataclasses.replace(
      state,
      archive=archive,
      signatures=state.signatures.appended(word),
      lengths=state.lengths.appended(length),
      islands=state.islands.joined(before, homes),
    )

  def reset(self, state: FunSearchState, rng: np.random.Generator) -> FunSearchState:
    """Empties the worse half of the islands; a survivor's best program founds each anew."""
    scores = state.archive.scores.array
    rows = [state.islands.on(island) for island in range(self.islands)]
    founders = [int(on[np.argmax(scores[on])]) for on in rows]
    order = np.lexsort((rng.random(self.islands), scores[founders]))
    worse, better = order[: self.islands // 2], order[self.islands // 2 :]
    islands = state.islands.kept(~np.isin(state.islands.islands.array, worse))
    for island in sorted(worse.tolist()):
      islands = islands.joined(founders[int(rng.choice(better))], (island,))
    return dataclasses.replace(state, islands=islands, told=0)

  def temperature_at(self, programs: int) -> float:
    """T on an island of so many programs."""
    return self.temperature * (1 - programs % self.period / self.period)

  def _samples(
    self, state: FunSearchState, island: int, rng: np.random.Generator
  ) -> tuple[int, ...]:
    """Ids of one or two programs of an island, the worse first."""
    rows = state.islands.on(island)
    firsts, clusters = clustered(state.signatures.array[rows])
    # A cluster's score is that of its first program, as in the original.
    scores = state.archive.scores.array[rows[firsts]]
    odds = cluster_odds(scores, self.temperature_at(len(rows)))
    drawn = sorted((draw(odds, rng) for _ in range(min(2, len(firsts)))), key=scores.__getitem__)
    sampled = (self._program(state, rows[clusters == cluster], rng) for cluster in drawn)
    return tuple(dict.fromkeys(sampled))

  @staticmethod
  def _program(state: FunSearchState, rows: np.ndarray, rng: np.random.Generator) -> int:
    """The id of a program out of one cluster."""
    row = rows[draw(length_odds(state.lengths.array[rows]), rng)]
    return int(state.archive.ids.array[row])


def clustered(signatures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Place of each cluster's first program, and for each program its cluster. Both int64."""
  _, firsts, clusters = np.unique(signatures, return_index=True, return_inverse=True)
  return firsts, clusters


def cluster_odds(scores: np.ndarray, temperature: float) -> np.ndarray:
  """Softmax of the clusters' scores, which are brought to [0, 1] first. float64 [n]."""
  return probabilities(unit_interval(scores) / temperature)


def length_odds(lengths: np.ndarray) -> np.ndarray:
  """Softmax of -(length - shortest) / longest. float64 [n]."""
  return probabilities(-(lengths - lengths.min()) / (lengths.max() + 1e-6))


def signature(parts: dict[str, float], digits: int) -> int:
  """A 63-bit word for the metrics, rounded to so many significant digits."""
  text = ' '.join(f'{name}={value:.{digits}g}' for name, value in sorted(parts.items()))
  return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), 'little') >> 1
