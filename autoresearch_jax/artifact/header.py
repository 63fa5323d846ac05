"""The file format of an artifact: a binary prefix, a JSON header, then the modules' bytes.

Used by the writer, the reader and the controller, which compares the header with its request; so
no jax here. Files are not trusted: sizes are checked before use, and the header must match its
types.
"""

import hashlib
import struct
from typing import NoReturn

import msgspec

from autoresearch_jax.programs.contract import Phase
from autoresearch_jax.types import Spec

MAGIC = b'ARJTRIAL'
VERSION = 1
MAX_HEADER_BYTES = 8 * 2**20
_PREFIX = struct.Struct('<8sII32s')  # magic, version, header size in bytes, SHA-256 of the rest


class ArtifactError(Exception):
  """The artifact is rejected; the message says why, and what to do.

  Attributes:
    why: What is wrong, without a full stop.
    remedy: What to do about it.
    module: Index of the module that it is about: init, train steps, predict; None for the whole.
    position: Number of the operation in that module (see `graph.Op`); None if it is about no one.
  """

  def __init__(
    self,
    why: str,
    remedy: str = 'trace the program again',
    module: int | None = None,
    position: int | None = None,
  ):
    super().__init__(f'The artifact is rejected: {why}; {remedy}.')
    self.why, self.remedy, self.module, self.position = why, remedy, module, position


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """One array of the program's state.

  Attributes:
    path: Where it is in the state, for display only.
    shape: Its shape.
    dtype: Name of its dtype.
  """

  path: str
  shape: tuple[int, ...]
  dtype: str


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """Metadata of an artifact; the fields are those of `reader.Artifact`.

  Attributes:
    module_bytes: Size of each module, in the order of the file: init, train steps, predict.
  """

  platform: str
  spec: Spec
  evaluation_batch: int
  batch_size: int
  phases: tuple[Phase, ...]
  leaves: tuple[Leaf, ...]
  metric_names: tuple[str, ...]
  module_bytes: tuple[int, ...]


def pack(header: Header, modules: tuple[bytes, ...]) -> bytes:
  """Serializes an artifact."""
  text = msgspec.json.encode(header)
  rest = b''.join((text, *modules))
  return _PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(rest).digest()) + rest


def unpack(data: bytes) -> tuple[Header, list[bytes]]:
  """Splits the bytes of an artifact into header and modules. The contents are not checked here.

  Raises:
    ArtifactError: the bytes are not an artifact of this version, or are damaged.
  """
  if len(data) < _PREFIX.size:
    reject('it is shorter than its prefix')
  magic, version, size, digest = _PREFIX.unpack_from(data)
  rest = data[_PREFIX.size :]
  if magic != MAGIC:
    reject('it is not an artifact file')
  if version != VERSION:
    reject(f'it has format version {version}, but this library reads version {VERSION}')
  if size > min(len(rest), MAX_HEADER_BYTES):
    reject('its header is too long')
  if hashlib.sha256(rest).digest() != digest:
    reject('its checksum does not match, so it was truncated or changed')
  try:
    header = msgspec.json.decode(rest[:size], type=Header)
  except (msgspec.DecodeError, ValueError, RecursionError) as error:
    reject(f'its header is invalid: {str(error)[:200]}')
  return header, _split(rest[size:], header.module_bytes)


def reject(
  why: str,
  remedy: str = 'trace the program again',
  module: int | None = None,
  position: int | None = None,
) -> NoReturn:
  """Raises ArtifactError."""
  raise ArtifactError(why, remedy, module, position)


def _split(data: bytes, sizes: tuple[int, ...]) -> list[bytes]:
  if any(size <= 0 for size in sizes) or sum(sizes) != len(data):
    reject('the sizes of its modules do not match its header')
  modules: list[bytes] = []
  for size in sizes:
    modules.append(data[:size])
    data = data[size:]
  return modules
