"""The AI Scientist's stages: best-first search for one kind of edit after another.

Source: Yamada et al., "The AI Scientist-v2: Workshop-Level Automated Scientific Discovery via
Agentic Tree Search", 2025 (https://arxiv.org/abs/2504.08066), code SakanaAI/AI-Scientist-v2. The
stages, and what they ask of the proposer by `guidance`:

| stage | ends | parent | guidance |
|---|---|---|---|
| draft | when `drafts` were asked for and a program works | the start | |
| tuning | after `tuning` trials | the best program | tuning |
| creative | after `creative` trials | the best program | creative |
| ablation | after `ablation` trials | the best program of the stages before | ablation |

In each, a broken leaf of the stage is mended first, with AIDE's odds (see `tree.py`). A stage
hands on the best program of all so far. Two things are otherwise than there: tuning goes on from
the best program so far (there: from the first stage's, which sums up no gains), and after the
ablation comes another round that starts with tuning, since a run ends when its user says so.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import NONE
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.tree import Journal, require_debugging
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

DRAFT, TUNING, CREATIVE, ABLATION = STAGES = ('', 'tuning', 'creative', 'ablation')


@dataclasses.dataclass(frozen=True)
class StagesState:
  """stage: one of STAGES. asked: proposals in it. first: row of the first trial told in it.

  handed: the program that the stage before handed on, a trial id; NONE in the first stage.
  """

  journal: Journal
  stage: str = DRAFT
  asked: int = 0
  first: int = 0
  handed: int = NONE


@STRATEGIES.register('stages')
@dataclasses.dataclass(frozen=True)
class Stages(Strategy):
  """drafts, tuning, creative, ablation: trials of each stage; the defaults are those of the paper's
  code. debug_probability, debug_depth: see `tree.py`. shown: how many of the last working programs
  a proposer gets to see.
  """

  drafts: int = 3
  tuning: int = 12
  creative: int = 12
  ablation: int = 18
  debug_probability: float = 0.5
  debug_depth: int = 3
  shown: int = 40

  def __post_init__(self) -> None:
    require_debugging(self.debug_probability, self.debug_depth)
    require_at_least(0, self, 'stages', 'drafts', 'tuning', 'creative', 'ablation', 'shown')
    if not self.tuning + self.creative + self.ablation:
      raise ValueError('tuning, creative and ablation are all 0; one stage needs a trial.')

  def init(self, objective: Objective) -> StagesState:
    return StagesState(Journal(objective))

  def ask(self, state: StagesState, rng: np.random.Generator) -> tuple[Proposal, StagesState]:
    while self._over(state):
      state = _next_stage(state)
    operation, row = self._choice(state, rng)
    journal = state.journal if row is None else state.journal.asked(row)
    parents = () if row is None else (int(journal.archive.ids.array[row]),)
    proposal = Proposal(operation, parents, journal.working(self.shown), guidance=state.stage)
    return proposal, dataclasses.replace(state, journal=journal, asked=state.asked + 1)

  def _over(self, state: StagesState) -> bool:
    if state.stage == DRAFT:
      return state.asked >= self.drafts and state.journal.archive.best() is not None
    return state.asked >= getattr(self, state.stage)

  def _choice(self, state: StagesState, rng: np.random.Generator) -> tuple[Operation, int | None]:
    """What is done, and the parent's row; None is the problem's start."""
    archive = state.journal.archive
    drafting = state.stage == DRAFT and state.asked < self.drafts
    if not drafting and rng.random() < self.debug_probability:
      leaves = state.journal.broken_leaves(self.debug_depth, state.first)
      if len(leaves):
        return Operation.DEBUG, int(rng.choice(leaves))
    if state.stage == DRAFT:
      return Operation.DRAFT, None
    row = archive.row(state.handed) if state.stage == ABLATION else archive.best()
    return Operation.IMPROVE, row

  def tell(self, state: StagesState, trial: Trial) -> StagesState:
    return dataclasses.replace(state, journal=state.journal.added(trial))


def _next_stage(state: StagesState) -> StagesState:
  archive = state.journal.archive
  best = archive.best()
  assert best is not None  # the first stage ends with one, and scores are not lost
  after = STAGES[1:] * 2
  return StagesState(
    journal=state.journal,
    stage=after[STAGES.index(state.stage)],
    first=len(archive),
    handed=int(archive.ids.array[best]),
  )
