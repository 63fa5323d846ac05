"""What an agent printed, as text that can be kept: without control sequences and secrets."""

import json
import re
import urllib.parse
from collections.abc import Mapping

SHORTEST = 4  # characters of a value that counts as a secret: a 1 or a yes is none
# Control sequences of terminals: those with parameters, those with a text, and the short ones.
_SEQUENCES = re.compile(
  r'\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]'
)


class Redaction:
  """Takes the values of variables out of texts. values: name -> value."""

  def __init__(self, values: Mapping[str, str]):
    self._names: dict[str, str] = {}
    for name, value in values.items():
      for written in _ways(value):
        self._names.setdefault(written, name)
    longest_first = sorted(self._names, key=len, reverse=True)
    self._pattern = re.compile('|'.join(map(re.escape, longest_first)) or r'(?!)')
    self.longest = max((len(written.encode()) for written in self._names), default=0)

  def text(self, text: str) -> str:
    """`text` with the names of the variables in place of their values."""
    return self._pattern.sub(lambda found: f'[{self._names[found[0]]}]', text)

  def found(self, text: str) -> str:
    """The name of a variable whose value is in `text`; '' when there is none."""
    found = self._pattern.search(text)
    return self._names[found[0]] if found else ''

  def transcript(self, output: bytes, most: int, cut: bool) -> str:
    """The end of what was printed, of about `most` bytes.

    cut: whether `output` is the end of more. Then it has `longest` bytes too many in front, so that
    a secret whose beginning was cut off lies in them as a whole: they are dropped.
    """
    plain = _plain(output.decode(errors='replace'))
    if cut or len(output) > most:
      start = max(len(plain) - most, self.longest if cut else 0)
      for found in self._pattern.finditer(plain):
        if found.start() < start < found.end():
          start = found.end()
      plain = plain[start:]
      return f'[the beginning is left out]\n{self.text(plain)}'
    return self.text(plain)


def _ways(value: str) -> set[str]:
  """The ways in which tools write a value: as it is, in JSON, in an address."""
  if len(value) < SHORTEST:
    return set()
  return {value, value.strip(), json.dumps(value)[1:-1], urllib.parse.quote(value, safe='')} - {''}


def _plain(text: str) -> str:
  text = _SEQUENCES.sub('', text).replace('\r\n', '\n').replace('\r', '\n')
  return ''.join(c for c in text if c.isprintable() or c in '\n\t')
