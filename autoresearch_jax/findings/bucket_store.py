"""A store of findings in a bucket: `gs://`, `s3://`, or `file://` for a folder."""

import contextlib
from collections.abc import Iterator

from autoresearch_jax.data.bucket import Bucket, BucketError, BucketUrlError
from autoresearch_jax.findings.finding import FindingError
from autoresearch_jax.findings.index import Index
from autoresearch_jax.findings.store import FileStore, Write


class BucketStore(FileStore):
  """The findings in a bucket.

  Args:
    address: Its URL.
    index: Remembers which findings were verified.

  Raises:
    FindingError: The URL names no bucket, or a package is missing.
  """

  def __init__(self, address: str, index: Index | None = None):
    super().__init__(address, index)
    try:
      self._bucket = Bucket(address, 'The address of the store')
    except BucketUrlError as error:
      raise FindingError(str(error)) from None

  def names(self, folder: str) -> Iterator[str]:
    with self._explained():
      yield from self._bucket.find(folder)

  def read(self, name: str, limit: int) -> bytes | None:
    with self._explained():
      size = self._bucket.size(name)
      if size is not None and size > limit:
        raise FindingError(f'It has more than {limit} bytes.')
      return None if size is None else self._bucket.read(name)

  @contextlib.contextmanager
  def writing(self) -> Iterator[Write]:
    with self._explained():
      yield self._bucket.write

  @contextlib.contextmanager
  def _explained(self) -> Iterator[None]:
    try:
      yield
    except BucketError as error:
      raise FindingError(f'The bucket cannot be used: {error} Check access and network.') from error
