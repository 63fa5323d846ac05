"""Whatever a model answers is read, or refused with a sentence, in bounded time."""

import copy
import json
import math
import time

import pytest
from google.genai import types as genai
from helpers.broken_answers import DEPTH, GOOD, NORM, answer, fields
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.proposers.llm.answer import (
  MAX_CHARACTERS,
  MAX_TAGS,
  SCHEMA,
  AnswerError,
  EditAnswer,
  SearchReplace,
  WholeFile,
  parse,
)

# Keywords of JSON schema that structured output knows, as Gemini's documentation lists them.
KEYWORDS = {'type', 'description', 'properties', 'required', 'items', 'enum'}
JSON = st.recursive(
  st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
  lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
  max_leaves=20,
)


def paths(value, path=()):
  """All places in a JSON value."""
  yield path
  inside = enumerate(value) if isinstance(value, list) else ()
  for key, element in value.items() if isinstance(value, dict) else inside:
    yield from paths(element, (*path, key))


def with_value(value, path, new):
  if not path:
    return new
  changed = copy.copy(value)
  changed[path[0]] = with_value(value[path[0]], path[1:], new)
  return changed


FULL = fields(DEPTH, files=['x = 1\n'])


def check_read_or_refused(text):
  """A sentence is one line that any log or request can hold; an answer keeps its promises."""
  try:
    found = parse(text)
  except AnswerError as error:
    assert str(error).isprintable()
    assert 20 < len(str(error)) < 1000
    assert str(error).endswith('.')
    return
  assert found.edits or found.files
  for line in (found.description, found.claim, *found.mechanisms):
    assert line
    assert line.isprintable()
  for number in (found.predicted_change, found.uncertainty):
    assert number is None or math.isfinite(number)
  assert found.uncertainty is None or found.uncertainty >= 0
  for code in (*(b.replace for b in found.edits), *(f.text for f in found.files)):
    assert '\0' not in code
    code.encode('utf-8')


def test_all_fields_are_read():
  found = parse(answer(DEPTH, ('a\n  b', ''), files=['x = 1\n']))
  assert found == EditAnswer(
    description='raise DEPTH from 8 to 10',
    claim='A deeper model makes better use of the same number of tokens.',
    mechanisms=('depth', 'architecture'),
    predicted_change=-0.012,
    uncertainty=0.008,
    edits=(SearchReplace('model.py', *DEPTH), SearchReplace('model.py', 'a\n  b', '')),
    files=(WholeFile('model.py', 'x = 1\n'),),
  )


def test_what_can_be_meant_in_one_way_only_is_read():
  def read(**changed):
    return parse(answer(DEPTH, **changed))

  assert read(predicted_change='-0.01').predicted_change == -0.01
  assert read(predicted_change='\N{MINUS SIGN}0.01').predicted_change == -0.01
  assert read(predicted_change='unknown').predicted_change is None
  assert read(predicted_change=None).predicted_change is None
  assert read(uncertainty=-0.5).uncertainty == 0.5
  assert read(mechanisms='Width, depth,').mechanisms == ('width', 'depth')
  assert read(mechanisms=['a', 'A ', '', '\t']).mechanisms == ('a',)
  assert len(read(mechanisms=[str(i) for i in range(1000)]).mechanisms) == MAX_TAGS
  assert read(description='raise\tDEPTH\x1b[2J\n\u202e!').description == 'raise DEPTH [2J !'
  assert parse(answer((NORM, 'x')).replace('\\n', '\n')).edits[0].search == NORM


def test_the_first_object_that_fits_is_taken():
  second = GOOD.replace('raise DEPTH', 'lower DEPTH')
  assert parse(GOOD + second).description == 'raise DEPTH from 8 to 10'
  assert parse('{"edits": []}' + second + GOOD).description == 'lower DEPTH from 8 to 10'


def test_the_sentence_is_on_the_object_that_was_meant():
  broken = answer(DEPTH, predicted_change=True)
  for text in (
    f'First, {{"loss": loss}} is returned. {broken}',
    f'{{"type": "object"}}{broken}',
    f'{{"answer": {broken}}}',
    f'{broken} {{"description": "the next idea"}}',
  ):
    with pytest.raises(AnswerError, match=r'predicted_change is a boolean'):
      parse(text)


