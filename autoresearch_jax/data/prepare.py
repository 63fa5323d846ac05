"""The command that makes data ready: `python -m autoresearch_jax.data.prepare`.

Fetches ClimbMix shards (the original's ten and the validation shard unless told otherwise), then
trains the tokenizer and packs the rows, as a run with the same data options would on first use.
Run it again after an interruption: it goes on where it stopped. The defaults are the original's
setting; give the options of `config.data` for another one.
"""

import contextlib
import fcntl
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Protocol

import rich.console
import rich.progress
from absl import app, flags

from autoresearch_jax.data import cache as caching
from autoresearch_jax.data import shards

ORIGINAL = {
  'vocab_size': 8192,
  'sequence_length': 2048,
  'validation_tokens': 40 * 524_288,
  'test_tokens': 10 * 524_288,  # not the original's, which has none
}

_CORPUS = flags.DEFINE_enum('corpus', 'climbmix', ['climbmix', 'python'], 'What to prepare.')
_SHARDS = flags.DEFINE_integer('shards', 10, 'Training shards of ClimbMix.', 1, shards.LAST)
_CACHE = flags.DEFINE_string(
  'cache', None, 'Where data go: $AUTORESEARCH_JAX_CACHE or ~/.cache/autoresearch_jax.'
)
_URL = flags.DEFINE_string('url', shards.URL, 'The parent address of the shards.')
_WORKERS = flags.DEFINE_integer('workers', 4, 'Transfers at a time.', 1, 32)
_ATTEMPTS = flags.DEFINE_integer('attempts', 6, 'Faults in a row before a shard is given up.', 1)
_VERIFY = flags.DEFINE_bool('verify', False, 'Read all shards and fetch damaged ones again.')
_ONLY_FETCH = flags.DEFINE_bool('only_fetch', False, 'Stop when the shards are there.')
_VOCAB_SIZE = flags.DEFINE_integer('vocab_size', None, 'Tokens; 8192, or 1024 for `python`.')
_SEQUENCE = flags.DEFINE_integer('sequence_length', None, 'Tokens a row; 2048, or 256.')
_VALIDATION = flags.DEFINE_integer('validation_tokens', None, 'Tokens scored; 20971520, or 131072.')
_LOCKED = flags.DEFINE_integer(
  'test_tokens', None, 'Tokens scored at the end of a run alone; 5242880, or 0.', 0
)


class Progress(Protocol):
  """Where transfers report what has arrived."""

  def update(self, name: str, had: int, total: int) -> None: ...

  def done(self, name: str, was_there: bool) -> None: ...


class Bars:
  """A bar a shard, on a terminal."""

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


class Lines:
  """A line when a shard is there, for logs and pipes."""

  def __init__(self, say: Callable[[str], None]):
    self._say = say

  def update(self, name: str, had: int, total: int) -> None: ...

  def done(self, name: str, was_there: bool) -> None:
    self._say(f'{name}: already there.' if was_there else f'{name}: fetched.')


def fetch(downloader: shards.Downloader, count: int, workers: int, progress: Progress) -> None:
  """Fetches all wanted shards, `workers` at a time; the first failure ends the others too.

  Raises shards.Unavailable, KeyboardInterrupt; what was written stays for the next start.
  """

  def one(index: int) -> None:
    name = shards.name(index)
    fetched = downloader.fetch(index, lambda had, total: progress.update(name, had, total))
    progress.done(name, not fetched)

  with futures.ThreadPoolExecutor(workers) as pool:
    # The validation shard first: without it nothing can be scored.
    under_way = [pool.submit(one, index) for index in reversed(shards.wanted(count))]
    try:
      futures.wait(under_way, return_when=futures.FIRST_EXCEPTION)
    finally:
      for future in under_way:
        future.cancel()
      if not all(future.done() for future in under_way) or _failed(under_way):
        downloader.stop.set()
  for future in _failed(under_way):
    if not isinstance(future.exception(), shards.Stopped):
      future.result()


def main(argv: list[str]) -> None:
  # A shell that starts this in the background has SIGINT ignored; a stop must work there too.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  if len(argv) > 1:
    raise app.UsageError(f'Not understood: {" ".join(argv[1:])}. Options start with --.')
  console = rich.console.Console(highlight=False, markup=False, soft_wrap=True)
  cache = pathlib.Path(_CACHE.value).absolute() if _CACHE.value else caching.directory()
  try:
    if _CORPUS.value == 'climbmix':
      _climbmix(cache / 'climbmix', console)
    if not _ONLY_FETCH.value:
      _pack(cache, console.print)
  except KeyboardInterrupt:
    console.print('Interrupted; run the same command again to go on where it stopped.')
    sys.exit(130)
  except (shards.Unavailable, OSError, ValueError) as error:
    console.print(f'Not prepared: {error}')
    sys.exit(1)


def _climbmix(folder: pathlib.Path, console: rich.console.Console) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  with _alone(folder):
    if _VERIFY.value:
      for path in shards.damaged(folder, _SHARDS.value):
        console.print(f'{path.name}: damaged since it was written; fetching it again.')
        path.unlink()
    downloader = shards.Downloader(folder, _URL.value.rstrip('/'), attempts=_ATTEMPTS.value)
    with _progress(console) as progress:
      fetch(downloader, _SHARDS.value, _WORKERS.value, progress)


def _pack(cache: pathlib.Path, say: Callable[[str], None]) -> None:
  from autoresearch_jax.problems import PROBLEMS  # noqa: PLC0415 - the problem imports this room

  options = dict(ORIGINAL) if _CORPUS.value == 'climbmix' else {}
  given = {
    'vocab_size': _VOCAB_SIZE.value,
    'sequence_length': _SEQUENCE.value,
    'validation_tokens': _VALIDATION.value,
    'test_tokens': _LOCKED.value,
  }
  options |= {name: value for name, value in given.items() if value is not None}
  options |= {'corpus': _CORPUS.value, 'shards': _SHARDS.value, 'evaluation_batch': 1}
  dataset = PROBLEMS.make('language_model', options).prepare(cache, say)
  say(f'Ready in {pathlib.Path(dataset.train).parent}.')


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
  """Two commands in one folder would write into each other's partial files."""
  with (folder / 'lock').open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(
        f'Another prepare command is at work in {folder}; wait for it to end.'
      ) from None
    yield


@contextlib.contextmanager
def _progress(console: rich.console.Console) -> Iterator[Progress]:
  if not console.is_terminal:
    yield Lines(console.print)
    return
  columns = (
    rich.progress.TextColumn('{task.description}'),
    rich.progress.BarColumn(),
    rich.progress.DownloadColumn(),
    rich.progress.TransferSpeedColumn(),
    rich.progress.TimeRemainingColumn(),
  )
  with rich.progress.Progress(*columns, console=console) as display:
    yield Bars(display)


def _failed(under_way: list[futures.Future[None]]) -> list[futures.Future[None]]:
  ended = [future for future in under_way if future.done() and not future.cancelled()]
  return [future for future in ended if future.exception() is not None]


if __name__ == '__main__':
  app.run(main)
