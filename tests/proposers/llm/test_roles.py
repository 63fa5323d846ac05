"""Roles: files that say what is wrong with them, and a choice that learns what pays."""

import dataclasses

import numpy as np
import pytest
from helpers import briefed

from autoresearch_jax import types
from autoresearch_jax.proposers.llm import roles
from autoresearch_jax.types import Operation, Proposal, Status

IMPROVE = Proposal(Operation.IMPROVE, (0,))


@pytest.fixture
def write(tmp_path):
  """Writes a role file; returns its path as text."""

  def write(text, name='mine.md'):
    path = tmp_path / name
    path.write_text(text, encoding='utf-8')
    return str(path)

  return write


def rng(seed=0):
  return np.random.default_rng(seed)


def played(*outcomes, status=Status.OK, keep=False):
  """A history with an edit of the baseline for each (role, whether it was better)."""
  history = {0: briefed.night()[0]}
  for number, (role, better) in enumerate(outcomes, 1):
    values = (0.9 if better else 1.1,) if status is Status.OK else ()
    history[number] = briefed.trial(
      number, types.Program((('model.py', f'X = {number}\n'),), 'model.py'), *values, role=role,
      status=status, keep=keep,
    )  # fmt: skip
  return history


def shares(loaded, proposal, context, draws=400):
  """How often each role acts."""
  chosen = [roles.choose(loaded, proposal, context, rng(seed)) for seed in range(draws)]
  return {role.name: chosen.count(role) / draws for role in loaded}


A, B = roles.Role('a', 'A.'), roles.Role('b', 'B.')


@pytest.mark.parametrize('name', roles.shipped())
def test_every_shipped_role_says_what_to_look_for_what_to_use_and_what_to_avoid(name):
  (role, *_) = roles.load((name, 'critic') if name != 'critic' else (name,))
  assert role.name == name and 800 < len(role.text) < 4000
  assert 'avoid' in role.text and role.operations
  assert max(map(len, role.text.splitlines())) <= 101


def test_the_shipped_roles_load_together_and_cover_every_operation_and_guidance():
  loaded = roles.load(tuple(roles.shipped()))
  assert 6 <= len(loaded) <= 10
  for operation in (Operation.DRAFT, Operation.IMPROVE, Operation.DEBUG, Operation.MERGE):
    assert roles.choose(loaded, Proposal(operation), briefed.context(), rng())
  for guidance in types.GUIDANCE:
    chosen = roles.choose(loaded, dataclasses.replace(IMPROVE, guidance=guidance),
                          briefed.context(), rng())  # fmt: skip
    assert chosen and guidance in chosen.operations


def test_a_file_brings_a_role_with_its_front_matter(write):
  path = write(
    '---\nmodel: some-model\ntemperature: 1\noperations: [improve, tuning]\n'
    'hand_offs: [critic]\n---\n\n# Head\n\nText.\n'
  )
  role, critic = roles.load((path, 'critic'))
  assert role == roles.Role(
    'mine', '# Head\n\nText.', 'some-model', 1.0, ('improve', 'tuning'), ('critic',)
  )
  assert critic.operations == (roles.REVIEW,)


@pytest.mark.parametrize('text', ['Text.', '---\n---\nText.', '\ufeff---\n---\r\nText.\r\n'])
def test_front_matter_may_be_absent(write, text):
  assert roles.load((write(text),)) == (roles.Role('mine', 'Text.'),)


@pytest.mark.parametrize(
  ('text', 'found', 'allowed'),
  [
    ('---\ncolour: red\n---\nText.', "key 'colour'", 'model, operations, hand_offs, temperature'),
    ('---\n1: red\n---\nText.', "key '1'", 'model, operations'),
    ('---\noperations: [improve, dance]\n---\nText.', "'dance'", 'draft, improve, debug, merge'),
    ('---\noperations: [replicate]\n---\nText.', "'replicate'", 'tuning, creative'),
    ('---\noperations: improve\n---\nText.', "'improve'", 'list of names'),
    ('---\noperations: [1]\n---\nText.', 'operations', 'list of names'),
    ('---\nhand_offs: {a: b}\n---\nText.', 'hand_offs', 'list of names'),
    ('---\ntemperature: hot\n---\nText.', "'hot'", 'from 0 to 2'),
    ('---\ntemperature: true\n---\nText.', 'True', 'from 0 to 2'),
    ('---\ntemperature: .nan\n---\nText.', 'nan', 'from 0 to 2'),
    ('---\ntemperature: 3\n---\nText.', '3', 'from 0 to 2'),
    ('---\nmodel: [a]\n---\nText.', "['a']", 'a name'),
    ('---\nmodel: ""\n---\nText.', "''", 'a name'),
    ('---\n- a\n---\nText.', "['a']", 'keys and values'),
    ('---\nmodel: [\n---\nText.', 'not YAML', 'line'),
    ('---\nmodel: !!python/object/apply:os.getcwd []\n---\nText.', 'not YAML', 'python/object'),
    ('---\nmodel: x\nText.', 'not closed', '---'),
    ('---\nmodel: x\n---\n \n', 'no text', 'write what'),
    ('', 'no text', 'write what'),
    ('x' * 13_000, '13000 characters', '12000'),
    ('---\nhand_offs: [critic]\n---\nText.', "'critic'", 'mine'),
    ('---\nhand_offs: [mine]\n---\nText.', 'cycle', 'mine -> mine'),
  ],
)
def test_a_file_that_is_wrong_is_refused_with_what_is_allowed(write, text, found, allowed):
  with pytest.raises(ValueError) as error:
    roles.load((write(text),))
  said = str(error.value)
  assert 'mine' in said and found in said and allowed in said and said.endswith('.')


