"""ClimbMix parquet shards on disk and over HTTP: names, manifest, a download that survives faults.

`prepare` calls `fetch` and `verify`; `corpus` reads what they left. A shard has its final name
only when all of it was written and it looks like parquet; the manifest then holds its size and
SHA-256, so that damage is found later.
"""

import dataclasses
import hashlib
import os
import pathlib
import random
import re
import threading
from collections.abc import Callable, Iterator
from typing import Self

import msgspec
import requests

from autoresearch_jax.data import cache

URL = 'https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main'
LAST = 6542  # the last shard is always validation
COMMAND = 'autoresearch prepare --corpus=climbmix'
MAGIC = b'PAR1'  # a parquet file begins and ends with it
BLOCK = 1 << 16  # bytes written at a time: what a broken connection loses at most


class Missing(FileNotFoundError):
  """Shards are not there; the sentence names the command that fetches them."""


class ShardUnavailable(Exception):
  """A shard cannot be had; the sentence says which, why and what to do."""


class DownloadStopped(Exception):
  """The caller asked to stop; what was written stays for the next start to go on from."""


class _Retry(Exception):
  """A fault that may pass. wait: seconds the server asked for, or None."""

  def __init__(self, sentence: str, wait: float | None = None):
    super().__init__(sentence)
    self.wait = wait


@dataclasses.dataclass(frozen=True)
class ShardRecord:
  """What was written: bytes and their SHA-256."""

  size: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
  """The records of the shards in a folder, kept beside them as manifest.json."""

  folder: pathlib.Path
  records: dict[str, ShardRecord]

  @classmethod
  def read(cls, folder: pathlib.Path) -> Self:
    """Raises ValueError for a manifest that cannot be read."""
    path = folder / 'manifest.json'
    if not path.exists():
      return cls(folder, {})
    try:
      return cls(folder, msgspec.json.decode(path.read_bytes(), type=dict[str, ShardRecord]))
    except msgspec.DecodeError as error:
      raise ValueError(f'{path} is damaged ({error}); delete it and run {COMMAND}.') from None

  def add(self, name: str, record: ShardRecord) -> None:
    self.records[name] = record
    path = self.folder / 'manifest.json'
    partial = path.with_suffix('.json.part')
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(self.records)))
    partial.replace(path)


def name(index: int) -> str:
  return f'shard_{index:05d}.parquet'


def wanted(count: int) -> list[int]:
  """The indices of `count` training shards and of the validation shard, which comes last."""
  if not 1 <= count <= LAST:
    raise ValueError(f'{count} training shards were asked for; there are 1 to {LAST}.')
  return [*range(count), LAST]


