"""Downloads a corpus's shards in parallel, with a progress display, for `autoresearch prepare`.

After an interruption, the same command resumes.
"""

import contextlib
import fcntl
import importlib
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Protocol

import rich.console
import rich.progress

from autoresearch_jax.data import shards


class DownloadProgress(Protocol):
  """Receives the progress of downloads; shows nothing by default."""

  def update(self, name: str, had: int, total: int) -> None: ...

  def done(self, name: str, was_there: bool) -> None: ...


class DownloadBars:
  """A progress bar per shard, for a terminal."""

  def __init__(self, display: rich.progress.Progress):
    self._display = display
    self._tasks: dict[str, rich.progress.TaskID] = {}
    self._lock = threading.Lock()

  def update(self, name: str, had: int, total: int) -> None:
    with self._lock:
      if name not in self._tasks:
        self._tasks[name] = self._display.add_task(name)
    self._display.update(self._tasks[name], completed=had, total=total or None)

  def done(self, name: str, was_there: bool) -> None:
    if was_there:
      self._display.print(f'{name}: already there.')


class DownloadLines:
  """A line per downloaded shard, for logs and pipes."""

  def __init__(self, say: Callable[[str], None]):
    self._say = say

  def update(self, name: str, had: int, total: int) -> None: ...

  def done(self, name: str, was_there: bool) -> None:
    self._say(f'{name}: already complete.' if was_there else f'{name}: downloaded.')


def fetch(
  downloader: shards.Downloader, count: int, workers: int, progress: DownloadProgress
) -> None:
  """Downloads all wanted shards in parallel; the first failure stops the other downloads.

  Partial files are kept, so the next start resumes.

  Raises:
    shards.ShardUnavailable: A shard cannot be downloaded.
    KeyboardInterrupt: The user interrupted the download.
  """

  def one(index: int) -> None:
    name = downloader.shard_set.name(index)
    fetched = downloader.fetch(index, lambda had, total: progress.update(name, had, total))
    progress.done(name, not fetched)

  with futures.ThreadPoolExecutor(workers) as pool:
    # The validation shard first: without it nothing can be scored.
    under_way = [pool.submit(one, index) for index in reversed(downloader.shard_set.wanted(count))]
    try:
      futures.wait(under_way, return_when=futures.FIRST_EXCEPTION)
    finally:
      for future in under_way:
        future.cancel()
      if not all(future.done() for future in under_way) or _failed(under_way):
        downloader.stop.set()
  for future in _failed(under_way):
    if not isinstance(future.exception(), shards.DownloadStopped):
      future.result()


def download(
  shard_set: shards.ShardSet,
  folder: pathlib.Path,
  count: int,
  console: rich.console.Console,
  url: str = '',
  workers: int = 4,
  attempts: int = 6,
  verify: bool = False,
) -> None:
  """Downloads the training shards and the validation shard into a folder.

  Args:
    shard_set: Which shards.
    folder: Where the shards are kept.
    count: Number of training shards.
    console: Where progress is shown.
    url: Parent address of the shards; '' for their usual one.
    workers: Downloads at a time.
    attempts: Failures in a row after which a shard is given up.
    verify: Whether to read all shards that are there, and download damaged ones again.

  Raises:
    shards.ShardUnavailable: A shard cannot be downloaded.
    ValueError: Another process downloads into this folder.
  """
  folder.mkdir(parents=True, exist_ok=True)
  with _locked(folder):
    if verify:
      for path in shards.damaged(shard_set, folder, count):
        console.print(f'{path.name}: damaged; downloading it again.')
        path.unlink()
    downloader = shards.Downloader(folder, url, shard_set, attempts=attempts)
    with _progress(console) as progress:
      fetch(downloader, count, workers, progress)


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
  """Holds a lock, since two processes would write into each other's partial files."""
  with (folder / 'lock').open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(
        f'Another prepare command is running in {folder}; wait for it to finish.'
      ) from None
    yield


@contextlib.contextmanager
def _progress(console: rich.console.Console) -> Iterator[DownloadProgress]:
  if not console.is_terminal:
    yield DownloadLines(console.print)
    return
  columns = (
    rich.progress.TextColumn('{task.description}'),
    rich.progress.BarColumn(),
    rich.progress.DownloadColumn(),
    rich.progress.TransferSpeedColumn(),
    rich.progress.TimeRemainingColumn(),
  )
  with rich.progress.Progress(*columns, console=console) as display:
    yield DownloadBars(display)


def _failed(under_way: list[futures.Future[None]]) -> list[futures.Future[None]]:
  ended = [future for future in under_way if future.done() and not future.cancelled()]
  return [future for future in ended if future.exception() is not None]


if __name__ == '__main__':  # an older name of `autoresearch prepare`
  sys.exit(importlib.import_module('autoresearch_jax.cli.prepare').main(sys.argv[1:]))
