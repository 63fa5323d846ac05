"""The Gaussian process needs torch, and says so; where it is there, it finds the optimum."""

import importlib.util

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.samplers.gp import Gp

START = types.Program((('model.py', 'RATE = 0.1  # in [0, 1]\n'),), 'model.py')


def test_without_torch_a_sentence_says_what_to_install(monkeypatch):
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util, 'find_spec', lambda name, *rest: None if name == 'torch' else find(name, *rest)
  )
  with pytest.raises(ValueError, match=r"torch, which is not installed: pip install '.*\[gp\]'"):
    STRATEGIES.make('gp')


def test_it_finds_the_optimum_within_a_few_trials():
  pytest.importorskip('torch')
  strategy = Gp(n_startup_trials=4)
  state, values = strategy.init(types.Objective('loss', 'minimize')), []
  proposal, edit = (
    types.Proposal(types.Operation.DRAFT),
    types.Edit(START, '', types.Hypothesis('')),
  )
  for number in range(14):
    if number:
      proposal, state = strategy.ask(state, np.random.default_rng(number))
      edit = proposal.edit
    values.append(float(edit.program.text().split()[2]))
    measured = types.Measurement(0, {'loss': (values[-1] - 0.8) ** 2}, types.Cost())
    result = types.Result(number, types.Status.OK, measurements=(measured,))
    state = strategy.tell(state, types.Trial(number, proposal, edit, result))
  assert min(abs(value - 0.8) for value in values) < 0.01


def test_options_that_cannot_work_are_refused():
  pytest.importorskip('torch')
  with pytest.raises(ValueError, match='startup is 0'):
    Gp(n_startup_trials=0)