def test_broken_json_is_told_from_prose_with_braces():
  with pytest.raises(AnswerError, match=r'broken at line 5, near .*"deeper"'):
    parse('First, {"loss": loss} is returned.\n' + GOOD.replace('deeper', '"deeper"'))


def test_an_answer_inside_a_string_stays_text():
  quoted = answer((DEPTH[0], f'NOTE = {json.dumps(answer(("a", "b")))}'))
  assert parse(quoted).edits[0].search == DEPTH[0]
  with pytest.raises(AnswerError, match='ends in the middle'):
    parse(quoted[:-200])


def test_the_schema_uses_what_structured_output_knows():
  def schemas(schema):
    yield schema
    for inner in (*schema.get('properties', {}).values(), *filter(None, [schema.get('items')])):
      yield from schemas(inner)

  for schema in schemas(SCHEMA):
    assert schema.keys() <= KEYWORDS
    assert schema['type'] in ('object', 'array', 'string', 'number')
    assert set(schema.get('required', ())) <= schema.get('properties', {}).keys()
  genai.GenerateContentConfig(
    response_mime_type='application/json', response_json_schema=json.loads(json.dumps(SCHEMA))
  )


def test_the_schema_and_the_parser_mean_the_same_fields():
  assert list(SCHEMA['properties']) == list(FULL)
  assert list(SCHEMA['properties']['hypothesis']['properties']) == list(FULL['hypothesis'])
  for name in ('edits', 'files'):
    assert list(SCHEMA['properties'][name]['items']['properties']) == list(FULL[name][0])


@given(st.text(st.characters()))
def test_any_text(text):
  check_read_or_refused(text)


@given(st.lists(st.sampled_from([*'{}[]",:\\\n \0\ud800', '{"', '"edits"', 'NaN', '1e999', GOOD])))
def test_any_text_like_json(parts):
  check_read_or_refused(''.join(parts))


@given(JSON)
def test_any_json(value):
  check_read_or_refused(json.dumps(value))


@given(st.sampled_from(list(paths(FULL))), JSON)
def test_any_value_in_any_place(path, value):
  check_read_or_refused(json.dumps(with_value(FULL, path, value)))


@given(st.data())
def test_a_text_that_was_cut_is_never_applied_in_part(data):
  text = answer(DEPTH, (NORM, 'x'), files=['y'])
  cut = data.draw(st.integers(1, len(text) - 1))
  with pytest.raises(AnswerError, match=r'ends in the middle|no JSON object'):
    parse(text[:cut])


@given(st.data())
def test_any_character_changed(data):
  at = data.draw(st.integers(0, len(GOOD) - 1))
  check_read_or_refused(GOOD[:at] + data.draw(st.characters()) + GOOD[at + 1 :])


@pytest.mark.parametrize(
  'text',
  [
    '{"a":' * (MAX_CHARACTERS // 5),
    '{"description":[' * (MAX_CHARACTERS // 16),
    '[' * MAX_CHARACTERS,
    '{ ' * (MAX_CHARACTERS // 2),
    '{' + ' ' * (MAX_CHARACTERS - 1),
    '{"a":' * 900 + '"' + 'x' * 900_000,
    '{"a":' * 900 + '"' + 'x' * 900_000 + '"' + '}' * 900,
    '{"edits":[' + '{},' * 300_000 + '"",[' + '[1,],' * 1000 + ']}',
    '{"edits":[1,],}' * (MAX_CHARACTERS // 15),
    '{"a":1,' * (MAX_CHARACTERS // 7),
    GOOD.replace('-0.012', '9' * 990_000),
    GOOD.replace('-0.012', f'"{"9" * 990_000}"'),
    GOOD.replace('"depth"', '"depth",' * 100_000 + '"depth"'),
    GOOD.replace('raise', '\\u0000' * 160_000),
  ],
  ids=range(14),
)
def test_the_worst_texts_take_little_time(text):
  assert len(text) <= MAX_CHARACTERS
  start = time.process_time()
  check_read_or_refused(text)
  assert time.process_time() - start < 20
