"""HyperAgents: an archive where the improvement procedure evolves along with the programs.

Source: Zhang et al., "Hyperagents", 2026 (https://arxiv.org/abs/2603.19461), and
facebookresearch/HyperAgents. A parent is sampled with probability

    p ∝ sigmoid(λ·(s - mean of the top 3)) · exp(-(c/w)³),   λ = 10, w = 8

where s is its score in [0, 1] (`selection.normalize_scores` of the metric) and c its number of
children. A child may also rewrite the procedure that improves programs, parent selection included.

Difference from the paper: no language model writes the procedure. It is a vector that each node
inherits: λ, w, and a weight for each kind of guidance to the proposer. With probability
`modify_prob`, a child's procedure is its parent's, each entry multiplied by a log-normal factor of
standard deviation `modify_scale`.

A node's own procedure decides what guidance its children get. Parents are selected by the procedure
of the trial that finished last or, when that trial failed, by its parent's, which is known to work.
New procedures are drawn at the next `ask`, because only `ask` has random numbers.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import NONE, Archive, FloatColumn, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least, require_fractions
from autoresearch_jax.search.selection import log_sigmoid, normalize_scores, sample_index, softmax
from autoresearch_jax.types import GUIDANCE, Objective, Operation, Proposal, Trial

STEEPNESS, WIDTH = 10.0, 8.0  # λ and w of the initial procedure: the paper's
GUIDANCE_CHOICES = ('', *GUIDANCE)
# Half of the initial edits have no guidance; the paper's initial agent gives none at all.
INITIAL_PROCEDURE = np.array([STEEPNESS, WIDTH, 4.0, *[1.0 for _ in GUIDANCE]])
LOWER_BOUNDS, UPPER_BOUNDS = INITIAL_PROCEDURE / 10, INITIAL_PROCEDURE * 10


def parent_probabilities(
  s: np.ndarray, num_children: np.ndarray, steepness: float = STEEPNESS, width: float = WIDTH
) -> np.ndarray:
  """Probabilities p ∝ sigmoid(steepness·(s - mean of the top 3)) · exp(-(c/width)³).

  Args:
    s: Scores in [0, 1], float64 [n].
    num_children: c, [n].
    steepness: λ.
    width: w.
  """
  top = np.partition(s, len(s) - 3)[-3:] if len(s) > 3 else s
  relative = num_children / width
  return softmax(log_sigmoid(steepness * (s - top.mean())) - relative * relative * relative)


@dataclasses.dataclass(frozen=True)
class HyperAgentsState:
  """The archive with a procedure per program.

  Attributes:
    objective: The run's objective.
    archive: All trials.
    procedures: One procedure per row of the archive (see INITIAL_PROCEDURE), concatenated. Rows
      added since the last `ask` have none yet.
    selecting_row: The row whose procedure selects parents.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  procedures: FloatColumn = dataclasses.field(default_factory=FloatColumn)
  selecting_row: int = NONE


@STRATEGIES.register('hyperagents')
@dataclasses.dataclass(frozen=True)
class HyperAgents(Strategy):
  """Samples a parent, and the guidance for its child, by evolving procedures.

  Attributes:
    modify_prob: Probability that a child changes its procedure.
    modify_scale: Standard deviation of the logarithm of each factor.
    context_size: How many of the last trials are shown to the proposer.
  """

  modify_prob: float = 0.5
  modify_scale: float = 0.3
  context_size: int = 40

  def __post_init__(self) -> None:
    require_fractions(self, 'hyperagents', 'modify_prob')
    require_at_least(0, self, 'hyperagents', 'modify_scale', 'context_size')

  def init(self, objective: Objective) -> HyperAgentsState:
    return HyperAgentsState(objective)

  def ask(
    self, state: HyperAgentsState, rng: np.random.Generator
  ) -> tuple[Proposal, HyperAgentsState]:
    archive = state.archive
    if not len(archive):
      return Proposal(Operation.IMPROVE), state
    column = self._draw_procedures(state.procedures, archive, rng)
    procedures = column.array.reshape(-1, len(INITIAL_PROCEDURE))
    row = _select_parent(archive, procedures[state.selecting_row], rng)
    guidance = GUIDANCE_CHOICES[sample_index(procedures[row, 2:], rng)]
    proposal = Proposal(
      Operation.IMPROVE,
      parents=(int(archive.ids.array[row]),),
      context=archive.last_ids(self.context_size),
      guidance=guidance,
    )
    return proposal, dataclasses.replace(state, archive=archive.count_child(row), procedures=column)

  def _draw_procedures(
    self, procedures: FloatColumn, archive: Archive, rng: np.random.Generator
  ) -> FloatColumn:
    """Adds the procedures of new rows; a parent's row always comes before its child's."""
    size, scores = len(INITIAL_PROCEDURE), archive.scores.array
    for row in range(len(procedures) // size, len(archive)):
      parent = int(archive.parent_rows.array[row])
      procedure = INITIAL_PROCEDURE
      if parent != NONE:
        procedure = procedures.array[size * parent : size * (parent + 1)]
      works = parent != NONE and not np.isnan(scores[row])
      if works and rng.random() < self.modify_prob:
        factors = np.exp(self.modify_scale * rng.standard_normal(size))
        procedure = np.clip(procedure * factors, LOWER_BOUNDS, UPPER_BOUNDS)
      procedures = FloatColumn(procedures.data + procedure.tobytes())
    return procedures

  def tell(self, state: HyperAgentsState, trial: Trial) -> HyperAgentsState:
    score = score_of(state.objective, trial)
    archive = state.archive.add(trial, score)
    selecting_row = state.selecting_row
    if len(archive) > len(state.archive):  # otherwise it is a replicate
      row, parent = len(archive) - 1, int(archive.parent_rows.array[-1])
      selecting_row = row if score is not None or parent == NONE else parent
    return dataclasses.replace(state, archive=archive, selecting_row=selecting_row)


def _select_parent(archive: Archive, procedure: np.ndarray, rng: np.random.Generator) -> int:
  """Returns the row of a program with a score; the first row while no program has one."""
  rows = archive.scored_rows
  if not len(rows):
    return 0
  s, num_children = normalize_scores(archive.scores.array[rows]), archive.num_children.array[rows]
  steepness, width = procedure[:2]
  return int(rows[sample_index(parent_probabilities(s, num_children, steepness, width), rng)])
