"""A store of findings: what all kinds of stores have in common.

A store is a set. Findings are named by their id and blobs by their SHA-256, nothing is ever
changed, and so two stores are merged by adding to one what only the other one has.
"""

import abc
import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from autoresearch_jax.findings.encoding import (
  MAX_BLOB_BYTES,
  MAX_FINDING_BYTES,
  decode,
  encode,
)
from autoresearch_jax.findings.finding import Finding, FindingError
from autoresearch_jax.findings.index import Index
from autoresearch_jax.findings.programs import sha256

FINDINGS, BLOBS = 'findings', 'blobs'
Say = Callable[[str], None]
Write = Callable[[str, bytes], None]  # of a name and its content
_NAME = re.compile(r'findings/([0-9a-f]{2})/(\1[0-9a-f]{62})\.json')
_BATCH = 500  # findings that are verified at once


@dataclasses.dataclass(frozen=True)
class Package:
  """A finding with the contents that it refers to.

  Attributes:
    finding: The finding.
    blobs: Contents by their SHA-256; those that the store has may be left out.
  """

  finding: Finding
  blobs: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Added:
  """What became of packages that were added to a store.

  Attributes:
    new: Number of findings that it did not have.
    known: Number of those that it had.
    refused: Why others were refused, a sentence each.
  """

  new: int
  known: int
  refused: tuple[str, ...] = ()


class FindingStore(abc.ABC):
  """Where findings are shared.

  Attributes:
    address: What it was opened by.
  """

  address: str

  @abc.abstractmethod
  def findings(self, refused: Say) -> Iterator[Finding]:
    """Yields all findings. Those that name a key as their source are signed by it.

    Args:
      refused: Receives a sentence for each file that is not a valid finding and is left out.

    Raises:
      FindingError: The store cannot be read.
    """

  @abc.abstractmethod
  def blob(self, digest: str) -> bytes | None:
    """Returns the content with a SHA-256; None if the store lacks it.

    The caller verifies it, as `programs_of` does. Raises FindingError if it is too large, or if the
    store cannot be read.
    """

  def add(self, packages: Iterable[Package]) -> Added:
    """Adds what the store does not have yet. Raises FindingError if it cannot be written."""
    del packages
    raise FindingError(
      f'{self.address} can be read and not written. Share to a folder, a git repository, a bucket '
      'or a hub.'
    )


class FileStore(FindingStore):
  """A store that consists of files:

      findings/ab/ab12....json   a finding by its id
      blobs/cd/cd34...           a content by its SHA-256

  Args:
    address: What it was opened by.
    index: Remembers which findings were verified.
  """

  def __init__(self, address: str, index: Index | None = None):
    self.address, self._index = address, index or Index()

  @abc.abstractmethod
  def names(self, folder: str) -> Iterator[str]:
    """Yields the names of all files in a folder of two levels, such as `findings/ab/ab12.json`."""

  @abc.abstractmethod
  def read(self, name: str, limit: int) -> bytes | None:
    """Returns a file; None if there is none. Raises FindingError if it has more bytes."""

  @abc.abstractmethod
  def writing(self) -> contextlib.AbstractContextManager[Write]:
    """Returns a context in which files are added. They are there when it has ended."""

  def findings(self, refused: Say) -> Iterator[Finding]:
    ids: list[str] = []
    for name in self.names(FINDINGS):
      if found := _NAME.fullmatch(name):
        ids.append(found[2])
      else:
        refused(f'{name!a} in {self.address} is no name of a finding.')
    known = self._index.get(ids)
    yield from known.values()
    unknown = [key for key in ids if key not in known]
    for start in range(0, len(unknown), _BATCH):
      yield from self._verified(unknown[start : start + _BATCH], refused)

  def _verified(self, ids: list[str], refused: Say) -> list[Finding]:
    found: list[tuple[Finding, bytes]] = []
    now = time.time()
    for key in ids:
      try:
        data = self.read(name_of_finding(key), MAX_FINDING_BYTES)
        if data is not None:
          found.append((decode(data, now, key), data))
      except FindingError as error:
        refused(f'{name_of_finding(key)} in {self.address}: {error}')
    self._index.put(found)
    return [finding for finding, _ in found]

  def blob(self, digest: str) -> bytes | None:
    return self.read(name_of_blob(digest), MAX_BLOB_BYTES)

  def add(self, packages: Iterable[Package]) -> Added:
    findings, blobs = ({*self.names(folder)} for folder in (FINDINGS, BLOBS))
    new, known, refused = 0, 0, list[str]()
    with self.writing() as write:
      for package in packages:
        name = name_of_finding(package.finding.id)
        if name in findings:
          known += 1
          continue
        if problem := package_problem(package, lambda d: name_of_blob(d) in blobs):
          refused.append(problem)
          continue
        for digest, content in package.blobs.items():  # first, so that no finding lacks one
          if (blob := name_of_blob(digest)) not in blobs:
            write(blob, content)
            blobs.add(blob)
        write(name, encode(package.finding))
        findings.add(name)
        new += 1
    return Added(new, known, tuple(refused))


def package_problem(package: Package, has_blob: Callable[[str], bool]) -> str:
  """Returns why a package does not belong into a store, a sentence; '' if it does.

  Args:
    package: The package.
    has_blob: Whether the store has the content with a SHA-256.
  """
  finding = package.finding
  if not finding.is_signed:
    return f'The finding {finding.description[:60]!a} is not signed.'
  try:
    decode(encode(finding), time.time())
  except FindingError as error:
    return str(error)
  for digest, content in package.blobs.items():
    if digest not in finding.blobs or sha256(content) != digest or len(content) > MAX_BLOB_BYTES:
      return f'A content of finding {finding.id[:12]} is too large, or is not what it refers to.'
  missing = [d for d in finding.blobs if d not in package.blobs and not has_blob(d)]
  if missing:
    return f'Finding {finding.id[:12]} lacks {len(missing)} of the contents that it refers to.'
  return ''


def name_of_finding(key: str) -> str:
  """Returns the name of a finding's file in a store."""
  return f'{FINDINGS}/{key[:2]}/{key}.json'


def name_of_blob(digest: str) -> str:
  """Returns the name of a content's file in a store."""
  return f'{BLOBS}/{digest[:2]}/{digest}'
