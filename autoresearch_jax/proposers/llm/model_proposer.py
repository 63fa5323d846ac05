"""The base of proposers that ask language models for edits, whatever their API.

A proposal becomes a prompt (`prompt/`), a call (`client`), an answer in a fixed form (`answer`) and
a program (`apply`). An answer that cannot be used is sent back in the same conversation with the
reason, whether it is from the parser, the check for duplicates or the tracer. A role may hand its
draft to other roles for review. Of several models, those whose edits win are asked more often
(`bandit`).

The run does not stop for want of a model: if none answers, a spend limit is reached or the answers
stay unusable, the fallback proposes, and the claim of its edit says why. Nothing that a model or
the network does raises anything but NothingToPropose here.
"""

import abc
import dataclasses
import time
from typing import ClassVar

import numpy as np

from autoresearch_jax.config import MAX_SECONDS
from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.base import NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.proposers.fallback import FallbackProposer
from autoresearch_jax.proposers.llm import bandit
from autoresearch_jax.proposers.llm import roles as role_files
from autoresearch_jax.proposers.llm.answer import SCHEMA, AnswerError, parse
from autoresearch_jax.proposers.llm.apply import apply, edit_of
from autoresearch_jax.proposers.llm.backend import Backend, ModelReply, ModelRequest, check_url
from autoresearch_jax.proposers.llm.client import STOPPING, ModelClient, NoAnswer
from autoresearch_jax.proposers.llm.roles import Role
from autoresearch_jax.proposers.prompt import (
  LESSONS_SCHEMA,
  OPTIONAL_SECTIONS,
  Prompt,
  PromptTooLong,
  edit_prompt,
  lessons_prompt,
  parse_lessons,
  repair_turn,
  review_prompt,
)
from autoresearch_jax.proposers.spend_limits import SpendLimits
from autoresearch_jax.types import Edit, Proposal


@dataclasses.dataclass
class _SessionState:
  """What the proposer remembers while the process lives; the run itself is in the ledger.

  Attributes:
    suspended: Until when (time.monotonic) a model is left alone, and why.
    lessons_at: Number of trials when lessons were last asked for.
  """

  suspended: dict[str, tuple[float, str]] = dataclasses.field(default_factory=dict)
  lessons_at: int = 0


@dataclasses.dataclass(frozen=True)
class _Draft:
  """A usable answer.

  Attributes:
    edit: The answer as an edit.
    text: The answer as the model wrote it.
  """

  edit: Edit
  text: str


class _NoUsableAnswer(NoAnswer):
  """A model answered, but none of its answers could be used."""


