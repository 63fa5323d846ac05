"""The proposer that asks Gemini models for edits, through google-genai.

A proposal becomes a prompt (`briefing`), a call (`calling`), an answer in a fixed form (`answers`)
and a program (`applying`). What cannot be used goes back in the same conversation with the
sentence that says why, be it of the parser, of the memory or of the tracer. A role may hand its
draft to others. Which of several models is asked is learnt (`bandit`).

A run does not end for want of a model: where none answers, a cap is reached or the answers stay
unusable, another proposer takes the turn, and the claim of its edit says why. Nothing a model or
the network does raises anything but NothingToPropose here.
"""

import dataclasses
import time

import numpy as np

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.base import PROPOSERS, NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.proposers.fallback import Fallback
from autoresearch_jax.proposers.llm import bandit
from autoresearch_jax.proposers.llm import roles as role_files
from autoresearch_jax.proposers.llm.answer import SCHEMA, AnswerError, parse
from autoresearch_jax.proposers.llm.apply import apply, edit_of
from autoresearch_jax.proposers.llm.client import CLOSED, Caller, NoAnswer, Reply, Said
from autoresearch_jax.proposers.llm.keys import KEYS, key
from autoresearch_jax.proposers.llm.roles import Role
from autoresearch_jax.proposers.prompt import (
  LESSONS_SCHEMA,
  Prompt,
  brief,
  distil,
  lessons_of,
  mend,
  review,
)
from autoresearch_jax.proposers.prompt.budget import TooSmall
from autoresearch_jax.proposers.spend_limits import Caps
from autoresearch_jax.types import Edit, Proposal

# Dollars per million input and output tokens, for prompts of up to 200,000 tokens: the standard
# prices of https://ai.google.dev/gemini-api/docs/pricing as quoted in October 2026. Where a lower
# price is offered for a time (gemini-3.6 to 3.8-flash, half of it until the end of 2026), the
# standard one stands here, so that caps hold after that too.
PRICES: dict[str, tuple[float, float]] = {
  'gemini-3.8-flash': (1.50, 7.50),
  'gemini-3.7-flash': (1.50, 7.50),
  'gemini-3.6-flash': (1.50, 7.50),
  'gemini-3.5-flash': (1.50, 9.00),
  'gemini-3.5-flash-lite': (0.30, 2.50),
  'gemini-3.1-flash-lite': (0.25, 1.50),
  'gemini-3.1-pro-preview': (2.00, 12.00),
}


@dataclasses.dataclass
class _Notes:
  """What the proposer remembers while the process lives; the run itself is in the ledger.

  rests: until when (monotonic seconds) a model is left alone, and why. distilled: how many trials
  there were when lessons were last asked for.
  """

  rests: dict[str, tuple[float, str]] = dataclasses.field(default_factory=dict)
  distilled: int = 0


@dataclasses.dataclass(frozen=True)
class _Draft:
  """A usable answer: as an edit, and as the model wrote it."""

  edit: Edit
  text: str


class _Unusable(NoAnswer):
  """A model answered, and none of its answers could be used."""


