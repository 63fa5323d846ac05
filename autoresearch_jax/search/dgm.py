"""Darwin Gödel Machine: an open-ended archive; the good and the little tried have children.

Source: Zhang et al., "Darwin Gödel Machine: Open-Ended Evolution of Self-Improving Agents", 2025
(https://arxiv.org/abs/2505.22954), code jennyzzt/dgm. A parent is drawn with the probability

    p ∝ logistic(10·(s - 0.5)) / (1 + c)

of its score s in [0, 1] and its number of children c. There s is the share of solved tasks; here it
is the metric on the scale of the archive (`odds.unit_interval`). Evaluation is staged: a new
program trains for `first_fidelity` of the budget (there: on 10 of 60 tasks), and for the whole of
it if its s among such short runs is 0.4 or more. Only those that trained in full become parents.
The archive keeps all of them, or those with s no lower than the initial program's less 0.1; since
the scale moves, which ones these are is looked at in each draw.

What it does not do: let an agent edit its own code. The program is all there is to be modified.
"""

import dataclasses
from typing import Literal

import numpy as np

from autoresearch_jax.search.archive import Archive, Floats, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.selection import draw, log_logistic, probabilities, unit_interval
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

STEEPNESS, MIDPOINT = 10.0, 0.5  # of the logistic, in the paper


def parent_probabilities(s: np.ndarray, children: np.ndarray) -> np.ndarray:
  """Probabilities p ∝ logistic(10·(s - 0.5)) / (1 + c).

  s: float64 [n] in [0, 1]. children: c, [n].
  """
  return probabilities(log_logistic(STEEPNESS * (s - MIDPOINT)) - np.log1p(children))


@dataclasses.dataclass(frozen=True)
class DgmState:
  """archive: scores are those of full runs. short: scores of the short ones, in order of telling.

  ready: trial ids of short runs whose programs will train in full.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  short: Floats = dataclasses.field(default_factory=Floats)
  ready: tuple[int, ...] = ()


@STRATEGIES.register('dgm')
@dataclasses.dataclass(frozen=True)
class Dgm(Strategy):
  """keep: 'all' programs, or those 'better' than the initial one less `leeway` on the scale of s.

  first_fidelity: share of the budget of a first run, 1 for none that is shorter. threshold: the s
  from which on it is followed by a full run. shown: how many of the last trials a proposer gets
  to see. The defaults are the paper's.
  """

  keep: Literal['all', 'better'] = 'all'
  leeway: float = 0.1
  first_fidelity: float = 1 / 6
  threshold: float = 0.4
  shown: int = 40

  def __post_init__(self) -> None:
    if not 0 < self.first_fidelity <= 1:
      raise ValueError(
        f'first_fidelity is {self.first_fidelity}; it must be above 0 and at most 1.'
      )
    require_at_least(0, self, 'dgm', 'leeway', 'threshold', 'shown')

  def init(self, objective: Objective) -> DgmState:
    return DgmState(objective)

  def ask(self, state: DgmState, rng: np.random.Generator) -> tuple[Proposal, DgmState]:
    if state.ready:
      full = Proposal(Operation.PROMOTE, state.ready[:1])
      return full, dataclasses.replace(state, ready=state.ready[1:])
    parents, archive = (), state.archive
    if len(archive):
      row = self._parent(archive, rng)
      parents, archive = (int(archive.ids.array[row]),), archive.asked(row)
    proposal = Proposal(
      Operation.IMPROVE, parents, archive.last(self.shown), fidelity=self.first_fidelity
    )
    return proposal, dataclasses.replace(state, archive=archive)

  def _parent(self, archive: Archive, rng: np.random.Generator) -> int:
    rows = archive.scored
    if not len(rows):
      return 0  # the first trial told: nothing is better known
    s = unit_interval(archive.scores.array[rows])
    if self.keep == 'better' and rows[0] == 0:  # the initial program has a score
      kept = s >= s[0] - self.leeway
      rows, s = rows[kept], s[kept]
    return int(rows[draw(parent_probabilities(s, archive.children.array[rows]), rng)])

  def tell(self, state: DgmState, trial: Trial) -> DgmState:
    score = score_of(state.objective, trial)
    if trial.proposal.fidelity == 1:
      return dataclasses.replace(state, archive=state.archive.added(trial, score))
    short, ready = state.short, state.ready
    if score is not None:
      short = short.appended(score)
      passed = unit_interval(short.array)[-1] >= self.threshold
      ready = (*ready, trial.id) if passed else ready
    archive = state.archive.added(trial, None)
    return dataclasses.replace(state, archive=archive, short=short, ready=ready)
