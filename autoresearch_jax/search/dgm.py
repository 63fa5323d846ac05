"""Darwin Gödel Machine: an archive where any program may be a parent; good, little-used ones first.

Source: Zhang et al., "Darwin Gödel Machine: Open-Ended Evolution of Self-Improving Agents", 2025
(https://arxiv.org/abs/2505.22954), and jennyzzt/dgm. A parent is sampled with probability

    p ∝ sigmoid(10·(s - 0.5)) / (1 + c)

where s is its score in [0, 1] (`selection.normalize_scores` of the metric) and c its number of
children, pending ones included.

Evaluation is staged: a new program first trains for `shallow_fidelity` of the budget (there: on 10
of 60 tasks), and for the full budget if its s among all such short runs reaches
`test_more_threshold`. Only programs that trained in full become parents. The archive keeps all of
them, or those with s of at least the initial program's minus `eval_noise`. Because the scale of s
moves as scores arrive, the latter is evaluated at every draw.

Difference from the paper: no agent edits its own code; the program is all there is to modify.
"""

import dataclasses
from typing import Literal

import numpy as np

from autoresearch_jax.search.archive import Archive, FloatColumn, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.selection import log_sigmoid, normalize_scores, sample_index, softmax
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

STEEPNESS, MIDPOINT = 10.0, 0.5  # of the sigmoid, in the paper


def parent_probabilities(s: np.ndarray, num_children: np.ndarray) -> np.ndarray:
  """Probabilities p ∝ sigmoid(10·(s - 0.5)) / (1 + c).

  Args:
    s: Scores in [0, 1], float64 [n].
    num_children: c, [n].
  """
  return softmax(log_sigmoid(STEEPNESS * (s - MIDPOINT)) - np.log1p(num_children))


@dataclasses.dataclass(frozen=True)
class DgmState:
  """The archive, and the programs on their way into it.

  Attributes:
    objective: The run's objective.
    archive: All trials; scores are those of full runs.
    shallow_scores: Scores of the short runs, in order of completion.
    to_evaluate: Ids of short runs whose programs will train in full.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  shallow_scores: FloatColumn = dataclasses.field(default_factory=FloatColumn)
  to_evaluate: tuple[int, ...] = ()


@STRATEGIES.register('dgm')
@dataclasses.dataclass(frozen=True)
class Dgm(Strategy):
  """Samples a parent from the archive; the defaults are the paper's.

  Attributes:
    update_archive: 'keep_all' programs, or 'keep_better' for those that are at least as good as the
      initial one, up to `eval_noise`.
    eval_noise: Leeway of 'keep_better', on the scale of s.
    shallow_fidelity: Fraction of the budget of a program's first run; 1 for full runs only.
    test_more_threshold: The s from which a short run is followed by a full one.
    context_size: How many of the last trials are shown to the proposer.
  """

  update_archive: Literal['keep_all', 'keep_better'] = 'keep_all'
  eval_noise: float = 0.1
  shallow_fidelity: float = 1 / 6
  test_more_threshold: float = 0.4
  context_size: int = 40

  def __post_init__(self) -> None:
    if not 0 < self.shallow_fidelity <= 1:
      raise ValueError(
        f'shallow_fidelity is {self.shallow_fidelity}; it must be greater than 0 and at most 1.'
      )
    require_at_least(0, self, 'dgm', 'eval_noise', 'test_more_threshold', 'context_size')

  def init(self, objective: Objective) -> DgmState:
    return DgmState(objective)

  def ask(self, state: DgmState, rng: np.random.Generator) -> tuple[Proposal, DgmState]:
    if state.to_evaluate:
      full = Proposal(Operation.PROMOTE, state.to_evaluate[:1])
      return full, dataclasses.replace(state, to_evaluate=state.to_evaluate[1:])
    parents, archive = (), state.archive
    if len(archive):
      row = self._parent(archive, rng)
      parents, archive = (int(archive.ids.array[row]),), archive.count_child(row)
    context = archive.last_ids(self.context_size)
    proposal = Proposal(Operation.IMPROVE, parents, context, fidelity=self.shallow_fidelity)
    return proposal, dataclasses.replace(state, archive=archive)

  def _parent(self, archive: Archive, rng: np.random.Generator) -> int:
    rows = archive.scored_rows
    if not len(rows):
      return 0  # no score yet: the first trial
    s = normalize_scores(archive.scores.array[rows])
    if self.update_archive == 'keep_better' and rows[0] == 0:  # the initial program has a score
      eligible = s >= s[0] - self.eval_noise
      rows, s = rows[eligible], s[eligible]
    return int(rows[sample_index(parent_probabilities(s, archive.num_children.array[rows]), rng)])

  def tell(self, state: DgmState, trial: Trial) -> DgmState:
    score = score_of(state.objective, trial)
    if trial.proposal.fidelity == 1:
      return dataclasses.replace(state, archive=state.archive.add(trial, score))
    shallow_scores, to_evaluate = state.shallow_scores, state.to_evaluate
    if score is not None:
      shallow_scores = shallow_scores.append(score)
      passed = normalize_scores(shallow_scores.array)[-1] >= self.test_more_threshold
      to_evaluate = (*to_evaluate, trial.id) if passed else to_evaluate
    return dataclasses.replace(
      state,
      archive=state.archive.add(trial, None),
      shallow_scores=shallow_scores,
      to_evaluate=to_evaluate,
    )
