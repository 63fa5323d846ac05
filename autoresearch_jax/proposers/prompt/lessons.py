"""Lessons by a language model: what it is shown, the form of its answer, and how that is read."""

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.proposers.prompt import formatting
from autoresearch_jax.proposers.prompt.budget import Item, Prompt, fitted
from autoresearch_jax.proposers.prompt.fill import filled
from autoresearch_jax.proposers.prompt.sections import Sections, section
from autoresearch_jax.types import Lesson, Operation, Proposal, Trial

MAX_LESSONS = 20
MAX_CITED, MAX_TAGS = 20, 6
LENGTH, TAG_LENGTH = 300, 40  # characters
MAX_CHARACTERS = 200_000  # of an answer

_NUMBER = {'type': ['number', 'null']}
LESSONS_SCHEMA: dict[str, Any] = {
  'type': 'object',
  'properties': {
    'lessons': {
      'type': 'array',
      'items': {
        'type': 'object',
        'properties': {
          'text': {'type': 'string', 'description': 'The lesson, one sentence.'},
          'trials': {
            'type': 'array',
            'items': {'type': 'integer'},
            'description': 'Numbers of the trials that it rests on; at least one.',
          },
          'tags': {
            'type': 'array',
            'items': {'type': 'string'},
            'description': 'Constants and mechanisms that it is about.',
          },
          'change': {
            **_NUMBER,
            'description': "New metric minus old by what it advises, in the metric's unit.",
          },
          'uncertainty': {**_NUMBER, 'description': 'Standard deviation of the change.'},
        },
        'required': ['text', 'trials', 'tags', 'change', 'uncertainty'],
      },
    }
  },
  'required': ['lessons'],
}


class _LessonAnswer(msgspec.Struct):
  """A lesson as it is answered."""

  text: str
  trials: list[int | float | str]
  tags: list[str] = []
  change: float | None = None
  uncertainty: float | None = None


class _Answer(msgspec.Struct):
  lessons: list[_LessonAnswer]


def distil(context: ProposalContext, tokens: int = 20000) -> Prompt:
  """What a model is shown to distil lessons from the trials so far. Raises TooSmall."""
  sections = Sections(Proposal(Operation.IMPROVE), context)
  numbers = list(reversed(sections.outcomes.by_trial))
  items = (Item(f'- {formatting.trial_line(n, sections.outcomes)}', n) for n in numbers)
  system = filled(
    'distil_system',
    most=MAX_LESSONS,
    length=LENGTH,
    **formatting.prediction(context.objective),
  )
  return fitted(
    system,
    [
      sections.objective(),
      sections.lessons(),
      sections.best(),
      section('trials', *items, label='trials'),
      sections.device(),
    ],
    'Left out, since there was no room for it:',
    'Distil the lessons now, as one JSON object.',
    tokens,
  )


def lessons_of(text: str, context: ProposalContext, author: str) -> tuple[Lesson, ...]:
  """The lessons of an answer, without citations of trials that do not exist.

  A lesson that cites none that does is dropped, and so is what says the same again. Raises
  ValueError, with a sentence for the model, when the answer is not of the form of LESSONS_SCHEMA.
  """
  found: dict[str, Lesson] = {}
  for told in _parsed(text).lessons:
    lesson = _lesson(told, context, author)
    if lesson is not None:
      found.setdefault(lesson.text.lower(), lesson)
  return tuple(found.values())[:MAX_LESSONS]


def _parsed(text: str) -> _Answer:
  """The outermost object of the text. Raises ValueError."""
  if len(text) > MAX_CHARACTERS:
    raise ValueError(
      f'The answer has {len(text)} characters, and at most {MAX_CHARACTERS} are read; answer with '
      f'at most {MAX_LESSONS} short lessons.'
    )
  start, end = text.find('{'), text.rfind('}')
  if start < 0 or end < start:
    raise ValueError('The answer holds no JSON object; answer with {"lessons": [...]} alone.')
  try:
    return msgspec.convert(json.loads(text[start : end + 1]), _Answer)
  except (ValueError, RecursionError) as error:  # JSONDecodeError and ValidationError are such
    why = one_line(str(error), 200)
    raise ValueError(
      f'The answer does not have the form of lessons: {why}. Answer with one JSON object, '
      '{"lessons": [{"text", "trials", "tags", "change", "uncertainty"}, ...]}.'
    ) from None


def _lesson(told: _LessonAnswer, context: ProposalContext, author: str) -> Lesson | None:
  words = one_line(told.text, LENGTH)
  trials = _cited(told.trials, context.history)
  if not words or not trials:
    return None
  tags = dict.fromkeys(filter(None, (one_line(tag, TAG_LENGTH) for tag in told.tags)))
  change, spread = _finite(told.change), _finite(told.uncertainty)
  if change is not None and context.objective.direction == 'minimize':
    change = -change
  if change is None or (spread is not None and spread < 0):
    spread = None
  return Lesson(words, trials, tuple(tags)[:MAX_TAGS], change, spread, author)


def _cited(ids: list[int | float | str], history: Mapping[int, Trial]) -> tuple[int, ...]:
  """Those that are trials, in order and once each; `#12` and 12.0 are read as 12."""
  numbers = set()
  for number in ids:
    digits = str(number).lstrip('#').removesuffix('.0')
    if digits.isascii() and digits.isdecimal() and len(digits) < 10 and int(digits) in history:
      numbers.add(int(digits))
  return tuple(sorted(numbers))[:MAX_CITED]


def _finite(number: float | None) -> float | None:
  return number if number is not None and math.isfinite(number) else None
