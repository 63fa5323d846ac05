"""Conversion of the library's data types to and from JSON."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar('T')


def to_json(value: Any) -> bytes:
  return msgspec.json.encode(value)


def from_json(data: bytes | str, kind: type[T]) -> T:
  """Reads `kind` from JSON. Raises msgspec.ValidationError, which names the field that is wrong."""
  return msgspec.json.decode(data, type=kind)


def to_builtins(value: Any) -> Any:
  return msgspec.to_builtins(value)


def from_builtins(value: Mapping[str, Any], kind: type[T]) -> T:
  return msgspec.convert(value, kind)