def present(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  """Paths of the wanted shards. Raises Missing unless each is there with its recorded size."""
  records = Manifest.read(folder).records
  paths = [folder / name(index) for index in wanted(count)]
  missing = [path.name for path in paths if not _complete(path, records.get(path.name))]
  if missing:
    elsewhere = '' if folder.parent == cache.directory() else f' --cache={folder.parent}'
    raise Missing(
      f'{len(missing)} of {len(paths)} ClimbMix shards are not in {folder} '
      f'(the first is {missing[0]}). Fetch them with: {COMMAND} --shards={count}{elsewhere}'
    )
  return paths


def texts(path: pathlib.Path) -> Iterator[str]:
  """The text column of a shard, document by document, without loading it whole."""
  from pyarrow import parquet  # noqa: PLC0415 - 0.8 s of import that only this corpus needs

  with parquet.ParquetFile(path) as shard:
    for batch in shard.iter_batches(columns=['text']):
      for text in batch.column(0):
        if value := text.as_py():
          yield value


def digest(path: pathlib.Path) -> ShardRecord:
  """Size and SHA-256 of a file."""
  with path.open('rb') as file:
    sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
  return ShardRecord(path.stat().st_size, sha256)


def damaged(folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  """Wanted shards that are there but no longer what was recorded of them. Reads all of them."""
  records = Manifest.read(folder).records
  paths = [folder / name(index) for index in wanted(count)]
  known = [path for path in paths if path.exists() and path.name in records]
  return [path for path in known if digest(path) != records[path.name]]


@dataclasses.dataclass
class Downloader:
  """Fetches shards into `folder`; one instance may be used by several threads.

  url: the shards' parent address. attempts: faults in a row, without a byte gained, before it
  gives up. backoff: seconds before the second attempt, doubled each time, up to `patience`.
  timeout: seconds of silence that count as a fault. stop: set it to end all transfers.
  """

  folder: pathlib.Path
  url: str = URL
  attempts: int = 6
  backoff: float = 1.0
  patience: float = 60.0
  timeout: float = 30.0
  stop: threading.Event = dataclasses.field(default_factory=threading.Event)

  def __post_init__(self) -> None:
    self.folder.mkdir(parents=True, exist_ok=True)
    self._manifest = Manifest.read(self.folder)
    self._lock = threading.Lock()
    self._local = threading.local()

  def fetch(self, index: int, report: Callable[[int, int], None]) -> bool:
    """Makes sure that the shard is there; False when it already was.

    report: called with bytes had and bytes in all (0: not known) as they arrive.
    Raises ShardUnavailable, DownloadStopped, OSError for a full disk.
    """
    target = self.folder / name(index)
    if _complete(target, self._manifest.records.get(target.name)):
      return False
    if not (target.name not in self._manifest.records and _is_parquet(target)):
      self._download(target, report)
    with self._lock:
      self._manifest.add(target.name, digest(target))
    return True

  def _download(self, target: pathlib.Path, report: Callable[[int, int], None]) -> None:
    partial = target.with_name(f'{target.name}.part')
    faults = 0
    while True:
      before = _size(partial)
      try:
        self._transfer(f'{self.url}/{target.name}', partial, report)
        break
      except (_Retry, requests.RequestException) as error:
        faults = 1 if _size(partial) > before else faults + 1
        if faults >= self.attempts:
          raise ShardUnavailable(
            f'{target.name} could not be fetched from {self.url} in {faults} attempts. '
            f'Run the same command again to go on where it stopped. What went wrong last: {error}'
          ) from None
        self._wait(faults, error.wait if isinstance(error, _Retry) else None)
    if not _is_parquet(partial):
      _discard(partial)
      raise ShardUnavailable(
        f'{self.url}/{target.name} did not answer with a parquet file. Check --url.'
      )
    _forget(partial)
    partial.replace(target)

  def _transfer(self, url: str, partial: pathlib.Path, report: Callable[[int, int], None]) -> None:
    """One request: goes on from what `partial` has when the server can, else starts anew."""
    had, tag = _size(partial), _tag(partial)
    headers = {'Accept-Encoding': 'identity'}
    if had:
      headers |= {'Range': f'bytes={had}-'} | ({'If-Range': tag} if tag else {})
    with self._session().get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
      had, total = _agree(answer, partial, had)
      with partial.open('r+b' if had else 'wb') as file:
        file.seek(had)
        for block in answer.iter_content(BLOCK):
          if self.stop.is_set():
            raise DownloadStopped
          file.write(block)
          report(file.tell(), total)
    if total and _size(partial) != total:
      raise _Retry(f'the connection ended at {_size(partial):,} of {total:,} bytes.')

  def _wait(self, faults: int, asked: float | None) -> None:
    """Doubles the pause with each fault, spread so that parallel transfers fall out of step."""
    spread = 0.5 + random.random() / 2
    pause = min(self.patience, self.backoff * 2 ** (faults - 1)) * spread
    if self.stop.wait(pause if asked is None else min(asked, self.patience)):
      raise DownloadStopped

  def _session(self) -> requests.Session:
    """One a thread: a requests session is not safe to share."""
    if not hasattr(self._local, 'session'):
      self._local.session = requests.Session()
    return self._local.session


def _agree(answer: requests.Response, partial: pathlib.Path, had: int) -> tuple[int, int]:
  """Where to write from, and the bytes in all (0: unknown), by what the server answered.

  Raises _Retry, ShardUnavailable.
  """
  code = answer.status_code
  if code in (408, 425, 429) or code >= 500:
    raise _Retry(f'the server answered {code} {answer.reason}.', _retry_after(answer))
  if code == 416:  # what is here is no beginning of what is there
    _discard(partial)
    raise _Retry('the server no longer has what was fetched before; starting again.')
  if code == 404:
    raise ShardUnavailable(
      f'There is no {answer.url} (404). Check --url, and --shards: there are {LAST} for training.'
    )
  if code not in (200, 206):
    raise ShardUnavailable(f'{answer.url} was refused with {code} {answer.reason}.')
  _remember(partial, answer.headers.get('ETag'))
  if code == 206:
    match = re.fullmatch(r'bytes (\d+)-\d+/(\d+|\*)', answer.headers.get('Content-Range', ''))
    if match is None or int(match[1]) != had:
      _discard(partial)
      raise _Retry('the server answered with another part than was asked for; starting again.')
    return had, int(match[2]) if match[2] != '*' else 0
  return 0, int(answer.headers.get('Content-Length', 0))


def _retry_after(answer: requests.Response) -> float | None:
  """Seconds; the form with a date is rare enough to fall back on our own pause."""
  value = answer.headers.get('Retry-After', '')
  return float(value) if value.isdecimal() else None


def _remember(partial: pathlib.Path, tag: str | None) -> None:
  """Keeps the version's tag, so that two versions are never joined. Weak tags can't do that."""
  if tag and not tag.startswith('W/'):
    partial.with_suffix('.etag').write_text(tag, encoding='utf-8')
  else:
    _forget(partial)


def _tag(partial: pathlib.Path) -> str:
  path = partial.with_suffix('.etag')
  return path.read_text(encoding='utf-8') if path.exists() else ''


def _discard(partial: pathlib.Path) -> None:
  partial.unlink(missing_ok=True)
  _forget(partial)


def _forget(partial: pathlib.Path) -> None:
  partial.with_suffix('.etag').unlink(missing_ok=True)


def _complete(path: pathlib.Path, record: ShardRecord | None) -> bool:
  return record is not None and _size(path) == record.size


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0


def _is_parquet(path: pathlib.Path) -> bool:
  if _size(path) < 2 * len(MAGIC):
    return False
  with path.open('rb') as file:
    start = file.read(len(MAGIC))
    file.seek(-len(MAGIC), os.SEEK_END)
    return start == MAGIC == file.read()
