"""One call of a language model: within spend limits, before a deadline, with retries, on record.

Called by `ModelProposer`; knows nothing of programs, and of the API only what `Backend` offers. A
call is recorded before it is sent, with the most it can cost, and again when it has ended, with
what it did cost, so that limits hold even if the run is killed in between. A failed call counts as

- free if the API refused it in its own form, or it never left this machine;
- the most it can cost if nobody knows: a broken connection, a deadline, an unreadable response, an
  error page of some proxy.
"""

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import httpx2
import numpy as np

from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.proposers.llm.backend import (
  MAX_TOKENS,
  SUSPEND_SECONDS,
  Backend,
  FailedAttempt,
  ModelReply,
  ModelRequest,
  ModelResponse,
)
from autoresearch_jax.proposers.llm.local_failures import (
  Departure,
  explain_local_failure,
  trusted_certificates,
)
from autoresearch_jax.proposers.llm.responses import explain_failure, lasting, limit_size
from autoresearch_jax.proposers.spend_limits import SpendLimits
from autoresearch_jax.types import Exchange, Spend

TURN_TOKENS = 16  # at most, to mark the speaker of a turn; text has at most one token a byte
MAX_DELAY_SECONDS = 60.0  # between attempts; if the API wants more, the call fails
MIN_KEY = 8  # characters; servers without keys are sent words such as EMPTY, which are no secret
STOPPING = 'The run is stopping.'


class NoAnswer(Exception):
  """There is no answer; the message says why, and for how long the model is left alone.

  Attributes:
    reason: Why, as a sentence.
    suspend_seconds: How long the model should be left alone.
    local: Whether the request never left this machine.
  """

  def __init__(self, reason: str, suspend_seconds: float = 0.0, local: bool = False):
    rest = f' The model is not called for {lasting(suspend_seconds)}.' if suspend_seconds else ''
    super().__init__(f'{reason}{rest}')
    self.reason = reason
    self.suspend_seconds = suspend_seconds
    self.local = local


class OpenCalls:
  """The calls in progress, so that another thread can cancel them.

  Attributes:
    spend_lock: Held between reading the spend and recording a call.
  """

  def __init__(self) -> None:
    self.spend_lock = threading.Lock()
    self._lock = threading.Lock()
    self._closed = threading.Event()
    self._tasks: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = set()

  @property
  def closed(self) -> bool:
    """Whether `close` was called."""
    return self._closed.is_set()

  def close(self) -> None:
    """Cancels calls and pauses in progress and prevents new ones. Safe from any thread."""
    with self._lock:
      self._closed.set()
      for loop, task in self._tasks:
        loop.call_soon_threadsafe(task.cancel)

  def pause(self, seconds: float) -> None:
    """Sleeps, but no longer than until `close`."""
    self._closed.wait(seconds)

  def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
    """Runs a call in an event loop of its own. Raises CancelledError once closed."""

    async def tracked() -> Any:
      with self._registered():
        return await call()

    return asyncio.run(tracked())

  @contextlib.contextmanager
  def _registered(self) -> Iterator[None]:
    task = asyncio.current_task()
    assert task is not None
    entry = (asyncio.get_running_loop(), task)
    with self._lock:
      if self.closed:
        raise asyncio.CancelledError
      self._tasks.add(entry)
    try:
      yield
    finally:
      with self._lock:
        self._tasks.discard(entry)


