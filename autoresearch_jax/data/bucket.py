"""A folder in a bucket, or on a shared disk, through fsspec: `gs://`, `s3://`, `file://`."""

import contextlib
import os
import pathlib
import re
import secrets
import urllib.parse
from collections.abc import Iterator
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

EXTRAS = {'gs': 'gcs', 'gcs': 'gcs', 's3': 's3', 's3a': 's3'}  # protocol -> extra of this package
_URL = re.compile(r'(?P<protocol>[a-z][a-z0-9+.-]*)://(?P<path>.+)')


class BucketUrlError(RuntimeError):
  """A URL names no bucket that can be used; the message says why and what to do."""


class BucketError(OSError):
  """An operation on the bucket failed. It may succeed later."""

  def __str__(self) -> str:
    return str(self.args[0])


class Bucket:
  """Files below a URL. A reader sees a file whole or not at all. Methods raise BucketError.

  Attributes:
    url: The URL, without a slash at the end.
  """

  def __init__(self, url: str, name: str = 'config.mirror'):
    """Connects to the store.

    Args:
      url: Its URL.
      name: What has the URL, for messages.

    Raises:
      BucketUrlError: The URL names none, or a package is missing.
    """
    self.url = url.rstrip('/')
    found = _URL.fullmatch(self.url)
    if found is None:
      raise BucketUrlError(f'{name} is {url!r}; it must be a URL such as gs://bucket/folder.')
    protocol, path = found['protocol'], found['path']
    if protocol == 'file':
      path = urllib.parse.unquote(path)
      if not path.startswith('/'):
        raise BucketUrlError(f'{name} is {url!r}; after file:// comes an absolute path.')
    try:
      # No caches: another machine may write to the same folder.
      self._files = fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False)
    except (ValueError, ImportError) as error:
      extra = EXTRAS.get(protocol)
      advice = f'pip install autoresearch_jax[{extra}]' if extra else 'use gs://, s3:// or file://'
      raise BucketUrlError(f'{name} is {url!r}: {error}. To mend it: {advice}.') from None
    except Exception as error:  # of the store's own package: no credentials, say
      raise BucketUrlError(f'{name} is {url!r}, which cannot be opened: {error}') from error
    self._root = path

  def names(self, folder: str) -> list[str]:
    """Returns the names of the files in a folder, sorted; none if there is no such folder."""
    with _explained(f'{self.url}/{folder}'):
      self._files.invalidate_cache()
      try:
        found = self._files.ls(self._path(folder), detail=False)
      except FileNotFoundError:
        return []
    names = (str(path).rstrip('/').rpartition('/')[2] for path in found)
    return sorted(name for name in names if name and not name.startswith('.'))

  def read(self, name: str) -> bytes | None:
    """Returns the content of a file; None if it does not exist."""
    with _explained(f'{self.url}/{name}'):
      try:
        return self._files.cat_file(self._path(name))
      except FileNotFoundError:
        return None

  def find(self, folder: str) -> list[str]:
    """Returns the names of all files below a folder, with the folder, sorted."""
    with _explained(f'{self.url}/{folder}'):
      self._files.invalidate_cache()
      try:
        found = self._files.find(self._path(folder))
      except FileNotFoundError:
        return []
    root = f'{str(self._root).strip("/")}/'
    names = (str(path).lstrip('/').removeprefix(root) for path in found)
    return sorted(name for name in names if not name.rpartition('/')[2].startswith('.'))

  def size(self, name: str) -> int | None:
    """Returns the size of a file in bytes; None if it does not exist."""
    with _explained(f'{self.url}/{name}'):
      try:
        return self._files.info(self._path(name))['size']
      except FileNotFoundError:
        return None

  def write(self, name: str, data: bytes) -> None:
    """Creates or replaces a file."""
    path = self._path(name)
    with _explained(f'{self.url}/{name}'):
      if not isinstance(self._files, LocalFileSystem):
        self._files.pipe_file(path, data)
        return
      with self._written(path, data) as new:
        self._files.mv(new, path)

  def create(self, name: str, data: bytes) -> bool:
    """Creates a file. Of several callers at most one succeeds, and the others get False.

    Google's and Amazon's stores decide it by a precondition on the request, a local file system by
    a hard link.
    """
    path = self._path(name)
    with _explained(f'{self.url}/{name}'):
      try:
        if not isinstance(self._files, LocalFileSystem):
          self._files.pipe_file(path, data, mode='create')
          return True
        with self._written(path, data) as new:
          self._files.link(new, path)
          return True
      except FileExistsError:
        return False

  def upload(self, name: str, file: pathlib.Path) -> None:
    """Copies a local file, which may be large."""
    path = self._path(name)
    with _explained(f'{self.url}/{name}'):
      if isinstance(self._files, LocalFileSystem):
        new = f'{path}.{secrets.token_hex(4)}.new'
        self._files.makedirs(path.rpartition('/')[0], exist_ok=True)
        self._files.put_file(str(file), new)
        self._files.mv(new, path)
      else:
        self._files.put_file(str(file), path)

  def download(self, name: str, file: pathlib.Path) -> None:
    """Copies a file of the bucket to a local one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _explained(f'{self.url}/{name}'):
      self._files.get_file(self._path(name), str(file))

  def delete(self, name: str) -> None:
    """Deletes a file, if it exists."""
    with _explained(f'{self.url}/{name}'), contextlib.suppress(FileNotFoundError):
      self._files.rm_file(self._path(name))

  def _path(self, name: str) -> str:
    return f'{self._root}/{name}'

  @contextlib.contextmanager
  def _written(self, path: str, data: bytes) -> Iterator[str]:
    """Writes a file beside `path`, and removes it afterwards if it is still there."""
    folder, _, name = path.rpartition('/')
    new = f'{folder}/.{name}.{secrets.token_hex(4)}'
    self._files.makedirs(folder, exist_ok=True)
    try:
      with self._files.open(new, 'wb') as file:
        file.write(data)
        file.flush()
        _sync(file)
      yield new
    finally:
      with contextlib.suppress(FileNotFoundError):
        self._files.rm_file(new)


def _sync(file: Any) -> None:
  descriptor = getattr(getattr(file, 'f', file), 'fileno', None)
  if descriptor is not None:
    os.fsync(descriptor())


@contextlib.contextmanager
def _explained(where: str) -> Iterator[None]:
  """Turns errors of any store's package into BucketErrors."""
  try:
    yield
  except Exception as error:
    what = ' '.join(str(error).split()) or type(error).__name__
    raise BucketError(f'{where}: {what:.300}') from error
