"""Novelty: keeps near-duplicates of what was tried out of the population of any strategy.

Source: the novelty rejection of ShinkaEvolve (Lange and others, 2025, arXiv 2509.19349), which
compares embeddings of programs and asks again above a similarity. Here no model is needed: what is
compared is the difference from trial 0, see `sketch.py`.

A finished trial that is a near-duplicate of an earlier one is told to the inner strategy with the
status `duplicate`. If acceptance kept it all the same, it is the incumbent, and is told as it is.
A proposal that carries a near-duplicate edit is dropped, and the inner strategy asked again.

What it does not do: compare with trials that are under way. Replications and promotions repeat a
program on purpose, and a cancelled trial or a crash of the runner says nothing of its program.
"""

import dataclasses
from typing import Any

import numpy as np

from autoresearch_jax.search.base import STRATEGIES
from autoresearch_jax.search.options import require_at_least
from autoresearch_jax.search.similarity import Sketch, cosines, direction
from autoresearch_jax.search.wrappers.base import Wrapper, is_kept, stopped
from autoresearch_jax.types import REPEATS, UNTRIED, Objective, Program, Proposal, Status, Trial


@dataclasses.dataclass(frozen=True)
class NoveltyState:
  """start: of trial 0, or of the first that was told.

  ids, tried: the trials remembered, and in which direction from the start each of them lies.
  """

  inner: Any
  start: Sketch | None = None
  ids: tuple[int, ...] = ()
  tried: tuple[bytes, ...] = ()


@STRATEGIES.register('novelty')
@dataclasses.dataclass(frozen=True)
class Novelty(Wrapper):
  """threshold: the cosine above which two programs are near-duplicates.

  attempts: how often the inner strategy is asked before a near-duplicate is let through. memory:
  how many of the last programs a new one is compared with.
  """

  threshold: float = 0.99
  attempts: int = 4
  memory: int = 1000

  def __post_init__(self) -> None:
    super().__post_init__()
    if not 0 < self.threshold < 1:
      raise ValueError(f'threshold of novelty is {self.threshold}; a cosine below 1 is wanted.')
    require_at_least(1, self, 'novelty', 'attempts', 'memory')

  def init(self, objective: Objective) -> NoveltyState:
    return NoveltyState(self.strategy.init(objective))

  def ask(self, state: NoveltyState, rng: np.random.Generator) -> tuple[Proposal, NoveltyState]:
    proposal, inner = self.strategy.ask(state.inner, rng)
    for _ in range(self.attempts - 1):
      if proposal.edit is None or self.twin(state, proposal.edit.program) is None:
        break
      proposal, inner = self.strategy.ask(state.inner, rng)  # what was dropped leaves no trace
    return proposal, dataclasses.replace(state, inner=inner)

  def tell(self, state: NoveltyState, trial: Trial) -> NoveltyState:
    if trial.proposal.operation in REPEATS or trial.result.status in UNTRIED:
      return dataclasses.replace(state, inner=self.strategy.tell(state.inner, trial))
    twin = self.twin(state, trial.edit.program)
    if twin is None:
      state = self._remembered(state, trial)
    elif not is_kept(trial):
      trial = stopped(trial, Status.DUPLICATE, f'Nearly the same as trial {twin}.', twin)
    return dataclasses.replace(state, inner=self.strategy.tell(state.inner, trial))

  def twin(self, state: NoveltyState, program: Program) -> int | None:
    """The remembered trial nearest to a program, if they are near-duplicates."""
    if state.start is None:
      return None
    near = cosines(direction(program, state.start), state.tried)
    best = int(np.argmax(near))
    return state.ids[best] if near[best] > self.threshold else None

  def _remembered(self, state: NoveltyState, trial: Trial) -> NoveltyState:
    start = state.start or Sketch.of(trial.edit.program)
    oldest = max(0, len(state.ids) + 1 - self.memory)
    return dataclasses.replace(
      state,
      start=start,
      ids=(*state.ids, trial.id)[oldest:],
      tried=(*state.tried, direction(trial.edit.program, start))[oldest:],
    )
