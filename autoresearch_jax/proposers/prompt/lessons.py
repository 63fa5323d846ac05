"""Lessons by a language model: the prompt, the schema of the answer, and its parser."""

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.proposers.prompt import formatting
from autoresearch_jax.proposers.prompt.edit_prompt import LEFT_OUT
from autoresearch_jax.proposers.prompt.fitting import Prompt, PromptItem, fit
from autoresearch_jax.proposers.prompt.sections import PromptSections, make_section
from autoresearch_jax.proposers.prompt.template import fill_template
from autoresearch_jax.types import Lesson, Operation, Proposal, Trial

MAX_LESSONS = 20
MAX_CITED, MAX_TAGS = 20, 6
MAX_TEXT, MAX_TAG = 300, 40  # characters
MAX_ANSWER = 200_000  # characters

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
            'description': 'Numbers of the trials that support it; at least one.',
          },
          'tags': {
            'type': 'array',
            'items': {'type': 'string'},
            'description': 'Constants and mechanisms that it is about.',
          },
          'change': {
            **_NUMBER,
            'description': "New metric minus old if one follows the advice, in the metric's unit.",
          },
          'uncertainty': {**_NUMBER, 'description': 'Standard deviation of the change.'},
        },
        'required': ['text', 'trials', 'tags', 'change', 'uncertainty'],
      },
    }
  },
  'required': ['lessons'],
}


class _AnsweredLesson(msgspec.Struct):
  """A lesson as it is answered."""

  text: str
  trials: list[int | float | str]
  tags: list[str] = []
  change: float | None = None
  uncertainty: float | None = None


class _LessonsAnswer(msgspec.Struct):
  """The whole answer."""

  lessons: list[_AnsweredLesson]


def lessons_prompt(context: ProposalContext, max_tokens: int = 20000) -> Prompt:
  """Returns the prompt that asks for lessons from the trials so far.

  Args:
    context: What is known of the run.
    max_tokens: Maximum length of the prompt.

  Raises:
    PromptTooLong: The mandatory sections do not fit.
  """
  sections = PromptSections(Proposal(Operation.IMPROVE), context)
  numbers = list(reversed(sections.outcomes.by_trial))
  items = (PromptItem(f'- {formatting.trial_line(n, sections.outcomes)}', n) for n in numbers)
  system = fill_template(
    'lessons',
    max_lessons=MAX_LESSONS,
    max_text=MAX_TEXT,
    **formatting.prediction(context.objective),
  )
  return fit(
    system,
    [
      sections.objective(),
      sections.lessons(),
      sections.best(),
      make_section('trials', *items, label='trials'),
      sections.device(),
    ],
    LEFT_OUT,
    'Write the lessons now, as one JSON object.',
    max_tokens,
  )


def parse_lessons(text: str, context: ProposalContext, author: str) -> tuple[Lesson, ...]:
  """Returns the lessons of an answer.

  Citations of trials that do not exist are dropped, and so are lessons that cite none that does or
  repeat another one.

  Args:
    text: The model's answer.
    context: What is known of the run.
    author: Name of the model.

  Raises:
    ValueError: The answer does not have the form of LESSONS_SCHEMA; the message is for the model.
  """
  found: dict[str, Lesson] = {}
  for answered in _parse(text).lessons:
    lesson = _lesson(answered, context, author)
    if lesson is not None:
      found.setdefault(lesson.text.lower(), lesson)
  return tuple(found.values())[:MAX_LESSONS]


def _parse(text: str) -> _LessonsAnswer:
  """Decodes the outermost object of the text. Raises ValueError."""
  if len(text) > MAX_ANSWER:
    raise ValueError(
      f'The answer has {len(text)} characters, and at most {MAX_ANSWER} are read; answer with '
      f'at most {MAX_LESSONS} short lessons.'
    )
  start, end = text.find('{'), text.rfind('}')
  if start < 0 or end < start:
    raise ValueError('The answer holds no JSON object; answer with {"lessons": [...]} alone.')
  try:
    return msgspec.convert(json.loads(text[start : end + 1]), _LessonsAnswer)
  except (ValueError, RecursionError) as error:  # includes JSONDecodeError and ValidationError
    reason = one_line(str(error), 200)
    raise ValueError(
      f'The answer does not have the form of lessons: {reason}. Answer with one JSON object, '
      '{"lessons": [{"text", "trials", "tags", "change", "uncertainty"}, ...]}.'
    ) from None


def _lesson(answered: _AnsweredLesson, context: ProposalContext, author: str) -> Lesson | None:
  text = one_line(answered.text, MAX_TEXT)
  trials = _cited(answered.trials, context.history)
  if not text or not trials:
    return None
  tags = dict.fromkeys(filter(None, (one_line(tag, MAX_TAG) for tag in answered.tags)))
  change, sd = _finite(answered.change), _finite(answered.uncertainty)
  if change is not None and context.objective.direction == 'minimize':
    change = -change
  if change is None or (sd is not None and sd < 0):
    sd = None
  return Lesson(text, trials, tuple(tags)[:MAX_TAGS], change, sd, author)


def _cited(ids: list[int | float | str], history: Mapping[int, Trial]) -> tuple[int, ...]:
  """Returns the ids that exist, sorted and once each; '#12' and 12.0 are read as 12."""
  numbers = set()
  for number in ids:
    digits = str(number).lstrip('#').removesuffix('.0')
    if digits.isascii() and digits.isdecimal() and len(digits) < 10 and int(digits) in history:
      numbers.add(int(digits))
  return tuple(sorted(numbers))[:MAX_CITED]


def _finite(number: float | None) -> float | None:
  return number if number is not None and math.isfinite(number) else None
