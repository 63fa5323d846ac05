"""The mirror of a run: uploads what the run records, in the background.

    lease/GENERATION.json                        the controller that writes here
    ledger/GENERATION-NUMBER-EVENTS-DIGEST.db.gz the latest copies of the ledger
    programs/TRIAL/...                           the programs that were kept
    artifacts/...                                what the tracer exported
    checkpoints/RUN.STEP.tar                     of long training runs under way
    results.tsv                                  as in the run's folder

Two threads of the controller's process do the work: one renews the lease, one uploads. The research
loop never waits for them, except for up to FLUSH_SECONDS at its end. A bucket that fails is tried
again with increasing delays.
"""

import contextlib
import functools
import os
import pathlib
import secrets
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

from autoresearch_jax import messages
from autoresearch_jax.data.bucket import Bucket, BucketError, BucketUrlError
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.ownership import numbered_folder
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.ledger.witness import witness_path
from autoresearch_jax.mirror import checkpoints, snapshots
from autoresearch_jax.mirror import lease as leases
from autoresearch_jax.mirror.lease import Lease, MirrorError

T = TypeVar('T')

POLL_SECONDS = 0.3  # between two looks at the ledger
IDLE_FACTOR = 30.0  # CPU seconds of a copy of the ledger, times this, pass before the next one
HURRY_SECONDS = 0.02  # the same while somebody waits for the last uploads
FIRST_DELAY, MAX_DELAY = 0.5, 60.0  # seconds between attempts while the bucket fails
OPEN_SECONDS = 120.0  # for which a failing bucket is tried when a session begins
FLUSH_SECONDS = 10.0  # for the last uploads of a session
RELEASE_SECONDS = 3.0


class NoMirror:
  """Stands for the mirror of a run that has none."""

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    pass

  def lost(self) -> str:
    """Returns why the session must stop, a sentence: another controller has the run. '' if not."""
    return ''


class Mirror(NoMirror):
  """The mirror of a run. As a context manager it uploads until it ends, and then the rest.

  Attributes:
    bucket: Where the copies are.
    directory: The run's folder.
    lease: The right to write to the bucket.
    uploaded: Number of events in the last copy of the ledger; -1 before the first.
  """

  def __init__(
    self,
    bucket: Bucket,
    directory: pathlib.Path,
    lease: Lease,
    checkpoints_there: Iterable[str] = (),
  ):
    self.bucket, self.directory, self.lease = bucket, directory, lease
    self.uploaded = -1
    self._number = 0  # of the next copy
    self._last: tuple | None = None  # event that is certainly in the last copy
    self._files = LocalFiles(directory)
    self._files.pulled(checkpoints_there)
    self._lost = ''
    self._failing = False
    self._hurry, self._closing = threading.Event(), threading.Event()
    self._threads = [
      threading.Thread(target=target, name=f'mirror {name}', daemon=True)
      for name, target in (('uploads', self._upload_forever), ('lease', self._renew_forever))
    ]

  def __enter__(self) -> Self:
    for thread in self._threads:
      thread.start()
    return self

  def __exit__(self, *_: object) -> None:
    """Uploads what is left, and gives the lease back."""
    complete = self.flush(FLUSH_SECONDS)
    self._closing.set()
    self._hurry.set()
    if not complete and not self._lost:
      self._say(
        f'The mirror {self.bucket.url} lacks the latest events: it has {max(0, self.uploaded)} of '
        f'{snapshots.count_events(self._ledger)}. They are in {self.directory}; start the same '
        'command there.'
      )
    release = threading.Thread(target=self._release, name='mirror release', daemon=True)
    release.start()
    release.join(RELEASE_SECONDS)

  def lost(self) -> str:
    return self._lost

  def flush(self, seconds: float) -> bool:
    """Waits until all is uploaded, for so many seconds; returns whether it is."""
    deadline = time.monotonic() + seconds
    self._hurry.set()
    while not self._complete():
      if time.monotonic() > deadline or self._lost or not self._threads[0].is_alive():
        return False
      time.sleep(HURRY_SECONDS)
    self._hurry.clear()
    return True

  @property
  def _ledger(self) -> pathlib.Path:
    return self.directory / 'ledger.db'

  def _complete(self) -> bool:
    return self._last == snapshots.last_event(self._ledger) and not self._files.changed()

  def _upload_forever(self) -> None:
    delay, pause = FIRST_DELAY, 0.0
    while not self._closing.is_set() and not self._lost:
      self._hurry.wait(pause)
      began = time.thread_time()
      try:
        busy = self._upload_ledger() or self._upload_file()
      except Exception as error:  # whatever it is, a later attempt may succeed
        if not self._failing:
          what = messages.one_line(str(error)) or type(error).__name__
          self._say(f'The mirror {self.bucket.url} fails; the run goes on meanwhile. {what}')
        self._failing, pause, delay = True, delay, min(MAX_DELAY, 2 * delay)
        self._closing.wait(FIRST_DELAY if self._hurry.is_set() else 0.0)
        continue
      if busy and self._failing:
        self._say(f'The mirror {self.bucket.url} works again.')
        self._failing = False
      delay, pause = FIRST_DELAY, max(POLL_SECONDS, IDLE_FACTOR * (time.thread_time() - began))
      if not busy:
        self._closing.wait(HURRY_SECONDS)

  def _upload_ledger(self) -> bool:
    """Uploads a copy of the ledger if it has new events."""
    last = snapshots.last_event(self._ledger)
    if last == self._last:
      return False
    events, data = snapshots.make(self._ledger)
    if self._lost:
      return False
    snapshots.upload(self.bucket, self.lease.generation, self._number, events, data)
    self._files.new_events(self._ledger)
    self._number += 1
    self.uploaded, self._last = events, last  # later events, if any, are for the next copy
    return True

  def _upload_file(self) -> bool:
    """Uploads one file that is new or has changed."""
    changed = self._files.changed()
    if not changed:
      for name in self._files.obsolete():
        self.bucket.delete(name)
        self._files.forget(name)
      return False
    name, file, stamp = changed[0]
    if isinstance(file, bytes):
      self.bucket.write(name, file)
    elif file.is_dir():
      with checkpoints.packed(file) as archive:
        self.bucket.upload(name, archive)
    elif file.exists():  # or it was deleted meanwhile
      self.bucket.upload(name, file)
    self._files.done(name, stamp)
    return True

  def _renew_forever(self) -> None:
    while not self._closing.wait(leases.RENEW_SECONDS):
      with contextlib.suppress(BucketError):  # the uploads report it
        if (other := self.lease.renew()) is not None:
          self._lost = (
            f'The mirror {self.bucket.url} was taken over by {other}, which goes on with the run; '
            'this session ends.'
          )
          return

  def _release(self) -> None:
    for thread in self._threads:
      thread.join(RELEASE_SECONDS / 3)
    with contextlib.suppress(BucketError):
      self.lease.release()

  @staticmethod
  def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
      messages.say(text, file=sys.stderr)


