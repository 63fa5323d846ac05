"""Repairs a run whose ledger is damaged: it resumes from the last event before the damage.

The state of a run is a fold over all events, and each checksum covers the previous one, so a run
can only resume from before the damage. `repair` reports which events and trials are lost, keeps the
damaged ledger, results.tsv and repository in WORKDIR/damaged.N, and writes a ledger of the intact
events. It changes nothing in a run without damage.

A damaged first page makes the whole file unreadable for SQLite. That page is the same in every
ledger, so it is copied from a new one.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import sqlite3
from collections.abc import Sequence

from autoresearch_jax.ledger.events import Damaged, Edited, LedgerError, Record
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.ownership import numbered_folder
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.ledger.witness import read_witness

PAGE = 4096  # bytes; SQLite's default for a new file
GAP = 1000  # the search for later rows ends after as many missing indices in a row
KEPT = ('ledger.db', 'ledger.db-wal', 'ledger.head', 'results.tsv')


@dataclasses.dataclass(frozen=True)
class Examination:
  """The intact part of a ledger, and what is wrong with the rest.

  Attributes:
    events: The intact events, from the first on.
    problem: The damage, in a sentence; '' for none.
    last: Index of the last event that is known to have been written.
    readable: Number of later rows that can still be read.
    trials: Ids of the trials that such rows name.
  """

  events: list[Record]
  problem: str
  last: int
  readable: int
  trials: list[int]


def repair(directory: pathlib.Path) -> str:
  """Repairs the run in `directory` if necessary; returns a summary of the damage and the repair.

  Raises:
    WorkspaceError: The run is in progress.
    LedgerError: The ledger cannot be used, for a reason other than damage.
    OSError: A file cannot be read or written.
  """
  _require_ledger(directory / 'ledger.db')
  with Workspace.open(directory) as workspace:
    work = workspace.scratch / 'repair'
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
      found = _examine(workspace.ledger_path, work)
      if not found.problem:
        return (
          f'{workspace.ledger_path} is intact: {len(found.events)} events. Nothing was changed.'
        )
      made = _write(found.events, work / 'new.db')
      aside = _set_aside(directory)
      for name in ('ledger.db-wal', 'ledger.db-shm', 'ledger.head'):
        (directory / name).unlink(missing_ok=True)
      if made is None:
        workspace.ledger_path.unlink(missing_ok=True)
      else:
        made.replace(workspace.ledger_path)
        made.with_suffix('.head').replace(directory / 'ledger.head')
      return _summary(found, directory, aside)
    finally:
      shutil.rmtree(work, ignore_errors=True)


def _require_ledger(path: pathlib.Path) -> None:
  if not path.exists() and read_witness(path) is None:
    raise LedgerError(f'There is no ledger at {path}; use the --workdir of a run.')


def _examine(path: pathlib.Path, work: pathlib.Path) -> Examination:
  """Reads a copy, since opening a database writes to it and would change the evidence."""
  copy = work / 'ledger.db'
  for name in ('ledger.db', 'ledger.db-wal', 'ledger.head'):
    with contextlib.suppress(FileNotFoundError):
      shutil.copy2(path.with_name(name), work / name)
  found = _read(copy)
  if found.problem and not found.events and copy.exists() and copy.stat().st_size > PAGE:
    _give_first_page(copy, work)
    again = _read(copy)
    found = dataclasses.replace(again, problem=again.problem or found.problem)
  problem = found.problem.replace(str(copy), str(path)).replace(str(work), str(path.parent))
  return dataclasses.replace(found, problem=problem)


def _read(copy: pathlib.Path) -> Examination:
  last = (read_witness(copy) or (-1, ''))[0]
  try:
    with Ledger.read(copy) as ledger:
      events, problem = ledger.intact_records()
      count = len(events)
      indices, trials = _later(ledger, count, last)
    last = max([last, count - 1, *indices])
    problem = problem or _quick_check(copy)
    if not problem and last >= count:
      problem = f'{copy}: events {count} to {last} are missing.'
    return Examination(events, problem, last, len(indices), trials)
  except (Damaged, FileNotFoundError) as error:
    return Examination([], str(error), last, 0, [])
  except LedgerError as error:
    if copy.exists():
      raise
    return Examination([], str(error), last, 0, [])


def _later(ledger: Ledger, first: int, last: int) -> tuple[list[int], list[int]]:
  """Returns indices and trials of the rows from `first` on that can still be read."""
  indices: list[int] = []
  trials: set[int] = set()
  index = first
  while index <= max([last, first, *indices[-1:]]) + GAP:
    with contextlib.suppress(Damaged):
      row = ledger.row(index)
      if row is not None:
        indices.append(index)
        if isinstance(row[2], int):
          trials.add(row[2])
    index += 1
  return indices, sorted(trials)


def _quick_check(copy: pathlib.Path) -> str:
  """Returns SQLite's complaint about the file itself, or ''."""
  connection = sqlite3.connect(copy)
  try:
    answer = connection.execute('PRAGMA quick_check(1)').fetchone()[0]
  except sqlite3.DatabaseError as error:
    answer = str(error)
  finally:
    connection.close()
  return '' if answer == 'ok' else f'{copy} is damaged outside of the events: {answer}.'


