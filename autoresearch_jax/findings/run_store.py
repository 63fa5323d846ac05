"""The folder of a run as a store that can be read: its findings, unsigned."""

import pathlib
from collections.abc import Iterator

from autoresearch_jax.findings.finding import Finding, FindingError
from autoresearch_jax.findings.from_ledger import packages_of
from autoresearch_jax.findings.store import FindingStore, Package, Say
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.store import read_records


class RunStore(FindingStore):
  """The findings of a run, also while it goes on.

  Args:
    folder: The folder of the run.
  """

  def __init__(self, folder: pathlib.Path):
    self.address, self.folder = str(folder), folder
    self._contents: dict[str, bytes] | None = None

  def packages(self) -> Iterator[Package]:
    """Yields the findings with their programs. Raises FindingError."""
    self._contents = {}
    try:
      for package in packages_of(read_records(self.folder)):
        self._contents.update(package.blobs)
        yield package
    except LedgerError as error:
      raise FindingError(str(error)) from None

  def findings(self, refused: Say) -> Iterator[Finding]:
    del refused
    for package in self.packages():
      yield package.finding

  def blob(self, digest: str) -> bytes | None:
    if self._contents is None:
      for _ in self.packages():
        pass
    assert self._contents is not None
    return self._contents.get(digest)