class LocalFiles:
  """Files of a run's folder that the mirror has beside the ledger, and which of them are new."""

  def __init__(self, directory: pathlib.Path):
    self._directory = directory
    self._stamps: dict[str, object] = {}
    self._programs: dict[str, bytes] = {}  # of kept trials
    self._kept = -1

  def new_events(self, ledger: pathlib.Path) -> None:
    """Finds the programs of trials that were kept since the last call."""
    with contextlib.closing(
      sqlite3.connect(f'{ledger.absolute().as_uri()}?mode=ro', uri=True)
    ) as c:
      select = "SELECT count(*) FROM events WHERE kind = 'decided' AND payload LIKE '%\"keep\"%'"
      (kept,) = c.execute(select).fetchone()
    if kept == self._kept:
      return
    with Ledger.read(ledger) as opened:
      history = History.of(opened.records())
    self._kept = kept
    for trial in history.kept:
      for name, text in history.edits[trial].program.files:
        self._programs[f'programs/{trial:05d}/{name}'] = text.encode()

  def changed(self) -> list[tuple[str, pathlib.Path | bytes, object]]:
    """Returns (name in the bucket, content, stamp) of what is to be uploaded."""
    found: list[tuple[str, pathlib.Path | bytes, object]] = [
      (name, data, len(data)) for name, data in list(self._programs.items())
    ]
    found += self._on_disk()
    return [item for item in found if self._stamps.get(item[0]) != item[2]]

  def done(self, name: str, stamp: object) -> None:
    """Marks a file as uploaded."""
    self._stamps[name] = stamp

  def obsolete(self) -> list[str]:
    """Returns the checkpoints in the bucket of training runs that are over, or went further."""
    present = checkpoints.found(self._directory)
    names = [name for name in self._stamps if name.startswith(checkpoints.FOLDER)]
    return [name for name in names if name not in present]

  def forget(self, name: str) -> None:
    """Marks a file as deleted."""
    self._stamps.pop(name, None)

  def pulled(self, names: Iterable[str]) -> None:
    """Marks checkpoints as being in the bucket already."""
    self._stamps.update(dict.fromkeys(names, ''))

  def _on_disk(self) -> Iterator[tuple[str, pathlib.Path, object]]:
    for name, path in checkpoints.found(self._directory).items():
      yield name, path, ''
    artifacts = self._directory / 'scratch' / 'artifacts'
    files = {f'artifacts/{path.name}': path for path in artifacts.glob('*.artifact')}
    for name, path in {'results.tsv': self._directory / 'results.tsv', **files}.items():
      with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        yield name, path, (found.st_size, found.st_mtime_ns)