def _give_first_page(copy: pathlib.Path, work: pathlib.Path) -> None:
  fresh = work / 'fresh.db'
  Ledger.open(fresh).close()
  data = bytearray(copy.read_bytes())
  data[:PAGE] = fresh.read_bytes()[:PAGE]
  data[28:32] = (len(data) // PAGE).to_bytes(4, 'big')  # the header's count of pages
  copy.write_bytes(data)
  copy.with_name('ledger.db-shm').unlink(missing_ok=True)


def _write(events: Sequence[Record], path: pathlib.Path) -> pathlib.Path | None:
  """Writes a ledger of these events with their times; returns None if there are none."""
  if not events:
    return None
  times = iter([record.time for record in events])
  with Ledger.open(path, lambda: next(times)) as ledger:
    for record in events:
      ledger.append(record.event)
  return path


def _set_aside(directory: pathlib.Path) -> pathlib.Path:
  """Backs up whatever the repair replaces or the next start rebuilds."""
  aside = numbered_folder(directory, 'damaged')
  for name in KEPT:
    with contextlib.suppress(FileNotFoundError):
      shutil.copy2(directory / name, aside / name)
  with contextlib.suppress(FileNotFoundError):
    (directory / 'repo').rename(aside / 'repo')
  return aside


def _summary(found: Examination, directory: pathlib.Path, aside: pathlib.Path) -> str:
  count = len(found.events)
  lines = [found.problem]
  if found.last < count:
    lines.append(f'All {count} events are intact and were written to a new file; nothing is lost.')
  else:
    lines.append(f'Lost: events {count} to {found.last}. {_trials(found)}')
  if found.readable:
    lines.append(
      f'{found.readable} of these can still be read, but they depend on the lost ones, so the run '
      'cannot resume from them.'
    )
  lines.append(
    f'The damaged files and the git repository of all trials are in {aside}. '
    f'{directory / "ledger.db"} now has the intact events: the same command resumes from event '
    f'{count}.'
    if count
    else f'The damaged files are in {aside}. No event is left: the same command starts over.'
  )
  return '\n'.join(lines)


def _trials(found: Examination) -> str:
  """Describes which trials are lost, entirely or in part."""
  intact = History.of(found.events)
  gone = [trial for trial in found.trials if trial not in intact.trials]
  if not gone:
    return 'No trial is lost.'
  made = {record.event.trial for record in found.events if isinstance(record.event, Edited)}
  parts = [f'{trial} (its program is kept)' if trial in made else str(trial) for trial in gone]
  return f'The results of these trials are lost: {", ".join(parts)}.'
