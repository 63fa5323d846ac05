"""Transcripts: no control sequence, no secret, and no part of one at the cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.proposers.agent.transcript import Redaction

SECRET = 'ABCDEFGHIJKL'


@pytest.mark.parametrize(
  ('printed', 'kept'),
  [
    (b'\x1b[1;31mred\x1b[0m\r\nnext\rover', 'red\nnext\nover'),
    (b'\x1b]0;title\x07text\x1b(B \x1b]8;;http://x\x1b\\link', 'text link'),
    (b'a\x00\x08\x7f\xff\xe2\x80\xaeb\tc', 'a\ufffdb\tc'),
  ],
)
def test_control_sequences_are_taken_out(printed, kept):
  assert Redaction({}).transcript(printed, 100, False) == kept


@pytest.mark.parametrize(
  ('value', 'written'),
  [
    ('p"ss/wörd', 'p"ss/wörd'),
    ('p"ss/wörd', 'p\\"ss/w\\u00f6rd'),
    ('p"ss/wörd', 'p%22ss%2Fw%C3%B6rd'),
    (' padded-key\n', 'padded-key'),
  ],
)
def test_a_secret_is_found_in_every_way_it_is_written(value, written):
  redaction = Redaction({'KEY': value})
  assert redaction.text(f'key={written};') == 'key=[KEY];'
  assert redaction.found(written) == 'KEY' and not redaction.found('key')


def test_a_value_that_is_contained_in_another_does_not_uncover_it():
  assert Redaction({'A': 'abcd', 'B': 'abcdefgh'}).text('abcdefgh abcd') == '[B] [A]'


def test_short_and_missing_values_are_no_secrets():
  assert Redaction({'DEBUG': '1', 'EMPTY': ''}).text('1 and 1') == '1 and 1'


@given(
  before=st.text('.', max_size=80),
  between=st.lists(st.sampled_from(['', '.', '\x1b[0m', 'é']), max_size=20),
  most=st.integers(0, 60),
)
def test_no_part_of_a_secret_is_left_wherever_the_end_is_cut_off(before, between, most):
  redaction = Redaction({'key': SECRET})
  printed = ''.join([before, SECRET, *between, SECRET, *between]).encode()
  room = most + redaction.longest
  said = redaction.transcript(printed[-room:], most, len(printed) > room)
  assert not set(SECRET) & set(said)
  assert len(said.removeprefix('[the beginning is omitted]\n').replace('[key]', '')) <= most
