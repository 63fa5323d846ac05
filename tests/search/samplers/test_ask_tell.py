"""Optimizers of other libraries: asks and tells reach them, and a replay leads to the same ones."""

import dataclasses
import random

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.samplers.ask_tell import AskTellOptimizer, AskTellStrategy
from autoresearch_jax.search.samplers.optuna_sampler import OptunaSampler
from autoresearch_jax.search.samplers.study import ReplayableStudy
from autoresearch_jax.testing.strategies import StrategyContract

START = types.Program(
  (('model.py', 'RATE = 0.1  # in [0, 1]\nSIZE = 4  # in [1, 8]\n'),), 'model.py'
)


class Hill(AskTellOptimizer):
  """Gaussian steps around the best point so far."""

  def __init__(self, space, seed):
    self.space, self.rng = space, random.Random(seed)
    self.best, self.score = {d.name: d.value for d in space}, float('-inf')

  def ask(self):
    return {
      d.name: self.rng.choice(d.choices) if d.choices
      else self.best[d.name] + self.rng.gauss(0, 0.2 * (d.high - d.low))
      for d in self.space
    }  # fmt: skip

  def tell(self, values, score):
    if score > self.score:
      self.best, self.score = dict(values), score


@dataclasses.dataclass(frozen=True)
class HillClimb(AskTellStrategy):
  title = 'hill'

  def optimizer(self, space, seed):
    return Hill(space, seed)


@dataclasses.dataclass(frozen=True)
class Careless(HillClimb):
  """Draws from a generator that nobody seeds."""

  def optimizer(self, space, seed):
    return Hill(space, None)


class TestHillClimb(StrategyContract):
  test_same_in_another_process = None  # it could not import this file

  def strategy(self):
    return HillClimb()


def searched(strategy, trials):
  """Rates and the final state of a search for RATE = 0.8."""
  state, rates = strategy.init(types.Objective('loss', 'minimize')), []
  edit = types.Edit(START, '', types.Hypothesis(''))
  proposal = types.Proposal(types.Operation.DRAFT)
  for number in range(trials):
    if number:
      proposal, state = strategy.ask(state, np.random.default_rng(number))
      edit = proposal.edit
    words = edit.program.text().split()
    rates.append(float(words[2]))
    assert 1 <= int(words[words.index('SIZE') + 2]) <= 8
    measured = types.Measurement(0, {'loss': (rates[-1] - 0.8) ** 2}, types.Cost())
    result = types.Result(number, types.Status.OK, measurements=(measured,))
    state = strategy.tell(state, types.Trial(number, proposal, edit, result))
  return rates, state


def test_it_learns_from_what_it_is_told():
  rates, state = searched(HillClimb(), 30)
  assert min(abs(rate - 0.8) for rate in rates) < 0.05
  assert searched(HillClimb(), 30) == (rates, state)


def test_an_optimizer_that_is_not_deterministic_is_named():
  _, state = searched(Careless(), 3)
  study = Careless().study(Careless().search_space(START))
  with pytest.raises(RuntimeError, match=r'hill answers ask .* not deterministic'):
    for entry in state.log:
      study.take(entry)


@pytest.mark.parametrize('name', ['NSGAIISampler', 'optuna.samplers:RandomSampler'])
def test_any_sampler_of_optuna_by_name(name):
  strategy = STRATEGIES.make('optuna', {'sampler_name': name})
  rates, _ = searched(strategy, 6)
  assert len(set(rates)) == 6
  assert isinstance(strategy.study(strategy.search_space(START)), ReplayableStudy)


@pytest.mark.parametrize(
  ('options', 'said'),
  [
    ({'sampler_name': 'TPE'}, 'has no TPE. Optuna has: .*TPESampler'),
    ({'sampler_options': {'people': 3}}, 'sampler_options of NSGAIISampler are wrong.*people'),
  ],
)
def test_a_wrong_sampler_is_a_sentence(options, said):
  with pytest.raises(ValueError, match=said):
    OptunaSampler(**options)


def test_nevergrad_gets_what_it_would_get_directly():
  nevergrad = pytest.importorskip('nevergrad')
  space = STRATEGIES.make('nevergrad').search_space(START.with_text('RATE = 0.1  # in [0, 1]\n'))
  ours = STRATEGIES.make('nevergrad', {'algorithm': 'OnePlusOne'}).optimizer(space, 3)
  rate = nevergrad.p.Dict(RATE=nevergrad.p.Scalar(init=0.1, lower=0.0, upper=1.0))
  rate.random_state.seed(3)
  plain = nevergrad.optimizers.OnePlusOne(rate, budget=200)
  asked = []
  for _ in range(40):
    values, candidate = ours.ask(), plain.ask()
    asked.append(values['RATE'])
    assert values == candidate.value
    ours.tell(values, -((values['RATE'] - 0.8) ** 2))
    plain.tell(candidate, (candidate.value['RATE'] - 0.8) ** 2)
  assert min(abs(value - 0.8) for value in asked) < 0.05
  rates, _ = searched(STRATEGIES.make('nevergrad', {'algorithm': 'OnePlusOne'}), 40)
  assert min(abs(value - 0.8) for value in rates) < 0.2


def test_smac_repeats_itself_and_leaves_no_files(tmp_path, monkeypatch):
  pytest.importorskip('smac')
  monkeypatch.chdir(tmp_path)
  strategy = STRATEGIES.make('smac', {'budget': 8})
  rates, state = searched(strategy, 10)
  assert len(set(rates)) == 10 and searched(strategy, 10) == (rates, state)
  assert not list(tmp_path.iterdir())
