"""A spec's run draws from numbers of its own: none of them says where its problem's optimum is."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax import benchmark
from autoresearch_jax.benchmark.runners.specs import AcceptanceSpec, Entrant, ProblemSpec, RunSpec
from autoresearch_jax.research.decisions import generator
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.types import Edit, Hypothesis, Operation, Program, Proposal

STREAMS = range(1, 7)  # of the simulations: default_rng((seed, number))


def root(seed):
  return RunSpec(
    ProblemSpec('p', 'nk'), Entrant('c', 'greedy'), AcceptanceSpec('r', 'strict'), seed, 9
  ).root_seed


@given(seed=st.integers(0, 2**32 - 1), turn=st.integers(0, 10**6))
def test_no_turn_of_a_run_draws_what_its_instance_was_drawn_from(seed, turn):
  ours = generator(root(seed), turn).integers(2**63)
  assert ours not in {np.random.default_rng((seed, n)).integers(2**63) for n in STREAMS}


@STRATEGIES.register('uniform_box')
@dataclasses.dataclass(frozen=True)
class UniformBox(Strategy):
  """Blind: draws each constant uniformly, from where `continuous` draws its optimum."""

  def init(self, objective):
    return 0

  def ask(self, state, rng):
    point = rng.uniform(-4, 4, 10).round(3)
    text = ''.join(f'X{i} = {float(value)!r}\n' for i, value in enumerate(point))
    edit = Edit(Program((('model.py', text),), 'model.py'), 'a draw', Hypothesis(''))
    return Proposal(Operation.IMPROVE, (0,), edit=edit), state

  def tell(self, state, trial):
    return state


@pytest.mark.parametrize('function', ['rastrigin', 'sphere'])
def test_a_blind_strategy_does_not_meet_the_optimum(function):
  made = benchmark.compare(
    ['uniform_box'], [('continuous', {'function': function})], seeds=range(1000, 1003), trials=20,
    workers=1,
  )  # fmt: skip
  assert all(run.final > 0.1 for run in made.runs.values())
