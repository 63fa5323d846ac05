"""Checkpoints of the training runs under way, one archive each: `checkpoints/RUN.STEP.tar`.

A runner writes them to `scratch/checkpoints/RUN/STEP` (`runner/checkpoint.py`), where a folder with
`commit_success.txt` is complete. The bucket has the latest one of each run.
"""

import contextlib
import pathlib
import tarfile
import tempfile
from collections.abc import Iterator

from autoresearch_jax.data.bucket import Bucket

FOLDER = 'checkpoints'
COMPLETE = 'commit_success.txt'  # written last by orbax
SUFFIX = '.tar'


def found(directory: pathlib.Path) -> dict[str, pathlib.Path]:
  """Returns the latest complete checkpoint of each training run in a run's folder.

  Returns:
    Its name in the bucket -> its folder.
  """
  latest: dict[str, pathlib.Path] = {}
  with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
    for run in (directory / 'scratch' / FOLDER).glob('*'):
      steps = [path for path in run.glob('*') if path.name.isdecimal()]
      complete = [path for path in steps if (path / COMPLETE).exists()]
      if complete:
        newest = max(complete, key=lambda path: int(path.name))
        latest[f'{FOLDER}/{run.name}.{newest.name}{SUFFIX}'] = newest
  return latest


@contextlib.contextmanager
def packed(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Makes an archive of a checkpoint, which is deleted afterwards. Raises OSError."""
  with tempfile.TemporaryDirectory(dir=folder.parent.parent.parent) as scratch:
    archive = pathlib.Path(scratch, 'checkpoint.tar')
    with tarfile.open(archive, 'w') as tar:
      tar.add(folder, folder.name)
    yield archive


def names(bucket: Bucket) -> list[str]:
  """Returns the names of the checkpoints in a bucket. Raises BucketError."""
  return [f'{FOLDER}/{name}' for name in bucket.names(FOLDER) if name.endswith(SUFFIX)]


def pull(bucket: Bucket, name: str, directory: pathlib.Path) -> None:
  """Unpacks a checkpoint of the bucket in a run's folder. Raises BucketError, OSError."""
  run = name.removeprefix(f'{FOLDER}/').removesuffix(SUFFIX).rpartition('.')[0]
  folder = directory / 'scratch' / FOLDER / run
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=directory / 'scratch') as scratch:
    archive = pathlib.Path(scratch, 'checkpoint.tar')
    bucket.download(name, archive)
    with tarfile.open(archive) as tar:
      tar.extractall(folder, filter='data')
