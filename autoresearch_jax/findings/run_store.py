"""The folder of a run as a store that can be read: its findings, unsigned."""

import dataclasses
import pathlib
from collections.abc import Iterator

from autoresearch_jax.findings.encoding import MAX_BLOB_BYTES
from autoresearch_jax.findings.finding import Finding, FindingError
from autoresearch_jax.findings.from_ledger import packages_of
from autoresearch_jax.findings.programs import sha256
from autoresearch_jax.findings.store import FindingStore, Package, Say
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.ownership import SCRATCH
from autoresearch_jax.ledger.store import read_records


class RunStore(FindingStore):
  """The findings of a run, also while it goes on.

  Args:
    folder: The folder of the run.
  """

  def __init__(self, folder: pathlib.Path):
    self.address, self.folder = str(folder), folder
    self._packages: list[Package] | None = None

  def with_artifacts(self) -> Iterator[Package]:
    """Yields what `packages` does, with those traced programs that are still in the folder.

    The executor keeps the latest ones until the run goes on.
    """
    folder = self.folder / SCRATCH
    for package in self.packages():
      contents = dict[str, bytes]()
      artifacts: list[tuple[str, str]] = []
      for side, program in (('child', package.finding.child), ('parent', package.finding.parent)):
        for path in sorted(folder.rglob(f'{program.digest[:32]}-*.artifact'))[:1]:
          content = path.read_bytes()
          if len(content) <= MAX_BLOB_BYTES:
            artifacts.append((side, sha256(content)))
            contents[artifacts[-1][1]] = content
      finding = dataclasses.replace(package.finding, artifacts=tuple(artifacts))
      yield Package(finding, lambda d, new=contents, old=package.blobs: new.get(d) or old(d))

  def packages(self) -> Iterator[Package]:
    """Yields the findings with their programs. Raises FindingError."""
    try:
      self._packages = [*packages_of(read_records(self.folder))]
    except LedgerError as error:
      raise FindingError(str(error)) from None
    yield from self._packages

  def findings(self, refused: Say) -> Iterator[Finding]:
    del refused
    for package in self.packages():
      yield package.finding

  def blob(self, digest: str) -> bytes | None:
    packages = self.packages() if self._packages is None else self._packages
    found = (package.blobs(digest) for package in packages)
    return next((content for content in found if content is not None), None)
