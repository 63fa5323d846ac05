"""Text of others as data: cleaned, and between two lines with a code that it cannot contain.

Descriptions, hypotheses, lessons, sentences of the tracer and programs were written by models or
agents, and may have been written to be read as instructions. The code of a block is taken from a
hash of all that the prompt says, so nobody who wrote a part of it can know it.
"""

import dataclasses
import hashlib
import unicodedata
from collections.abc import Sequence

CODE_LENGTH = 12
SEPARATOR = '\n\n'


@dataclasses.dataclass(frozen=True)
class Quote:
  """text: data. label: what it is, in our words."""

  label: str
  text: str

  def between(self, code: str) -> str:
    return f'<data {code} | {self.label}>\n{self.text}\n</data {code}>'


Part = str | Quote


def clean(text: str) -> str:
  """Without characters that do not print, line breaks and tabs aside; odd spaces become spaces.

  Escape sequences, direction marks, zero-width and tag characters and lone surrogates all go.
  """
  text = text.replace('\r\n', '\n').replace('\r', '\n')
  return text if _plain(text) else ''.join(map(_shown, text))


def rendered(parts: Sequence[Part]) -> str:
  """The parts with a blank line between them, every quote inside a code of its own.

  A code appears exactly twice in the result: where its block begins and where it ends.
  """
  everything = SEPARATOR.join(p if isinstance(p, str) else f'{p.label}\n{p.text}' for p in parts)
  digest = hashlib.sha256(everything.encode('utf-8')).digest()
  done: list[str] = []
  used: set[str] = set()
  for part in parts:
    if isinstance(part, Quote):
      code = _code(digest, everything, used)
      used.add(code)
      done.append(part.between(code))
    else:
      done.append(part)
  return SEPARATOR.join(done)


def size(parts: Sequence[Part]) -> int:
  """UTF-8 bytes of what `rendered` makes of the parts, without making it."""
  texts = [p if isinstance(p, str) else p.between('0' * CODE_LENGTH) for p in parts]
  return sum(len(t.encode('utf-8')) for t in texts) + len(SEPARATOR) * max(0, len(texts) - 1)


def _code(digest: bytes, everything: str, used: set[str]) -> str:
  attempt = 0
  while True:
    code = hashlib.sha256(digest + attempt.to_bytes(8, 'big')).hexdigest()[:CODE_LENGTH]
    if code not in used and code not in everything:
      return code
    attempt += 1


def _plain(text: str) -> bool:
  return all(line.isprintable() for line in text.replace('\t', ' ').split('\n'))


def _shown(character: str) -> str:
  if character in '\n\t' or character.isprintable():
    return character
  return ' ' if unicodedata.category(character) == 'Zs' else ''
