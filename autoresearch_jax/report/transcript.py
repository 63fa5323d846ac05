"""What language models and agents were asked and answered in a run, from its ledger."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

from autoresearch_jax.ledger.events import Consulted, Record, Retold
from autoresearch_jax.ledger.history import BASELINE
from autoresearch_jax.types import Exchange


@dataclasses.dataclass(frozen=True)
class TranscriptTurn:
  """A part of a conversation.

  Attributes:
    speaker: 'system', 'user', 'model' or 'agent'.
    text: What it says.
  """

  speaker: str
  text: str


@dataclasses.dataclass(frozen=True)
class TranscriptCall:
  """One call of a model or an agent.

  Attributes:
    trial: Id of the trial that it was for.
    model: The model or agent.
    purpose: What it was for, such as 'propose', 'review' or 'lessons'.
    role: Role of the model; '' for none.
    state: 'answered', 'failed', or 'sent' if no end is on record.
    error: Why it failed; '' if it did not.
    seconds: How long it took.
    input_tokens: Tokens of the request; the most they can be if the API did not say.
    output_tokens: Tokens of the answer, likewise.
    dollars: Its cost, likewise.
    turns: The conversation, the answer last.
  """

  trial: int
  model: str
  purpose: str
  role: str
  state: str
  error: str
  seconds: float
  input_tokens: int
  output_tokens: int
  dollars: float
  turns: tuple[TranscriptTurn, ...]

  @property
  def heading(self) -> str:
    """The call on one line."""
    role = f' as {self.role}' if self.role else ''
    return (
      f'{self.model}{role} ({self.purpose}), {self.state} after {self.seconds:.1f} s: '
      f'{self.input_tokens:,} + {self.output_tokens:,} tokens, ${self.dollars:.4f}'
    )


def transcript(records: Iterable[Record], trial: int | None = None) -> tuple[TranscriptCall, ...]:
  """Returns the calls of a run in order.

  Args:
    records: Its events.
    trial: The trial whose calls are wanted; None for all.
  """
  last: dict[str, tuple[int, Exchange]] = {}
  for record in records:
    event = record.event
    if isinstance(event, Consulted) and trial in (None, event.trial):
      last[event.exchange.id] = event.trial, event.exchange
    if isinstance(event, Retold) and trial is None:
      last[event.exchange.id] = BASELINE, event.exchange
  return tuple(_call(number, exchange) for number, exchange in last.values())


def rendered(calls: Sequence[TranscriptCall]) -> str:
  """Returns calls as text. Turns that a call shares with the one before are only counted."""
  lines: list[str] = []
  before: tuple[TranscriptTurn, ...] = ()
  for number, call in enumerate(calls, 1):
    lines.append(f'=== Call {number} of {len(calls)}: {call.heading}')
    shared = 0
    while shared < min(len(before), len(call.turns)) and before[shared] == call.turns[shared]:
      shared += 1
    if shared:
      lines.append(f'--- the first {shared} turns are those of the call before')
    for turn in call.turns[shared:]:
      lines += [f'--- {turn.speaker}', turn.text.rstrip('\n')]
    if call.error:
      lines += ['--- error', call.error]
    lines.append('')
    before = call.turns
  return _printable('\n'.join(lines))


def summary_lines(calls: Sequence[TranscriptCall]) -> str:
  """Returns a line for each call, and their sum."""
  lines = [f'trial {call.trial}: {call.heading}' for call in calls]
  tokens = sum(call.input_tokens + call.output_tokens for call in calls)
  dollars = sum(call.dollars for call in calls)
  lines.append(f'{len(calls)} calls, {tokens:,} tokens, ${dollars:.4f}')
  return _printable('\n'.join(lines))


def _call(trial: int, exchange: Exchange) -> TranscriptCall:
  turns = _asked(exchange.request)
  if answer := _answered(exchange.response):
    speaker = 'agent' if exchange.purpose == 'agent' else 'model'
    turns.append(TranscriptTurn(speaker, answer))
  return TranscriptCall(
    trial=trial,
    model=exchange.model,
    purpose=exchange.purpose,
    role=exchange.role,
    state=exchange.state,
    error=exchange.error,
    seconds=exchange.seconds,
    input_tokens=exchange.input_tokens,
    output_tokens=exchange.output_tokens,
    dollars=exchange.dollars,
    turns=tuple(turns),
  )


def _asked(request: str) -> list[TranscriptTurn]:
  """Returns the turns of a request: those of an API's, or a text as an agent gets it."""
  found = _decoded(request)
  if not isinstance(found, dict) or not isinstance(found.get('turns'), list):
    return [TranscriptTurn('user', request)] if request else []
  turns = [TranscriptTurn('system', str(found['system']))] if found.get('system') else []
  speakers = ('user', 'model')
  return turns + [
    TranscriptTurn(speakers[number % 2], str(text)) for number, text in enumerate(found['turns'])
  ]


def _answered(response: str) -> str:
  """Returns the text in a response of Gemini's or OpenAI's form, or else the response itself."""
  found = _decoded(response)
  if isinstance(found, dict):
    for path in (('candidates', 0, 'content', 'parts'), ('choices', 0, 'message', 'content')):
      if text := _text(_at(found, path)):
        return text
  return response


def _at(found: Any, path: tuple[str | int, ...]) -> Any:
  for step in path:
    try:
      found = found[step]
    except (KeyError, IndexError, TypeError):
      return None
  return found


def _text(found: Any) -> str:
  if isinstance(found, str):
    return found
  parts = found if isinstance(found, list) else ()
  texts = (part.get('text') for part in parts if isinstance(part, dict))
  return ''.join(text for text in texts if isinstance(text, str))


def _decoded(text: str) -> Any:
  try:
    return json.loads(text)
  except (ValueError, RecursionError):
    return None


def _printable(text: str) -> str:
  """Removes what a terminal would carry out; models and agents write what they like."""
  return ''.join(c for c in text if c.isprintable() or c in '\n\t')
