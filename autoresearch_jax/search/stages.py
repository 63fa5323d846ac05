"""The AI Scientist-v2's stages: best-first tree search for one kind of edit after another.

Source: Yamada et al., "The AI Scientist-v2: Workshop-Level Automated Scientific Discovery via
Agentic Tree Search", 2025 (https://arxiv.org/abs/2504.08066), and SakanaAI/AI-Scientist-v2. The
stages, and the `guidance` they give the proposer:

| stage | ends | parent | guidance |
|---|---|---|---|
| 1 draft | after `num_drafts` proposals, once a program works | the start | |
| 2 tuning | after `stage2_max_iters` proposals | the best program | tuning |
| 3 creative | after `stage3_max_iters` proposals | the best program | creative |
| 4 ablation | after `stage4_max_iters` proposals | the best program at its start | ablation |

In each stage, one of its buggy leaves is debugged first, with AIDE's probability (see `tree.py`).

Differences from the paper: tuning starts from the best program so far (there: from the first
stage's result), and ablation is followed by another round that starts with tuning, because the
user decides when a run ends.
"""

import dataclasses

import numpy as np

from autoresearch_jax.search.archive import NONE
from autoresearch_jax.search.base import STRATEGIES, Strategy
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.tree import Journal, require_debug_options
from autoresearch_jax.types import Objective, Operation, Proposal, Trial

DRAFT, TUNING, CREATIVE, ABLATION = STAGES = ('', 'tuning', 'creative', 'ablation')


@dataclasses.dataclass(frozen=True)
class StagesState:
  """The tree and the current stage.

  Attributes:
    journal: All trials.
    stage: One of STAGES.
    num_proposals: Proposals in this stage.
    first_row: Row of the first trial that finished in this stage.
    best_before: Id of the best trial when the stage began, NONE in the first stage.
  """

  journal: Journal
  stage: str = DRAFT
  num_proposals: int = 0
  first_row: int = 0
  best_before: int = NONE


@STRATEGIES.register('stages')
@dataclasses.dataclass(frozen=True)
class Stages(Strategy):
  """Tree search in four stages; the defaults are those of the paper's code.

  Attributes:
    num_drafts: Proposals of the first stage, more if none of them works.
    stage2_max_iters: Proposals of the tuning stage.
    stage3_max_iters: Proposals of the creative stage.
    stage4_max_iters: Proposals of the ablation stage.
    debug_prob: Probability of debugging a buggy leaf of the stage, if there is one.
    max_debug_depth: Consecutive debugging attempts before a branch is given up.
    context_size: How many of the last trials with a score are shown to the proposer.
  """

  num_drafts: int = 3
  stage2_max_iters: int = 12
  stage3_max_iters: int = 12
  stage4_max_iters: int = 18
  debug_prob: float = 0.5
  max_debug_depth: int = 3
  context_size: int = 40

  def __post_init__(self) -> None:
    require_debug_options(self.debug_prob, self.max_debug_depth)
    lengths = ('stage2_max_iters', 'stage3_max_iters', 'stage4_max_iters')
    require_at_least(0, self, 'stages', 'num_drafts', *lengths, 'context_size')
    if not self.stage2_max_iters + self.stage3_max_iters + self.stage4_max_iters:
      raise ValueError(f'{", ".join(lengths)} are all 0; one of them must be at least 1.')

  def init(self, objective: Objective) -> StagesState:
    return StagesState(Journal(objective))

  def ask(self, state: StagesState, rng: np.random.Generator) -> tuple[Proposal, StagesState]:
    while self._is_over(state):
      state = _next_stage(state)
    operation, row = self._select(state, rng)
    journal = state.journal if row is None else state.journal.count_child(row)
    parents = () if row is None else (int(journal.archive.ids.array[row]),)
    context = journal.last_good(self.context_size)
    proposal = Proposal(operation, parents, context, guidance=state.stage)
    num_proposals = state.num_proposals + 1
    return proposal, dataclasses.replace(state, journal=journal, num_proposals=num_proposals)

  def _is_over(self, state: StagesState) -> bool:
    if state.stage == DRAFT:
      works = state.journal.archive.best_row() is not None
      return works and state.num_proposals >= self.num_drafts
    max_iters = {
      TUNING: self.stage2_max_iters,
      CREATIVE: self.stage3_max_iters,
      ABLATION: self.stage4_max_iters,
    }
    return state.num_proposals >= max_iters[state.stage]

  def _select(self, state: StagesState, rng: np.random.Generator) -> tuple[Operation, int | None]:
    """Returns the operation and the parent's row, None for the problem's start."""
    archive = state.journal.archive
    is_drafting = state.stage == DRAFT and state.num_proposals < self.num_drafts
    if not is_drafting and rng.random() < self.debug_prob:
      leaves = state.journal.buggy_leaves(self.max_debug_depth, state.first_row)
      if len(leaves):
        return Operation.DEBUG, int(rng.choice(leaves))
    if state.stage == DRAFT:
      return Operation.DRAFT, None
    best_before = archive.row_of(state.best_before)
    return Operation.IMPROVE, best_before if state.stage == ABLATION else archive.best_row()

  def tell(self, state: StagesState, trial: Trial) -> StagesState:
    return dataclasses.replace(state, journal=state.journal.append(trial))


def _next_stage(state: StagesState) -> StagesState:
  archive = state.journal.archive
  best = archive.best_row()
  assert best is not None  # the first stage ends with a score, and scores are never lost
  following = STAGES[1:] * 2
  return StagesState(
    journal=state.journal,
    stage=following[STAGES.index(state.stage)],
    first_row=len(archive),
    best_before=int(archive.ids.array[best]),
  )
