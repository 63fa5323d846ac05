"""HyperAgents: an archive in which the way of improving is improved along with the programs.

Source: Zhang et al., "Hyperagents", 2026 (https://arxiv.org/abs/2603.19461), and its code,
facebookresearch/HyperAgents. A parent is drawn with the probability

    p ∝ logistic(λ·(s - mean of the top 3)) · exp(-(c/w)³),   λ = 10, w = 8

of its score s in [0, 1] (`odds.unit_interval` of the metric) and its number of children c. A child
may also rewrite the procedure that improves programs, parent selection included. Without a
language model that writes it, a procedure is seven numbers that a node inherits: λ, w, and the
odds of each kind of guidance to the proposer. With probability `modify`, a child's are its
parent's, each times a log-normal factor of deviation `step`.

A node's own procedure decides what guidance its children are made with. Parents are selected by
the procedure of the child told last; when that child failed, by its parent's, which is known to
work. A new procedure is drawn at the next `ask`, since only `ask` has random numbers.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import NONE, Archive, Floats, score_of
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least, require_share
from autoresearch_jax.search.selection import draw, log_logistic, probabilities, unit_interval
from autoresearch_jax.types import GUIDANCE, Objective, Operation, Proposal, Trial

STEEPNESS, WIDTH = 10.0, 8.0  # λ and w of the initial procedure: the paper's
KINDS = ('', *GUIDANCE)
# Half of the initial edits have no guidance; the paper's initial agent gives none at all.
INITIAL = np.array([STEEPNESS, WIDTH, 4.0, *[1.0 for _ in GUIDANCE]])
LEAST, MOST = INITIAL / 10, INITIAL * 10


def parent_probabilities(
  s: np.ndarray, children: np.ndarray, steepness: float = STEEPNESS, width: float = WIDTH
) -> np.ndarray:
  """Probabilities p ∝ logistic(steepness·(s - mean of the top 3)) · exp(-(c/width)³).

  s: float64 [n] in [0, 1]. children: c, [n].
  """
  top = np.partition(s, len(s) - 3)[-3:] if len(s) > 3 else s
  relative = children / width
  return probabilities(log_logistic(steepness * (s - top.mean())) - relative * relative * relative)


@dataclasses.dataclass(frozen=True)
class HyperAgentsState:
  """procedures: seven numbers a row of the archive (see INITIAL), one row after the other; the rows
  told since the last `ask` have none yet. acting: the row whose procedure selects parents.
  """

  objective: Objective
  archive: Archive = dataclasses.field(default_factory=Archive)
  procedures: Floats = dataclasses.field(default_factory=Floats)
  acting: int = NONE


@STRATEGIES.register('hyperagents')
@dataclasses.dataclass(frozen=True)
class HyperAgents(Strategy):
  """modify: how many of the children change their procedure. step: by how much, see the module.

  shown: how many of the last trials a proposer gets to see.
  """

  modify: float = 0.5
  step: float = 0.3
  shown: int = 40

  def __post_init__(self) -> None:
    require_share(self, 'hyperagents', 'modify')
    require_at_least(0, self, 'hyperagents', 'step', 'shown')

  def init(self, objective: Objective) -> HyperAgentsState:
    return HyperAgentsState(objective)

  def ask(
    self, state: HyperAgentsState, rng: np.random.Generator
  ) -> tuple[Proposal, HyperAgentsState]:
    archive = state.archive
    if not len(archive):
      return Proposal(Operation.IMPROVE), state
    column = self._with_newborn(state.procedures, archive, rng)
    procedures = column.array.reshape(-1, len(INITIAL))
    row = _parent(archive, procedures[state.acting], rng)
    guidance = KINDS[draw(procedures[row, 2:], rng)]
    parents = (int(archive.ids.array[row]),)
    proposal = Proposal(Operation.IMPROVE, parents, archive.last(self.shown), guidance=guidance)
    return proposal, dataclasses.replace(state, archive=archive.asked(row), procedures=column)

  def _with_newborn(self, known: Floats, archive: Archive, rng: np.random.Generator) -> Floats:
    """Draws the procedures of the rows that have none yet; a parent's row comes before its own."""
    size, scores, above = len(INITIAL), archive.scores.array, archive.above.array
    for row in range(len(known) // size, len(archive)):
      parent = int(above[row])
      procedure = INITIAL if parent == NONE else known.array[size * parent : size * (parent + 1)]
      lives = parent != NONE and not np.isnan(scores[row])
      if lives and rng.random() < self.modify:
        factors = np.exp(self.step * rng.standard_normal(size))
        procedure = np.clip(procedure * factors, LEAST, MOST)
      known = Floats(known.data + procedure.tobytes())
    return known

  def tell(self, state: HyperAgentsState, trial: Trial) -> HyperAgentsState:
    score = score_of(state.objective, trial)
    archive = state.archive.added(trial, score)
    acting = state.acting
    if len(archive) > len(state.archive):  # else it is a replicate
      row, above = len(archive) - 1, int(archive.above.array[-1])
      acting = row if score is not None or above == NONE else above
    return dataclasses.replace(state, archive=archive, acting=acting)


def _parent(archive: Archive, procedure: np.ndarray, rng: np.random.Generator) -> int:
  """The row of a program with a score; of the first trial told, while none has one."""
  rows = archive.scored
  if not len(rows):
    return 0
  s, children = unit_interval(archive.scores.array[rows]), archive.children.array[rows]
  steepness, width = procedure[:2]
  return int(rows[draw(parent_probabilities(s, children, steepness, width), rng)])
