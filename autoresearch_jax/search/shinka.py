"""ShinkaEvolve: a small archive on two islands; parents that are good and have few children.

Source: Lange, Imajuku and Cetin, "ShinkaEvolve: towards open-ended and sample-efficient program
evolution", 2025, arXiv 2509.19349; SakanaAI/ShinkaEvolve, whose option names are used. As there:

- On an island sampled uniformly, a parent is sampled from the archive with weight
  sigmoid(10 · (s - median) / MAD) / (1 + c), c being its number of children
  (`parent_selection_strategy: weighted` with `parent_selection_lambda: 10`).
- The patch type is a diff (0.6), a full rewrite (0.3, guidance 'rewrite'), or a crossover with
  another member of the archive (0.1). The proposer sees the top-k programs and some of the archive.
- A near-duplicate of a member (cosine similarity above 0.99, see `similarity.py`) is rejected.
- Every 10 trials, 10 % of each island's members, never its best, migrate to the next island, and
  the scratchpad is rewritten (`meta_rec_interval`, here equal to `migration_interval`).

Differences from the paper: a near-duplicate is noticed only after its trial, because a strategy
sees programs only then (the wrapper `novelty` asks again for edits that come with a proposal). No
language model writes the scratchpad: it is the trials of the last interval that changed the score
most, for better or worse, relative to their parents, and they come first in the context. The bandit
over models is left out, because a proposal names no model.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import NONE, Archive, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least, require_fractions
from autoresearch_jax.search.pending import PendingProposals
from autoresearch_jax.search.selection import log_sigmoid, sample_index, softmax
from autoresearch_jax.search.similarity import Embedding, cosine_similarities, edit_direction
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

PARENT_SELECTION_LAMBDA = 10.0
ALL_ISLANDS = NONE  # the island of a program that lives on all of them


@dataclasses.dataclass(frozen=True)
class ArchiveMember:
  """A program in the archive.

  Attributes:
    row: Its row in the table of trials.
    island: Its island, or ALL_ISLANDS.
    direction: Its `edit_direction`.
  """

  row: int
  island: int
  direction: bytes


@dataclasses.dataclass(frozen=True)
class ScoreChange:
  """How much a trial changed the score.

  Attributes:
    trial: Trial id.
    size: Absolute difference from its parent's score.
  """

  trial: int
  size: float


@dataclasses.dataclass(frozen=True)
class ShinkaState:
  """The archive and the scratchpad.

  Attributes:
    objective: The run's objective.
    trials: Trials with a score.
    members: The archive.
    start: Embedding of the first program with a score.
    scratchpad: Ids that come first in the context.
    score_changes: Candidates for the next scratchpad.
    pending: Proposals without a result, labelled with their island.
    num_told: Trials finished so far.
    last_migration: `num_told` at the last migration.
  """

  objective: Objective
  trials: Archive = dataclasses.field(default_factory=Archive)
  members: tuple[ArchiveMember, ...] = ()
  start: Embedding | None = None
  scratchpad: tuple[int, ...] = ()
  score_changes: tuple[ScoreChange, ...] = ()
  pending: PendingProposals = dataclasses.field(default_factory=PendingProposals)
  num_told: int = 0
  last_migration: int = 0


@STRATEGIES.register('shinka')
@dataclasses.dataclass(frozen=True)
class Shinka(Strategy):
  """Samples a parent from an archive of diverse programs.

  Attributes:
    num_islands: Number of islands.
    archive_size: Members on all islands together.
    full_patch_prob: Probability of rewriting the whole program.
    cross_patch_prob: Probability of a crossover; the remaining proposals are diffs.
    code_embed_sim_threshold: Cosine similarity above which a program is a near-duplicate.
    migration_interval: Trials between two migrations, and between two scratchpads.
    migration_rate: Fraction of each island's members that migrates.
    num_top_k_inspirations: How many of the best members are shown to the proposer.
    num_archive_inspirations: How many other members are shown to the proposer.
    meta_max_recommendations: Trials on the scratchpad.
  """

  num_islands: int = 2
  archive_size: int = 40
  full_patch_prob: float = 0.3
  cross_patch_prob: float = 0.1
  code_embed_sim_threshold: float = 0.99
  migration_interval: int = 10
  migration_rate: float = 0.1
  num_top_k_inspirations: int = 2
  num_archive_inspirations: int = 4
  meta_max_recommendations: int = 3

  def __post_init__(self) -> None:
    require_at_least(1, self, 'shinka', 'num_islands', 'archive_size', 'migration_interval')
    require_at_least(
      0,
      self,
      'shinka',
      'num_top_k_inspirations',
      'num_archive_inspirations',
      'meta_max_recommendations',
    )
    require_fractions(self, 'shinka', 'full_patch_prob', 'cross_patch_prob')
    require_fractions(self, 'shinka', 'migration_rate')
    if not 0 < self.code_embed_sim_threshold <= 1:
      raise ValueError(
        f'code_embed_sim_threshold of shinka is {self.code_embed_sim_threshold}; it must be '
        f'greater than 0 and at most 1.'
      )

  def init(self, objective: Objective) -> ShinkaState:
    return ShinkaState(objective)

  def ask(self, state: ShinkaState, rng: np.random.Generator) -> tuple[Proposal, ShinkaState]:
    if not state.members:
      return Proposal(Operation.DRAFT), state
    if state.num_told - state.last_migration >= self.migration_interval:
      state = self._migrate(state, rng)
    island = int(rng.integers(self.num_islands))
    members = _members_on(state.members, island) or state.members
    rows = np.array([member.row for member in members])
    scores, num_children = (c.array[rows] for c in (state.trials.scores, state.trials.num_children))
    parent = int(rows[sample_index(parent_probabilities(scores, num_children), rng)])
    proposal = self._propose(state, parent, rng)
    return proposal, dataclasses.replace(
      state,
      trials=state.trials.count_child(parent),
      pending=state.pending.add(proposal, island),
    )

  def tell(self, state: ShinkaState, trial: Trial) -> ShinkaState:
    proposed, pending = state.pending.pop(trial)
    score = score_of(state.objective, trial)
    before = len(state.trials)
    trials = state.trials if score is None else state.trials.add(trial, score)
    state = dataclasses.replace(state, pending=pending, trials=trials, num_told=state.num_told + 1)
    if len(trials) > before:
      # A trial that this strategy did not propose, such as the baseline, joins all islands.
      state = self._add_newest(state, trial, ALL_ISLANDS if proposed is None else proposed.label)
      state = _note_score_change(state, trial.id)
    is_due = state.num_told % self.migration_interval == 0
    return self._rewrite_scratchpad(state) if is_due else state

  def _propose(self, state: ShinkaState, parent: int, rng: np.random.Generator) -> Proposal:
    ids = state.trials.ids.array
    others = [member.row for member in state.members if member.row != parent]
    inspirations = self._inspirations(state, others, rng)
    context = tuple(dict.fromkeys((*state.scratchpad, *inspirations)))
    kind = rng.random()
    if kind < self.cross_patch_prob and others:
      partner = int(ids[others[int(rng.integers(len(others)))]])
      return Proposal(Operation.MERGE, (int(ids[parent]), partner), context)
    guidance = 'rewrite' if kind >= 1 - self.full_patch_prob else ''
    return Proposal(Operation.IMPROVE, (int(ids[parent]),), context, guidance=guidance)

  def _inspirations(
    self, state: ShinkaState, others: list[int], rng: np.random.Generator
  ) -> list[int]:
    """Returns the ids of the top-k members except the parent, then of some other members."""
    rows, top_k = np.array(others, np.int64), self.num_top_k_inspirations
    ranked = rows[np.argsort(-state.trials.scores.array[rows], kind='stable')]
    sampled = rng.permutation(ranked[top_k:])[: self.num_archive_inspirations]
    return state.trials.ids.array[[*ranked[:top_k], *sampled]].tolist() if others else []

  def _add_newest(self, state: ShinkaState, trial: Trial, island: int) -> ShinkaState:
    """Adds the newest trial to the archive if there is space, or in place of a worse member."""
    start = state.start or Embedding.of(trial.edit.program)
    state = dataclasses.replace(state, start=start)
    direction = edit_direction(trial.edit.program, start)
    members = state.members
    if members:
      similarities = cosine_similarities(direction, tuple(m.direction for m in members))
      if similarities.max() > self.code_embed_sim_threshold:
        return state
    scores = state.trials.scores.array
    if len(members) >= self.archive_size:
      worst = min(members, key=lambda member: scores[member.row])
      if scores[-1] <= scores[worst.row]:
        return state
      members = tuple(member for member in members if member is not worst)
    newest = ArchiveMember(len(state.trials) - 1, island, direction)
    return dataclasses.replace(state, members=(*members, newest))

  def _migrate(self, state: ShinkaState, rng: np.random.Generator) -> ShinkaState:
    """Moves some members of each island to the next one."""
    scores = state.trials.scores.array
    destinations = {}
    for island in range(self.num_islands):
      own = [member for member in state.members if member.island == island]
      own.sort(key=lambda member: -scores[member.row])
      count = min(len(own) - 1, max(1, round(len(own) * self.migration_rate)))
      for place in rng.permutation(len(own) - 1)[:count].tolist() if len(own) > 1 else []:
        destinations[own[1 + place].row] = (island + 1) % self.num_islands
    members = tuple(
      dataclasses.replace(member, island=destinations.get(member.row, member.island))
      for member in state.members
    )
    return dataclasses.replace(state, members=members, last_migration=state.num_told)

  def _rewrite_scratchpad(self, state: ShinkaState) -> ShinkaState:
    """Puts the trials with the largest score changes on the scratchpad."""
    ranked = sorted(state.score_changes, key=lambda change: -change.size)
    scratchpad = tuple(change.trial for change in ranked[: self.meta_max_recommendations])
    return dataclasses.replace(state, scratchpad=scratchpad, score_changes=())


def parent_probabilities(scores: np.ndarray, num_children: np.ndarray) -> np.ndarray:
  """Probabilities proportional to sigmoid(10 · (s - median) / MAD) / (1 + c). float64 [n].

  MAD is the median absolute deviation from the median. Where it is 0, every score above the median
  counts as far above it, and every score below it as far below.
  """
  deviations = scores - np.median(scores)
  scale = np.median(np.abs(deviations))
  relative = deviations / scale if scale > 0 else np.sign(deviations) * 10
  return softmax(log_sigmoid(PARENT_SELECTION_LAMBDA * relative) - np.log1p(num_children))


def _members_on(members: tuple[ArchiveMember, ...], island: int) -> tuple[ArchiveMember, ...]:
  return tuple(member for member in members if member.island in (island, ALL_ISLANDS))


def _note_score_change(state: ShinkaState, trial: int) -> ShinkaState:
  """Notes the score change of the newest trial, if its parent has a score."""
  parent, scores = state.trials.parent_rows.array[-1], state.trials.scores.array
  if parent == NONE:
    return state
  change = ScoreChange(trial, float(abs(scores[-1] - scores[parent])))
  return dataclasses.replace(state, score_changes=(*state.score_changes, change))
