"""The three-way merge of programs: its laws, and what it calls a conflict."""

import hypothesis
import pytest
from hypothesis import strategies as st

from autoresearch_jax.programs.rebase import rebased
from autoresearch_jax.types import Program

NAMES = ('helper.py', 'model.py', 'notes.txt')
LINES = st.sampled_from(['A = 1', 'A = 2', 'B = 1', 'x = (', ')', '', 'A = 1  # twice'])
TEXTS = st.lists(LINES, max_size=8).map('\n'.join)


def program(text: str, **others: str) -> Program:
  files = {'model.py': text, **{f'{name}.py': text for name, text in others.items()}}
  return Program(tuple(files.items()), 'model.py')


@st.composite
def programs(draw: st.DrawFn) -> Program:
  names = draw(st.sets(st.sampled_from(NAMES))) | {'model.py'}
  return Program(tuple((name, draw(TEXTS)) for name in sorted(names)), 'model.py')


# What one side makes of a line: leave, replace, remove it, or put one or two after it.
DEEDS = st.sampled_from(['leave', 'leave', 'replace', 'remove', 'insert', 'insert two'])


def done(deeds: list[str], side: str) -> str:
  """A base of one constant per line, after a deed at every line."""
  lines: list[str] = []
  for index, deed in enumerate(deeds):
    replaced = f'C{index} = {side!r}' if deed == 'replace' else f'C{index} = {index}'
    lines += [] if deed == 'remove' else [replaced]
    inserted = {'insert': 1, 'insert two': 2}.get(deed, 0)
    lines += [f'NEW_{side}_{index}_{n} = 0' for n in range(inserted)]
  return '\n'.join(lines)


@hypothesis.given(programs(), programs())
def test_an_edit_on_its_own_base_is_the_edited_program(edited: Program, base: Program) -> None:
  assert rebased(edited, base, base) == edited


@hypothesis.given(programs(), programs())
def test_no_edit_leaves_the_program(base: Program, onto: Program) -> None:
  assert rebased(base, base, onto) == onto


@hypothesis.given(programs(), programs())
def test_the_same_edit_on_both_sides_is_taken_once(edited: Program, base: Program) -> None:
  assert rebased(edited, base, edited) == edited


@hypothesis.given(programs(), programs(), programs())
def test_both_ways_round_are_the_same(one: Program, base: Program, other: Program) -> None:
  assert rebased(one, base, other) == rebased(other, base, one)


@hypothesis.given(st.lists(st.tuples(DEEDS, st.booleans()), min_size=1, max_size=12))
def test_edits_of_different_lines_always_merge(choices: list[tuple[str, bool]]) -> None:
  """Also of neighbouring lines: each line is changed by one of the two sides at most."""
  ours = [deed if mine else 'leave' for deed, mine in choices]
  theirs = ['leave' if mine else deed for deed, mine in choices]
  base = program(done(['leave'] * len(choices), ''))
  one, other = program(done(ours, 'a')), program(done(theirs, 'b'))
  merged = rebased(one, base, other)
  assert merged is not None
  both = [
    line
    for index, (deed, mine) in enumerate(choices)
    for line in expected(index, deed, 'a' if mine else 'b')
  ]
  assert [line for line in merged.text().split('\n') if line] == both


def expected(index: int, deed: str, side: str) -> list[str]:
  kept = {'remove': [], 'replace': [f'C{index} = {side!r}']}.get(deed, [f'C{index} = {index}'])
  count = {'insert': 1, 'insert two': 2}.get(deed, 0)
  return [*kept, *(f'NEW_{side}_{index}_{n} = 0' for n in range(count))]


@hypothesis.given(
  st.integers(1, 8), st.data(), st.sampled_from(['replace', 'insert', 'insert two', 'remove'])
)
def test_different_edits_of_one_line_conflict(length: int, data: st.DataObject, deed: str) -> None:
  at = data.draw(st.integers(0, length - 1))
  ours, theirs = ['leave'] * length, ['leave'] * length
  ours[at] = deed
  theirs[at] = 'replace' if deed in ('replace', 'remove') else 'insert'
  base = program(done(['leave'] * length, ''))
  assert rebased(program(done(ours, 'a')), base, program(done(theirs, 'b'))) is None


def test_constants_line_under_line_are_changed_apart() -> None:
  base = program('A = 1\nB = 1\nC = 1\n')
  one, other = program('A = 2\nB = 1\nC = 2\n'), program('A = 1\nB = 2\nC = 1\n')
  assert rebased(one, base, other) == program('A = 2\nB = 2\nC = 2\n')


def test_a_replaced_block_of_equal_length_is_split_into_lines() -> None:
  base = program('A = 1\nB = 1\nC = 1')
  one, other = program('A = 2\nB = 2\nC = 1'), program('A = 1\nB = 2\nC = 2')
  assert rebased(one, base, other) == program('A = 2\nB = 2\nC = 2')


def test_the_end_without_a_newline_is_kept() -> None:
  merged = rebased(program('A = 2\nB = 1'), program('A = 1\nB = 1'), program('A = 1\nB = 1\n'))
  assert merged == program('A = 2\nB = 1\n')


def test_a_merge_that_does_not_parse_is_refused() -> None:
  base = program('x = [\n  1,\n]\ny = 1\n')
  opened, nested = program('x = [\n  1,\n  [\n  2]]\ny = 1\n'), program('x = (\n  1,\n]\ny = 1\n')
  assert rebased(opened, base, nested) is None


@pytest.mark.parametrize('text', ['x = (', 'x = 1\x00'])
def test_a_broken_program_that_nobody_merged_is_left_alone(text: str) -> None:
  assert rebased(program(text), program('A = 1'), program('A = 1')) == program(text)


def test_files_are_added_and_removed() -> None:
  base = program('A = 1', old='B = 1')
  edited = program('A = 2', new='C = 1')
  onto = program('A = 1', old='B = 1', other='D = 1')
  assert rebased(edited, base, onto) == program('A = 2', new='C = 1', other='D = 1')


def test_a_file_removed_here_and_changed_there_conflicts() -> None:
  base, edited = program('A = 1', old='B = 1'), program('A = 2')
  assert rebased(edited, base, program('A = 1', old='B = 2')) is None


def test_a_file_added_on_both_sides_in_different_ways_conflicts() -> None:
  base = program('A = 1')
  assert rebased(program('A = 1', new='B = 1'), base, program('A = 1', new='B = 2')) is None


def test_another_entry_is_an_edit_too() -> None:
  base = program('A = 1', new='B = 1')
  moved = Program(base.files, 'new.py')
  assert rebased(moved, base, program('A = 2', new='B = 1')) == Program(
    (('model.py', 'A = 2'), ('new.py', 'B = 1')), 'new.py'
  )
  assert rebased(moved, base, program('A = 1')) is None
