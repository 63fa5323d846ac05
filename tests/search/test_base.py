"""The base class of strategies: its example runs, and its defaults suffice for a plain strategy."""

import doctest

import numpy as np
import pytest
from helpers.registered import ours

from autoresearch_jax.search import STRATEGIES, Strategy, base
from autoresearch_jax.testing.strategies import OBJECTIVE, START

METRICS = {'val_loss': 'minimize', 'val_other': 'maximize'}


def test_the_example_in_the_docstring_runs():
  failed, ran = doctest.testmod(base)
  assert ran > 5 and not failed


def test_a_strategy_without_init_ask_and_tell_cannot_be_made():
  class Incomplete(Strategy):
    def init(self, objective):
      return None

  with pytest.raises(TypeError, match='ask'):
    Incomplete()  # type: ignore[abstract]


def test_by_default_a_proposal_stands_and_nothing_is_sampled_or_required():
  strategy = STRATEGIES.make('greedy')
  state = strategy.init(OBJECTIVE)
  proposal, state = strategy.ask(state, np.random.default_rng(0))
  assert strategy.revise(state, proposal) == (proposal, state)
  assert strategy.search_space(START) == ()
  assert strategy.required_metrics() == ()


@pytest.mark.parametrize('wrapped', [False, True])
def test_search_space_and_required_metrics_are_those_of_the_innermost_strategy(wrapped):
  def make(name, options):
    if not wrapped:
      return STRATEGIES.make(name, options)
    inner = {'inner': name, 'inner_options': options}
    return STRATEGIES.make('restarts', {'inner': 'islands', 'inner_options': inner})

  space = make('cma_es', {}).search_space(START)
  assert [dimension.name for dimension in space] == ['WIDTH', 'RATE', 'DECAY']
  assert make('pareto', {'metrics': METRICS}).required_metrics() == tuple(METRICS)
  with pytest.raises(ValueError, match='no_such_file'):
    make('cma_es', {'file': 'no_such_file'}).search_space(START)


def test_every_registered_strategy_is_a_subclass():
  assert all(issubclass(STRATEGIES.get(name), Strategy) for name in ours(STRATEGIES))
