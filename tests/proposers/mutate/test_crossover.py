"""Edits that take constants of another program."""

import ast

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.programs.source import Source
from autoresearch_jax.proposers import ProposalContext
from autoresearch_jax.proposers.mutate.crossover import crossover_edits, differences, random_subsets

TEXT = "DEPTH = 2\nRATE = 0.5  # kept\nKIND = 'a'\nPAIR = (1, 2)\nprint(DEPTH, RATE, KIND, PAIR)\n"
OTHER = (
  TEXT.replace('= 2\n', '= 8\n').replace('0.5', '0.1').replace("'a'", "'b'").replace('(1', '(3')
)
SPEC = types.Spec('supervised', 'cpu', 1, types.Budget(1.0), input_shape=(1,), num_classes=2)
MERGE = types.Proposal(types.Operation.MERGE, parents=(3, 7))
DEBUG = types.Proposal(types.Operation.DEBUG, parents=(3,))
ABLATION = types.Proposal(types.Operation.IMPROVE, parents=(3,), guidance='ablation')


def program(text, notes='SIZE = 1\nprint(SIZE)\n'):
  return types.Program((('model.py', text), ('notes.py', notes)), 'model.py')


def trial(number, edited, parents=()):
  return types.Trial(
    number,
    types.Proposal(types.Operation.IMPROVE, parents),
    types.Edit(edited, 'an edit', types.Hypothesis('A claim.')),
    types.Result(number, types.Status.OK),
  )


def edits(proposal, *parents, history=(), seed=0, editable=('model.py',)):
  known = {t.id: t for t in history}
  objective = types.Objective('loss', 'minimize')
  context = ProposalContext(parents, known, editable, objective, SPEC)
  return list(crossover_edits(proposal, context, np.random.default_rng(seed)))


def values(edit):
  return Source(edit.program.text()).constants


def test_differences_are_found_in_editable_files_that_parse():
  one, other = program(TEXT), program(OTHER, 'SIZE = 2\nprint(SIZE)\n')
  names = [d.name for d in differences(one, other, ('model.py',))]
  assert names == ['DEPTH', 'RATE', 'KIND', 'PAIR']
  assert [d.name for d in differences(one, other, ('model.py', 'notes.py'))] == [*names, 'SIZE']
  assert differences(one, program('DEPTH = (\n'), ('model.py',)) == []
  assert differences(one, types.Program((('main.py', OTHER),), 'main.py'), ('model.py',)) == []


def test_a_merge_takes_values_of_the_second_parent_and_nothing_else():
  merged = edits(MERGE, program(TEXT), program(OTHER + 'x = 1\n'))
  assert merged
  for edit in merged:
    mine, theirs = Source(TEXT).constants, Source(OTHER).constants
    taken = {name for name, value in values(edit).items() if value == theirs[name]}
    assert taken
    assert all(values(edit)[name] == mine[name] for name in set(mine) - taken)
    assert 'x = 1' not in edit.program.text() and '# kept' in edit.program.text()
    assert edit.description.startswith('merge, from trial 7: ')
    assert {w.split(' ')[0] for w in edit.description.split(': ')[1].split(', ')} >= taken - {
      'PAIR'
    }
    assert 'trial 7' in edit.hypothesis.claim


def test_each_difference_is_crossed_with_probability_one_half():
  found = differences(program(TEXT), program(OTHER), ('model.py',))[:3]
  first = [next(random_subsets(found, np.random.default_rng(seed))) for seed in range(3000)]
  # Of the eight subsets the empty one becomes one of the three single ones: (4 + 1/3) / 8.
  for difference in found:
    share = sum(difference in chosen for chosen in first) / len(first)
    assert share == pytest.approx(13 / 24, abs=0.03)
  assert all(first)


def test_no_subset_comes_twice():
  found = differences(program(TEXT), program(OTHER), ('model.py',))
  for count in range(5):
    subsets = [tuple(map(str, c)) for c in random_subsets(found[:count], np.random.default_rng(1))]
    assert len(subsets) == len(set(subsets)) <= 2**count - 1
  assert subsets


def test_a_repair_puts_constants_back_one_by_one_then_halfway():
  parent, start = trial(2, program(TEXT)), trial(0, program(TEXT.replace('0.5', '0.7')))
  failing = program(TEXT.replace('0.5', '0.1').replace('= 2\n', '= 8\n'))
  history = (start, parent, trial(3, failing, (2,)))
  made = edits(DEBUG, failing, history=history)
  moved = [(values(e)['DEPTH'], values(e)['RATE']) for e in made]
  assert sorted(moved[:2]) == [(2, 0.1), (8, 0.5)]
  assert sorted(moved[2:4]) == [(5, 0.1), (8, 0.3)]
  assert sorted(moved[4:]) == [(2, 0.1), (5, 0.1), (8, 0.4), (8, 0.7)]  # towards the start
  assert made[0].description.startswith('debug, towards trial 2: ')
  assert made[-1].description.startswith('debug, towards trial 0: ')
  assert edits(DEBUG, failing) == []


def test_nothing_lies_halfway_between_neighbours_and_what_is_no_number():
  failing = program("DEPTH = 3\nKIND = 'b'\nFLAG = True\nprint(DEPTH, KIND, FLAG)\n")
  good = program("DEPTH = 2\nKIND = 'a'\nFLAG = False\nprint(DEPTH, KIND, FLAG)\n")
  made = edits(DEBUG, failing, history=(trial(0, good), trial(3, failing)))
  assert len(made) == 3


def test_an_ablation_puts_one_constant_back_to_the_start():
  now = program(OTHER)
  made = edits(ABLATION, now, history=(trial(0, program(TEXT)),))
  start, current = Source(TEXT).constants, Source(OTHER).constants
  for edit in made:
    (name,) = (n for n, value in values(edit).items() if value != current[n])
    assert values(edit)[name] == start[name]
    assert edit.description.startswith(f'ablation, as at the start: {name} ')
  assert len(made) == 4
  assert (
    len({edits(ABLATION, now, history=(trial(0, program(TEXT)),), seed=s)[0] for s in range(9)}) > 1
  )


def test_other_proposals_get_no_crossover_edits():
  history = (trial(0, program(TEXT)),)
  for proposal in (
    types.Proposal(types.Operation.IMPROVE, parents=(3,)),
    types.Proposal(types.Operation.IMPROVE, parents=(3,), guidance='tuning'),
    types.Proposal(types.Operation.DRAFT, guidance='rewrite'),
  ):
    assert edits(proposal, program(OTHER), history=history) == []
  assert edits(ABLATION, program(OTHER)) == []  # the start is not known


@pytest.mark.parametrize('proposal', [MERGE, DEBUG, ABLATION])
def test_crossover_edits_parse_and_have_one_line_descriptions(proposal):
  text = OTHER.replace("'b'", "'two\\nlines'")
  history = (trial(0, program(text)), trial(3, program(TEXT)))
  made = edits(proposal, program(TEXT), program(text), history=history)
  assert made
  for edit in made:
    ast.parse(edit.program.text())
    assert '\n' not in edit.description
    assert edit.hypothesis.claim.endswith('.')
