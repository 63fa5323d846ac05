"""The answer of a language model: its JSON schema, and a parser that tolerates common mistakes.

`SCHEMA` goes to the API (Gemini's `response_json_schema`), `parse` reads what comes back, and
`apply` turns it into a program. APIs without structured output, and models that ignore it, wrap the
object in prose or code fences, or stop in the middle. What can be read in one way only is accepted;
everything else raises an `AnswerError`, whose message goes back to the model. Nothing here knows
the program or runs anything, and the time is bounded for any text.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from autoresearch_jax.messages import one_line

MAX_CHARACTERS = 1_000_000  # of an answer
MAX_BLOCKS = 64  # edits and whole files of an answer
MAX_TAGS = 8
# Characters decoded, over all places where an object may begin and all commas removed.
MAX_DECODED = 10 * MAX_CHARACTERS
OBJECT = re.compile(r'\{\s*"')  # where an object with fields may begin
FIELD = re.compile(r'"(?:description|hypothesis|edits|files)"\s*:')
FIRST_FIELD = re.compile(OBJECT.pattern[:-1] + FIELD.pattern)
CLOSING_COMMA = re.compile(r',\s*(?=[}\]])')  # the comma before a closing bracket
SHORT_TAIL = re.compile(r'[\w.+-]*')  # an unfinished literal or escape at the end of a text
FORBIDDEN = re.compile(r'[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]|\r(?!\n)')
UNKNOWN = ('', 'null', 'none', 'unknown', 'n/a')  # strings in place of a number


def _text(description: str) -> dict[str, Any]:
  return {'type': 'string', 'description': description}


def _object(description: str, **properties: Any) -> dict[str, Any]:
  return {
    'type': 'object',
    'description': description,
    'properties': properties,
    'required': list(properties),
  }


def _list(description: str, items: dict[str, Any]) -> dict[str, Any]:
  return {'type': 'array', 'description': description, 'items': items}


SCHEMA: dict[str, Any] = {
  'type': 'object',
  'description': 'One change of the program and what is expected of it.',
  'properties': {
    'description': _text('The change in one line, at most 100 characters.'),
    'hypothesis': _object(
      'What the change is expected to do, and why.',
      claim=_text('One sentence: why the metric will change.'),
      mechanisms=_list(
        'One to three tags for what the change acts on.',
        _text("A word such as 'optimizer', 'schedule', 'attention', 'batch' or 'width'."),
      ),
      predicted_change={
        'type': 'number',
        'description': "Expected new value of the metric minus the old, in the metric's unit: "
        'negative if the metric will fall.',
      },
      uncertainty={
        'type': 'number',
        'description': 'Standard deviation of predicted_change, in the same unit; not negative.',
      },
    ),
    'edits': _list(
      'Blocks to replace, in order, each in the result of the one before. Empty where whole '
      'files are given.',
      _object(
        'One block.',
        file=_text('Name of the file, as it is named in the program.'),
        search=_text(
          'Text of the file, copied exactly with its indentation, that occurs there once.'
        ),
        replace=_text("What to put in its place; '' deletes it."),
      ),
    ),
    'files': _list(
      'Whole files, for a change too large for blocks; else empty.',
      _object(
        'One file.',
        file=_text('Name of the file, as it is named in the program.'),
        text=_text('The complete text of the file, nothing left out.'),
      ),
    ),
  },
  'required': ['description', 'hypothesis', 'edits', 'files'],
}


class AnswerError(ValueError):
  """The answer cannot be used. The message tells the model what is wrong, where, and what to do."""


@dataclasses.dataclass(frozen=True)
class SearchReplace:
  """Replaces a block of text.

  Attributes:
    file: Name of the file.
    search: The block, which occurs once in the file.
    replace: What to put in its place.
  """

  file: str
  search: str
  replace: str


@dataclasses.dataclass(frozen=True)
class WholeFile:
  """Replaces a whole file.

  Attributes:
    file: Name of the file.
    text: Its new text.
  """

  file: str
  text: str


@dataclasses.dataclass(frozen=True)
class EditAnswer:
  """A well-formed answer. Whether it fits the program is for `apply` to find out.

  At least one of `edits` and `files` is not empty.

  Attributes:
    description: The edit on one printable line.
    claim: Why it should help, on one printable line.
    mechanisms: Tags for what it acts on.
    predicted_change: Predicted change of the metric, in its unit (negative: it falls); None if the
      model does not know.
    uncertainty: Standard deviation of that prediction, at least 0; None if not known.
    edits: Blocks to replace, in order.
    files: Whole files to replace.
  """

  description: str
  claim: str
  mechanisms: tuple[str, ...]
  predicted_change: float | None
  uncertainty: float | None
  edits: tuple[SearchReplace, ...]
  files: tuple[WholeFile, ...]


def parse(text: str) -> EditAnswer:
  """Returns the first object in the text that is an answer.

  Tolerated are prose and code fences around the object, a list or another object around it, a comma
  before a closing bracket, line breaks in strings, numbers given as strings, a single object or
  string in place of a list, mechanisms and predictions that are missing or null (unknown), and a
  negative uncertainty (its sign is dropped).

  Raises:
    AnswerError: There is no usable answer. Nothing else is ever raised.
  """
  if not text.strip('\ufeff \t\r\n'):
    raise AnswerError('The answer is empty; answer with one JSON object as the schema asks.')
  if len(text) > MAX_CHARACTERS:
    raise AnswerError(
      f'The answer has {len(text):,} characters, more than {MAX_CHARACTERS:,}; answer shorter, '
      'with edits instead of whole files.'
    )
  # A broken answer may contain several objects. The error to report is that of the object that
  # looks most like an answer.
  best, reported = (
    0,
    AnswerError(
      'The answer holds no JSON object with the fields of the schema, names in double quotes; it '
      f'begins with {_quoted(text)}. Answer with that object only.'
    ),
  )
  for start, found in _ObjectScanner(text).objects():
    try:
      if isinstance(found, AnswerError):
        raise found
      return _answer(found)
    except AnswerError as error:
      if (likeness := _likeness(text, start, found)) > best:
        best, reported = likeness, error
  raise reported


class _ObjectScanner:
  """Decodes every place in a text that looks like an object, up to a bounded amount of work."""

  def __init__(self, text: str):
    self.text = text
    self.budget = MAX_DECODED  # characters that may still be decoded

  def objects(self) -> Iterator[tuple[int, dict[str, Any] | AnswerError]]:
    """Yields (position, the object or why it cannot be decoded)."""
    for match in OBJECT.finditer(self.text):
      if self.budget > 0:
        yield match.start(), self._decoded(match.start())

  def _decoded(self, start: int) -> dict[str, Any] | AnswerError:
    rest = self.text[start:]
    while self.budget > 0:
      self.budget -= len(rest)
      try:
        return DECODER.raw_decode(rest)[0]
      except json.JSONDecodeError as error:
        repaired = _without_comma(rest, error.pos)
        if repaired is None:
          return _malformed(self.text, start, error, rest)
        rest = repaired
      except RecursionError:
        return AnswerError('The JSON is nested too deeply; keep to the schema.')
      except AnswerError as error:
        return error
    return AnswerError('The JSON has many commas before closing brackets; remove them.')


def _without_comma(text: str, position: int) -> str | None:
  """Removes the comma before a closing bracket at which decoding stopped; None if there is none."""
  comma = len(text[:position].rstrip()) - 1
  for at in (position, comma):
    if at >= 0 and (match := CLOSING_COMMA.match(text, at)):
      return text[:at] + text[match.end() :]
  return None


def _malformed(text: str, start: int, error: json.JSONDecodeError, rest: str) -> AnswerError:
  tail = rest[error.pos :].strip().strip('`')
  if error.msg.startswith('Unterminated string') or SHORT_TAIL.fullmatch(tail):
    return AnswerError(
      'The answer ends in the middle of its JSON object; answer shorter, with edits instead of '
      'whole files, and close every string and bracket.'
    )
  line = text.count('\n', 0, start) + error.lineno
  near = one_line(rest[max(0, error.pos - 30) : error.pos + 30])
  return AnswerError(
    f'The JSON of the answer is broken at line {line}, near {near} ({error.msg}). Inside '
    'strings, write \\" for a quote, \\\\ for a backslash and \\n for a line break.'
  )


def _likeness(text: str, start: int, found: dict[str, Any] | AnswerError) -> int:
  """Returns how much an object looks like an answer, by the fields it has."""
  if isinstance(found, dict):
    return len(SCHEMA['properties'].keys() & found.keys())
  return 2 if FIRST_FIELD.match(text, start) else int(FIELD.search(text, start) is not None)


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise AnswerError(f'The field {_quoted(twice)} occurs twice in one object; give it once.')
  return found


# Integers are read as floats, too: a million digits are then infinite, not an error.
DECODER = json.JSONDecoder(object_pairs_hook=_fields, parse_int=float, strict=False)


def _answer(found: dict[str, Any]) -> EditAnswer:
  """Converts a decoded object. Raises AnswerError."""
  hypothesis = _required(found, 'hypothesis', '')
  if not isinstance(hypothesis, dict):
    raise _wrong('hypothesis', hypothesis, 'an object with claim and predicted_change')
  change = _number(hypothesis, 'predicted_change')
  deviation = _number(hypothesis, 'uncertainty')
  answer = EditAnswer(
    description=_line(found, 'description', ''),
    claim=_line(hypothesis, 'claim', 'hypothesis.'),
    mechanisms=_tags(hypothesis.get('mechanisms')),
    predicted_change=change,
    uncertainty=None if deviation is None else abs(deviation),
    edits=tuple(
      SearchReplace(
        _string(block, 'file', at), _string(block, 'search', at), _code(block, 'replace', at)
      )
      for at, block in _blocks(found, 'edits')
    ),
    files=tuple(
      WholeFile(_string(file, 'file', at), _code(file, 'text', at))
      for at, file in _blocks(found, 'files')
    ),
  )
  blocks = len(answer.edits) + len(answer.files)
  if not blocks:
    raise AnswerError('edits and files are both empty; give at least one edit or one whole file.')
  if blocks > MAX_BLOCKS:
    raise AnswerError(
      f'The answer has {blocks} edits and files, more than {MAX_BLOCKS}; give whole files '
      'instead, or change less.'
    )
  return answer


def _required(found: dict[str, Any], name: str, at: str) -> Any:
  if name not in found:
    raise AnswerError(f'The field {at}{name} is missing; give every field of the schema.')
  return found[name]


def _string(found: dict[str, Any], name: str, at: str) -> str:
  value = _required(found, name, at)
  if not isinstance(value, str):
    raise _wrong(at + name, value, 'a string')
  return value


def _line(found: dict[str, Any], name: str, at: str) -> str:
  line = one_line(_string(found, name, at))
  if not line:
    raise AnswerError(f'The field {at}{name} is empty; write one line.')
  return line


def _code(found: dict[str, Any], name: str, at: str) -> str:
  """Returns text for a file. Raises AnswerError if it has control characters or surrogates."""
  text = _string(found, name, at)
  if match := FORBIDDEN.search(text):
    raise AnswerError(
      f'{at}{name} holds the character U+{ord(match[0]):04X} at its line '
      f'{text.count(chr(10), 0, match.start()) + 1}, which must not be in a file; leave it out, '
      'or write it as an escape sequence of the programming language.'
    )
  return text


def _number(found: dict[str, Any], name: str) -> float | None:
  value = found.get(name)
  if isinstance(value, str):
    word = value.strip().replace('\N{MINUS SIGN}', '-')
    try:
      value = None if word.lower() in UNKNOWN else float(word)
    except ValueError:
      raise _wrong(f'hypothesis.{name}', value, 'a number, or null') from None
  if value is None:
    return None
  if not isinstance(value, float):
    raise _wrong(f'hypothesis.{name}', value, 'a number, or null')
  if not math.isfinite(value):
    raise AnswerError(f'hypothesis.{name} is {value}; give a finite number, or null if unknown.')
  return value


def _tags(value: Any) -> tuple[str, ...]:
  if isinstance(value, str):
    value = value.split(',')
  if value is None:
    return ()
  if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
    raise _wrong('hypothesis.mechanisms', value, 'a list of strings')
  tags = (one_line(tag, 40).lower() for tag in value[: 10 * MAX_TAGS])
  return tuple(dict.fromkeys(tag for tag in tags if tag))[:MAX_TAGS]


def _blocks(found: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields (how messages name it, the object) for each element of a list."""
  value = found.get(name)
  if value is None:
    value = []
  if isinstance(value, dict):
    value = [value]
  if not isinstance(value, list):
    raise _wrong(name, value, 'a list of objects')
  for number, element in enumerate(value):
    if not isinstance(element, dict):
      raise _wrong(f'{name}[{number}]', element, 'an object')
    yield f'{name}[{number}].', element


KINDS = {dict: 'an object', list: 'a list', str: 'a string', float: 'a number', bool: 'a boolean'}


def _wrong(where: str, value: Any, wanted: str) -> AnswerError:
  found = f'{KINDS[type(value)]}' if type(value) in KINDS else 'null'
  shown = f' ({_quoted(value)})' if isinstance(value, str) else ''
  return AnswerError(f'{where} is {found}{shown}; give {wanted}.')


def _quoted(text: str) -> str:
  """Returns the beginning of the text, on one line and in quotes."""
  return json.dumps(one_line(text[:400], 80), ensure_ascii=False)
