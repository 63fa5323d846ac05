"""The cache of prepared data: folders that are written atomically and verified on every use.

A folder is built under a temporary name and renamed when complete, under a file lock. So a killed
process leaves no partial folder behind, and two processes do not build the same one. The locks are
the kernel's and end with their process. Called by problems.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator

import msgspec

from autoresearch_jax.messages import ExplainedError, is_disk_full

VARIABLE = 'AUTORESEARCH_JAX_CACHE'
_REMEDY = f'Set the environment variable {VARIABLE} to a folder that can be written.'
_UNUSABLE = (
  errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR,
  errno.ENAMETOOLONG, errno.ELOOP, errno.EIO, errno.EINVAL, errno.ENOSYS,
)  # fmt: skip
SEAL = 'seal.json'
# The test split's folder. Its name is part of the content's digest, and so of a dataset's
# fingerprint: it stays what it was when the first runs were recorded.
TEST_FOLDER = 'locked'
BLOCK = 1 << 20
BLOCKS = 64  # a file of up to 64 MiB is checked whole, a larger one at this many places


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """The integrity record of a complete folder, stored in it as JSON.

  Attributes:
    content: SHA-256 over all files in full, taken once when the folder was made.
    checks: Per file, a digest of its size and of sampled blocks, compared on every use.
  """

  content: str
  checks: dict[str, str]


def directory() -> pathlib.Path:
  """The cache's root: $AUTORESEARCH_JAX_CACHE, or ~/.cache/autoresearch_jax.

  Raises:
    ExplainedError: The variable is not set, and the user has no home; or it is a URL.
  """
  if chosen := os.environ.get(VARIABLE):
    if '://' in chosen:
      raise ExplainedError(
        errno.EINVAL,
        f'{VARIABLE} is {chosen}, but it must be a folder of this machine: compiled programs and '
        'data are read from there while trials run. A copy of a run in a bucket is config.mirror.',
      )
    return pathlib.Path(chosen).absolute()
  try:
    return pathlib.Path('~/.cache/autoresearch_jax').expanduser().absolute()
  except RuntimeError as error:
    raise ExplainedError(errno.ENOENT, f'There is no home folder: {error} {_REMEDY}') from None


@contextlib.contextmanager
def explained(folder: pathlib.Path) -> Iterator[None]:
  """Turns errors of writing to the cache into sentences that name the variable with its place.

  Raises:
    ExplainedError: The folder cannot be written, or its disk is full.
  """
  try:
    yield
  except ExplainedError:
    raise
  except Exception as error:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if is_disk_full(existing, error):
      raise ExplainedError(
        errno.ENOSPC,
        f'The disk is full: the cache {folder} cannot be written. Free some space, or '
        f'set the environment variable {VARIABLE} to a folder on another disk.',
      ) from error
    if isinstance(error, OSError) and error.errno in _UNUSABLE:
      raise ExplainedError(
        error.errno, f'The cache {folder} cannot be used: {error.strerror}. {_REMEDY}'
      ) from error
    raise


def folder(
  parent: pathlib.Path, name: str, make: Callable[[pathlib.Path], None], say: Callable[[str], None]
) -> tuple[pathlib.Path, str]:
  """Returns a cached folder and the SHA-256 of its content, and builds it on first use.

  A folder that fails its integrity check is built again.

  Args:
    parent: Where the folder lies.
    name: The folder's name.
    make: Fills an empty folder; what it raises is passed on.
    say: Receives progress messages.
  """
  final = parent / name
  if seal := _intact(final):
    return final, seal.content
  with explained(parent):
    parent.mkdir(parents=True, exist_ok=True)
  with explained(parent), _locked(parent / f'{name}.lock', say):
    if seal := _intact(final):  # built by the process that held the lock before
      return final, seal.content
    if final.exists():
      say(f'{final} is incomplete or damaged; making it again.')
      shutil.rmtree(final)
    making = parent / f'{name}.making'  # left by a process that died, since we hold the lock
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    try:
      with explained(parent):
        make(making)
        seal = _seal(making)
        (making / SEAL).write_bytes(msgspec.json.encode(seal))
        making.rename(final)
    except BaseException:
      shutil.rmtree(making, ignore_errors=True)
      raise
    return final, seal.content


@contextlib.contextmanager
def _locked(path: pathlib.Path, say: Callable[[str], None]) -> Iterator[None]:
  with path.open('w') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      say(f'Waiting for another process that prepares {path.with_suffix("")}.')
      fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _intact(path: pathlib.Path) -> Seal | None:
  """The integrity record of a folder that passes its check, else None."""
  try:
    seal = msgspec.json.decode((path / SEAL).read_bytes(), type=Seal)
    checks = {name: _check(path / name) for name in seal.checks}
  except (OSError, msgspec.DecodeError):
    return None
  return seal if checks == seal.checks else None


def _seal(path: pathlib.Path) -> Seal:
  names = sorted(p.relative_to(path).as_posix() for p in path.rglob('*') if p.is_file())
  content = hashlib.sha256()
  for name in names:
    with (path / name).open('rb') as file:
      content.update(f'{name} {hashlib.file_digest(file, "sha256").hexdigest()}\n'.encode())
  return Seal(content.hexdigest(), {name: _check(path / name) for name in names})


def _check(path: pathlib.Path) -> str:
  """SHA-256 of size and content; of a large file, of blocks spread evenly from start to end."""
  size = path.stat().st_size
  digest = hashlib.sha256(str(size).encode())
  with path.open('rb') as file:
    for place in range(BLOCKS):
      file.seek(place * max(BLOCK, (size - BLOCK) // (BLOCKS - 1)))
      digest.update(file.read(BLOCK))
  return digest.hexdigest()
