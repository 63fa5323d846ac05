"""One call of a Gemini model: within spend limits, before a deadline, with retries, on record.

Called by the proposer `gemini`; knows nothing of programs. A call is recorded before it is sent,
with the most it can cost, and again when it has ended, with what it did cost, so that limits hold
even if the run is killed in between. A failed call counts as

- free if the API refused it or it never left this machine: errors before or instead of an answer
  are not billed (https://ai.google.dev/gemini-api/docs/billing);
- the most it can cost if nobody knows: a broken connection, a deadline, an unreadable response, an
  error page of some proxy.

The retries of the SDK are off, since each request has to be recorded, and so are its continuations.
"""

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import json
import logging
import os
import ssl
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import httpx2
import numpy as np
from google import genai
from google.genai import types as genai_types

from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.proposers.llm import API_KEY_VARIABLES, api_key
from autoresearch_jax.proposers.llm.local_failures import (
  CERTIFICATE_VARIABLES,
  Departure,
  explain_local_failure,
)
from autoresearch_jax.proposers.llm.responses import (
  SUSPEND_SECONDS,
  FailedAttempt,
  ModelReply,
  explain_error,
  lasting,
  limit_size,
  read_response,
)
from autoresearch_jax.proposers.spend_limits import SpendLimits
from autoresearch_jax.types import Exchange, Spend

TURN_TOKENS = 16  # at most, to mark the speaker of a turn; text has at most one token a byte
MAX_DELAY_SECONDS = 60.0  # between attempts; if the API wants more, the call fails
STOPPING = 'The run is stopping.'
# They log a line or two for each request into the live view. Failures are raised anyway.
CHATTY_LOGGERS = ('httpx2', 'google_genai')