@PROPOSERS.register(
  'gemini',
  renamed_options={
    'most_calls': 'max_calls',
    'most_tokens': 'max_tokens',
    'most_dollars': 'max_dollars',
  },
)
@dataclasses.dataclass(frozen=True)
class Gemini(Proposer):
  """The options of `config.proposer_options`. The key is read from GEMINI_API_KEY or
  GOOGLE_API_KEY at each call and kept nowhere.

  models: names as the API has them; of several, the one that pays is learnt. prices: rows of model,
  dollars per million input tokens, dollars per million output tokens; they add to PRICES.
  roles: names of shipped role files, or paths of others; none: no role.
  max_calls, max_tokens, max_dollars: caps for the whole run, over all restarts; 0: none. A call
  is not made when the most it can cost would pass one; each attempt counts as a call.
  output_tokens: of one answer, the model's thoughts included. context_tokens: of one prompt.
  seconds: deadline of one attempt. attempts: of one call, when the API is busy or the line is cut.
  pause: seconds before the second attempt, doubled before each further one.
  repairs: how often an answer that cannot be used goes back with the reason.
  distil_every: trials between two calls for lessons; 0: never.
  base_url: of the API; '' for the SDK's own. fallback: the proposer that takes a turn when no model
  can; '': then the turn comes to nothing.
  """  # fmt: skip

  models: tuple[str, ...] = ('gemini-3.8-flash',)
  prices: tuple[tuple[str, float, float], ...] = ()  # no mapping: ConfigDict takes no dots in keys
  roles: tuple[str, ...] = ()
  max_calls: int = 1000
  max_tokens: int = 20_000_000
  max_dollars: float = 5.0
  output_tokens: int = 32_768
  context_tokens: int = 30_000
  seconds: float = 180.0
  attempts: int = 4
  pause: float = 2.0
  repairs: int = 2
  distil_every: int = 25
  base_url: str = ''
  fallback: str = 'mutate'
  _roles: tuple[Role, ...] = dataclasses.field(init=False, repr=False, compare=False)
  _caller: Caller = dataclasses.field(init=False, repr=False, compare=False)
  _fallback: Fallback | None = dataclasses.field(init=False, repr=False, compare=False)
  _notes: _Notes = dataclasses.field(
    init=False, repr=False, compare=False, default_factory=_Notes
  )  # fmt: skip

  def __post_init__(self) -> None:
    if not key():
      raise ValueError(
        f'The proposer gemini needs a key: set the environment variable {" or ".join(KEYS)}, or '
        "take the proposer 'mutate', which needs none."
      )
    self._check_numbers()
    caps = Caps(self.max_calls, self.max_tokens, self.max_dollars)
    prices = PRICES | {model: (into, out) for model, into, out in self.prices}
    caller = Caller(
      prices, caps, self.output_tokens, self.seconds, self.attempts, self.pause,
      self.base_url,
    )  # fmt: skip
    object.__setattr__(self, '_roles', role_files.load(self.roles))
    object.__setattr__(self, '_caller', caller)
    object.__setattr__(self, '_fallback', Fallback.of(self.fallback, 'gemini'))
    self._check_prices()

  @property
  def title(self) -> str:
    """Who is asked and how often at most, for the first line of the run."""
    then = f', then {self.fallback}' if self.fallback else ''
    return f'gemini ({", ".join(dict.fromkeys(self.models))}), {self._caller.caps.title}{then}'

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """An edit by a model, or by the fallback. Raises NothingToPropose."""
    try:
      self._distil_if_due(context, rng)
      return self._edit(proposal, context, rng)
    except (NoAnswer, NothingToPropose) as none:
      why = one_line(str(none))
    if self._caller.line.closed:
      raise NothingToPropose(why)
    if self._fallback is None:
      raise NothingToPropose(why)
    return self._fallback.propose(why, proposal, context, rng)

  def close(self) -> None:
    """Ends the call under way, from whatever thread; there are none after it."""
    self._caller.line.close()
    if self._fallback is not None:
      self._fallback.close()

  # One edit.

  def _edit(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Raises NoAnswer, and NothingToPropose where the program does not fit into a prompt."""
    role = role_files.choose(self._roles, proposal, context, rng)
    prompt = brief(proposal, context, role, self.context_tokens)
    draft = self._asked('propose', prompt, role, context, rng)
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
    """The draft after all roles that it is handed to, each once; what they cannot mend stays."""
    by_name = {other.name: other for other in self._roles}
    waiting, seen = list(role.hand_offs), {role.name}
    while waiting:
      other = by_name[waiting.pop(0)]
      if other.name in seen:
        continue
      seen.add(other.name)
      try:
        prompt = review(draft.text, proposal, context, other, self.context_tokens)
        revised = self._asked('review', prompt, other, context, rng)
      except (NoAnswer, NothingToPropose):
        continue
      draft = _credited(revised, draft)
      waiting += other.hand_offs
    return draft.edit

  def _asked(
    self,
    purpose: str,
    prompt: Prompt,
    role: Role | None,
    context: ProposalContext,
    rng: np.random.Generator,
  ) -> _Draft:
    """From the role's model, or the one likely to pay, or else the next. Raises NoAnswer."""
    left = [role.model] if role and role.model else list(dict.fromkeys(self.models))
    why: list[str] = []
    while left and not self._caller.line.closed:
      model = bandit.choose(left, context, rng, self._costs(left))
      left.remove(model)
      try:
        self._require_rested(model)
        return self._conversed(self._said(model, purpose, prompt, role, rng), context, rng)
      except _Unusable:
        raise
      except NoAnswer as none:
        self._let_rest(model, none)
        why.append(str(none))
    raise NoAnswer(' '.join(dict.fromkeys(why)) or CLOSED)

  def _conversed(self, said: Said, context: ProposalContext, rng: np.random.Generator) -> _Draft:
    """Asks until an answer can be used. Raises NoAnswer, also after the last repair."""
    for repair in range(self.repairs + 1):
      reply = self._caller.ask(said, context, rng)
      made = self._judged(reply, said, context)
      if isinstance(made, Edit):
        return _Draft(made, reply.text)
      if repair == self.repairs:
        raise _Unusable(f'{said.model} gave no usable answer: {made}')
      said = _returned(said, reply, made)
    raise AssertionError

  def _judged(self, reply: Reply, said: Said, context: ProposalContext) -> Edit | str:
    """The edit, or what is wrong with the answer, in a sentence for the model."""
    if reply.cut:
      return (
        f'The answer was cut off at its limit of {self.output_tokens} tokens, thoughts included; '
        'answer shorter, with edits instead of whole files.'
      )
    try:
      answer = parse(reply.text)
      program = apply(answer, context.parents[0], context.editable)
      edit = edit_of(answer, program, context.objective, author=said.model, role=said.role)
    except AnswerError as error:
      return str(error)
    if program.digest in context.tried:
      return 'Exactly this program was proposed before; propose another one.'
    return context.check_duplicate(program) or context.check(program) or edit

  def _said(
    self, model: str, purpose: str, prompt: Prompt, role: Role | None, rng: np.random.Generator
  ) -> Said:
    return Said(
      model,
      purpose,
      prompt.system,
      (prompt.user,),
      SCHEMA,
      role=role.name if role else '',
      temperature=role.temperature if role else None,
      seed=int(rng.integers(2**31)),
    )

  # Which models.

  def _costs(self, models: list[str]) -> dict[str, float]:
    """Of one call, to compare; in dollars."""
    price = self._caller.price
    return {model: price(model, self.context_tokens, self.output_tokens) for model in models}

  def _require_rested(self, model: str) -> None:
    """Raises NoAnswer while the model is to be left alone."""
    until, why = self._notes.rests.get(model, (0.0, ''))
    if time.monotonic() < until:
      raise NoAnswer(why)

  def _let_rest(self, model: str, none: NoAnswer) -> None:
    if none.rest:
      self._notes.rests[model] = (time.monotonic() + none.rest, str(none))

  # Lessons.

  def _distil_if_due(self, context: ProposalContext, rng: np.random.Generator) -> None:
    """Has lessons drawn from the trials so far; a failure costs no more than the call."""
    if not self.distil_every or context.memory is None:
      return
    cited = (max(lesson.trials, default=0) for lesson in context.memory.model_lessons)
    done, last = len(context.history), max([self._notes.distilled, *cited])
    if done - last < self.distil_every:
      return
    self._notes.distilled = done
    try:
      prompt = distil(context, self.context_tokens)
      model = bandit.choose(self.models, context, rng, self._costs(list(self.models)))
      self._require_rested(model)
      said = dataclasses.replace(
        self._said(model, 'distil', prompt, None, rng), schema=LESSONS_SCHEMA
      )
      lessons = lessons_of(self._caller.ask(said, context, rng).text, context, model)
    except (NoAnswer, TooSmall, ValueError):  # no answer, no room, no lessons in it
      return
    if lessons:
      context.record_lessons(lessons)

  # Options.

  def _check_numbers(self) -> None:
    """Raises ValueError for options that cannot work."""
    if not self.models or not all(self.models):
      raise ValueError(f'models is {self.models}; name one model or more.')
    for name in ('output_tokens', 'context_tokens', 'seconds', 'attempts'):
      if not getattr(self, name) > 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be above 0.')
    for name in (
      'max_calls', 'max_tokens', 'max_dollars', 'pause', 'repairs', 'distil_every'
    ):  # fmt: skip
      if not getattr(self, name) >= 0:
        raise ValueError(f'{name} is {getattr(self, name)}; it must be 0 or more.')
    if self.base_url and not self.base_url.startswith(('http://', 'https://')):
      raise ValueError(f'base_url is {self.base_url!r}; it must begin with https:// or http://.')
    for model, *dollars in self.prices:
      if not all(price >= 0 for price in dollars):
        raise ValueError(f'The prices of {model} are {dollars}; they must be 0 or more.')

  def _check_prices(self) -> None:
    """Raises ValueError where dollars are capped and a model has no price."""
    for model in (*self.models, *(role.model for role in self._roles if role.model)):
      if self.max_dollars and model.removeprefix('models/') not in self._caller.prices:
        raise ValueError(
          f'The price of {model} is not known, so max_dollars cannot be kept: give it in prices, '
          'as (model, dollars per million input tokens, output tokens), or set max_dollars to 0. '
          f'Known are: {", ".join(sorted(self._caller.prices))}.'
        )


def _returned(said: Said, reply: Reply, wrong: str) -> Said:
  """The conversation with what is wrong as the next turn.

  The API takes no empty turn, so where the answer was empty the last one is said again with it.
  """
  if reply.text.strip():
    turns = (*said.turns, reply.text, mend(wrong))
  else:
    turns = (*said.turns[:-1], f'{said.turns[-1]}\n\n{mend(wrong)}')
  return dataclasses.replace(said, turns=turns)


def _credited(revised: _Draft, draft: _Draft) -> _Draft:
  """The revised draft; its author is who wrote the program, not who let it pass."""
  if revised.edit.program != draft.edit.program:
    return revised
  return dataclasses.replace(
    revised, edit=dataclasses.replace(revised.edit, author=draft.edit.author)
  )
