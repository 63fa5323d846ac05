"""What a language model answers, as an `Answer`: the JSON it is asked for, and how that is read.

`SCHEMA` goes to the model's interface (Gemini's `response_json_schema`), `parse` reads what comes
back, `applying` turns it into a program. Interfaces without structured output, and models that
do not keep to it, wrap the object in prose, fence it, or stop in the middle. What can be read in
one way only is read; everything else raises an `AnswerError` whose sentence goes back to the model.
Nothing here knows the program or runs anything, and the time is bounded whatever the text.
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
# Characters decoded, over all places where an object may begin and all commas mended.
MAX_DECODED = 10 * MAX_CHARACTERS
OBJECT = re.compile(r'\{\s*"')  # where the answer, an object with fields, may begin
FIELD = re.compile(r'"(?:description|hypothesis|edits|files)"\s*:')
FIRST_FIELD = re.compile(OBJECT.pattern[:-1] + FIELD.pattern)
CLOSING_COMMA = re.compile(r',\s*(?=[}\]])')  # the comma before a closing bracket
SHORT_TAIL = re.compile(r'[\w.+-]*')  # the start of a literal or an escape at the end of a text
FORBIDDEN = re.compile(r'[\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]|\r(?!\n)')
UNKNOWN = ('', 'null', 'none', 'unknown', 'n/a')  # numbers that are given as words


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
  """The answer cannot be used. The sentence tells the model what is wrong, where, what to do."""


@dataclasses.dataclass(frozen=True)
class Block:
  """Put `replace` where `search` is in `file`."""

  file: str
  search: str
  replace: str


@dataclasses.dataclass(frozen=True)
class WholeFile:
  """Put `text` in place of all of `file`."""

  file: str
  text: str


@dataclasses.dataclass(frozen=True)
class Answer:
  """One answer, well formed; whether it fits a program is another question (see `applying`).

  description, claim, mechanisms: printable, on one line each. predicted_change: of the metric, in
  its unit (negative: it falls). uncertainty: standard deviation of that, >= 0. Both are None where
  the model does not know. At least one of edits and files is not empty.
  """

  description: str
  claim: str
  mechanisms: tuple[str, ...]
  predicted_change: float | None
  uncertainty: float | None
  edits: tuple[Block, ...]
  files: tuple[WholeFile, ...]


def parse(text: str) -> Answer:
  """The first object in `text` that is an answer. Raises AnswerError, and nothing else.

  Read without a word: prose and code fences around the object, a list or another object around
  it, a comma before a closing bracket, line breaks in strings, numbers given as strings, one
  object or string where a list is asked for; mechanisms and numbers of the prediction that are
  missing or null (unknown); the sign of an uncertainty.
  """
  if not text.strip('\ufeff \t\r\n'):
    raise AnswerError('The answer is empty; answer with one JSON object as the schema asks.')
  if len(text) > MAX_CHARACTERS:
    raise AnswerError(
      f'The answer has {len(text):,} characters, more than {MAX_CHARACTERS:,}; answer shorter, '
      'with edits instead of whole files.'
    )
  # What a broken answer holds inside is not an answer either: the error of the object that looks
  # most like one is the one to mend.
  likest, worst = (
    0,
    AnswerError(
      'The answer holds no JSON object with the fields of the schema, names in double quotes; it '
      f'begins with {_quoted(text)}. Answer with that object only.'
    ),
  )
  for start, found in _Reader(text).objects():
    try:
      if isinstance(found, AnswerError):
        raise found
      return _answer(found)
    except AnswerError as error:
      if (likeness := _likeness(text, start, found)) > likest:
        likest, worst = likeness, error
  raise worst


class _Reader:
  """Reads every place in `text` that looks like an object, as long as that is little work."""

  def __init__(self, text: str):
    self.text = text
    self.left = MAX_DECODED

  def objects(self) -> Iterator[tuple[int, dict[str, Any] | AnswerError]]:
    """(where it begins, the object or why it is none)."""
    for match in OBJECT.finditer(self.text):
      if self.left > 0:
        yield match.start(), self._decoded(match.start())

  def _decoded(self, start: int) -> dict[str, Any] | AnswerError:
    rest = self.text[start:]
    while self.left > 0:
      self.left -= len(rest)
      try:
        return DECODER.raw_decode(rest)[0]
      except json.JSONDecodeError as error:
        mended = _without_comma(rest, error.pos)
        if mended is None:
          return _malformed(self.text, start, error, rest)
        rest = mended
      except RecursionError:
        return AnswerError('The JSON is nested too deep; answer as flat as the schema asks.')
      except AnswerError as error:
        return error
    return AnswerError('The JSON has many commas before closing brackets; leave them out.')


def _without_comma(text: str, position: int) -> str | None:
  """`text` without the comma before a closing bracket at which decoding stopped, if it did."""
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
  """How much an object that is no answer was meant to be it, by the fields it has."""
  if isinstance(found, dict):
    return len(SCHEMA['properties'].keys() & found.keys())
  return 2 if FIRST_FIELD.match(text, start) else int(FIELD.search(text, start) is not None)


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise AnswerError(f'The field {_quoted(twice)} is there twice in one object; give it once.')
  return found


# Whole numbers are read as floats too: a million digits are then infinite, not an error.
DECODER = json.JSONDecoder(object_pairs_hook=_fields, parse_int=float, strict=False)


def _answer(found: dict[str, Any]) -> Answer:
  """Raises AnswerError."""
  hypothesis = _needed(found, 'hypothesis', '')
  if not isinstance(hypothesis, dict):
    raise _wrong('hypothesis', hypothesis, 'an object with claim and predicted_change')
  change = _number(hypothesis, 'predicted_change')
  deviation = _number(hypothesis, 'uncertainty')
  answer = Answer(
    description=_line(found, 'description', ''),
    claim=_line(hypothesis, 'claim', 'hypothesis.'),
    mechanisms=_tags(hypothesis.get('mechanisms')),
    predicted_change=change,
    uncertainty=None if deviation is None else abs(deviation),
    edits=tuple(
      Block(_string(block, 'file', at), _string(block, 'search', at), _code(block, 'replace', at))
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
      f'The answer has {blocks} edits and files, more than {MAX_BLOCKS}; give the whole file '
      'instead, or change less.'
    )
  return answer


def _needed(found: dict[str, Any], name: str, at: str) -> Any:
  if name not in found:
    raise AnswerError(f'The field {at}{name} is missing; give every field of the schema.')
  return found[name]


def _string(found: dict[str, Any], name: str, at: str) -> str:
  value = _needed(found, name, at)
  if not isinstance(value, str):
    raise _wrong(at + name, value, 'a string')
  return value


def _line(found: dict[str, Any], name: str, at: str) -> str:
  line = one_line(_string(found, name, at))
  if not line:
    raise AnswerError(f'The field {at}{name} is empty; say it in one line.')
  return line


def _code(found: dict[str, Any], name: str, at: str) -> str:
  """Text that goes into a file: without what no text file should hold."""
  text = _string(found, name, at)
  if match := FORBIDDEN.search(text):
    raise AnswerError(
      f'{at}{name} holds the character U+{ord(match[0]):04X} at its line '
      f'{text.count(chr(10), 0, match.start()) + 1}, which has no place in a file; leave it out, '
      'or write it as an escape of the programming language.'
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
  """(how to name it, the object) for each element of a list."""
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
  """The beginning of `text`, on one line and in quotes."""
  return json.dumps(one_line(text[:400], 80), ensure_ascii=False)