@dataclasses.dataclass(frozen=True)
class ModelRequest:
  """What a model is asked.

  Attributes:
    model: Name of the model.
    purpose: What the call is for, as in Exchange.
    system: System instruction.
    turns: What user and model said in turn; the first and the last turn are the user's.
    schema: JSON schema of the answer.
    role: Role that the model acts in, as in Exchange.
    temperature: Sampling temperature; None for the model's default.
    seed: Sampling seed; None for none.
  """

  model: str
  purpose: str
  system: str
  turns: tuple[str, ...]
  schema: Mapping[str, Any]
  role: str = ''
  temperature: float | None = None
  seed: int | None = None


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
class GeminiClient:
  """Makes calls of the Gemini API.

  Attributes:
    prices: Dollars per million input tokens and output tokens, by model.
    limits: Limits on what the run may spend.
    max_output_tokens: Maximum length of one answer, thoughts included.
    timeout_seconds: Deadline of one attempt.
    attempts: Maximum number of attempts of one call.
    initial_delay: Seconds before the second attempt; doubles with each further one.
    base_url: URL of the API; '' for the SDK's default.
    calls: The calls in progress.
  """

  prices: Mapping[str, tuple[float, float]]
  limits: SpendLimits
  max_output_tokens: int
  timeout_seconds: float
  attempts: int
  initial_delay: float
  base_url: str = ''
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
    for attempt in itertools.count(1):
      got = self._attempt(request, context)
      if isinstance(got, ModelReply):
        return got
      backoff = self.initial_delay * 2 ** (attempt - 1) * rng.uniform(0.5, 1.0)
      delay = max(got.retry_after, backoff)
      if not got.retryable or attempt >= self.attempts or delay > MAX_DELAY_SECONDS:
        raise NoAnswer(got.message, max(got.suspend_seconds, got.retry_after), got.local)
      self.calls.pause(delay)
    raise AssertionError

  def price(self, model: str, input_tokens: int, output_tokens: int) -> float:
    """Returns the price in dollars; 0 for a model whose price is not known."""
    prices = self.prices.get(model.removeprefix('models/'), (0.0, 0.0))
    return (input_tokens * prices[0] + output_tokens * prices[1]) / 1e6

  def _attempt(self, request: ModelRequest, context: ProposalContext) -> ModelReply | FailedAttempt:
    """Sends one request. It is on record before it is sent, and again however it ends."""
    key = api_key()
    if not key:
      names = ' or '.join(API_KEY_VARIABLES)
      raise NoAnswer(f'There is no API key: set {names}.', SUSPEND_SECONDS, local=True)
    sent = self._upper_bound(request, key)
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
      response = self.calls.run(functools.partial(self._send, request, key, departure))
      got = read_response(response, request.model)
      ended = self._with_usage(ended, response)
    except asyncio.CancelledError:
      got = FailedAttempt(STOPPING)
    except Exception as error:
      if departure.sent:
        got = explain_error(error, request.model, self.timeout_seconds)
      else:
        got = explain_local_failure(error, request.model, self.base_url, self.timeout_seconds)
    finally:
      context.record(_ended(ended, got, key, time.monotonic() - started))
    if self.calls.closed and isinstance(got, FailedAttempt):
      raise NoAnswer(STOPPING)
    if isinstance(got, FailedAttempt):
      return dataclasses.replace(got, message=_clean(got.message, key))
    return dataclasses.replace(got, text=_clean(got.text, key))

  def _upper_bound(self, request: ModelRequest, key: str) -> Exchange:
    """Returns the record of a call to be sent, with the most it can cost.

    No text has more tokens than UTF-8 bytes.
    """
    texts = (request.system, *request.turns, json.dumps(request.schema))
    input_tokens = sum(len(text.encode('utf-8', 'replace')) + TURN_TOKENS for text in texts)
    shown = {
      'system': request.system,
      'turns': request.turns,
      'schema': request.schema,
      'temperature': request.temperature,
      'seed': request.seed,
      'max_output_tokens': self.max_output_tokens,
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

  def _with_usage(self, ended: Exchange, response: genai_types.GenerateContentResponse) -> Exchange:
    """Adds the response and its token counts; without counts the upper bounds stay."""
    shown = response.model_dump_json(exclude_none=True, exclude={'sdk_http_response', 'parsed'})
    ended = dataclasses.replace(ended, response=shown)
    usage = response.usage_metadata
    if usage is None or usage.prompt_token_count is None:
      return ended
    inputs = usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0)
    outputs = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    outputs = max(outputs, (usage.total_token_count or 0) - inputs)
    if inputs < 0 or outputs < 0:
      return ended
    dollars = self.price(ended.model, inputs, outputs)
    return dataclasses.replace(ended, input_tokens=inputs, output_tokens=outputs, dollars=dollars)

  async def _send(
    self, request: ModelRequest, key: str, departure: Departure
  ) -> genai_types.GenerateContentResponse:
    """Sends the request. Raises TimeoutError at the deadline and closes the connection.

    Redirects are not followed, since the key would be sent along.
    """
    for name in CHATTY_LOGGERS:
      logging.getLogger(name).setLevel(logging.ERROR)
    hooks = {'request': [departure.watch], 'response': [limit_size]}
    certificates = _certificates(*map(os.environ.get, CERTIFICATE_VARIABLES))
    async with asyncio.timeout(self.timeout_seconds):
      with httpx2.Client(verify=certificates) as unused:
        async with httpx2.AsyncClient(
          verify=certificates, event_hooks=hooks, timeout=None
        ) as channel:
          client = genai.Client(
            vertexai=False,
            api_key=key,
            http_options=genai_types.HttpOptions(
              base_url=self.base_url or None,
              httpx_client=unused,
              httpx_async_client=channel,
              async_client_args={'ssl': certificates},  # else read again at each call
            ),
          )
          return await client.aio.models.generate_content(
            model=request.model,
            contents=_contents(request.turns),
            config=self._generation_config(request),
          )

  def _generation_config(self, request: ModelRequest) -> genai_types.GenerateContentConfig:
    return genai_types.GenerateContentConfig(
      system_instruction=request.system,
      temperature=request.temperature,
      seed=request.seed,
      max_output_tokens=self.max_output_tokens,
      response_mime_type='application/json',
      response_json_schema=dict(request.schema),
      automatic_continuation=False,
      automatic_function_calling=genai_types.AutomaticFunctionCallingConfig(disable=True),
    )


def _contents(turns: tuple[str, ...]) -> list[genai_types.Content]:
  roles = ('user', 'model')
  return [
    genai_types.Content(role=roles[number % 2], parts=[genai_types.Part(text=text)])
    for number, text in enumerate(turns)
  ]


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
  escaped = json.dumps(key)[1:-1]
  for form in {key, escaped}:
    text = text.replace(form, '[key]')
  return text.encode('utf-8', 'replace').decode('utf-8')


@functools.cache
def _certificates(file: str | None, directory: str | None) -> ssl.SSLContext:
  """Loads the trusted certificates, which takes longer than the rest of making a client.

  Args:
    file: SSL_CERT_FILE, and
    directory: SSL_CERT_DIR, which are read from the environment; the result depends on them.
  """
  del file, directory
  return httpx2.create_ssl_context()
