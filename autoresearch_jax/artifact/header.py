"""How an artifact lies in its file: a prefix, a JSON header, and the modules one after the other.

Shared by the artifact's writer and reader and by the controller, which compares the header with
what it asked for; so no jax here. Nothing in a file is believed: sizes are checked before they
are used, and the header must fit its types.
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
_PREFIX = struct.Struct('<8sII32s')  # magic, version, bytes of the header, SHA-256 of the rest


class ArtifactError(Exception):
  """The artifact can't be trusted to be a trial; the sentence says why."""


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """One array of the state. path: where in the state it is, for people; it decides nothing."""

  path: str
  shape: tuple[int, ...]
  dtype: str


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """What an artifact says of itself; see `artifact.Artifact`. module_bytes: sizes, in order."""

  platform: str
  spec: Spec
  evaluation_batch: int
  batch_size: int
  phases: tuple[Phase, ...]
  leaves: tuple[Leaf, ...]
  metric_names: tuple[str, ...]
  module_bytes: tuple[int, ...]


def pack(header: Header, modules: tuple[bytes, ...]) -> bytes:
  """The bytes of an artifact."""
  text = msgspec.json.encode(header)
  rest = b''.join((text, *modules))
  return _PREFIX.pack(MAGIC, VERSION, len(text), hashlib.sha256(rest).digest()) + rest


def unpack(data: bytes) -> tuple[Header, list[bytes]]:
  """Header and modules, as they lie there. Raises ArtifactError."""
  if len(data) < _PREFIX.size:
    refuse('it is too short to be one')
  magic, version, size, digest = _PREFIX.unpack_from(data)
  rest = data[_PREFIX.size :]
  if magic != MAGIC:
    refuse('it does not begin as one')
  if version != VERSION:
    refuse(f'it has version {version}, and this is version {VERSION}')
  if size > min(len(rest), MAX_HEADER_BYTES):
    refuse('its header is longer than it may be')
  if hashlib.sha256(rest).digest() != digest:
    refuse('its checksum is wrong, so it was cut or changed on the way')
  try:
    header = msgspec.json.decode(rest[:size], type=Header)
  except (msgspec.DecodeError, ValueError, RecursionError) as error:
    refuse(f'its header does not fit: {str(error)[:200]}')
  return header, _split(rest[size:], header.module_bytes)


def refuse(why: str) -> NoReturn:
  raise ArtifactError(f'The artifact is refused: {why}.')


def _split(data: bytes, sizes: tuple[int, ...]) -> list[bytes]:
  if any(size <= 0 for size in sizes) or sum(sizes) != len(data):
    refuse('its modules are longer or shorter than its header says')
  modules: list[bytes] = []
  for size in sizes:
    modules.append(data[:size])
    data = data[size:]
  return modules
