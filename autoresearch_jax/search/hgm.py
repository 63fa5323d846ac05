"""Huxley-Gödel Machine: a program is worth what its whole clade achieves.

Source: Wang et al., "Huxley-Gödel Machine: Human-Level Coding Agent Development by an Approximation
of the Optimal Self-Improving Machine", 2025 (https://arxiv.org/abs/2510.21614), and its code,
metauto-ai/HGM. The best program of today need not have the best descendants, so clades are
compared: a program with all that descend from it.

With N evaluations and n programs besides the root (those under way included), a new program is
made while N^0.6 ≥ n. Its parent has the largest of one draw each from Beta(1 + successes,
1 + failures), counted over the clade. Otherwise a known program is evaluated again, on a new seed,
chosen in the same way by its own counts.

There an evaluation is one task, solved or not. Here it is one trial, which succeeds when its score
is above the median over all programs known then: a task that half of them can solve, and that
becomes harder as the search gets better. A program that fails, or is pruned, counts against the
clade it was born in. Duplicates and cancelled trials are no evaluations, nor is the first trial,
which has nothing to be compared with. The paper's schedule that sharpens the draws towards the end
of the run is left out: the end is not known here.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import Archive, Ints, is_lost, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.types import Objective, Operation, Proposal, Trial


def expands(evaluations: int, programs: int, exponent: float = 0.6) -> bool:
  """Whether a new program is made: N^0.6 ≥ n."""
  return evaluations**exponent >= programs


@dataclasses.dataclass(frozen=True)
class HgmState:
  """Columns with a row for each of the archive's: successes and failures of the program itself
  and of its clade (itself included), and the next seed that it was not evaluated on.

  evaluations: N. expanding: new programs under way.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  successes: Ints = dataclasses.field(default_factory=Ints)
  failures: Ints = dataclasses.field(default_factory=Ints)
  clade_successes: Ints = dataclasses.field(default_factory=Ints)
  clade_failures: Ints = dataclasses.field(default_factory=Ints)
  next_seed: Ints = dataclasses.field(default_factory=Ints)
  evaluations: int = 0
  expanding: int = 0


@STRATEGIES.register('hgm')
@dataclasses.dataclass(frozen=True)
class Hgm(Strategy):
  """exponent: of N, see the module; a larger one makes more programs and evaluates them less.

  shown: how many of the last trials a proposer gets to see. The default exponent is the paper's.
  """

  exponent: float = 0.6
  shown: int = 40

  def __post_init__(self) -> None:
    if not 0 < self.exponent <= 1:
      raise ValueError(f'exponent is {self.exponent}; it must be above 0 and at most 1.')
    require_at_least(0, self, 'hgm', 'shown')

  def init(self, objective: Objective) -> HgmState:
    return HgmState(objective)

  def ask(self, state: HgmState, rng: np.random.Generator) -> tuple[Proposal, HgmState]:
    rows = state.archive.scored
    programs = len(rows) - 1 + state.expanding
    if not len(rows) or expands(state.evaluations, programs, self.exponent):
      return self._expand(state, rows, rng)
    row = _sampled(rows, state.successes, state.failures, rng)
    seed = int(state.next_seed.array[row])
    proposal = Proposal(Operation.REPLICATE, (int(state.archive.ids.array[row]),), seeds=(seed,))
    return proposal, dataclasses.replace(state, next_seed=state.next_seed.changed(row, seed + 1))

  def _expand(
    self, state: HgmState, rows: np.ndarray, rng: np.random.Generator
  ) -> tuple[Proposal, HgmState]:
    parents, archive = (), state.archive
    if len(archive):  # of the first trial told, while none has a score
      row = _sampled(rows, state.clade_successes, state.clade_failures, rng) if len(rows) else 0
      parents, archive = (int(archive.ids.array[row]),), archive.asked(row)
    proposal = Proposal(Operation.IMPROVE, parents, archive.last(self.shown))
    return proposal, dataclasses.replace(state, archive=archive, expanding=state.expanding + 1)

  def tell(self, state: HgmState, trial: Trial) -> HgmState:
    score = score_of(state.objective, trial)
    succeeded = _succeeded(state.archive, trial, score)
    archive = state.archive.added(trial, score)
    if len(archive) > len(state.archive):
      born = len(state.archive) > 0  # all but the first trial told
      state = _with_row(state, max(0, state.expanding - born))
      row = len(archive) - 1
    else:
      row = archive.row(trial.proposal.parents[0])
      assert row is not None  # else the archive had grown
    seeds = max(int(state.next_seed.array[row]), 1 + max(trial.proposal.seeds))
    state = dataclasses.replace(
      state, archive=archive, next_seed=state.next_seed.changed(row, seeds)
    )
    return state if succeeded is None else _counted(state, row, succeeded)


def _sampled(rows: np.ndarray, wins: Ints, losses: Ints, rng: np.random.Generator) -> int:
  """Thompson sampling: the row with the largest draw from its Beta(1 + wins, 1 + losses)."""
  return int(rows[np.argmax(rng.beta(1 + wins.array[rows], 1 + losses.array[rows]))])


def _succeeded(archive: Archive, trial: Trial, score: float | None) -> bool | None:
  """Whether the evaluation succeeded; None when it was none (see the module)."""
  if score is None:
    return False if is_lost(trial) and len(archive) else None
  known = archive.scores.array[archive.scored]
  return score > float(np.median(known)) if len(known) else None


def _with_row(state: HgmState, expanding: int) -> HgmState:
  return dataclasses.replace(
    state,
    successes=state.successes.appended(0),
    failures=state.failures.appended(0),
    clade_successes=state.clade_successes.appended(0),
    clade_failures=state.clade_failures.appended(0),
    next_seed=state.next_seed.appended(0),
    expanding=expanding,
  )


def _counted(state: HgmState, row: int, succeeded: bool) -> HgmState:
  """With one more evaluation of the row, in its own counts and in those of all its ancestors."""
  own, clade = ('successes', 'clade_successes') if succeeded else ('failures', 'clade_failures')
  counts = getattr(state, clade).array.copy()
  counts[state.archive.lineage(row)] += 1
  column: Ints = getattr(state, own)
  counted = {own: column.changed(row, column.array[row] + 1), clade: Ints.of(counts)}
  return dataclasses.replace(state, evaluations=state.evaluations + 1, **counted)
