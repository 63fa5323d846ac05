"""Stores by their address: what commands and runs open.

FOLDER                     a folder of findings, made when something is added
FOLDER with a ledger.db    a run
FOLDER with a .git, FOLDER.git, git+https://..., ssh://..., user@host:...    a git repository
gs://..., s3://..., file://...    a bucket
http://..., https://...    a hub
results.tsv, or the folder of the original autoresearch with it    its results
FILE.txt, FILE.json, FILE.jsonl    one-line results
"""

import pathlib
from collections.abc import Iterator

from autoresearch_jax.findings.bucket_store import BucketStore
from autoresearch_jax.findings.finding import Finding, FindingError
from autoresearch_jax.findings.folder_store import FolderStore
from autoresearch_jax.findings.foreign_stores import RESULTS, ResultLines, ResultsTable
from autoresearch_jax.findings.git_store import GitStore, url_of
from autoresearch_jax.findings.hub_store import HubStore
from autoresearch_jax.findings.programs import programs_of
from autoresearch_jax.findings.run_store import RunStore
from autoresearch_jax.findings.store import FindingStore, Say
from autoresearch_jax.types import Program

_LINES = ('.txt', '.json', '.jsonl', '.log')


def opened(address: str) -> FindingStore:
  """Returns the store at an address.

  Raises:
    FindingError: The address names nothing that can be a store.
  """
  if not address:
    raise FindingError('The address of a store is empty. Name a folder.')
  if url_of(address):
    return GitStore(address)
  if address.startswith(('http://', 'https://')):
    return HubStore(address)
  if '://' in address:
    return BucketStore(address)
  return _local(pathlib.Path(address))


def existing(address: str) -> FindingStore:
  """Returns the store at an address to read from. Raises FindingError as well if it is missing."""
  store = opened(address)
  if isinstance(store, FolderStore) and not store.folder.is_dir():
    raise FindingError(f'There is no folder {address}. Name a store or the folder of a run.')
  return store


def _local(path: pathlib.Path) -> FindingStore:
  if path.is_file():
    if path.suffix == '.tsv':
      return ResultsTable(path)
    if path.suffix in _LINES:
      return ResultLines(path)
    raise FindingError(
      f'{path} is no store. Name a folder, a results.tsv, or a .txt or .json with one-line results.'
    )
  if (path / 'ledger.db').exists():
    return RunStore(path)
  if (path / RESULTS).exists():
    return ResultsTable(path / RESULTS)
  is_bare = (path / 'HEAD').is_file() and (path / 'objects').is_dir()
  if is_bare or (path / '.git').exists() or (path.suffix == '.git' and not path.exists()):
    return GitStore(str(path))
  return FolderStore(path)


def read(address: str, refused: Say = lambda _: None) -> Iterator[Finding]:
  """Yields the findings of a store. Those that name a key as their source are signed by it.

  Args:
    address: Of the store.
    refused: Receives a sentence for each file that is not a valid finding and is left out.

  Raises:
    FindingError: The store does not exist or cannot be read.
  """
  with existing(address) as store:
    yield from store.findings(refused)


def read_programs(address: str, finding: Finding) -> tuple[Program, Program]:
  """Returns parent and child of a finding of a store. They are not trusted.

  Raises:
    FindingError: The store does not have them, or they are not those of the finding.
  """
  with existing(address) as store:
    return programs_of(finding, store.blob)
