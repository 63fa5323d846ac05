"""A store of findings in a folder, such as one on a shared disk."""

import contextlib
import os
import pathlib
import secrets
import stat
from collections.abc import Iterator

from autoresearch_jax.findings.finding import FindingError
from autoresearch_jax.findings.index import Index
from autoresearch_jax.findings.store import FileStore, Write
from autoresearch_jax.messages import describe_os_error


class FolderStore(FileStore):
  """A store in a folder, which is made when something is added.

  Args:
    folder: The folder.
    index: Remembers which findings were verified.
  """

  def __init__(self, folder: pathlib.Path, index: Index | None = None):
    super().__init__(str(folder), index)
    self.folder = folder

  def names(self, folder: str) -> Iterator[str]:
    for first in _entries(self.folder / folder):
      if first.is_dir(follow_symlinks=False):
        for entry in _entries(pathlib.Path(first.path)):
          if not entry.name.startswith('.'):
            yield f'{folder}/{first.name}/{entry.name}'

  def read(self, name: str, limit: int) -> bytes | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # no link, no waiting pipe
    try:
      with os.fdopen(os.open(self.folder / name, flags), 'rb') as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
          raise FindingError('It is no file.')
        data = file.read(limit + 1)
    except FileNotFoundError:
      return None
    except OSError as error:
      raise FindingError(f'It cannot be read: {error.strerror}.') from None
    if len(data) > limit:
      raise FindingError(f'It has more than {limit} bytes.')
    return data

  @contextlib.contextmanager
  def writing(self) -> Iterator[Write]:
    try:
      yield self._write
    except OSError as error:
      raise FindingError(
        f'{self.address} cannot be written: {describe_os_error(error, "")} Use another folder.'
      ) from None

  def _write(self, name: str, content: bytes) -> None:
    path = self.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f'.{path.name[:8]}.{secrets.token_hex(4)}')
    try:
      with new.open('xb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
      new.replace(path)
    finally:
      new.unlink(missing_ok=True)


def _entries(folder: pathlib.Path) -> list[os.DirEntry[str]]:
  try:
    with os.scandir(folder) as found:
      return sorted(found, key=lambda entry: entry.name)
  except FileNotFoundError:
    return []
  except OSError as error:
    raise FindingError(f'{folder} cannot be read: {error.strerror}.') from None