def open_mirror(
  url: str,
  directory: pathlib.Path,
  say: Callable[[str], None],
  take_over: bool = False,
) -> NoMirror:
  """Takes the lease of a mirror, and brings the run's folder up to date with it.

  Args:
    url: `config.mirror`; '' for none.
    directory: The run's folder, which may be empty or missing.
    say: Receives lines of text.
    take_over: Whether to take the lease from another controller.

  Raises:
    MirrorError: The bucket cannot be used, another controller holds the lease, or the bucket has
      another run.
    WorkspaceError: The folder cannot be used.
  """
  if not url:
    return NoMirror()
  try:
    bucket, session = Bucket(url), secrets.token_hex(8)
  except BucketUrlError as error:
    raise MirrorError(str(error)) from None
  lease = _patiently(bucket, say, lambda: Lease.take(bucket, say, take_over, session))
  try:
    say(f'{"mirror":<11}{bucket.url}, lease {lease.generation}')
    copy = _patiently(bucket, say, lambda: snapshots.latest(bucket))
    names = _patiently(bucket, say, lambda: checkpoints.names(bucket))
    if copy is not None and _pull(directory, *copy, bucket, say):
      for name in names:
        _patiently(bucket, say, functools.partial(checkpoints.pull, bucket, name, directory))
  except BaseException:
    with contextlib.suppress(BucketError):
      lease.release()
    raise
  return Mirror(bucket, directory, lease, names)


def _patiently(bucket: Bucket, say: Callable[[str], None], call: Callable[[], T]) -> T:
  """Repeats a call while the bucket fails. Raises MirrorError."""
  deadline, delay = time.monotonic() + OPEN_SECONDS, FIRST_DELAY
  while True:
    try:
      return call()
    except BucketError as error:
      if time.monotonic() + delay > deadline:
        raise MirrorError(
          f'The mirror {bucket.url} cannot be reached: {error}. Check config.mirror, the '
          'credentials and the network; without the mirror it is not known where the run stands.'
        ) from error
      if delay == FIRST_DELAY:
        say(
          f'{"mirror":<11}fails, trying for {OPEN_SECONDS:.0f} s: {messages.one_line(str(error))}'
        )
      time.sleep(delay)
      delay = min(10.0, 2 * delay)


def _pull(
  directory: pathlib.Path, events: int, copy: bytes, bucket: Bucket, say: Callable[[str], None]
) -> bool:
  """Replaces the ledger in the run's folder by a copy if that is further; returns whether it was.

  Raises MirrorError if the two are of different runs.
  """
  ledger = directory / 'ledger.db'
  found = snapshots.relation(ledger, copy)
  if found in ('ahead', 'damaged'):  # which the session reports
    return False
  if found == 'foreign':
    raise MirrorError(
      f'{bucket.url} is the mirror of another run than the one in {directory}. Use another mirror, '
      'or another --workdir.'
    )
  with Workspace.open(directory) as workspace:
    if found == 'diverged':
      aside = _set_aside(directory)
      say(
        f'{"mirror":<11}another machine went on with this run; what it does not know of is in '
        f'{aside}'
      )
    new = workspace.scratch / 'pulled.db'
    with new.open('wb') as file:
      file.write(copy)
      file.flush()
      os.fsync(file.fileno())
    for old in (*_beside(ledger), witness_path(ledger)):
      old.unlink(missing_ok=True)
    new.replace(ledger)
  say(f'{"mirror":<11}pulled {events} events')
  return True


def _beside(ledger: pathlib.Path) -> tuple[pathlib.Path, ...]:
  return tuple(ledger.with_name(f'{ledger.name}-{suffix}') for suffix in ('wal', 'shm'))


def _set_aside(directory: pathlib.Path) -> pathlib.Path:
  """Moves the ledger and what is derived from it to a folder of their own."""
  aside = numbered_folder(directory, 'diverged')
  ledger = directory / 'ledger.db'
  for path in (ledger, *_beside(ledger), witness_path(ledger), directory / 'results.tsv'):
    if path.exists():
      shutil.move(path, aside / path.name)
  return aside
