"""Long texts of an event, stored once by digest: program files, and what models were sent and said.

An event's payload holds digests where the texts were.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

SIDES = ('request', 'response')  # of an exchange with a model


def digest(text: str) -> str:
  """The SHA-256 of a text, in hexadecimal."""
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
  """A text as it is stored when it is rarely read."""
  return zlib.compress(text.encode(), 9)


def decompress(stored: str | bytes) -> str | None:
  """The text of a row, compressed or not; None when it is damaged."""
  if isinstance(stored, str):
    return stored
  if not isinstance(stored, bytes):
    return None
  try:
    return zlib.decompress(stored).decode()
  except (zlib.error, UnicodeDecodeError):
    return None


def _programs(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """The programs in a payload: of its edit, and of a proposal that carries an edit."""
  for holder in (payload, payload.get('proposal') or {}):
    if holder.get('edit'):
      yield holder['edit']['program']
