"""Diffs of programs are those of difflib, and turn one program into the other."""

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.report.page.diffs import program_diff
from autoresearch_jax.types import Program

LINES = st.lists(st.sampled_from([f'X = {n}' for n in range(12)] + ['']), max_size=30)


def program(lines):
  return Program((('model.py', ''.join(f'{line}\n' for line in lines)),), 'model.py')


def applied(diff, old):
  """The old lines with a diff applied; fails where the diff does not fit."""
  new, at = [], 0
  for line in diff.splitlines()[2:]:
    if line.startswith('@@'):
      first, _, count = line.split()[1][1:].partition(',')
      begin = int(first) - (count != '0')
      new += old[at:begin]
      at = begin
    elif line.startswith('+'):
      new.append(line[1:])
    else:
      assert old[at] == line[1:]
      new += [line[1:]] * line.startswith(' ')
      at += 1
  return new + old[at:]


@given(LINES, LINES)
def test_a_diff_turns_one_into_the_other(old, new):
  assert applied(program_diff(program(old), program(new)), old) == new


@given(st.lists(st.integers(0, 199), max_size=6), st.integers(1, 200))
def test_changes_in_place_are_those_of_difflib(places, length):
  old = [f'line {n}' for n in range(length)]
  new = [f'{line} changed' if n in places else line for n, line in enumerate(old)]
  expected = difflib.unified_diff(old, new, 'model.py', 'model.py', lineterm='')
  assert program_diff(program(old), program(new)).splitlines() == list(expected)


@pytest.mark.parametrize(('old', 'new'), [([], ['a']), (['a'], []), (['a', 'b'], ['b', 'a'])])
def test_small_files(old, new):
  assert applied(program_diff(program(old), program(new)), old) == new
