"""Embeddings of programs that differ little are close, and tell in which direction they differ."""

import numpy as np
import pytest

from autoresearch_jax.search.similarity import (
  Embedding,
  cosine_similarities,
  edit_direction,
  num_differing_lines,
)
from autoresearch_jax.testing.strategies import START

BASE = Embedding.of(START)


def changed(old, new):
  assert old in START.text()
  return START.with_text(START.text().replace(old, new))


def cosine(one, other):
  return float(cosine_similarities(edit_direction(one, BASE), (edit_direction(other, BASE),))[0])


def test_the_same_change_up_to_two_digits_is_the_same_direction():
  one, other = changed('RATE = 0.5', 'RATE = 0.123'), changed('RATE = 0.5', 'RATE = 0.1204')
  assert cosine(one, other) == pytest.approx(1)


@pytest.mark.parametrize(
  'other',
  [
    changed('RATE = 0.5', 'RATE = 0.13'),
    changed('RATE = 0.5', 'RATE = 12'),
    changed('WIDTH = 4', 'WIDTH = 8'),
    changed('RATE = 0.5', 'RATE = 0.12\nBIAS = True'),
  ],
)
def test_another_change_is_another_direction(other):
  assert cosine(changed('RATE = 0.5', 'RATE = 0.12'), other) < 0.9


def test_a_program_that_does_not_differ_is_near_only_to_another_such():
  same = changed('RATE = 0.5', 'RATE = 0.501')
  assert cosine(same, START) == 1
  assert cosine(changed('RATE = 0.5', 'RATE = 0.6'), START) == 0


def test_digits_in_quotes_and_names_are_no_numbers():
  one, other = (changed('WIDTH = 4', f"BITS = '{bits}'") for bits in ('010111', '010112'))
  assert cosine(one, other) < 0.9
  one, other = (changed('WIDTH = 4', f'X_{n} = 1') for n in (1234, 1235))
  assert cosine(one, other) < 0.9


def test_the_distance_is_about_the_number_of_lines_that_differ():
  lines = [f'x = {n / 7!r} + y' for n in range(60)]
  one = START.with_text('\n'.join(lines))
  other = START.with_text('\n'.join([*lines[:50], *(f'{line} * z' for line in lines[50:])]))
  assert num_differing_lines(Embedding.of(one), (Embedding.of(one),)).tolist() == [0]
  assert num_differing_lines(Embedding.of(one), (Embedding.of(other),))[0] == pytest.approx(
    20, rel=0.5
  )


def test_another_order_of_lines_is_no_difference():
  text = START.text().splitlines()
  assert Embedding.of(START.with_text('\n'.join(reversed(text)))) == BASE


def test_all_files_count():
  with_more = START.with_text('MORE = 1\n', 'other.py')
  assert np.any(Embedding.of(with_more).array != BASE.array)
