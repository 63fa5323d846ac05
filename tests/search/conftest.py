"""What tests of wrappers share: a strategy that writes down what it is told."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.testing.strategies import START


def rate(value: float) -> types.Edit:
  """The start with another learning rate."""
  text = START.text().replace('RATE = 0.5', f'RATE = {value}')
  return types.Edit(START.with_text(text), f'rate {value}', types.Hypothesis(''))


@dataclasses.dataclass(frozen=True)
class Scribe(Strategy):
  """The state is all that it was told. sets_rate: its proposals bring an edit with another rate.

  draws_seed: each proposal has a seed of its own, by which it is told from all others.
  """

  sets_rate: bool = False
  draws_seed: bool = False

  def init(self, objective: types.Objective) -> Any:
    return ()

  def ask(self, state: Any, rng: np.random.Generator) -> tuple[types.Proposal, Any]:
    edit = rate(round(float(rng.random()), 1)) if self.sets_rate else None
    asked = 'asked' if edit is None else edit.description
    seeds = (int(rng.integers(1, 2**50)) if self.draws_seed else 0,)
    proposal = types.Proposal(types.Operation.IMPROVE, (0,), edit=edit, seeds=seeds)
    return proposal, (*state, proposal if self.draws_seed else asked)

  def tell(self, state: Any, trial: types.Trial) -> Any:
    return (*state, trial)


@pytest.fixture
def scribe(monkeypatch: pytest.MonkeyPatch) -> str:
  monkeypatch.setitem(STRATEGIES._classes, 'scribe', Scribe)
  return 'scribe'


@pytest.fixture
def edit():
  return rate
