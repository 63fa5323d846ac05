"""A cache of compiled executables on the disk that checks what it reads.

JAX's own cache never overwrites an entry, so a truncated one is missed for ever, and one with a
wrong content is executed. Here each entry ends with a digest of its key and content. An entry that
does not match is deleted and, once the program is compiled, replaced.
"""

import contextlib
import hashlib

from jax._src import compilation_cache
from jax._src.lru_cache import LRUCache

DIGEST_BYTES = 32


class CheckedExecutableCache(LRUCache):
  """JAX's cache with limited size, with a digest at the end of each entry."""

  def get(self, key: str) -> bytes | None:
    """Returns an entry; None if it is missing or damaged, and it is then deleted."""
    value = super().get(key)
    if value is None:
      return None
    content, found = value[:-DIGEST_BYTES], value[-DIGEST_BYTES:]
    if found == _digest(key, content):
      return content
    self._remove(key)
    return None

  def put(self, key: str, value: bytes) -> None:
    """Writes an entry, also where there is one, which JAX then could not load."""
    self._remove(key)
    self._restore_access_times()
    super().put(key, value + _digest(key, value))

  def _remove(self, key: str) -> None:
    for suffix in ('cache', 'atime'):
      with contextlib.suppress(OSError):
        (self.path / f'{key}-{suffix}').unlink(missing_ok=True)

  def _restore_access_times(self) -> None:
    """Deletes entries without a time of access, with which JAX could evict none."""
    times = {path.name.removesuffix('-atime') for path in self.path.glob('*-atime')}
    for path in self.path.glob('*-cache'):
      if (key := path.name.removesuffix('-cache')) not in times:
        with self.lock:
          if not (self.path / f'{key}-atime').exists():
            self._remove(key)


def install(max_bytes: int) -> None:
  """Makes JAX use this cache in the folder that is configured.

  Args:
    max_bytes: Size above which the entries that were not used for longest are deleted.
  """
  compilation_cache.reset_cache()
  compilation_cache.get_file_cache = lambda path: (
    CheckedExecutableCache(path, max_size=max_bytes),
    path,
  )


def _digest(key: str, content: bytes) -> bytes:
  return hashlib.sha256(key.encode() + b'\0' + content).digest()
