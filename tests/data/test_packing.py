"""Packing: full rows that start with a document, nothing lost but what the rule crops."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax.data import packing

START = 60_000
lengths = st.lists(st.integers(1, 40), max_size=120)


def documents(lengths):
  """Documents whose tokens are all different, behind the document start."""
  first = 0
  for length in lengths:
    yield np.array([START, *range(first, first + length - 1)], np.uint16)
    first += length - 1


def pack(lengths, length, buffer=packing.BUFFER):
  packer = packing.Packer(documents(lengths), length, buffer)
  return list(packer), packer.result


def by_the_book(lengths, length, buffer):
  """The rule as AUTORESEARCH.md has it, word for word and slowly."""
  coming, waiting, rows, row = list(documents(lengths)), [], [], []
  while True:
    while coming and len(waiting) < buffer:
      waiting.append(coming.pop(0))
    if not waiting:
      return rows
    space = length - len(row)
    fitting = [d for d in waiting if len(d) <= space]
    chosen = max(fitting, key=len) if fitting else min(waiting, key=len)
    waiting = [d for d in waiting if d is not chosen]
    row = [*row, *chosen[:space]]
    if len(row) == length:
      rows.append(row)
      row = []


@given(lengths, st.integers(2, 30), st.integers(1, 50))
def test_rows_are_those_of_the_rule(lengths, length, buffer):
  rows, _ = pack(lengths, length, buffer)
  assert [row.tolist() for row in rows] == [
    [int(t) for t in row] for row in by_the_book(lengths, length, buffer)
  ]


@given(lengths, st.integers(2, 30))
def test_rows_are_full_and_start_with_a_document(lengths, length):
  rows, result = pack(lengths, length)
  assert all(row.shape == (length,) and row.dtype == np.uint16 for row in rows)
  assert all(row[0] == START for row in rows)
  assert result.rows == len(rows)


@given(lengths, st.integers(2, 30))
def test_every_token_is_in_a_row_or_accounted_for(lengths, length):
  rows, result = pack(lengths, length)
  assert result.documents == len(lengths) and result.tokens == sum(lengths)
  assert result.tokens == length * result.rows + result.cropped + result.left_over
  assert result.left_over < length
  kept = [t for row in rows for t in row.tolist() if t != START]
  assert len(kept) == len(set(kept))


@given(lengths, st.integers(2, 30))
def test_only_the_end_of_a_row_crops_and_only_the_end_of_a_document(lengths, length):
  rows, result = pack(lengths, length)
  whole = {d[1] if len(d) > 1 else None: d.tolist() for d in documents(lengths)}
  cropped = 0
  for row in rows:
    starts = [*np.flatnonzero(row == START), length]
    for i, (start, end) in enumerate(itertools.pairwise(starts)):
      if end - start == 1:
        continue
      piece = row[start:end].tolist()
      assert piece == whole[piece[1]][: len(piece)]
      if len(piece) < len(whole[piece[1]]):
        assert i == len(starts) - 2
        cropped += len(whole[piece[1]]) - len(piece)
  assert cropped <= result.cropped


@given(st.permutations([3, 3, 5, 5, 7, 7, 9, 20, 31]))
def test_how_much_is_kept_does_not_depend_on_the_order(lengths):
  _, result = pack(lengths, 10)
  _, expected = pack(sorted(lengths), 10)
  assert result == expected


@given(lengths, st.integers(2, 30))
def test_cut_documents_lose_nothing_and_fit(lengths, length):
  whole = list(documents(lengths))
  pieces = list(packing.cut(iter(whole), length))
  assert all(len(p) <= length and p[0] == START for p in pieces)
  assert [len(p) for p in pieces].count(1) == [len(w) for w in whole].count(1)
  texts = [np.concatenate([d[1:] for d in ds]).tolist() if ds else [] for ds in (pieces, whole)]
  assert texts[0] == texts[1]


@settings(max_examples=20)
@given(st.integers(0, 50), st.integers(1, 9))
def test_written_rows_can_be_mapped(tmp_path_factory, count, length):
  path = tmp_path_factory.mktemp('rows') / 'rows.npy'
  rows = np.random.default_rng(0).integers(0, 2**16, (count, length)).astype(np.uint16)
  assert packing.write(iter(rows), path, length) == count
  read = np.load(path, mmap_mode='r')
  assert read.dtype == np.uint16
  np.testing.assert_array_equal(read, rows)


def test_more_rows_than_are_written_at_a_time(tmp_path):
  rows = np.arange(packing.WRITE_ROWS + 1, dtype=np.uint16)[:, None]
  packing.write(iter(rows), tmp_path / 'rows.npy', 1)
  np.testing.assert_array_equal(np.load(tmp_path / 'rows.npy'), rows)


def test_a_row_too_short_for_a_pair_is_refused():
  with pytest.raises(ValueError, match='no pair'):
    packing.Packer([], 1)


def test_packing_takes_far_less_time_than_tokenizing():
  rng = np.random.default_rng(0)
  sizes = rng.integers(2, 258, 20_000)
  waiting = [np.full(n, 7, np.uint16) for n in sizes]
  start = time.process_time()
  rows = sum(1 for _ in packing.Packer(waiting, 257))
  assert rows > 8_000
  assert time.process_time() - start < 2  # 0.15 s where it was written
