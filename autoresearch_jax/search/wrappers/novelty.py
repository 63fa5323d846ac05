"""Novelty rejection: keeps near-duplicates out of the population of any strategy.

Source: the novelty rejection of ShinkaEvolve (Lange et al., 2025, arXiv 2509.19349), which compares
embeddings of programs and samples again above a similarity. Difference from the paper: the
embedding is not a model's but a hashed one of the difference from trial 0, see `similarity.py`.

A finished trial that is a near-duplicate of an earlier one is passed to the inner strategy with the
status `duplicate`. If acceptance kept it all the same, it is the incumbent and passed on unchanged.
A proposal that carries a near-duplicate edit is dropped, and the inner strategy is asked again.

Programs of running trials are not compared. Replications and promotions repeat a program on
purpose, and a cancelled trial or a crash of the runner says nothing about its program.
"""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.search.archive import is_kept
from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.similarity import Embedding, cosine_similarities, edit_direction
from autoresearch_jax.search.wrappers.base import Wrapper, as_discarded
from autoresearch_jax.types import RERUNS, UNEVALUATED, Objective, Program, Proposal, Status, Trial


@dataclasses.dataclass(frozen=True)
class NoveltyState:
  """The inner state, and the programs that new ones are compared with.

  Attributes:
    inner: State of the inner strategy.
    start: Embedding of trial 0, or of the first trial that finished.
    ids: Ids of the remembered trials, oldest first.
    directions: Their `edit_direction`s.
  """

  inner: Any
  start: Embedding | None = None
  ids: tuple[int, ...] = ()
  directions: tuple[bytes, ...] = ()


@STRATEGIES.register('novelty')
@dataclasses.dataclass(frozen=True)
class Novelty(Wrapper):
  """Hides near-duplicates from the inner strategy.

  Attributes:
    inner: Registered name of the inner strategy.
    inner_options: Its options.
    code_embed_sim_threshold: Cosine similarity above which two programs are near-duplicates.
    max_novelty_attempts: How often the inner strategy is asked before a near-duplicate is accepted.
    max_remembered: How many of the last programs a new one is compared with.
  """

  code_embed_sim_threshold: float = 0.99
  max_novelty_attempts: int = 4
  max_remembered: int = 1000

  def __post_init__(self) -> None:
    super().__post_init__()
    if not 0 < self.code_embed_sim_threshold < 1:
      raise ValueError(
        f'code_embed_sim_threshold of novelty is {self.code_embed_sim_threshold}; it must be '
        f'greater than 0 and less than 1.'
      )
    require_at_least(1, self, 'novelty', 'max_novelty_attempts', 'max_remembered')

  def init(self, objective: Objective) -> NoveltyState:
    return NoveltyState(self.strategy.init(objective))

  def ask(self, state: NoveltyState, rng: np.random.Generator) -> tuple[Proposal, NoveltyState]:
    proposal, inner = self.strategy.ask(state.inner, rng)
    for _ in range(self.max_novelty_attempts - 1):
      if proposal.edit is None or self.near_duplicate(state, proposal.edit.program) is None:
        break
      proposal, inner = self.strategy.ask(state.inner, rng)  # from the state before the dropped one
    return proposal, dataclasses.replace(state, inner=inner)

  def tell(self, state: NoveltyState, trial: Trial) -> NoveltyState:
    if trial.proposal.operation in RERUNS or trial.result.status in UNEVALUATED:
      return dataclasses.replace(state, inner=self.strategy.tell(state.inner, trial))
    duplicate_of = self.near_duplicate(state, trial.edit.program)
    if duplicate_of is None:
      state = self._remember(state, trial)
    elif not is_kept(trial):
      reason = f'Near-duplicate of trial {duplicate_of}.'
      trial = as_discarded(trial, Status.DUPLICATE, reason, duplicate_of)
    return dataclasses.replace(state, inner=self.strategy.tell(state.inner, trial))

  def near_duplicate(self, state: NoveltyState, program: Program) -> int | None:
    """Returns the most similar remembered trial, if it is a near-duplicate of a program."""
    if state.start is None:
      return None
    similarities = cosine_similarities(edit_direction(program, state.start), state.directions)
    best = int(np.argmax(similarities))
    return state.ids[best] if similarities[best] > self.code_embed_sim_threshold else None

  def _remember(self, state: NoveltyState, trial: Trial) -> NoveltyState:
    start = state.start or Embedding.of(trial.edit.program)
    oldest = max(0, len(state.ids) + 1 - self.max_remembered)
    direction = edit_direction(trial.edit.program, start)
    return dataclasses.replace(
      state,
      start=start,
      ids=(*state.ids, trial.id)[oldest:],
      directions=(*state.directions, direction)[oldest:],
    )
