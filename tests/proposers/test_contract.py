"""What every proposer must do. A new proposer adds one line to PROPOSER_CASES."""

import ast
import pathlib
import sys
import types as pytypes

import numpy as np
import pytest
from helpers import HELPERS
from helpers.model_apis import KEY_VARIABLES
from helpers.registered import ours

from autoresearch_jax import types
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.proposers import PROPOSERS, NothingToPropose, ProposalContext
from autoresearch_jax.sandbox import linux
from autoresearch_jax.testing import loopback_model as loopback

PATCHES = pathlib.Path(__file__).parent / 'patches'  # of the program below
SHUT_IN = 'full' if linux.landlock_version() and linux.has_seccomp() else 'none'
SCRIPTED_AGENT = HELPERS / 'scripted_agent.py'

# (registered name, options to test it with)
PROPOSER_CASES = [
  ('mutate', {}),
  ('mutate', {'structural_share': 1.0, 'coupled_share': 0.0}),
  ('gemini', {'initial_delay': 0.0}),
  ('openai', {'initial_delay': 0.0}),
  ('auto', {}),
  ('replay', {'source': str(PATCHES)}),
  ('placebo', {}),
  ('placebo', {'reseed': False}),
  ('agent', {'command': (sys.executable, str(SCRIPTED_AGENT)), 'isolation': SHUT_IN}),
]
UNWAVERING = ('replay',)  # proposers that draw nothing at random

IMPROVE = types.Proposal(types.Operation.IMPROVE, parents=(0,))
SPEC = types.Spec(
  'supervised', 'cpu', 1, types.Budget(300, 'steps'), input_shape=(64,), num_classes=10
)


def every_proposer(test):
  test = pytest.mark.usefixtures('models')(test)
  return pytest.mark.parametrize(('name', 'options'), PROPOSER_CASES)(test)


@pytest.fixture
def models(name, monkeypatch):
  """For the proposers that ask a model: one that sets the width to a number of its sampling."""
  if name not in ('gemini', 'openai'):
    yield
    return
  if name == 'openai':
    pytest.importorskip('openai')

  def widen(request):
    width = f'WIDTH = {loopback.settings(request)["seed"] % 1000 + 65}'
    return loopback.answer(loopback.edit('WIDTH = 64', width))

  with loopback.serving(widen) as server:
    monkeypatch.setenv('GEMINI_API_KEY', loopback.KEY)
    monkeypatch.setenv('GOOGLE_GEMINI_BASE_URL', server.url)
    monkeypatch.setenv('OPENAI_API_KEY', loopback.KEY)
    monkeypatch.setenv('OPENAI_BASE_URL', f'{server.url}/v1')
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    yield


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
  for key in (*KEY_VARIABLES, 'OPENAI_BASE_URL'):
    monkeypatch.delenv(key, raising=False)


def mlp():
  text = (PROGRAMS / 'mlp' / 'model.py').read_text()
  return types.Program((('model.py', text), ('notes.py', 'UNTOUCHED = 1\n')), 'model.py')


def context(*parents, tried=(), editable=('model.py',)):
  return ProposalContext(
    parents=parents or (mlp(),),
    history=pytypes.MappingProxyType({}),
    editable=editable,
    objective=types.Objective('val_loss', 'minimize'),
    spec=SPEC,
    tried=frozenset(tried),
  )


@every_proposer
def test_an_edit_changes_editable_files_only_and_still_parses(name, options):
  proposer = PROPOSERS.make(name, options)
  for seed in range(10):
    edit = proposer.propose(IMPROVE, context(), np.random.default_rng(seed))
    assert edit.program != mlp()
    assert edit.program.text('notes.py') == mlp().text('notes.py')
    assert edit.program.entry == 'model.py'
    ast.parse(edit.program.text())


@every_proposer
def test_every_edit_says_in_one_line_what_it_does_and_why(name, options):
  edit = PROPOSERS.make(name, options).propose(IMPROVE, context(), np.random.default_rng(0))
  assert edit.description.strip() == edit.description != ''
  assert not set('\n\r\t') & set(edit.description)
  assert edit.hypothesis.claim.endswith('.')
  assert types.from_json(types.to_json(edit), types.Edit) == edit


@every_proposer
def test_the_generator_alone_decides(name, options):
  edits = [
    PROPOSERS.make(name, options).propose(IMPROVE, context(), np.random.default_rng(seed))
    for seed in (3, 3, 4, 5, 6, 7)
  ]
  assert edits[0] == edits[1]
  different = len({edit.program.digest for edit in edits})
  assert different == 1 if name in UNWAVERING else different > 2


@every_proposer
def test_no_program_is_proposed_twice(name, options):
  proposer, tried = PROPOSERS.make(name, options), [mlp().digest]
  for seed in range(12):
    try:
      edit = proposer.propose(IMPROVE, context(tried=tried), np.random.default_rng(seed))
    except NothingToPropose:
      break
    assert edit.program.digest not in tried
    tried.append(edit.program.digest)
  assert len(tried) > 5


@every_proposer
def test_a_program_without_anything_to_edit_is_told_so(name, options):
  bare = types.Program((('model.py', 'def init(key, spec):\n  return 1\n'),), 'model.py')
  with pytest.raises(NothingToPropose, match=r'model\.py'):
    PROPOSERS.make(name, options).propose(IMPROVE, context(bare), np.random.default_rng(0))


def test_every_registered_proposer_is_in_the_battery():
  assert {name for name, _ in PROPOSER_CASES} == ours(PROPOSERS)
