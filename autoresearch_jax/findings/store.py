"""A store of findings: what all kinds of stores have in common.

A store is a set. Findings are named by their id and blobs by their SHA-256, nothing is ever
changed, and so two stores are merged by adding to one what only the other one has.
"""

import abc
import contextlib
import dataclasses
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from autoresearch_jax.findings.claims import (
  MAX_CLAIM_BYTES,
  WorkClaim,
  decode_claim,
  encode_claim,
)
from autoresearch_jax.findings.encoding import (
  MAX_BLOB_BYTES,
  MAX_FINDING_BYTES,
  decode,
  encode,
)
from autoresearch_jax.findings.finding import Finding, FindingError
from autoresearch_jax.findings.index import Index
from autoresearch_jax.findings.programs import Blobs, programs_of, sha256

FINDINGS, BLOBS, CLAIMS = 'findings', 'blobs', 'claims'
Say = Callable[[str], None]
Write = Callable[[str, bytes], None]  # of a name and its content
_NAME = re.compile(r'findings/([0-9a-f]{2})/(\1[0-9a-f]{62})\.json')
_BATCH = 500  # findings that are verified at once


@dataclasses.dataclass(frozen=True)
class Package:
  """A finding with the contents that it refers to.

  Attributes:
    finding: The finding.
    blobs: Returns a content by its SHA-256; None if it is missing.
  """

  finding: Finding
  blobs: Blobs


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

  def close(self) -> None:  # noqa: B027 - most have nothing to close
    """Closes connections. Idempotent."""

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def packages(self) -> Iterator[Package]:
    """Yields the findings with their contents. Raises FindingError."""
    for finding in self.findings(lambda _: None):
      yield Package(finding, self.blob)

  def claims(self) -> list[WorkClaim]:
    """Returns the claims that hold now. Raises FindingError."""
    return []

  def claim(self, claim: WorkClaim) -> None:
    """Adds a claim, which replaces an earlier one. Raises FindingError."""
    del claim
    raise FindingError(f'{self.address} has no claims. Use a folder, a repository or a hub.')

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
      claims/ef/ef56...-....json a claim by fingerprint and source

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

  def claims(self) -> list[WorkClaim]:
    found: list[WorkClaim] = []
    for name in self.names(CLAIMS):
      with contextlib.suppress(FindingError):  # most have expired
        if (data := self.read(name, MAX_CLAIM_BYTES)) is not None:
          claim = decode_claim(data, time.time())
          if claim.name == name:
            found.append(claim)
    return found

  def claim(self, claim: WorkClaim) -> None:
    with self.writing() as write:
      write(claim.name, encode_claim(claim))

  def add(self, packages: Iterable[Package]) -> Added:
    findings, blobs = ({*self.names(folder)} for folder in (FINDINGS, BLOBS))
    new, known, refused = 0, 0, list[str]()
    with self.writing() as write:
      for package in packages:
        name = name_of_finding(package.finding.id)
        if name in findings:
          known += 1
          continue
        try:
          contents = checked(package, lambda d: self.blob(d) if name_of_blob(d) in blobs else None)
        except FindingError as error:
          refused.append(str(error))
          continue
        for digest, content in contents.items():  # first, so that no finding lacks one
          write(name_of_blob(digest), content)
          blobs.add(name_of_blob(digest))
        write(name, encode(package.finding))
        findings.add(name)
        new += 1
    return Added(new, known, tuple(refused))


def checked(package: Package, stored: Blobs) -> dict[str, bytes]:
  """Checks a package before it is added to a store.

  Args:
    package: The package.
    stored: Returns a content that the store has.

  Returns:
    The contents that the store lacks, by SHA-256.

  Raises:
    FindingError: The finding is not signed or not valid, or its contents are not complete.
  """
  finding, new = package.finding, dict[str, bytes]()
  if not finding.is_signed:
    raise FindingError(f'The finding {finding.description[:60]!a} is not signed.')
  decode(encode(finding), time.time())
  for digest in sorted(finding.blobs):
    content = stored(digest)
    if content is None or sha256(content) != digest:  # a damaged one is replaced
      content = package.blobs(digest)
      if content is None or len(content) > MAX_BLOB_BYTES or sha256(content) != digest:
        raise FindingError(f'Finding {finding.id[:12]} lacks its content {digest[:12]}.')
      new[digest] = content
  programs_of(finding, lambda digest: new[digest] if digest in new else stored(digest))
  return new


def name_of_finding(key: str) -> str:
  """Returns the name of a finding's file in a store."""
  return f'{FINDINGS}/{key[:2]}/{key}.json'


def name_of_blob(digest: str) -> str:
  """Returns the name of a content's file in a store."""
  return f'{BLOBS}/{digest[:2]}/{digest}'
