"""Which folders belong to a run, so that files of the user are never taken for a run's.

A folder is a run's if its ledger, the ledger's witness, the lock or the repository says so. In any
other folder, a file with the name of one that a run writes is somebody else's, and the folder is
refused.
"""

import os
import pathlib
import re

from autoresearch_jax.ledger.sqlite import APPLICATION_ID, is_database
from autoresearch_jax.ledger.witness import read_witness

LOCK_MARK = 'autoresearch_jax'  # the first word in a run's lock file
ATTRIBUTES = '* -text\n'  # of a run's repository: no conversion of line ends
REPOSITORY, SCRATCH = 'repo', 'scratch'
# Names that a run writes, or moves, in its folder.
NAMES = (
  'ledger.db', 'ledger.db-wal', 'ledger.db-shm', 'ledger.head', 'results.tsv', 'progress.png',
  'calibration.png', 'report.html', 'models', REPOSITORY, SCRATCH, 'lock', 'steering', 'trackers',
  'tensorboard', 'wandb', 'mlflow.db', 'mlflow_artifacts', 'service.sock', 'service.log',
  'transfer',
)  # fmt: skip


class WorkspaceError(RuntimeError):
  """The run directory cannot be used; the message says why and what to do."""


def require_usable(directory: pathlib.Path) -> None:
  """Raises WorkspaceError for a folder with files of the user that a run would overwrite.

  Nothing is written.
  """
  require_local(directory, '--workdir')
  try:
    taken = [name for name in NAMES if _holds(directory / name)]
    if not taken:
      return
    if not is_run(directory):
      raise WorkspaceError(
        f'{directory} has {_listed(taken)}, but is not the folder of a run, which would overwrite '
        'that. Use another --workdir, or move it away.'
      )
    repository = directory / REPOSITORY
    if REPOSITORY in taken and _is_foreign(repository):
      raise WorkspaceError(
        f'{repository} is a git repository that this run did not make. Move it away; the run then '
        'makes its own from the ledger.'
      )
  except OSError as error:
    raise WorkspaceError(f'{directory} cannot be used as --workdir: {error.strerror}.') from None


def require_local(directory: pathlib.Path, name: str) -> None:
  """Raises WorkspaceError for a URL, which would become a local folder of that name."""
  if url := url_of(directory):
    raise WorkspaceError(
      f'{name} is {url}, but it must be a folder of this machine. Use a local one, and set '
      f'--config.mirror={url} for a copy there from which another machine can go on.'
    )


def url_of(path: pathlib.Path) -> str:
  """Returns the URL that a path was made from; '' for none."""
  found = re.match(r'([a-z][a-z0-9+.-]+):/+(.*)', str(path))
  return f'{found[1]}://{found[2]}' if found else ''


def numbered_folder(directory: pathlib.Path, name: str) -> pathlib.Path:
  """Makes the first of the folders NAME.1, NAME.2, ... that does not exist, for what is kept."""
  count = 1
  while (folder := directory / f'{name}.{count}').exists():
    count += 1
  folder.mkdir()
  return folder


def is_run(directory: pathlib.Path) -> bool:
  """Returns whether the folder is a run's."""
  return (
    is_database(directory / 'ledger.db', APPLICATION_ID)
    or read_witness(directory / 'ledger.db') is not None
    or _start_of(directory / 'lock', 64).startswith(LOCK_MARK.encode())
    or _has_trials(directory / REPOSITORY)
  )


def is_in_use(directory: pathlib.Path) -> bool:
  """Returns whether a process on this machine runs in the folder, without taking its lock."""
  try:
    status = (directory / 'lock').stat()
    held = pathlib.Path('/proc/locks').read_text()
    devices = {status.st_dev, *_mounted_devices(directory.resolve())}
  except OSError:
    return False
  found = re.findall(rf'FLOCK +\w+ +WRITE +-?\d+ +(\w+):(\w+):{status.st_ino} ', held)
  return any(os.makedev(int(major, 16), int(minor, 16)) in devices for major, minor in found)


def _mounted_devices(path: pathlib.Path) -> set[int]:
  """Returns the device of the file system that a path is on, as the kernel's locks name it.

  On btrfs and overlayfs, that of `stat` is another one.
  """
  found, depth = set[int](), 0
  for line in pathlib.Path('/proc/self/mountinfo').read_text().splitlines():
    device, _, name = line.split()[2:5]
    mount = pathlib.Path(re.sub(r'\\(\d{3})', lambda code: chr(int(code[1], 8)), name))
    if path.is_relative_to(mount) and len(mount.parts) >= depth:
      found = found if len(mount.parts) == depth else set()
      depth = len(mount.parts)
      found.add(os.makedev(*map(int, device.split(':'))))
  return found


def _holds(path: pathlib.Path) -> bool:
  """Returns whether there is something at `path` that could be lost; an empty folder could not."""
  if path.is_dir() and not path.is_symlink():
    return any(path.iterdir())
  return path.is_symlink() or path.exists()


def _start_of(path: pathlib.Path, size: int) -> bytes:
  if not path.is_file():
    return b''
  with path.open('rb') as file:
    return file.read(size)


def _has_trials(repository: pathlib.Path) -> bool:
  """Returns whether a repository has references that only runs make."""
  git = repository / '.git'
  trials = git / 'refs' / 'trials'
  packed = git / 'packed-refs'
  return (trials.is_dir() and any(trials.iterdir())) or (
    packed.is_file() and b' refs/trials/' in packed.read_bytes()
  )


def _is_foreign(repository: pathlib.Path) -> bool:
  """Returns whether a repository has commits or files, and none of them is a run's."""
  git = repository / '.git'
  if not git.exists() or _has_trials(repository):
    return False
  if not git.is_dir():  # a linked work tree
    return True
  if _start_of(git / 'info' / 'attributes', 64) == ATTRIBUTES.encode():
    return False
  commits = any((git / 'refs' / 'heads').rglob('*')) or (git / 'packed-refs').exists()
  return commits or any(path.name != '.git' for path in repository.iterdir())


def _listed(names: list[str]) -> str:
  return ', '.join(names[:4]) + (' and more' if len(names) > 4 else '')
