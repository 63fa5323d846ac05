"""What a language model is shown: prompts for edits, for repairs, for reviews and for lessons.

Prompts are made of the templates in `prompts/` and of what the history knows, within a number of
tokens; tokens are counted as UTF-8 bytes / 3.5. Text that others wrote is quoted as data (see
`quoting`). Nothing here talks to a model or knows one.
"""

from autoresearch_jax.proposers.base import NothingToPropose, ProposalContext
from autoresearch_jax.proposers.llm.roles import Role
from autoresearch_jax.proposers.prompt import formatting
from autoresearch_jax.proposers.prompt.budget import (
  Item,
  Prompt,
  Section,
  TooSmall,
  estimate,
  fitted,
)
from autoresearch_jax.proposers.prompt.fill import filled
from autoresearch_jax.proposers.prompt.lessons import LESSONS_SCHEMA, distil, lessons_of
from autoresearch_jax.proposers.prompt.quoting import Quote, clean, rendered
from autoresearch_jax.proposers.prompt.sections import Sections, contract, section
from autoresearch_jax.types import Proposal

__all__ = [
  'LESSONS_SCHEMA',
  'Prompt',
  'TooSmall',
  'brief',
  'distil',
  'estimate',
  'lessons_of',
  'mend',
  'review',
]

REASON = '[reason]'  # where the quoted reason goes
DRAFT_SHARE = 1 / 3  # of the prompt, that a draft for review may take


def brief(
  proposal: Proposal, context: ProposalContext, role: Role | None = None, tokens: int = 30000
) -> Prompt:
  """What is shown to whoever writes the proposal's edit, in at most `tokens`.

  The program to edit is always whole. Raises NothingToPropose when it does not fit.
  """
  return _brief(proposal, context, role, tokens)


def review(
  draft: str,
  proposal: Proposal,
  context: ProposalContext,
  role: Role | None = None,
  tokens: int = 30000,
) -> Prompt:
  """The same with the answer of another role, which this one mends or lets pass.

  The answer to it has the form of an edit again. Raises NothingToPropose.
  """
  text, most = clean(draft), int(tokens * DRAFT_SHARE)  # a character is a token at worst
  if len(text) > most:
    text = f'{text[:most]}\n[{len(text) - most} more characters are not shown]'
  return _brief(
    proposal, context, role, tokens, section('draft', Item(text, label='the draft, an answer'))
  )


def mend(sentence: str) -> str:
  """The user's turn that sends an edit back with the reason why it was refused."""
  before, after = filled('mend', reason=REASON).split(REASON)
  return rendered([before.strip(), Quote('the reason', clean(sentence)[:4000]), after.strip()])


def _brief(
  proposal: Proposal, context: ProposalContext, role: Role | None, tokens: int, *more: Section
) -> Prompt:
  sections = Sections(proposal, context)
  try:
    return fitted(
      _system(context, role),
      sections.all(*more),
      'Left out, since there was no room for it:',
      'Answer now, with one JSON object.',
      tokens,
    )
  except TooSmall as error:
    raise NothingToPropose(
      f'The program to edit does not fit into the prompt: {error}. Give the proposer more '
      'tokens for a prompt, or make the program shorter.'
    ) from None


def _system(context: ProposalContext, role: Role | None) -> str:
  entry = formatting.name_of(context.parents[0].entry)
  answer = filled('answer', entry=entry, **formatting.prediction(context.objective))
  said = f'\n## Your role: {role.name}\n{role.text}' if role else ''
  return filled('system', contract=contract(context), answer=answer, role=said)
