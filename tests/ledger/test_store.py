"""The ledger keeps every event as it was, refuses change, and says where it was damaged."""

import contextlib
import sqlite3

import pytest
from helpers.synthetic_run import START, ticking
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.ledger.events import (
  Decided,
  Declined,
  Edited,
  Finished,
  LedgerError,
  Proposed,
  Resumed,
  Started,
  Stopped,
)
from autoresearch_jax.ledger.store import Ledger, read_history

EDIT = types.Edit(START, 'raise X\tby 1', types.Hypothesis('X is low', ('constants',), 0.5))
MEASUREMENT = types.Measurement(3, {'val_loss': 0.25}, types.Cost(training_seconds=1.5))
EVENTS = [
  Started({'name': 'a run', 'editable': ['model.py']}, 'a-run', 'data', {'jax': '1'}),
  Proposed(0, types.Proposal(types.Operation.DRAFT, seeds=(0, 1))),
  Edited(0, EDIT),
  Proposed(1, types.Proposal(types.Operation.IMPROVE, (0,), edit=EDIT)),
  Declined(1, 'no idea', failed=True),
  Finished(0, types.Result(0, types.Status.OK, '', 'f00d', None, (MEASUREMENT,), None, {'a': [1]})),
  Decided(0, types.Verdict(types.Decision.KEEP, 'it is the first')),
  Stopped('enough — ✓'),
  Resumed({}),
]


def written(path, events=EVENTS):
  with Ledger.open(path, ticking()) as ledger:
    return [ledger.append(event) for event in events]


@contextlib.contextmanager
def tampering(path):
  """A connection for which the triggers that forbid change are gone."""
  connection = sqlite3.connect(path)
  for name in ('events_no_update', 'events_no_delete', 'texts_no_update', 'texts_no_delete'):
    connection.execute(f'DROP TRIGGER IF EXISTS {name}')
  yield connection
  connection.commit()
  connection.close()


def read(path):
  with Ledger.read(path) as ledger:
    return list(ledger.records())


def test_what_is_read_equals_what_was_appended(tmp_path):
  records = written(tmp_path / 'ledger.db')
  assert [record.event for record in records] == EVENTS
  assert read(tmp_path / 'ledger.db') == records
  assert [record.index for record in records] == list(range(len(EVENTS)))


def test_appending_goes_on_after_reopening(tmp_path):
  path = tmp_path / 'ledger.db'
  records = written(path, EVENTS[:3]) + written(path, EVENTS[3:])
  assert read(path) == records


def test_a_program_text_is_stored_once(tmp_path):
  written(tmp_path / 'ledger.db', [Edited(number, EDIT) for number in range(5)])
  with tampering(tmp_path / 'ledger.db') as connection:
    assert connection.execute('SELECT count(*) FROM texts').fetchone() == (len(START.files),)


@pytest.mark.parametrize(
  'change',
  ["UPDATE events SET payload = '{}'", 'DELETE FROM events', "UPDATE texts SET text = ''"],
)
def test_events_and_texts_cannot_be_changed(tmp_path, change):
  written(tmp_path / 'ledger.db')
  connection = sqlite3.connect(tmp_path / 'ledger.db')
  with pytest.raises(sqlite3.IntegrityError, match='append-only'):
    connection.execute(change)
  connection.close()


@settings(max_examples=25, deadline=None)
@given(
  index=st.integers(0, len(EVENTS) - 1),
  change=st.sampled_from([
    "kind = 'resumed'", 'trial = 7', 'time = time + 1', "payload = payload || ' '",
    "checksum = 'x'",
  ]),
)  # fmt: skip
def test_a_changed_event_is_found_and_named(tmp_path_factory, index, change):
  path = tmp_path_factory.mktemp('ledger') / 'ledger.db'
  written(path, [*EVENTS[:-1], Stopped('again')])  # no event is what a change could make of it
  with tampering(path) as connection:
    connection.execute(f'UPDATE events SET {change} WHERE "index" = ?', [index])
  with pytest.raises(LedgerError, match=f'event {index} '):
    read(path)
  with pytest.raises(LedgerError, match=f'event {index} '):
    Ledger.open(path)