@dataclasses.dataclass(frozen=True)
class ModelProposer(Proposer):
  """Asks language models for edits.

  The API key is read from the environment at each call and stored nowhere. The limits on calls,
  tokens and dollars are for the whole run, over all restarts and proposers. A call is not made if
  the most it can cost would exceed one of them; each attempt counts as a call.

  A subclass registers itself, sets `name` and `known_prices`, and makes the backend.

  Attributes:
    models: Names of models, as the API has them. Of several, the bandit chooses.
    prices: Rows of (model, dollars per million input tokens, dollars per million output tokens),
      which add to the known prices.
    roles: Names of shipped roles, or paths of role files; none for no roles.
    max_calls: Maximum number of calls; 0 for no limit.
    max_total_tokens: Maximum number of input and output tokens; 0 for no limit.
    max_dollars: Maximum cost in dollars; 0 for no limit.
    max_output_tokens: Maximum length of one answer, thoughts included.
    max_prompt_tokens: Maximum length of one prompt.
    timeout_seconds: Deadline of one attempt.
    attempts: Maximum number of attempts of one call, if the API is busy or the connection breaks.
    initial_delay: Seconds before the second attempt; doubles with each further one.
    max_repairs: How often an answer that cannot be used is sent back with the reason.
    lessons_interval: Trials between two requests for lessons; 0 for none.
    base_url: URL of the API; '' for the SDK's default.
    fallback: Name of the proposer that steps in if no model has an edit; '' for none.
    omitted_sections: Names of optional sections that prompts for edits leave out, to measure what
      they are worth; see prompt/sections.py.
  """

  reads_text: ClassVar[bool] = True
  name: ClassVar[str]  # registered
  known_prices: ClassVar[dict[str, tuple[float, float]]]  # as rows of `prices`, by model

  models: tuple[str, ...] = ()
  prices: tuple[tuple[str, float, float], ...] = ()  # no dict: ConfigDict allows no dots in keys
  roles: tuple[str, ...] = ()
  max_calls: int = 1000
  max_total_tokens: int = 20_000_000
  max_dollars: float = 5.0
  max_output_tokens: int = 32_768
  max_prompt_tokens: int = 30_000
  timeout_seconds: float = 180.0
  attempts: int = 4
  initial_delay: float = 2.0
  max_repairs: int = 2
  lessons_interval: int = 25
  base_url: str = ''
  fallback: str = 'mutate'
  omitted_sections: tuple[str, ...] = ()
  _roles: tuple[Role, ...] = dataclasses.field(init=False, repr=False, compare=False)
  _client: ModelClient = dataclasses.field(init=False, repr=False, compare=False)
  _fallback: FallbackProposer | None = dataclasses.field(init=False, repr=False, compare=False)
  _state: _SessionState = dataclasses.field(
    init=False, repr=False, compare=False, default_factory=_SessionState
  )

  def __post_init__(self) -> None:
    """Raises ValueError for options that cannot work, or without a key that is needed."""
    backend = self._backend()
    self._check_key(backend)
    self._check_numbers()
    self._check_sections()
    limits = SpendLimits(self.max_calls, self.max_total_tokens, self.max_dollars)
    given = {model: (inputs, outputs) for model, inputs, outputs in self.prices}
    client = ModelClient(
      backend, {**self.known_prices, **given}, limits, self.max_output_tokens,
      self.timeout_seconds, self.attempts, self.initial_delay,
    )  # fmt: skip
    object.__setattr__(self, '_roles', role_files.load(self.roles))
    object.__setattr__(self, '_client', client)
    object.__setattr__(self, '_fallback', FallbackProposer.of(self.fallback, self.name))
    self._check_prices()

  @abc.abstractmethod
  def _backend(self) -> Backend:
    """Makes the API to call. Raises ValueError for options that cannot work."""

  def _label(self) -> str:
    """Returns the models, and what else the run's first line says about them."""
    return ', '.join(dict.fromkeys(self.models))

  @property
  def title(self) -> str:
    """The models, the spend limits and the fallback."""
    then = f', then {self.fallback}' if self.fallback else ''
    return f'{self.name} ({self._label()}), {self._client.limits.title}{then}'

  @property
  def client(self) -> ModelClient:
    """What makes the calls, within the spend limits."""
    return self._client

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns an edit by a model, or by the fallback. Raises NothingToPropose."""
    try:
      self._update_lessons(context, rng)
      return self._edit(proposal, context, rng)
    except (NoAnswer, NothingToPropose) as error:
      reason = one_line(str(error))
    if self._client.calls.closed:
      raise NothingToPropose(reason)
    if self._fallback is None:
      raise NothingToPropose(reason)
    return self._fallback.propose(reason, proposal, context, rng)

  def close(self) -> None:
    """Cancels the call in progress and prevents new ones. Safe from any thread."""
    self._client.calls.close()
    if self._fallback is not None:
      self._fallback.close()

  # One edit.

  def _edit(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Raises NoAnswer, and NothingToPropose if the program does not fit into a prompt."""
    role = role_files.choose(self._roles, proposal, context, rng)
    prompt = edit_prompt(
      proposal, context, _instructions(role), self.max_prompt_tokens, self.omitted_sections
    )
    draft = self._ask('propose', prompt, role, context, rng)
    if role is None:
      return draft.edit
    return dataclasses.replace(self._reviewed(draft, role, proposal, context, rng), role=role.name)

  def _reviewed(
    self,
    draft: _Draft,
    role: Role,
    proposal: Proposal,
    context: ProposalContext,
    rng: np.random.Generator,
  ) -> Edit:
    """Hands the draft to the reviewing roles, each once; a review without an answer is skipped."""
    by_name = {reviewer.name: reviewer for reviewer in self._roles}
    waiting, seen = list(role.hand_offs), {role.name}
    while waiting:
      reviewer = by_name[waiting.pop(0)]
      if reviewer.name in seen:
        continue
      seen.add(reviewer.name)
      try:
        prompt = review_prompt(
          draft.text, proposal, context, reviewer.instructions, self.max_prompt_tokens,
          self.omitted_sections,
        )  # fmt: skip
        revised = self._ask('review', prompt, reviewer, context, rng)
      except (NoAnswer, NothingToPropose):
        continue
      draft = _with_author(revised, draft)
      waiting += reviewer.hand_offs
    return draft.edit

  def _ask(
    self,
    purpose: str,
    prompt: Prompt,
    role: Role | None,
    context: ProposalContext,
    rng: np.random.Generator,
  ) -> _Draft:
    """Asks the role's model, or the bandit's choice, then the others. Raises NoAnswer."""
    remaining = [role.model] if role and role.model else list(dict.fromkeys(self.models))
    reasons: list[str] = []
    while remaining and not self._client.calls.closed:
      model = bandit.choose(remaining, context, rng, self._costs(remaining))
      remaining.remove(model)
      try:
        self._require_available(model)
        return self._converse(self._request(model, purpose, prompt, role, rng), context, rng)
      except _NoUsableAnswer:
        raise
      except NoAnswer as error:
        self._suspend(model, error)
        reasons.append(str(error))
        if error.local:
          raise
    raise NoAnswer(' '.join(dict.fromkeys(reasons)) or STOPPING)

  def _converse(
    self, request: ModelRequest, context: ProposalContext, rng: np.random.Generator
  ) -> _Draft:
    """Asks until an answer can be used. Raises NoAnswer, also after the last repair."""
    for repair in range(self.max_repairs + 1):
      reply = self._client.ask(request, context, rng)
      result = self._edit_or_reason(reply, request, context)
      if isinstance(result, Edit):
        return _Draft(result, reply.text)
      if repair == self.max_repairs:
        raise _NoUsableAnswer(f'{request.model} gave no usable answer: {result}')
      request = _sent_back(request, reply, result)
    raise AssertionError

  def _edit_or_reason(
    self, reply: ModelReply, request: ModelRequest, context: ProposalContext
  ) -> Edit | str:
    """Returns the edit, or what is wrong with the answer, as a sentence for the model."""
    if reply.truncated:
      return (
        f'The answer was cut off at its limit of {self.max_output_tokens} tokens, thoughts '
        'included; answer shorter, with edits instead of whole files.'
      )
    try:
      answer = parse(reply.text)
      program = apply(answer, context.parents[0], context.editable)
      edit = edit_of(answer, program, context.objective, author=request.model, role=request.role)
    except AnswerError as error:
      return str(error)
    if program.digest in context.tried:
      return 'Exactly this program was proposed before; propose another one.'
    return context.check_duplicate(program) or context.check(program) or edit

  def _request(
    self, model: str, purpose: str, prompt: Prompt, role: Role | None, rng: np.random.Generator
  ) -> ModelRequest:
    return ModelRequest(
      model,
      purpose,
      prompt.system,
      (prompt.user,),
      SCHEMA,
      role=role.name if role else '',
      temperature=role.temperature if role else None,
      seed=int(rng.integers(2**31)),
    )

  # Choice of models.

  def _costs(self, models: list[str]) -> dict[str, float]:
    """Returns the cost of one call in dollars by model, to compare models."""
    price = self._client.price
    return {model: price(model, self.max_prompt_tokens, self.max_output_tokens) for model in models}

  def _require_available(self, model: str) -> None:
    """Raises NoAnswer while the model is suspended."""
    until, reason = self._state.suspended.get(model, (0.0, ''))
    if (seconds := until - time.monotonic()) > 0:
      raise NoAnswer(reason, seconds)

  def _suspend(self, model: str, error: NoAnswer) -> None:
    if error.suspend_seconds:
      until = time.monotonic() + error.suspend_seconds
      self._state.suspended[model] = (until, error.reason)

  # Lessons.

  def _update_lessons(self, context: ProposalContext, rng: np.random.Generator) -> None:
    """Asks for new lessons if they are due; a failure costs no more than the call.

    Raises:
      NoAnswer: No call leaves this machine, so that another one would fail as well.
    """
    if not self.lessons_interval or context.memory is None:
      return
    cited = (max(lesson.trials, default=0) for lesson in context.memory.model_lessons)
    done, last = len(context.history), max([self._state.lessons_at, *cited])
    if done - last < self.lessons_interval:
      return
    self._state.lessons_at = done
    try:
      prompt = lessons_prompt(context, self.max_prompt_tokens)
      model = bandit.choose(self.models, context, rng, self._costs(list(self.models)))
      self._require_available(model)
      request = dataclasses.replace(
        self._request(model, 'lessons', prompt, None, rng), schema=LESSONS_SCHEMA
      )
      lessons = parse_lessons(self._client.ask(request, context, rng).text, context, model)
    except NoAnswer as error:
      if error.local:
        raise
      return
    except (PromptTooLong, ValueError):  # ValueError: the answer holds no lessons
      return
    if lessons:
      context.record_lessons(lessons)

  # Options.

  def _check_numbers(self) -> None:
    """Raises ValueError for numbers that cannot work."""
    if not self.models or not all(self.models):
      raise ValueError(f'models is {self.models}; name one model or more.')
    for name in ('max_output_tokens', 'max_prompt_tokens', 'timeout_seconds', 'attempts'):
      if not getattr(self, name) > 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be above 0.')
    for name in (
      'max_calls', 'max_total_tokens', 'max_dollars', 'initial_delay', 'max_repairs',
      'lessons_interval',
    ):  # fmt: skip
      if not getattr(self, name) >= 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be 0 or more.')
    for name in ('timeout_seconds', 'initial_delay'):
      if getattr(self, name) > MAX_SECONDS:
        raise ValueError(f'{name} is {getattr(self, name):g}; it must be at most {MAX_SECONDS:g}.')
    check_url('base_url', self.base_url)
    for model, *dollars in self.prices:
      if not all(price >= 0 for price in dollars):
        raise ValueError(f'The prices of {model} are {dollars}; they must be 0 or more.')

  def _check_sections(self) -> None:
    if unknown := sorted(set(self.omitted_sections) - set(OPTIONAL_SECTIONS)):
      raise ValueError(
        f'omitted_sections names {unknown[0]!r}; the optional sections are '
        f'{", ".join(OPTIONAL_SECTIONS)}.'
      )

  def _check_key(self, backend: Backend) -> None:
    """Raises ValueError if a key is missing that is needed, or one can't be sent in a header."""
    names = ' or '.join(backend.key_variables)
    if backend.needs_key and not backend.key():
      raise ValueError(
        f'The proposer {self.name} needs an API key: set the environment variable {names}, or use '
        "the proposer 'mutate', which needs none."
      )
    if odd := sorted(c for c in set(backend.key()) if not '!' <= c <= '~'):
      raise ValueError(
        f'The API key in {names} holds {", ".join(map(repr, odd))}, which no key has; copy it '
        'again.'
      )

  @property
  def _unpriced(self) -> tuple[str, ...]:
    """The models whose price is not known."""
    models = (*self.models, *(role.model for role in self._roles if role.model))
    return tuple(m for m in models if m.removeprefix('models/') not in self._client.prices)

  def _check_prices(self) -> None:
    """Raises ValueError if dollars are limited and a model has no price."""
    for model in self._unpriced:
      if self.max_dollars:
        raise ValueError(
          f'max_dollars is set, but the price of {model} is not known: add it to prices, as '
          '(model, dollars per million input tokens, dollars per million output tokens), or set '
          f'max_dollars to 0. Known are: {", ".join(sorted(self._client.prices))}.'
        )


def _instructions(role: Role | None) -> str:
  return role.instructions if role else ''


def _sent_back(request: ModelRequest, reply: ModelReply, reason: str) -> ModelRequest:
  """Returns the conversation with the reason as the next turn.

  The API takes no empty turn. After an empty answer the reason is added to the last turn instead.
  """
  if reply.text.strip():
    turns = (*request.turns, reply.text, repair_turn(reason))
  else:
    turns = (*request.turns[:-1], f'{request.turns[-1]}\n\n{repair_turn(reason)}')
  return dataclasses.replace(request, turns=turns)


def _with_author(revised: _Draft, draft: _Draft) -> _Draft:
  """Returns the revised draft; if it left the program alone, the author stays the draft's."""
  if revised.edit.program != draft.edit.program:
    return revised
  return dataclasses.replace(
    revised, edit=dataclasses.replace(revised.edit, author=draft.edit.author)
  )
