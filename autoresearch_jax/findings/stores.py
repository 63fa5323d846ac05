"""Stores by their address: what commands and runs open."""

import pathlib
from collections.abc import Iterator

from autoresearch_jax.findings.finding import Finding, FindingError
from autoresearch_jax.findings.folder_store import FolderStore
from autoresearch_jax.findings.programs import programs_of
from autoresearch_jax.findings.run_store import RunStore
from autoresearch_jax.findings.store import FindingStore, Say
from autoresearch_jax.types import Program


def opened(address: str) -> FindingStore:
  """Returns the store at an address: of a folder, or of the folder of a run.

  Raises:
    FindingError: The address names nothing that can be a store.
  """
  if not address:
    raise FindingError('The address of a store is empty. Name a folder.')
  path = pathlib.Path(address)
  if (path / 'ledger.db').exists():
    return RunStore(path)
  if path.exists() and not path.is_dir():
    raise FindingError(f'{address} is no folder. Name the folder of a store, or of a run.')
  return FolderStore(path)


def read(address: str, refused: Say = lambda _: None) -> Iterator[Finding]:
  """Yields the findings of a store. Those that name a key as their source are signed by it.

  Args:
    address: Of the store.
    refused: Receives a sentence for each file that is not a valid finding and is left out.

  Raises:
    FindingError: The store does not exist or cannot be read.
  """
  yield from opened(address).findings(refused)


def read_programs(address: str, finding: Finding) -> tuple[Program, Program]:
  """Returns parent and child of a finding of a store. They are not trusted.

  Raises:
    FindingError: The store does not have them, or they are not those of the finding.
  """
  return programs_of(finding, opened(address).blob)