def test_a_lost_event_is_found(tmp_path):
  written(tmp_path / 'ledger.db')
  with tampering(tmp_path / 'ledger.db') as connection:
    connection.execute('DELETE FROM events WHERE "index" = 4')
  with pytest.raises(LedgerError, match='event 4 is missing'):
    read(tmp_path / 'ledger.db')


@pytest.mark.parametrize('change', ["UPDATE texts SET text = 'evil'", 'DELETE FROM texts'])
def test_a_changed_or_lost_program_text_is_found(tmp_path, change):
  written(tmp_path / 'ledger.db')
  with tampering(tmp_path / 'ledger.db') as connection:
    connection.execute(change)
  with pytest.raises(LedgerError, match='event 2 is missing or changed'):
    read(tmp_path / 'ledger.db')


def test_an_event_that_would_not_read_back_leaves_no_trace(tmp_path):
  broken = types.Measurement(0, {'val_loss': float('nan')}, types.Cost())
  with Ledger.open(tmp_path / 'ledger.db') as ledger:
    ledger.append(EVENTS[0])
    with pytest.raises(ValueError, match='float'):
      ledger.append(Finished(0, types.Result(0, types.Status.OK, measurements=(broken,))))
    ledger.append(Stopped('after'))
  assert [record.event for record in read(tmp_path / 'ledger.db')] == [EVENTS[0], Stopped('after')]


def test_a_reader_sees_a_ledger_that_is_being_written(tmp_path):
  with Ledger.open(tmp_path / 'ledger.db') as ledger:
    ledger.append(EVENTS[0])
    with Ledger.read(tmp_path / 'ledger.db') as reader:
      assert len(list(reader.records())) == 1
      ledger.append(EVENTS[1])
      assert len(list(reader.records())) == 2


def test_a_reader_cannot_write(tmp_path):
  written(tmp_path / 'ledger.db', EVENTS[:1])
  with Ledger.read(tmp_path / 'ledger.db') as reader:
    list(reader.records())
    with pytest.raises(LedgerError, match='readonly'):
      reader.append(Stopped('no'))


def test_other_files_are_refused(tmp_path):
  with pytest.raises(LedgerError, match='There is no ledger at'):
    Ledger.read(tmp_path / 'ledger.db')
  (tmp_path / 'text.db').write_text('not a database, but long enough to be taken for one' * 20)
  with pytest.raises(LedgerError, match='cannot be used as a ledger'):
    Ledger.open(tmp_path / 'text.db')
  written(tmp_path / 'newer.db', EVENTS[:1])
  with tampering(tmp_path / 'newer.db') as connection:
    connection.execute('PRAGMA user_version = 99')
  for opened in (Ledger.open, Ledger.read):
    with pytest.raises(LedgerError, match='schema 99'):
      opened(tmp_path / 'newer.db')


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(exclude_categories=['Cs']), max_size=200), st.integers(0, 2**40))
def test_any_text_survives(tmp_path_factory, text, trial):
  path = tmp_path_factory.mktemp('ledger') / 'ledger.db'
  program = START.with_text(text)
  events = [Edited(trial, types.Edit(program, text, types.Hypothesis(text))), Stopped(text)]
  records = written(path, events)
  assert [record.event for record in records] == events
  assert read(path) == records


def test_a_runs_history_is_read_while_it_is_written_and_only_once_it_has_begun(tmp_path):
  with pytest.raises(LedgerError, match='no ledger'):
    read_history(tmp_path)
  with Ledger.open(tmp_path / 'ledger.db', ticking()) as ledger:
    with pytest.raises(LedgerError, match='has not started'):
      read_history(tmp_path)
    ledger.append(Started({}, 'tag'))
    assert read_history(tmp_path).started == Started({}, 'tag')
