"""Which model is asked: it follows what came of the edits, and what calls cost."""

import collections

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.proposers.llm import bandit

PROGRAM = types.Program((('model.py', 'RATE = 1\n'),), 'model.py')
SPEC = types.Spec('supervised', 'cpu', 1, types.Budget(1, 'steps'), input_shape=(1,), num_classes=2)
MODELS = ('dull', 'bright', 'middling')
IMPROVE = types.Proposal(types.Operation.IMPROVE, (0,))


def trial(number, author, loss=1.0, status=types.Status.OK, proposal=IMPROVE):
  edit = types.Edit(PROGRAM, 'an edit', types.Hypothesis('A claim.'), author=author)
  measured = (types.Measurement(0, {'loss': loss}, types.Cost()),) if status == 'ok' else ()
  result = types.Result(number, status, measurements=measured)
  return types.Trial(number, proposal, edit, result, types.Verdict(types.Decision.DISCARD, 'No.'))


def context(*trials, kept=()):
  history = {0: trial(0, '', proposal=types.Proposal(types.Operation.DRAFT))}
  return ProposalContext(
    (PROGRAM,), history | {t.id: t for t in trials}, ('model.py',),
    types.Objective('loss', 'minimize'), SPEC, kept=frozenset(kept),
  )  # fmt: skip


def shares(known, draws=400, models=MODELS, costs=None):
  rng = np.random.default_rng(0)
  counts = collections.Counter(bandit.choose(models, known, rng, costs) for _ in range(draws))
  return [counts[model] / draws for model in models]


def test_it_learns_which_model_pays():
  """Simulated: each model's edits win with its own probability; what it chose is what it learns."""
  odds = {'dull': 0.05, 'bright': 0.4, 'middling': 0.15}
  rng, trials, chosen = np.random.default_rng(1), [], []
  for number in range(1, 301):
    model = bandit.choose(MODELS, context(*trials), rng)
    chosen.append(model)
    trials.append(trial(number, model, 0.9 if rng.random() < odds[model] else 1.1))
  early, late = chosen[:100], chosen[200:]
  assert late.count('bright') > 80
  assert late.count('bright') > early.count('bright')
  assert set(early) == set(MODELS)


def test_nothing_known_is_no_preference():
  assert shares(context()) == pytest.approx([1 / 3] * 3, abs=0.1)


def test_wins_are_kept_or_better_than_the_parent():
  known = context(
    trial(1, 'dull', 1.2), trial(2, 'bright', 0.8), trial(3, 'middling', 1.2), kept=[3]
  )
  assert bandit.arms(MODELS, known) == {
    'dull': bandit.Arm(0, 1), 'bright': bandit.Arm(1, 0), 'middling': bandit.Arm(1, 0)
  }  # fmt: skip


def test_what_says_nothing_of_the_edit_does_not_count():
  again = types.Proposal(types.Operation.REPLICATE, (6,))
  early = types.Proposal(types.Operation.IMPROVE, (0,), fidelity=0.1)
  known = context(
    trial(1, 'dull', status=types.Status.CRASH), trial(2, 'dull', status=types.Status.CANCELLED),
    trial(3, 'dull', 0.5, proposal=again), trial(4, 'dull', 0.5, proposal=early),
    trial(5, '', 0.5), trial(6, 'somebody else', 0.5),
  )  # fmt: skip
  assert bandit.arms(MODELS, known)['dull'] == bandit.Arm()


def test_a_program_that_does_not_run_is_a_loss():
  known = context(*(trial(n, 'dull', status=types.Status.INVALID) for n in range(1, 9)))
  assert bandit.arms(MODELS, known)['dull'] == bandit.Arm(0, 8)
  assert shares(known)[0] < 0.15


def test_of_equals_the_cheaper_is_preferred_but_a_better_one_is_worth_its_price():
  equal = [trial(n, MODELS[n % 2], 0.5 if n % 4 < 2 else 1.5) for n in range(1, 81)]
  costs = {'dull': 1.0, 'bright': 16.0}
  dull, bright = shares(context(*equal), models=MODELS[:2], costs=costs)
  assert dull > 0.9 and bright < 0.1
  better = [trial(n, 'dull', 1.5 if n % 8 else 0.5) for n in range(1, 81)]
  better += [trial(n, 'bright', 0.5 if n % 8 else 1.5) for n in range(101, 181)]
  assert shares(context(*better), models=MODELS[:2], costs=costs)[1] > 0.9


def test_the_same_generator_makes_the_same_choice():
  known = context(trial(1, 'dull', 0.5))
  chosen = {bandit.choose(MODELS, known, np.random.default_rng(5)) for _ in range(5)}
  assert len(chosen) == 1
