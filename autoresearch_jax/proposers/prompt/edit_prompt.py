"""Prompts that ask for an edit: of a model, of a reviewing role, or of a coding agent."""

from collections.abc import Collection

from autoresearch_jax.proposers.base import NothingToPropose, ProposalContext
from autoresearch_jax.proposers.prompt import formatting
from autoresearch_jax.proposers.prompt.fitting import (
  Prompt,
  PromptItem,
  PromptSection,
  PromptTooLong,
  fit,
)
from autoresearch_jax.proposers.prompt.quoting import DataBlock, clean, render
from autoresearch_jax.proposers.prompt.sections import PromptSections, contract, make_section
from autoresearch_jax.proposers.prompt.template import fill_template
from autoresearch_jax.types import Proposal

REASON = '[reason]'  # where a template has the quoted reason
MAX_REASON = 4000  # characters of the reason for a refusal
DRAFT_SHARE = 1 / 3  # of the prompt, at most, for a draft under review
LEFT_OUT = 'Left out for lack of space:'


def edit_prompt(
  proposal: Proposal,
  context: ProposalContext,
  instructions: str = '',
  max_tokens: int = 30000,
  omitted: Collection[str] = (),
) -> Prompt:
  """Returns the prompt for a proposal. The program to edit is always in it as a whole.

  Args:
    proposal: What the strategy asks for.
    context: What is known of the run.
    instructions: Instructions of the model's role, as Markdown; '' without a role.
    max_tokens: Maximum length of the prompt.
    omitted: Names of optional sections to leave out.

  Raises:
    NothingToPropose: The program does not fit.
  """
  return _edit_prompt(proposal, context, instructions, max_tokens, omitted)


def review_prompt(
  draft: str,
  proposal: Proposal,
  context: ProposalContext,
  instructions: str = '',
  max_tokens: int = 30000,
  omitted: Collection[str] = (),
) -> Prompt:
  """Returns the same prompt with another role's answer, to confirm or to replace.

  The expected answer has the form of an edit again.

  Args:
    draft: The answer to review.
    proposal: What the strategy asks for.
    context: What is known of the run.
    instructions: Instructions of the reviewing role, as Markdown.
    max_tokens: Maximum length of the prompt.
    omitted: Names of optional sections to leave out.

  Raises:
    NothingToPropose: The program does not fit.
  """
  text, limit = clean(draft), int(max_tokens * DRAFT_SHARE)  # a character is a token at worst
  if len(text) > limit:
    text = f'{text[:limit]}\n[{len(text) - limit} more characters are not shown]'
  section = make_section('draft', PromptItem(text, label='the draft, an answer'))
  return _edit_prompt(proposal, context, instructions, max_tokens, omitted, section)


def repair_turn(reason: str) -> str:
  """Returns the user's turn that sends an answer back with the reason for its refusal."""
  before, after = fill_template('repair', reason=REASON).split(REASON)
  return render(
    [before.strip(), DataBlock('the reason', clean(reason)[:MAX_REASON]), after.strip()]
  )


def agent_prompt(
  proposal: Proposal, context: ProposalContext, refusal: str, max_tokens: int
) -> str:
  """Returns the task for a coding agent, as one text.

  Args:
    proposal: What the strategy asks for.
    context: What is known of the run.
    refusal: Why the agent's last edit was refused; '' for the first attempt.
    max_tokens: Maximum length of the prompt.

  Raises:
    NothingToPropose: The program does not fit.
  """
  system = fill_template(
    'agent',
    editable=', '.join(f'`{formatting.file_name(name)}`' for name in context.editable),
    contract=contract(context),
    **formatting.prediction(context.objective),
  )
  refused = PromptSection(
    'Your last edit was refused',
    'The files are as you left them. Fix what the reason names, and keep your idea if you can.',
    (PromptItem(clean(refusal)[:MAX_REASON], label='the reason'),),
  )
  try:
    prompt = fit(
      system,
      PromptSections(proposal, context).all(*([refused] if refusal else [])),
      LEFT_OUT,
      'Edit the files now.',
      max_tokens,
    )
  except PromptTooLong as error:
    raise NothingToPropose(_does_not_fit(error)) from None
  return f'{prompt.system}\n\n{prompt.user}\n'


def _edit_prompt(
  proposal: Proposal,
  context: ProposalContext,
  instructions: str,
  max_tokens: int,
  omitted: Collection[str],
  *more: PromptSection,
) -> Prompt:
  sections = PromptSections(proposal, context)
  try:
    return fit(
      _system(context, instructions),
      sections.all(*more, omitted=omitted),
      LEFT_OUT,
      'Answer now, with one JSON object.',
      max_tokens,
    )
  except PromptTooLong as error:
    raise NothingToPropose(_does_not_fit(error)) from None


def _does_not_fit(error: PromptTooLong) -> str:
  return (
    f'The program to edit does not fit into the prompt: {error}. Raise max_prompt_tokens, or make '
    'the program shorter.'
  )


def _system(context: ProposalContext, instructions: str) -> str:
  entry = formatting.file_name(context.parents[0].entry)
  answer = fill_template('answer', entry=entry, **formatting.prediction(context.objective))
  role = f'\n{instructions}' if instructions else ''
  return fill_template('system', contract=contract(context), answer=answer, role=role)
