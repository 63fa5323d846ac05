"""Marks text that others wrote as data: cleaned, and between two lines with an unguessable code.

Descriptions, hypotheses, lessons, error messages and programs were written by models or agents, and
may have been written to be read as instructions (prompt injection). The code of a block is derived
from a hash of the whole prompt, so that nobody who wrote a part of it can know the code.
"""

import dataclasses
import hashlib
import unicodedata
from collections.abc import Sequence

CODE_LENGTH = 12
SEPARATOR = '\n\n'


@dataclasses.dataclass(frozen=True)
class DataBlock:
  """A block of data in a prompt.

  Attributes:
    label: What the data are, in our words.
    text: The data.
  """

  label: str
  text: str

  def render(self, code: str) -> str:
    return f'<data {code} | {self.label}>\n{self.text}\n</data {code}>'


PromptPart = str | DataBlock


def clean(text: str) -> str:
  """Removes characters that do not print, except line breaks and tabs.

  Escape sequences, direction marks, zero-width and tag characters and lone surrogates all go;
  unusual spaces become plain ones.
  """
  text = text.replace('\r\n', '\n').replace('\r', '\n')
  return text if _is_clean(text) else ''.join(map(_cleaned, text))


def render(parts: Sequence[PromptPart]) -> str:
  """Joins the parts with blank lines, each data block inside a code of its own.

  A code occurs exactly twice in the result: at the beginning and at the end of its block.
  """
  everything = SEPARATOR.join(p if isinstance(p, str) else f'{p.label}\n{p.text}' for p in parts)
  digest = hashlib.sha256(everything.encode('utf-8')).digest()
  rendered: list[str] = []
  used: set[str] = set()
  for part in parts:
    if isinstance(part, DataBlock):
      code = _code(digest, everything, used)
      used.add(code)
      rendered.append(part.render(code))
    else:
      rendered.append(part)
  return SEPARATOR.join(rendered)


def num_bytes(parts: Sequence[PromptPart]) -> int:
  """Returns the number of UTF-8 bytes of `render(parts)` without rendering."""
  texts = [p if isinstance(p, str) else p.render('0' * CODE_LENGTH) for p in parts]
  return sum(len(t.encode('utf-8')) for t in texts) + len(SEPARATOR) * max(0, len(texts) - 1)


def _code(digest: bytes, everything: str, used: set[str]) -> str:
  attempt = 0
  while True:
    code = hashlib.sha256(digest + attempt.to_bytes(8, 'big')).hexdigest()[:CODE_LENGTH]
    if code not in used and code not in everything:
      return code
    attempt += 1


def _is_clean(text: str) -> bool:
  return all(line.isprintable() for line in text.replace('\t', ' ').split('\n'))


def _cleaned(character: str) -> str:
  if character in '\n\t' or character.isprintable():
    return character
  return ' ' if unicodedata.category(character) == 'Zs' else ''
