"""A cache of compiled executables on the disk that checks what it reads.

JAX's own cache never overwrites an entry, so a truncated one is missed for ever, and one with a
wrong content is executed. Here each entry ends with a digest of its key and content. An entry that
does not match is deleted and, once the program is compiled, replaced.

JAX has no public way to bring a cache of one's own. `install` uses a private one where this version
of JAX has it, and otherwise leaves JAX's cache in place, in a folder of its own.
"""

import contextlib
import hashlib
import os
import pathlib
import sys

import jax
from jax.experimental.compilation_cache import compilation_cache as public_cache

MAX_BYTES = 4 * 2**30
DIGEST_BYTES = 32
HOOK = 'get_file_cache'  # the function by which JAX makes its cache


class CheckedExecutableCache:
  """Entries in a folder of limited size, each with a digest at its end.

  Writes are atomic, so that several processes may share the folder.

  Attributes:
    path: The folder.
    max_bytes: Size above which the entries that were not used for longest are deleted.
  """

  def __init__(self, path: str | pathlib.Path, max_bytes: int):
    self.path = self._path = pathlib.Path(path)  # JAX reads `_path`
    self.path.mkdir(parents=True, exist_ok=True)
    self.max_bytes = max_bytes

  def get(self, key: str) -> bytes | None:
    """Returns an entry; None if it is missing or damaged, and it is then deleted."""
    file = self._file(key)
    try:
      value = file.read_bytes()
    except FileNotFoundError:
      return None
    content, found = value[:-DIGEST_BYTES], value[-DIGEST_BYTES:]
    if found != _digest(key, content):
      file.unlink(missing_ok=True)
      return None
    with contextlib.suppress(OSError):
      os.utime(file)  # the time of its last use
    return content

  def put(self, key: str, value: bytes) -> None:
    """Writes an entry, also where there is one, which JAX then could not load."""
    entry = value + _digest(key, value)
    if len(entry) > self.max_bytes:
      return
    file = self._file(key)
    file.unlink(missing_ok=True)
    self._evict(len(entry))
    part = file.with_name(f'{file.name}.{os.getpid()}')
    try:
      part.write_bytes(entry)
      part.replace(file)
    finally:
      part.unlink(missing_ok=True)

  def _file(self, key: str) -> pathlib.Path:
    return self.path / f'{key}-cache'

  def _evict(self, needed: int) -> None:
    """Deletes the files that were not used for longest until `needed` more bytes fit."""
    files = []
    for file in self.path.iterdir():
      with contextlib.suppress(FileNotFoundError):  # another process deleted it
        found = file.stat()
        files.append((found.st_mtime_ns, found.st_size, file))
    used = needed + sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
      if used <= self.max_bytes:
        break
      file.unlink(missing_ok=True)
      used -= size


def install(folder: pathlib.Path, max_bytes: int = MAX_BYTES) -> bool:
  """Makes JAX keep compiled executables in a folder, checked where this version allows it.

  Args:
    folder: The folder; JAX's own cache would be in `<folder>_unchecked`.
    max_bytes: The folder's largest size.

  Returns:
    Whether entries are checked. If not, a line on standard error says so.
  """
  checked = _replace(folder, max_bytes)
  if not checked:
    folder = folder.with_name(f'{folder.name}_unchecked')
    print(
      f'Compiled programs are cached in {folder} without a check, since jax {jax.__version__} has '
      'another interface. If a program crashes for no reason, delete that folder.',
      file=sys.stderr,
    )
  jax.config.update('jax_compilation_cache_max_size', max_bytes)
  jax.config.update('jax_compilation_cache_dir', str(folder))
  public_cache.reset_cache()
  return checked


def _replace(folder: pathlib.Path, max_bytes: int) -> bool:
  """Replaces JAX's cache; returns False, and changes nothing, where it has another interface."""
  try:
    from jax._src import compilation_cache  # noqa: PLC0415 - private, and may be gone

    hook = getattr(compilation_cache, HOOK)
    with contextlib.suppress(OSError):  # a full disk, say, is reported when a program is compiled
      theirs, _ = hook(str(folder))
      if not (callable(theirs.get) and callable(theirs.put)):
        return False
  except (ImportError, AttributeError, TypeError, ValueError, RuntimeError):
    return False
  setattr(compilation_cache, HOOK, lambda path: (CheckedExecutableCache(path, max_bytes), path))
  return True


def _digest(key: str, content: bytes) -> bytes:
  return hashlib.sha256(key.encode() + b'\0' + content).digest()
