"""Huxley-Gödel Machine: a program is worth what its whole clade achieves.

Source: Wang et al., "Huxley-Gödel Machine: Human-Level Coding Agent Development by an Approximation
of the Optimal Self-Improving Machine", 2025 (https://arxiv.org/abs/2510.21614), and
metauto-ai/HGM. The best program of today need not have the best descendants, so the method compares
clades: a program together with all its descendants (clade metaproductivity).

With N evaluations and n programs besides the root (pending ones included), a new program is made
while N^alpha ≥ n. Its parent has the largest sample from Beta(1 + successes, 1 + failures), counted
over the clade (Thompson sampling). Otherwise a known program is evaluated again on a new seed,
chosen in the same way by its own counts.

Differences from the paper:

- There, an evaluation is one task, solved or not. Here it is one trial, which succeeds when its
  score is above the median over all programs known at that time: a task that half of them solve,
  and that becomes harder as the search improves. A program that fails, or is pruned, counts against
  the clades it belongs to. Duplicates and cancelled trials are not evaluations, nor is the first
  trial, which has nothing to be compared with.
- The schedule that sharpens the samples towards the end of the run (`cool_down`) is left out,
  because the end of a run is not known here.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import Archive, IntColumn, is_failure, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


def should_expand(num_evals: int, num_programs: int, alpha: float = 0.6) -> bool:
  """Returns whether to make a new program rather than evaluate a known one: N^alpha ≥ n."""
  return num_evals**alpha >= num_programs


@dataclasses.dataclass(frozen=True)
class HgmState:
  """The tree with evaluation counts. Each column has one row per row of the archive.

  Attributes:
    objective: The run's objective.
    archive: All trials.
    successes: Successful evaluations of the program itself.
    failures: Failed evaluations of the program itself.
    clade_successes: Successful evaluations of the clade, the program included.
    clade_failures: Failed evaluations of the clade, the program included.
    next_seed: The first seed that the program was not evaluated on.
    num_evals: N.
    num_pending: New programs that have not finished.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  successes: IntColumn = dataclasses.field(default_factory=IntColumn)
  failures: IntColumn = dataclasses.field(default_factory=IntColumn)
  clade_successes: IntColumn = dataclasses.field(default_factory=IntColumn)
  clade_failures: IntColumn = dataclasses.field(default_factory=IntColumn)
  next_seed: IntColumn = dataclasses.field(default_factory=IntColumn)
  num_evals: int = 0
  num_pending: int = 0


@STRATEGIES.register('hgm')
@dataclasses.dataclass(frozen=True)
class Hgm(Strategy):
  """Expands a promising clade, or evaluates a known program again.

  Attributes:
    alpha: Exponent of N; a larger one makes more programs and evaluates each less. The default is
      the paper's.
    context_size: How many of the last trials are shown to the proposer.
  """

  alpha: float = 0.6
  context_size: int = 40

  def __post_init__(self) -> None:
    if not 0 < self.alpha <= 1:
      raise ValueError(f'alpha of hgm is {self.alpha}; it must be greater than 0 and at most 1.')
    require_at_least(0, self, 'hgm', 'context_size')

  def init(self, objective: Objective) -> HgmState:
    return HgmState(objective)

  def ask(self, state: HgmState, rng: np.random.Generator) -> tuple[Proposal, HgmState]:
    rows = state.archive.scored_rows
    num_programs = len(rows) - 1 + state.num_pending
    if not len(rows) or should_expand(state.num_evals, num_programs, self.alpha):
      return self._expand(state, rows, rng)
    row = _thompson_sample(rows, state.successes, state.failures, rng)
    seed = int(state.next_seed.array[row])
    proposal = Proposal(Operation.REPLICATE, (int(state.archive.ids.array[row]),), seeds=(seed,))
    return proposal, dataclasses.replace(state, next_seed=state.next_seed.set(row, seed + 1))

  def _expand(
    self, state: HgmState, rows: np.ndarray, rng: np.random.Generator
  ) -> tuple[Proposal, HgmState]:
    parents, archive = (), state.archive
    if len(archive):
      row = 0  # while no program has a score
      if len(rows):
        row = _thompson_sample(rows, state.clade_successes, state.clade_failures, rng)
      parents, archive = (int(archive.ids.array[row]),), archive.count_child(row)
    proposal = Proposal(Operation.IMPROVE, parents, archive.last_ids(self.context_size))
    return proposal, dataclasses.replace(state, archive=archive, num_pending=state.num_pending + 1)

  def tell(self, state: HgmState, trial: Trial) -> HgmState:
    score = score_of(state.objective, trial)
    success = _is_success(state.archive, trial, score)
    archive = state.archive.add(trial, score)
    if len(archive) > len(state.archive):
      was_pending = len(state.archive) > 0  # all trials but the first
      state = _add_row(state, max(0, state.num_pending - was_pending))
      row = len(archive) - 1
    else:
      row = archive.row_of(trial.proposal.parents[0])
      assert row is not None  # otherwise the archive would have a new row
    next_seed = max(int(state.next_seed.array[row]), 1 + max(trial.proposal.seeds))
    state = dataclasses.replace(
      state, archive=archive, next_seed=state.next_seed.set(row, next_seed)
    )
    return state if success is None else _count_evaluation(state, row, success)


def _thompson_sample(
  rows: np.ndarray, successes: IntColumn, failures: IntColumn, rng: np.random.Generator
) -> int:
  """Returns the row with the largest sample from its Beta(1 + successes, 1 + failures)."""
  samples = rng.beta(1 + successes.array[rows], 1 + failures.array[rows])
  return int(rows[np.argmax(samples)])


def _is_success(archive: Archive, trial: Trial, score: float | None) -> bool | None:
  """Returns whether the evaluation succeeded; None when the trial is no evaluation."""
  if score is None:
    return False if is_failure(trial) and len(archive) else None
  known = archive.scores.array[archive.scored_rows]
  return score > float(np.median(known)) if len(known) else None


def _add_row(state: HgmState, num_pending: int) -> HgmState:
  return dataclasses.replace(
    state,
    successes=state.successes.append(0),
    failures=state.failures.append(0),
    clade_successes=state.clade_successes.append(0),
    clade_failures=state.clade_failures.append(0),
    next_seed=state.next_seed.append(0),
    num_pending=num_pending,
  )


def _count_evaluation(state: HgmState, row: int, success: bool) -> HgmState:
  """Counts an evaluation of the row, for the program itself and for all its ancestors' clades."""
  own = state.successes if success else state.failures
  clade = state.clade_successes if success else state.clade_failures
  own = own.set(row, own.array[row] + 1)
  counts = clade.array.copy()
  counts[state.archive.lineage(row)] += 1
  clade, num_evals = IntColumn.of(counts), state.num_evals + 1
  if success:
    return dataclasses.replace(state, successes=own, clade_successes=clade, num_evals=num_evals)
  return dataclasses.replace(state, failures=own, clade_failures=clade, num_evals=num_evals)