def test_a_file_that_cannot_be_read_is_said(tmp_path):
  (tmp_path / 'mine.md').write_bytes(b'\xff\xfe\xfa')
  for path, why in ((tmp_path / 'mine.md', 'cannot be read'), (tmp_path / 'no.md', 'no role file')):
    with pytest.raises(ValueError, match=why):
      roles.load((str(path),))


def test_an_unknown_name_lists_those_that_exist():
  with pytest.raises(ValueError, match=r"no role 'dancer'; there are: architect, .*, tuner\."):
    roles.load(('dancer',))
  with pytest.raises(ValueError, match='no role'):
    roles.load(('../role_files/tuner',))


def test_two_roles_of_one_name_are_refused(write):
  with pytest.raises(ValueError, match="named 'tuner'"):
    roles.load(('tuner', write('Text.', 'tuner.md')))


def test_drafts_cannot_go_round_in_circles(write):
  a = write('---\nhand_offs: [b]\n---\nA.', 'a.md')
  b = write('---\nhand_offs: [c]\n---\nB.', 'b.md')
  c = write('---\nhand_offs: [a]\n---\nC.', 'c.md')
  with pytest.raises(ValueError, match='a -> b -> c -> a'):
    roles.load((a, b, c))


def test_who_acts_is_chosen_by_operation_and_guidance():
  loaded = roles.load(('tuner', 'debugger', 'simplifier', 'critic'))

  def acting(operation, guidance=''):
    proposal = Proposal(operation, (0,), guidance=guidance)
    chosen = (roles.choose(loaded, proposal, briefed.context(), rng(s)) for s in range(40))
    return {role.name if role else None for role in chosen}

  assert acting(Operation.DEBUG) == {'debugger'}
  assert acting(Operation.IMPROVE) == {'tuner', 'simplifier'}
  assert acting(Operation.IMPROVE, 'ablation') == {'simplifier'}
  assert acting(Operation.IMPROVE, 'creative') == {'tuner', 'simplifier'}
  assert acting(Operation.MERGE) == {None}


def test_no_roles_is_no_role():
  assert roles.choose((), IMPROVE, briefed.context(), rng()) is None
  assert roles.choose(roles.load(('critic',)), IMPROVE, briefed.context(), rng()) is None


def test_without_outcomes_all_that_fit_act_alike():
  assert shares((A, B), IMPROVE, briefed.context({}))['a'] == pytest.approx(0.5, abs=0.08)


def test_the_role_whose_edits_win_acts_more_often_and_the_other_is_not_given_up():
  history = played(*[('a', True), ('b', False)] * 4)
  found = shares((A, B), IMPROVE, briefed.context(history, kept=frozenset({0})))
  assert 0.9 < found['a'] < 1.0


def test_an_edit_that_was_kept_is_a_win_even_without_a_better_number():
  history = played(*[('a', False), ('b', False)] * 4)
  kept = frozenset(n for n, trial in history.items() if trial.edit.role == 'a')
  assert shares((A, B), IMPROVE, briefed.context(history, kept=kept))['a'] > 0.9


def test_what_failed_is_a_loss_and_what_the_machine_did_is_none():
  kept = frozenset({0})
  lost = played(*[('a', False)] * 6, status=Status.INVALID)
  assert shares((A, B), IMPROVE, briefed.context(lost, kept=kept))['a'] < 0.25
  silent = played(*[('a', False)] * 6, status=Status.CANCELLED)
  assert shares((A, B), IMPROVE, briefed.context(silent, kept=kept))['a'] == pytest.approx(
    0.5, abs=0.08
  )


def test_an_edit_that_trained_for_a_part_of_the_budget_is_neither():
  early = {
    number: dataclasses.replace(
      trial, proposal=dataclasses.replace(trial.proposal, fidelity=0.25 if number else 1.0)
    )
    for number, trial in played(*[('a', False)] * 6).items()
  }
  found = shares((A, B), IMPROVE, briefed.context(early, kept=frozenset({0})))
  assert found['a'] == pytest.approx(0.5, abs=0.08)


def test_a_replicate_is_no_second_edit_of_the_role():
  once = played(('a', False))
  again = dict(once)
  for number in range(2, 9):
    again[number] = briefed.trial(
      number, once[1].edit.program, 1.1, parents=(1,), operation=Operation.REPLICATE, role='a'
    )
  kept = frozenset({0})
  assert shares((A, B), IMPROVE, briefed.context(again, kept=kept)) == shares(
    (A, B), IMPROVE, briefed.context(once, kept=kept)
  )


def test_the_choice_is_a_function_of_its_arguments():
  history = played(('a', True), ('b', True))
  backwards = dict(reversed(history.items()))
  for seed in range(20):
    first, second = (
      roles.choose((A, B), IMPROVE, briefed.context(h), rng(seed)) for h in (history, backwards)
    )
    assert first == second