@dataclasses.dataclass(frozen=True)
class ModelClient:
  """Makes calls of a language-model API.

  Attributes:
    backend: The API.
    prices: Dollars per million input tokens and output tokens, by model.
    limits: Limits on what the run may spend.
    max_output_tokens: Maximum length of one answer, thoughts included.
    timeout_seconds: Deadline of one attempt.
    attempts: Maximum number of attempts of one call.
    initial_delay: Seconds before the second attempt; doubles with each further one.
    calls: The calls in progress.
  """

  backend: Backend
  prices: Mapping[str, tuple[float, float]]
  limits: SpendLimits
  max_output_tokens: int
  timeout_seconds: float
  attempts: int
  initial_delay: float
  calls: OpenCalls = dataclasses.field(default_factory=OpenCalls, repr=False, compare=False)

  def ask(
    self, request: ModelRequest, context: ProposalContext, rng: np.random.Generator
  ) -> ModelReply:
    """Returns the model's answer.

    Args:
      request: What to ask.
      context: Where calls are recorded and the spend is read.
      rng: Jitter of the delays.

    Raises:
      NoAnswer: All attempts failed, or none is allowed.
    """
    attempt = 1
    while True:
      got = self._attempt(request, context)
      if isinstance(got, ModelReply):
        return got
      if got.rewritten:
        continue  # a backend has few forms, and never goes back to one that was refused
      backoff = self.initial_delay * 2 ** (attempt - 1) * rng.uniform(0.5, 1.0)
      delay = max(got.retry_after, backoff)
      if not got.retryable or attempt >= self.attempts or delay > MAX_DELAY_SECONDS:
        raise NoAnswer(got.message, max(got.suspend_seconds, got.retry_after), got.local)
      self.calls.pause(delay)
      attempt += 1

  def price(self, model: str, input_tokens: int, output_tokens: int) -> float:
    """Returns the price in dollars; 0 for a model whose price is not known."""
    prices = self.prices.get(model.removeprefix('models/'), (0.0, 0.0))
    return (input_tokens * prices[0] + output_tokens * prices[1]) / 1e6

  def _attempt(self, request: ModelRequest, context: ProposalContext) -> ModelReply | FailedAttempt:
    """Sends one request. It is on record before it is sent, and again however it ends."""
    key = self.backend.key()
    if not key and self.backend.needs_key:
      names = ' or '.join(self.backend.key_variables)
      raise NoAnswer(f'There is no API key: set {names}.', SUSPEND_SECONDS, local=True)
    self.backend.load()
    form = self.backend.form(request.model)
    sent = self._upper_bound(request, form, key)
    with self.calls.spend_lock:
      if self.calls.closed:
        raise NoAnswer(STOPPING)
      cost = Spend(1, sent.input_tokens, sent.output_tokens, sent.dollars)
      if refusal := self.limits.refusal(context.spend(), cost):
        raise NoAnswer(refusal)
      context.record(sent)
    started = time.monotonic()
    got: ModelReply | FailedAttempt = FailedAttempt('The call was interrupted.')
    ended = dataclasses.replace(sent, state='failed', error=got.message)
    departure = Departure()
    try:
      response = self.calls.run(functools.partial(self._send, request, form, key, departure))
      got = response.result
      ended = self._with_usage(ended, response)
    except asyncio.CancelledError:
      got = FailedAttempt(STOPPING)
    except Exception as error:
      got = self._explain(error, request, form, departure)
    finally:
      context.record(_ended(ended, got, key, time.monotonic() - started))
    if self.calls.closed and isinstance(got, FailedAttempt):
      raise NoAnswer(STOPPING)
    if isinstance(got, FailedAttempt):
      return dataclasses.replace(got, message=_clean(got.message, key))
    return dataclasses.replace(got, text=_clean(got.text, key))

  def _explain(
    self, error: Exception, request: ModelRequest, form: Mapping[str, Any], departure: Departure
  ) -> FailedAttempt:
    """Returns why a call failed."""
    cause = self.backend.cause(error)
    if not departure.sent:
      return explain_local_failure(cause, request.model, self.backend, self.timeout_seconds)
    own = self.backend.explain(error, request, form)
    return own or explain_failure(cause, request.model, self.timeout_seconds)

  def _upper_bound(self, request: ModelRequest, form: Mapping[str, Any], key: str) -> Exchange:
    """Returns the record of a call to be sent, with the most it can cost.

    No text has more tokens than UTF-8 bytes.
    """
    texts = self.backend.texts(request, form)
    input_tokens = sum(len(text.encode('utf-8', 'replace')) + TURN_TOKENS for text in texts)
    shown = {
      'system': request.system,
      'turns': request.turns,
      'schema': request.schema,
      'temperature': request.temperature,
      'seed': request.seed,
      'max_output_tokens': self.max_output_tokens,
      **form,
    }
    return Exchange(
      id=uuid.uuid4().hex,  # not from the generator: after a kill the same trial is proposed again
      model=request.model,
      purpose=request.purpose,
      state='sent',
      role=request.role,
      request=_clean(json.dumps(shown, ensure_ascii=False), key),
      input_tokens=input_tokens,
      output_tokens=self.max_output_tokens,
      dollars=self.price(request.model, input_tokens, self.max_output_tokens),
    )

  def _with_usage(self, ended: Exchange, response: ModelResponse) -> Exchange:
    """Adds the response and its token counts; without counts the upper bounds stay."""
    ended = dataclasses.replace(ended, response=response.text)
    if response.usage is None or not all(0 <= count <= MAX_TOKENS for count in response.usage):
      return ended
    inputs, outputs = response.usage
    dollars = self.price(ended.model, inputs, outputs)
    return dataclasses.replace(ended, input_tokens=inputs, output_tokens=outputs, dollars=dollars)

  async def _send(
    self, request: ModelRequest, form: Mapping[str, Any], key: str, departure: Departure
  ) -> ModelResponse:
    """Sends the request. Raises TimeoutError at the deadline and closes the connection.

    Redirects are not followed, since the key would be sent along.
    """
    for name in self.backend.chatty_loggers:  # failures are raised anyway
      logging.getLogger(name).setLevel(logging.ERROR)
    hooks = {'request': [departure.watch], 'response': [limit_size]}
    async with asyncio.timeout(self.timeout_seconds):
      async with httpx2.AsyncClient(
        verify=trusted_certificates(), event_hooks=hooks, timeout=None
      ) as channel:
        return await self.backend.send(request, form, key, self.max_output_tokens, channel)


def _ended(ended: Exchange, got: ModelReply | FailedAttempt, key: str, seconds: float) -> Exchange:
  """Returns the second record of a call: `ended` with the outcome."""
  ended = dataclasses.replace(ended, seconds=seconds, response=_clean(ended.response, key))
  if isinstance(got, ModelReply):
    return dataclasses.replace(ended, state='answered', error='')
  ended = dataclasses.replace(ended, error=_clean(got.message, key))
  if got.billed:
    return ended
  return dataclasses.replace(ended, input_tokens=0, output_tokens=0, dollars=0.0)


def _clean(text: str, key: str) -> str:
  """Removes the key, should anything have echoed it, and lone surrogates, which SQLite refuses."""
  if len(key) >= MIN_KEY:
    for form in {key, json.dumps(key)[1:-1]}:
      text = text.replace(form, '[key]')
  return text.encode('utf-8', 'replace').decode('utf-8')
