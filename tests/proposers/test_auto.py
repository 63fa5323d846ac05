"""`auto`: who it stands for follows from the environment, and no key is ever said."""

import dataclasses
import sys

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.proposers import PROPOSERS, ProposalContext, Proposer
from autoresearch_jax.proposers.llm import API_KEY_VARIABLES, OPENAI_KEY_VARIABLE
from autoresearch_jax.proposers.mutate.proposer import Mutate

SECRET = 'not-a-key-but-secret'
IMPROVE = types.Proposal(types.Operation.IMPROVE, parents=(0,))
CONTEXT = ProposalContext(
  (types.Program.read(PROGRAMS / 'mlp', ('model.py',), 'model.py'),),
  {},
  ('model.py',),
  types.Objective('val_loss', 'minimize'),
  types.Spec('supervised', 'cpu', 1, types.Budget(300, 'steps')),
)


@dataclasses.dataclass(frozen=True)
class Pretender(Proposer):
  """In the place of Gemini: what `auto` gives it and asks of it."""

  models: tuple[str, ...] = ('small', 'large')
  title = 'gemini (small), at most 3 calls'
  closed: list[bool] = dataclasses.field(default_factory=list)

  def propose(self, proposal, context, rng):
    return Mutate().propose(proposal, context, rng)

  def close(self):
    self.closed.append(True)


@pytest.fixture(autouse=True)
def without_keys(monkeypatch):
  for key in (*API_KEY_VARIABLES, OPENAI_KEY_VARIABLE, 'OPENAI_BASE_URL'):
    monkeypatch.delenv(key, raising=False)


@pytest.fixture
def pretender(monkeypatch):
  PROPOSERS.names()  # all are imported, so that the real one cannot register any more
  monkeypatch.setitem(PROPOSERS._classes, 'gemini', Pretender)


@pytest.mark.parametrize('empty', [None, '', ' \n'])
def test_without_a_key_it_is_mutate(monkeypatch, empty):
  if empty is not None:
    monkeypatch.setenv(API_KEY_VARIABLES[1], empty)
  auto = PROPOSERS.make('auto')
  assert 'auto: mutate' in auto.title
  assert all(key in auto.title for key in (*API_KEY_VARIABLES, OPENAI_KEY_VARIABLE))
  edits = [p.propose(IMPROVE, CONTEXT, np.random.default_rng(7)) for p in (auto, Mutate())]
  assert edits[0] == edits[1]
  auto.close()


@pytest.mark.parametrize('key', API_KEY_VARIABLES)
def test_with_a_key_it_is_gemini(monkeypatch, pretender, key):
  monkeypatch.setenv(key, SECRET)
  auto = PROPOSERS.make('auto', {'gemini': {'models': ['small']}, 'mutate': {'max_tries': 3}})
  assert auto.chosen == Pretender(models=('small',))
  assert auto.title == 'auto: gemini (small), at most 3 calls'
  assert SECRET not in repr(auto) + auto.title
  assert auto.propose(IMPROVE, CONTEXT, np.random.default_rng(0)).description
  auto.close()
  assert auto.chosen.closed == [True]


def test_with_openais_key_it_is_openai_unless_geminis_is_set_too(monkeypatch, pretender):
  pytest.importorskip('openai')
  monkeypatch.setenv(OPENAI_KEY_VARIABLE, SECRET)
  options = {'openai': {'models': ['small'], 'max_dollars': 0.0}, 'gemini': {'models': ['small']}}
  auto = PROPOSERS.make('auto', options)
  assert (auto.chosen_name, auto.chosen.models) == ('openai', ('small',))
  assert SECRET not in repr(auto) + auto.title
  monkeypatch.setenv(API_KEY_VARIABLES[0], SECRET)
  assert PROPOSERS.make('auto', options).chosen_name == 'gemini'


def test_without_openais_package_it_is_mutate_and_says_how_to_get_it(monkeypatch):
  monkeypatch.setenv(OPENAI_KEY_VARIABLE, SECRET)
  monkeypatch.setitem(sys.modules, 'openai', None)
  auto = PROPOSERS.make('auto')
  assert auto.chosen_name == 'mutate'
  assert 'pip install' in auto.title and OPENAI_KEY_VARIABLE in auto.title


def test_the_options_are_those_of_who_is_chosen():
  assert PROPOSERS.make('auto', {'mutate': {'max_tries': 3}}).chosen == Mutate(max_tries=3)
  with pytest.raises(ValueError, match="The proposer 'mutate' has no option 'trials'"):
    PROPOSERS.make('auto', {'mutate': {'trials': 3}})
