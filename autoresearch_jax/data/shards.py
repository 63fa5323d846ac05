"""Shards of corpora: file names, manifest, and a download that retries and resumes.

`prepare` downloads them, `corpus` reads them. A shard gets its final name once it is complete and
looks like one. The manifest stores its size and SHA-256, so that later damage is detected.
"""

import dataclasses
import hashlib
import os
import pathlib
import random
import re
import threading
from collections.abc import Callable, Iterator
from typing import Literal, Self

import msgspec
import numpy as np
import requests

from autoresearch_jax.data import cache

BLOCK = 1 << 16  # bytes written at a time; a broken connection loses at most one block


PARQUET = b'PAR1'  # at the beginning and the end of a parquet file
TOKENS = (20240520).to_bytes(4, 'little')  # at the beginning of a file of tokens, as in llm.c
TOKENS_HEADER = 1024  # bytes before the tokens, which are uint16


class MissingShards(FileNotFoundError):
  """Shards are missing; the message names the command that downloads them."""


class ShardUnavailable(Exception):
  """A shard cannot be downloaded; the message says which, why, and what to do."""


class DownloadStopped(Exception):
  """The caller stopped the download; partial files are kept, and the next start resumes."""


@dataclasses.dataclass(frozen=True)
class ShardSet:
  """The shards of a corpus: training shards, and one for validation.

  Attributes:
    corpus: Name of the corpus, and of its folder in the cache.
    title: Its name in messages.
    url: Parent address of the shards.
    training: Training shards that there are.
    first: Index of the first of them.
    validation: Index of the validation shard.
    names: File name of a training shard; `{index}` is replaced.
    validation_name: File name of the validation shard.
    format: What the files are: parquet with a column `text`, or tokens.
  """

  corpus: str
  title: str
  url: str
  training: int
  first: int
  validation: int
  names: str
  validation_name: str
  format: Literal['parquet', 'tokens']

  @property
  def command(self) -> str:
    return f'autoresearch prepare --corpus={self.corpus}'

  def name(self, index: int) -> str:
    return (self.validation_name if index == self.validation else self.names).format(index=index)

  def wanted(self, count: int) -> list[int]:
    """Returns the indices of `count` training shards and, last, of the validation shard."""
    if not 1 <= count <= self.training:
      raise ValueError(f'{count} training shards were requested; choose 1 to {self.training}.')
    return [*range(self.first, self.first + count), self.validation]

  def looks_right(self, path: pathlib.Path) -> bool:
    """Whether a file begins and ends as its format does."""
    size = _size(path)
    if size < TOKENS_HEADER if self.format == 'tokens' else size < 2 * len(PARQUET):
      return False
    with path.open('rb') as file:
      start = file.read(4)
      if self.format == 'tokens':
        return start == TOKENS and size % 2 == 0
      file.seek(-len(PARQUET), os.SEEK_END)
      return start == PARQUET == file.read()


CLIMBMIX = ShardSet(
  'climbmix', 'ClimbMix', 'https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main',
  training=6542, first=0, validation=6542, names='shard_{index:05d}.parquet',
  validation_name='shard_{index:05d}.parquet', format='parquet',
)  # fmt: skip
# The 10-billion-token sample of FineWeb in GPT-2's tokens, 100 million a shard, as modded-nanogpt
# downloads it.
FINEWEB = ShardSet(
  'fineweb', 'FineWeb', 'https://huggingface.co/datasets/kjj0/fineweb10B-gpt2/resolve/main',
  training=103, first=1, validation=0, names='fineweb_train_{index:06d}.bin',
  validation_name='fineweb_val_{index:06d}.bin', format='tokens',
)  # fmt: skip
SHARD_SETS = {shard_set.corpus: shard_set for shard_set in (CLIMBMIX, FINEWEB)}


class _TransientError(Exception):
  """A failure worth a retry.

  Attributes:
    retry_after: Seconds that the server asks to wait; None if it does not say.
  """

  def __init__(self, message: str, retry_after: float | None = None):
    super().__init__(message)
    self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class ShardRecord:
  """A complete shard.

  Attributes:
    size: Bytes.
    sha256: Digest of the content.
  """

  size: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
  """The records of the shards in a folder, stored as its manifest.json.

  Attributes:
    folder: The folder.
    records: By file name.
  """

  folder: pathlib.Path
  records: dict[str, ShardRecord]

  @classmethod
  def read(cls, folder: pathlib.Path) -> Self:
    """Reads a folder's manifest, empty if there is none. Raises ValueError if it is damaged."""
    path = folder / 'manifest.json'
    if not path.exists():
      return cls(folder, {})
    try:
      return cls(folder, msgspec.json.decode(path.read_bytes(), type=dict[str, ShardRecord]))
    except msgspec.DecodeError as error:
      raise ValueError(
        f'{path} is damaged ({error}); delete it and run '
        f'autoresearch prepare --corpus={folder.name}.'
      ) from None

  def add(self, name: str, record: ShardRecord) -> None:
    self.records[name] = record
    path = self.folder / 'manifest.json'
    partial = path.with_suffix('.json.part')
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(self.records)))
    partial.replace(path)


