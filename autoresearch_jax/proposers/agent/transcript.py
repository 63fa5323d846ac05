"""Makes an agent's output safe to store: without terminal control sequences and secrets."""

import json
import re
import urllib.parse
from collections.abc import Mapping

MIN_SECRET = 4  # characters; a value such as 1 or yes is no secret
# Terminal control sequences: with parameters (CSI), with a string (OSC, DCS, ...), and short ones.
_SEQUENCES = re.compile(
  r'\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]'
)


class Redaction:
  """Removes the values of environment variables from texts.

  Attributes:
    longest: Length of the longest form of a value, in bytes.
  """

  def __init__(self, values: Mapping[str, str]):
    """Makes a redaction.

    Args:
      values: Values by the names of their variables.
    """
    self._names: dict[str, str] = {}
    for name, value in values.items():
      for written in _encodings(value):
        self._names.setdefault(written, name)
    longest_first = sorted(self._names, key=len, reverse=True)
    self._pattern = re.compile('|'.join(map(re.escape, longest_first)) or r'(?!)')
    self.longest = max((len(written.encode()) for written in self._names), default=0)

  def text(self, text: str) -> str:
    """Returns the text with the names of the variables in place of their values."""
    return self._pattern.sub(lambda found: f'[{self._names[found[0]]}]', text)

  def found(self, text: str) -> str:
    """Returns the name of a variable whose value is in the text; '' if there is none."""
    found = self._pattern.search(text)
    return self._names[found[0]] if found else ''

  def whole_lines(self, output: bytes, cut: bool) -> str:
    """Returns an output as text, without secrets.

    Args:
      output: The output, or its end.
      cut: Whether its beginning is missing. Then the text starts with the first whole line after
        `longest` bytes, so that no cut-off secret remains.
    """
    if cut:
      output = output[self.longest :].partition(b'\n')[2]
    return self.text(output.decode(errors='replace'))

  def transcript(self, output: bytes, max_bytes: int, cut: bool) -> str:
    """Returns the end of an agent's output as text, without secrets.

    Args:
      output: The output, or its end.
      max_bytes: Approximate maximum length.
      cut: Whether the beginning of the output is missing. Then `output` must start with `longest`
        extra bytes, which are dropped, so that no cut-off secret remains.
    """
    plain = _plain(output.decode(errors='replace'))
    if cut or len(output) > max_bytes:
      start = max(len(plain) - max_bytes, self.longest if cut else 0)
      for found in self._pattern.finditer(plain):
        if found.start() < start < found.end():
          start = found.end()
      plain = plain[start:]
      return f'[the beginning is omitted]\n{self.text(plain)}'
    return self.text(plain)


def _encodings(value: str) -> set[str]:
  """Returns the forms in which tools write a value: as it is, in JSON, in a URL."""
  if len(value) < MIN_SECRET:
    return set()
  return {value, value.strip(), json.dumps(value)[1:-1], urllib.parse.quote(value, safe='')} - {''}


def _plain(text: str) -> str:
  """Removes control sequences and unprintable characters, except line breaks and tabs."""
  text = _SEQUENCES.sub('', text).replace('\r\n', '\n').replace('\r', '\n')
  return ''.join(c for c in text if c.isprintable() or c in '\n\t')
