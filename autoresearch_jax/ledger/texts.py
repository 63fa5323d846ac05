"""Deduplicated storage of an event's long texts: program files, model requests and responses.

The event's payload holds their digests instead.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

SIDES = ('request', 'response')  # of an exchange with a model


def digest(text: str) -> str:
  """Returns the SHA-256 of a text, in hexadecimal."""
  return hashlib.sha256(text.encode()).hexdigest()


def take(payload: dict[str, Any]) -> dict[str, str]:
  """Replaces the texts in a payload by their digests, in place; returns digest -> text."""
  texts: dict[str, str] = {}
  for program in _programs(payload):
    taken = {name: digest(text) for name, text in program['files']}
    texts |= {taken[name]: text for name, text in program['files']}
    program['files'] = [[name, key] for name, key in taken.items()]
  if exchange := payload.get('exchange'):
    for side in SIDES:
      if text := exchange.get(side):
        exchange[side] = digest(text)
        texts[exchange[side]] = text
  return texts


def put(payload: dict[str, Any], look_up: Callable[[str], str]) -> None:
  """Replaces the digests in a payload by their texts, in place; the inverse of `take`."""
  for program in _programs(payload):
    program['files'] = [[name, look_up(key)] for name, key in program['files']]
  if exchange := payload.get('exchange'):
    for side in SIDES:
      if exchange.get(side):
        exchange[side] = look_up(exchange[side])


def compress(text: str) -> bytes:
  """Compresses a rarely read text for storage."""
  return zlib.compress(text.encode(), 9)


def decompress(stored: str | bytes) -> str | None:
  """Returns the text of a row, compressed or not; None if it is damaged."""
  if isinstance(stored, str):
    return stored
  if not isinstance(stored, bytes):
    return None
  try:
    return zlib.decompress(stored).decode()
  except (zlib.error, UnicodeDecodeError):
    return None


def _programs(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """Yields the programs in a payload: its edit's, and that of a proposal with an edit."""
  for holder in (payload, payload.get('proposal') or {}):
    if holder.get('edit'):
      yield holder['edit']['program']