def present(shard_set: ShardSet, folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  """Returns the paths of the wanted shards. Raises MissingShards unless all are complete."""
  records = Manifest.read(folder).records
  paths = [folder / shard_set.name(index) for index in shard_set.wanted(count)]
  missing = [path.name for path in paths if not _complete(path, records.get(path.name))]
  if missing:
    elsewhere = '' if folder.parent == cache.directory() else f' --cache={folder.parent}'
    raise MissingShards(
      f'{len(missing)} of {len(paths)} {shard_set.title} shards are not in {folder} (the first is '
      f'{missing[0]}). Download them with: {shard_set.command} --shards={count}{elsewhere}'
    )
  return paths


def texts(path: pathlib.Path) -> Iterator[str]:
  """Yields the documents of a shard, reading it in batches."""
  from pyarrow import parquet  # noqa: PLC0415 - 0.8 s of import that only this corpus needs

  with parquet.ParquetFile(path) as shard:
    for batch in shard.iter_batches(columns=['text']):
      for text in batch.column(0):
        if value := text.as_py():
          yield value


def tokens(path: pathlib.Path) -> np.ndarray:
  """Returns the tokens of a shard of tokens, uint16 `[tokens]`, mapped from the file.

  Raises:
    ValueError: The file does not hold as many tokens as its header says.
  """
  count = int(np.fromfile(path, np.int32, 3)[2])
  if path.stat().st_size != TOKENS_HEADER + 2 * count:
    raise ValueError(
      f'{path} does not hold the {count:,} tokens of its header. Delete it, and run '
      f'{FINEWEB.command} again.'
    )
  return np.memmap(path, np.uint16, 'r', TOKENS_HEADER, (count,))


def digest(path: pathlib.Path) -> ShardRecord:
  """Returns size and SHA-256 of a file."""
  with path.open('rb') as file:
    sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
  return ShardRecord(path.stat().st_size, sha256)


def damaged(shard_set: ShardSet, folder: pathlib.Path, count: int) -> list[pathlib.Path]:
  """Returns the wanted shards whose content differs from the manifest. Reads all of them."""
  records = Manifest.read(folder).records
  paths = [folder / shard_set.name(index) for index in shard_set.wanted(count)]
  known = [path for path in paths if path.exists() and path.name in records]
  return [path for path in known if digest(path) != records[path.name]]


@dataclasses.dataclass
class Downloader:
  """Downloads shards. Safe to use from several threads.

  Attributes:
    folder: Folder of the shards.
    url: Parent address of the shards; '' for their usual one.
    shard_set: Which shards.
    attempts: Failures in a row, without any progress, after which a shard is given up.
    initial_delay: Seconds before the second attempt; doubles with each further one.
    max_delay: Maximum seconds between two attempts.
    timeout: Seconds without data that count as a failure.
    stop: Ends all transfers when it is set.
  """

  folder: pathlib.Path
  url: str = ''
  shard_set: ShardSet = CLIMBMIX
  attempts: int = 6
  initial_delay: float = 1.0
  max_delay: float = 60.0
  timeout: float = 30.0
  stop: threading.Event = dataclasses.field(default_factory=threading.Event)

  def __post_init__(self) -> None:
    self.url = (self.url or self.shard_set.url).rstrip('/')
    self.folder.mkdir(parents=True, exist_ok=True)
    self._manifest = Manifest.read(self.folder)
    self._lock = threading.Lock()
    self._local = threading.local()

  def fetch(self, index: int, report: Callable[[int, int], None]) -> bool:
    """Downloads a shard unless it is complete.

    Args:
      index: Index of the shard.
      report: Called with the bytes received so far and the total (0: unknown).

    Returns:
      Whether it was downloaded now.

    Raises:
      ShardUnavailable: It cannot be downloaded.
      DownloadStopped: `stop` was set.
      OSError: It cannot be written, for instance since the disk is full.
    """
    target = self.folder / self.shard_set.name(index)
    if _complete(target, self._manifest.records.get(target.name)):
      return False
    if not (target.name not in self._manifest.records and self.shard_set.looks_right(target)):
      self._download(target, report)
    with self._lock:
      self._manifest.add(target.name, digest(target))
    return True

  def _download(self, target: pathlib.Path, report: Callable[[int, int], None]) -> None:
    partial = target.with_name(f'{target.name}.part')
    failures = 0
    while True:
      before = _size(partial)
      try:
        self._transfer(f'{self.url}/{target.name}', partial, report)
        break
      except (_TransientError, requests.RequestException) as error:
        failures = 1 if _size(partial) > before else failures + 1
        if failures >= self.attempts:
          raise ShardUnavailable(
            f'{target.name} could not be downloaded from {self.url} in {failures} attempts. '
            f'Run the same command again to resume. The last error: {error}'
          ) from None
        self._wait(failures, error.retry_after if isinstance(error, _TransientError) else None)
    if not self.shard_set.looks_right(partial):
      _discard(partial)
      raise ShardUnavailable(
        f'{self.url}/{target.name} is not a {self.shard_set.format} file. Check --url.'
      )
    _remove_etag(partial)
    partial.replace(target)

  def _transfer(self, url: str, partial: pathlib.Path, report: Callable[[int, int], None]) -> None:
    """Makes one request, which resumes a partial file if the server supports that."""
    had, tag = _size(partial), _etag(partial)
    headers = {'Accept-Encoding': 'identity'}
    if had:
      headers |= {'Range': f'bytes={had}-'} | ({'If-Range': tag} if tag else {})
    with self._session().get(url, headers=headers, stream=True, timeout=self.timeout) as answer:
      had, total = _resume_offset(answer, partial, had)
      with partial.open('r+b' if had else 'wb') as file:
        file.seek(had)
        for block in answer.iter_content(BLOCK):
          if self.stop.is_set():
            raise DownloadStopped
          file.write(block)
          report(file.tell(), total)
    if total and _size(partial) != total:
      raise _TransientError(f'the connection ended at {_size(partial):,} of {total:,} bytes.')

  def _wait(self, failures: int, retry_after: float | None) -> None:
    """Waits before the next attempt: exponential backoff with jitter."""
    jitter = 0.5 + random.random() / 2
    pause = min(self.max_delay, self.initial_delay * 2 ** (failures - 1)) * jitter
    if self.stop.wait(pause if retry_after is None else min(retry_after, self.max_delay)):
      raise DownloadStopped

  def _session(self) -> requests.Session:
    """Returns this thread's session, since a requests session is not thread-safe."""
    if not hasattr(self._local, 'session'):
      self._local.session = requests.Session()
    return self._local.session


def _resume_offset(answer: requests.Response, partial: pathlib.Path, had: int) -> tuple[int, int]:
  """Returns the offset to write at and the total size (0: unknown), from the response's headers.

  Raises:
    _TransientError: Another attempt may succeed.
    ShardUnavailable: None will.
  """
  code = answer.status_code
  if code in (408, 425, 429) or code >= 500:
    raise _TransientError(f'the server answered {code} {answer.reason}.', _retry_after(answer))
  if code == 416:  # the partial file is not a prefix of the server's file
    _discard(partial)
    raise _TransientError('the file on the server has changed; starting over.')
  if code == 404:
    raise ShardUnavailable(f'{answer.url} does not exist (404). Check --url and --shards.')
  if code not in (200, 206):
    raise ShardUnavailable(f'{answer.url} was refused with {code} {answer.reason}.')
  _store_etag(partial, answer.headers.get('ETag'))
  if code == 206:
    match = re.fullmatch(r'bytes (\d+)-\d+/(\d+|\*)', answer.headers.get('Content-Range', ''))
    if match is None or int(match[1]) != had:
      _discard(partial)
      raise _TransientError('the server sent another range than requested; starting over.')
    return had, int(match[2]) if match[2] != '*' else 0
  return 0, int(answer.headers.get('Content-Length', 0))


def _retry_after(answer: requests.Response) -> float | None:
  """Returns the seconds of Retry-After; None without one, or if it is a date, which is rare."""
  value = answer.headers.get('Retry-After', '')
  return float(value) if value.isdecimal() else None


def _store_etag(partial: pathlib.Path, tag: str | None) -> None:
  """Stores a strong ETag, so that parts of two versions of a file are never joined."""
  if tag and not tag.startswith('W/'):
    partial.with_suffix('.etag').write_text(tag, encoding='utf-8')
  else:
    _remove_etag(partial)


def _etag(partial: pathlib.Path) -> str:
  path = partial.with_suffix('.etag')
  return path.read_text(encoding='utf-8') if path.exists() else ''


def _discard(partial: pathlib.Path) -> None:
  partial.unlink(missing_ok=True)
  _remove_etag(partial)


def _remove_etag(partial: pathlib.Path) -> None:
  partial.with_suffix('.etag').unlink(missing_ok=True)


def _complete(path: pathlib.Path, record: ShardRecord | None) -> bool:
  return record is not None and _size(path) == record.size


def _size(path: pathlib.Path) -> int:
  return path.stat().st_size if path.exists() else 0
