"""Damaged ledgers: never read as something else, always said, and repaired without silent loss."""

import pathlib
import random
import shutil
import sqlite3
import subprocess
import sys

import pytest
from helpers.synthetic_run import run, ticking

from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.git_repo import Workspace, WorkspaceError
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.repair import repair
from autoresearch_jax.ledger.store import Ledger

pytestmark = pytest.mark.slow

FUZZED = 120
TRIALS = 12


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  directory = tmp_path_factory.mktemp('finished')
  run(directory, TRIALS, clock=ticking())
  return directory


@pytest.fixture
def workdir(finished, tmp_path):
  return pathlib.Path(shutil.copytree(finished, tmp_path / 'run'))


def records(workdir):
  with Ledger.read(workdir / 'ledger.db') as ledger:
    return list(ledger.records())


def change(workdir, statement):
  connection = sqlite3.connect(workdir / 'ledger.db')
  for name in ('events_no_update', 'events_no_delete', 'texts_no_update', 'texts_no_delete'):
    connection.execute(f'DROP TRIGGER {name}')
  connection.execute(statement)
  connection.commit()
  connection.close()


def flip(data, drawn):
  data[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)


def cut(data, drawn):
  del data[drawn.randrange(len(data)) :]


def blank(data, drawn):
  place = drawn.randrange(len(data))
  data[place : place + 4096] = bytes(len(data[place : place + 4096]))


def start_of_page(data, drawn):
  place = 4096 * drawn.randrange(len(data) // 4096)
  data[place : place + 16] = drawn.randbytes(16)


@pytest.mark.parametrize('damage', [flip, cut, blank, start_of_page])
def test_no_damage_is_ever_read_as_another_story(finished, tmp_path, damage):
  drawn = random.Random(1)
  whole, soundest = records(finished), 0
  for number in range(FUZZED // 4):
    directory = pathlib.Path(shutil.copytree(finished, tmp_path / str(number)))
    path = directory / 'ledger.db'
    data = bytearray(path.read_bytes())
    damage(data, drawn)
    path.write_bytes(data)
    try:
      with Ledger.open(path) as ledger:
        assert list(ledger.records()) == whole  # the damage lies where no event does
    except LedgerError as error:
      assert str(path) in str(error)
      assert 'autoresearch repair' in str(error)
    said = repair(directory)
    if path.exists():
      left = records(directory)
      assert left == whole[: len(left)]
      assert ('nothing is lost' in said or 'Nothing was changed' in said) == (left == whole), said
      if left != whole:
        assert f'Lost: events {len(left)} to {len(whole) - 1}.' in said
        soundest = max(soundest, len(left))
    else:
      assert 'No event is left' in said
    if 'Nothing was changed' not in said:
      assert (directory / 'damaged.1' / 'ledger.db').read_bytes() == bytes(data)
    assert not path.exists() or 'Nothing was changed' in repair(directory)
    shutil.rmtree(directory)
  assert soundest > 0 or damage is flip


def test_a_run_goes_on_after_a_repair_and_ends_as_if_undisturbed(workdir, finished):
  before = records(workdir)
  change(workdir, 'UPDATE events SET payload = payload || \' \' WHERE "index" = 17')
  with pytest.raises(LedgerError, match='Events 0 to 16 are intact'):
    run(workdir, TRIALS)
  said = repair(workdir)
  assert 'event 17 ' in said
  assert f'Lost: events 17 to {len(before) - 1}.' in said
  assert 'results of these trials are lost' in said
  lost = sorted({*range(TRIALS)} - {*History.of(before[:17]).trials})
  for trial in lost:
    assert str(trial) in said.partition('are lost')[2]
    assert (workdir / 'damaged.1' / 'repo' / '.git' / 'refs' / 'trials' / str(trial)).exists()
  old = (finished / 'results.tsv').read_text()
  assert (workdir / 'damaged.1' / 'results.tsv').read_text() == old
  history = run(workdir, TRIALS).history
  again = [trial.edit.program for trial in history.trials.values()]
  assert again == [trial.edit.program for trial in History.of(before).trials.values()]


def test_a_tail_that_was_cut_is_found_by_the_witness(workdir):
  count = len(records(workdir))
  change(workdir, f'DELETE FROM events WHERE "index" >= {count - 3}')
  with pytest.raises(LedgerError, match=f'events {count - 3} to {count - 1} are missing'):
    run(workdir, TRIALS)
  assert f'Lost: events {count - 3} to {count - 1}.' in repair(workdir)
  assert len(run(workdir, TRIALS).history.trials) == TRIALS


@pytest.mark.parametrize('how', [pathlib.Path.unlink, lambda path: path.write_bytes(b'')])
def test_a_ledger_that_is_gone_does_not_begin_a_new_run(workdir, how):
  how(workdir / 'ledger.db')
  with pytest.raises(LedgerError, match='are missing'):
    run(workdir, TRIALS)
  assert 'No event is left' in repair(workdir)
  assert len(run(workdir, 3).history.trials) == 3


def test_an_older_copy_of_the_ledger_is_not_taken_for_the_run(workdir, tmp_path):
  shutil.copy(workdir / 'ledger.db', tmp_path / 'older.db')
  run(workdir, TRIALS + 3)
  shutil.copy(tmp_path / 'older.db', workdir / 'ledger.db')
  with pytest.raises(LedgerError, match='older copy'):
    run(workdir, TRIALS)


def test_a_witness_that_is_damaged_or_gone_stops_nothing(workdir):
  for text in (b'', b'garbage', b'999999999999 x y\n', b'\xff\xfe'):
    (workdir / 'ledger.head').write_bytes(text)
    assert len(run(workdir, TRIALS).history.trials) == TRIALS
  (workdir / 'ledger.head').unlink()
  assert len(run(workdir, TRIALS).history.trials) == TRIALS


def test_a_kill_leaves_the_witness_behind_and_never_ahead(tmp_path):
  run(tmp_path, 3)
  line = (tmp_path / 'ledger.head').read_bytes()
  run(tmp_path, 5)
  (tmp_path / 'ledger.head').write_bytes(line)  # as if the last ones had not been witnessed
  assert len(run(tmp_path, 6).history.trials) == 6


def test_a_changed_first_page_costs_no_event(workdir):
  before = records(workdir)
  path = workdir / 'ledger.db'
  path.write_bytes(bytes(4096) + path.read_bytes()[4096:])
  with pytest.raises(LedgerError, match='autoresearch repair'):
    run(workdir, TRIALS)
  assert f'All {len(before)} events are intact' in repair(workdir)
  assert records(workdir) == before


def test_the_command_says_what_it_did_and_a_run_that_goes_on_is_left_alone(workdir):
  command = [sys.executable, '-m', 'autoresearch_jax.repair']
  done = subprocess.run([*command, workdir], capture_output=True, text=True, check=True)
  assert 'is intact' in done.stdout and 'Nothing was changed' in done.stdout
  with Workspace.open(workdir), pytest.raises(WorkspaceError, match='in use by the process'):
    repair(workdir)
  done = subprocess.run([*command, workdir / 'no'], capture_output=True, text=True, check=False)
  assert (done.returncode, done.stdout) == (2, '')
  assert 'There is no folder' in done.stderr
