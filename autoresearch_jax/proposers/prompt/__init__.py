"""What models and agents are shown: prompts for edits, repairs, reviews and lessons.

`edit_prompt` and `lessons` make prompts of `sections`, which the run's history fills, and of the
texts in `templates/`. `fitting` keeps them within a number of tokens, estimated as UTF-8 bytes /
3.5; `quoting` marks text that others wrote as data. May import `knowledge` and the modules of
`proposers`; nothing here calls a model or knows one.
"""

from autoresearch_jax.proposers.prompt.edit_prompt import (
  agent_prompt,
  edit_prompt,
  repair_turn,
  review_prompt,
)
from autoresearch_jax.proposers.prompt.fitting import Prompt, PromptTooLong, estimate_tokens
from autoresearch_jax.proposers.prompt.lessons import (
  LESSONS_SCHEMA,
  lessons_prompt,
  parse_lessons,
)
from autoresearch_jax.proposers.prompt.sections import OPTIONAL_SECTIONS

__all__ = [
  'LESSONS_SCHEMA',
  'OPTIONAL_SECTIONS',
  'Prompt',
  'PromptTooLong',
  'agent_prompt',
  'edit_prompt',
  'estimate_tokens',
  'lessons_prompt',
  'parse_lessons',
  'repair_turn',
  'review_prompt',
]
