"""The SHA-256 of a user's files, remembered for large ones while size and time stay the same."""

import hashlib
import pathlib
from collections.abc import Sequence

import msgspec

from autoresearch_jax.data import cache as caching

MAX_READ_BYTES = 1 << 28  # files of up to 256 MiB together are read at every start
DIGESTS = 'digests'


def content_digest(files: Sequence[pathlib.Path], folder: pathlib.Path) -> str:
  """Returns the SHA-256 of all files, by their paths relative to their common folder.

  Args:
    files: At least one, sorted.
    folder: Where digests of large files are remembered.

  Raises:
    ValueError: There is no file.
    OSError: One cannot be read.
  """
  if not files:
    raise ValueError('config.data.path has no files that could be read; name a folder with data.')
  root = files[0].parent
  while not all(file.is_relative_to(root) for file in files):
    root = root.parent
  stats = [file.stat() for file in files]
  if sum(stat.st_size for stat in stats) <= MAX_READ_BYTES:
    return _digest(files, root)
  listing = [
    (str(f.absolute()), s.st_size, s.st_mtime_ns) for f, s in zip(files, stats, strict=True)
  ]
  name = hashlib.sha256(msgspec.json.encode(listing)).hexdigest()
  remembered = folder / DIGESTS / name
  if remembered.is_file() and len(known := remembered.read_text()) == 64:
    return known
  found = _digest(files, root)
  with caching.explained(folder):
    remembered.parent.mkdir(parents=True, exist_ok=True)
    new = remembered.with_suffix('.new')
    new.write_text(found)
    new.replace(remembered)
  return found


def _digest(files: Sequence[pathlib.Path], root: pathlib.Path) -> str:
  content = hashlib.sha256()
  for file in files:
    # The name of a single file does not matter: a renamed one holds the same data.
    name = '' if len(files) == 1 else file.relative_to(root).as_posix()
    with file.open('rb') as opened:
      content.update(f'{name} {hashlib.file_digest(opened, "sha256").hexdigest()}\n'.encode())
  return content.hexdigest()
