"""One call of a Gemini model: within caps, before a deadline, with retries, on record.

Called by the proposer `gemini`; it knows nothing of programs. A call is recorded before it is sent
with the most it can cost, and again when it has ended with what it did cost, so that caps hold
whatever happens in between, a kill included. What a failed call is said to cost:

- nothing where the API refused it: errors before or instead of an answer are not billed
  (https://ai.google.dev/gemini-api/docs/billing), nor what never reached it;
- the most it can be where nobody knows: a cut connection, a deadline, an answer that cannot be
  read, an error page that some machine in between wrote.

The SDK's own retries stay off, for each request is to be recorded, and so do its continuations.
"""

import asyncio
import contextlib
import dataclasses
import functools
import itertools
import json
import logging
import math
import ssl
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import httpx2
import numpy as np
from google import genai
from google.genai import errors
from google.genai import types as api

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.base import ProposalContext
from autoresearch_jax.proposers.llm.keys import KEYS, key
from autoresearch_jax.proposers.spend_limits import Caps
from autoresearch_jax.types import Exchange, Spend

TURN_TOKENS = 16  # that mark who speaks, at most; a token of text has one byte or more
MAX_BYTES = 16 * 2**20  # of a response; the longest answer has some 65,536 tokens
LONGEST_WAIT = 60.0  # seconds between attempts; who asks for more is not asked again so soon
REST_SECONDS = 600.0  # a model that refuses for good is asked again after this long
WAITABLE = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may be gone at the next attempt
FINISHED = ('STOP', 'FINISH_REASON_UNSPECIFIED', '')
ACCIDENTS = ('OTHER', 'MALFORMED_RESPONSE')  # ends of an answer that may not come again
CUT = 'MAX_TOKENS'
CLOSED = 'The run is stopping.'
# Loggers with a line or two for each request, in the midst of the live view; what fails is raised.
CHATTY = ('httpx2', 'google_genai')


@dataclasses.dataclass(frozen=True)
class Said:
  """What a model is asked. turns: what user and model said in turn, the user first and last.

  schema: JSON schema of the answer. purpose, role: as in Exchange. seed: of the model's sampling.
  """

  model: str
  purpose: str
  system: str
  turns: tuple[str, ...]
  schema: Mapping[str, Any]
  role: str = ''
  temperature: float | None = None
  seed: int | None = None


@dataclasses.dataclass(frozen=True)
class Reply:
  """text: of the answer. cut: whether it ends where the tokens did."""

  text: str
  cut: bool = False


class NoAnswer(Exception):
  """No answer is to be had; the sentence says why. rest: seconds to leave the model alone for."""

  def __init__(self, sentence: str, rest: float = 0.0):
    super().__init__(sentence)
    self.rest = rest


@dataclasses.dataclass(frozen=True)
class Failure:
  """Why an attempt came to nothing. again: whether another may fare better.

  billed: whether it may have cost something. after: seconds the API wants to be left alone for.
  """

  sentence: str
  again: bool = False
  billed: bool = True
  after: float = 0.0
  rest: float = 0.0


class Line:
  """What changes while calls are made: those under way, and whether they may go on."""

  def __init__(self) -> None:
    self.gate = threading.Lock()  # between a look at the spend and the record of a call
    self._lock = threading.Lock()
    self._closed = threading.Event()
    self._calls: set[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = set()

  @property
  def closed(self) -> bool:
    return self._closed.is_set()

  def close(self) -> None:
    """Ends calls and pauses under way, from whatever thread; there are none after it."""
    with self._lock:
      self._closed.set()
      for loop, task in self._calls:
        loop.call_soon_threadsafe(task.cancel)

  def pause(self, seconds: float) -> None:
    self._closed.wait(seconds)

  def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
    """Runs it in an event loop of its own. Raises CancelledError once closed."""

    async def tracked() -> Any:
      with self._open():
        return await call()

    return asyncio.run(tracked())

  @contextlib.contextmanager
  def _open(self) -> Iterator[None]:
    task = asyncio.current_task()
    assert task is not None
    under_way = (asyncio.get_running_loop(), task)
    with self._lock:
      if self.closed:
        raise asyncio.CancelledError
      self._calls.add(under_way)
    try:
      yield
    finally:
      with self._lock:
        self._calls.discard(under_way)


@dataclasses.dataclass(frozen=True)
class Caller:
  """prices: dollars per million input and output tokens, by model. seconds: for one attempt.

  output_tokens: of one answer, thoughts included. pause: seconds before the second attempt,
  doubled before each further one. base_url: '' for the SDK's own.
  """

  prices: Mapping[str, tuple[float, float]]
  caps: Caps
  output_tokens: int
  seconds: float
  attempts: int
  pause: float
  base_url: str = ''
  line: Line = dataclasses.field(default_factory=Line, repr=False, compare=False)

  def ask(self, said: Said, context: ProposalContext, rng: np.random.Generator) -> Reply:
    """The model's answer. Raises NoAnswer when all attempts failed, or none is allowed."""
    for attempt in itertools.count(1):
      got = self._attempt(said, context)
      if isinstance(got, Reply):
        return got
      wait = max(got.after, self.pause * 2 ** (attempt - 1) * rng.uniform(0.5, 1.0))
      if not got.again or attempt >= self.attempts or wait > LONGEST_WAIT:
        raise NoAnswer(got.sentence, max(got.rest, got.after))
      self.line.pause(wait)
    raise AssertionError

  def price(self, model: str, input_tokens: int, output_tokens: int) -> float:
    """In dollars; 0 for a model without a known price."""
    prices = self.prices.get(model.removeprefix('models/'), (0.0, 0.0))
    return (input_tokens * prices[0] + output_tokens * prices[1]) / 1e6

  def _attempt(self, said: Said, context: ProposalContext) -> Reply | Failure:
    """One request, on record from before it is sent until it has ended, however it does."""
    secret = key()
    if not secret:
      raise NoAnswer(f'There is no key: set {" or ".join(KEYS)}.', REST_SECONDS)
    sent = self._most(said, secret)
    with self.line.gate:
      if self.line.closed:
        raise NoAnswer(CLOSED)
      most = Spend(1, sent.input_tokens, sent.output_tokens, sent.dollars)
      if refusal := self.caps.refusal(context.spend(), most):
        raise NoAnswer(refusal)
      context.record(sent)
    started = time.monotonic()
    got: Reply | Failure = Failure('The call was broken off.')
    ended = dataclasses.replace(sent, state='failed', error=got.sentence)
    try:
      response = self.line.run(functools.partial(self._send, said, secret))
      got = _read(response, said.model)
      ended = self._counted(ended, response)
    except asyncio.CancelledError:
      got = Failure(CLOSED)
    except Exception as error:
      got = failure(error, said.model, self.seconds)
    finally:
      context.record(_ended(ended, got, secret, time.monotonic() - started))
    if self.line.closed and isinstance(got, Failure):
      raise NoAnswer(CLOSED)
    if isinstance(got, Failure):
      return dataclasses.replace(got, sentence=_clean(got.sentence, secret))
    return dataclasses.replace(got, text=_clean(got.text, secret))

  def _most(self, said: Said, secret: str) -> Exchange:
    """The record of a call that is about to be sent: the most it can cost.

    No text has more tokens than bytes in UTF-8.
    """
    texts = (said.system, *said.turns, json.dumps(said.schema))
    most = sum(len(text.encode('utf-8', 'replace')) + TURN_TOKENS for text in texts)
    request = {
      'system': said.system,
      'turns': said.turns,
      'schema': said.schema,
      'temperature': said.temperature,
      'seed': said.seed,
      'max_output_tokens': self.output_tokens,
    }
    return Exchange(
      id=uuid.uuid4().hex,  # not of the generator: after a kill the same trial is proposed again
      model=said.model,
      purpose=said.purpose,
      state='sent',
      role=said.role,
      request=_clean(json.dumps(request, ensure_ascii=False), secret),
      input_tokens=most,
      output_tokens=self.output_tokens,
      dollars=self.price(said.model, most, self.output_tokens),
    )

  def _counted(self, ended: Exchange, response: api.GenerateContentResponse) -> Exchange:
    """With the response, and with what it says was used; the most it can be where it does not."""
    shown = response.model_dump_json(exclude_none=True, exclude={'sdk_http_response', 'parsed'})
    ended = dataclasses.replace(ended, response=shown)
    used = response.usage_metadata
    if used is None or used.prompt_token_count is None:
      return ended
    into = used.prompt_token_count + (used.tool_use_prompt_token_count or 0)
    out = (used.candidates_token_count or 0) + (used.thoughts_token_count or 0)
    out = max(out, (used.total_token_count or 0) - into)
    if into < 0 or out < 0:
      return ended
    dollars = self.price(ended.model, into, out)
    return dataclasses.replace(ended, input_tokens=into, output_tokens=out, dollars=dollars)

  async def _send(self, said: Said, secret: str) -> api.GenerateContentResponse:
    """Raises TimeoutError at the deadline, whatever arrived until then, and closes the connection.

    Redirects are not followed, for the key would be sent along.
    """
    for name in CHATTY:
      logging.getLogger(name).setLevel(logging.ERROR)
    hooks = {'response': [_bounded]}
    async with asyncio.timeout(self.seconds):
      with httpx2.Client(verify=_trust()) as unused:
        async with httpx2.AsyncClient(verify=_trust(), event_hooks=hooks, timeout=None) as channel:
          client = genai.Client(
            vertexai=False,
            api_key=secret,
            http_options=api.HttpOptions(
              base_url=self.base_url or None,
              httpx_client=unused,
              httpx_async_client=channel,
              async_client_args={'ssl': _trust()},  # else one for websockets is read at each call
            ),
          )
          return await client.aio.models.generate_content(
            model=said.model, contents=_contents(said.turns), config=self._config(said)
          )

  def _config(self, said: Said) -> api.GenerateContentConfig:
    return api.GenerateContentConfig(
      system_instruction=said.system,
      temperature=said.temperature,
      seed=said.seed,
      max_output_tokens=self.output_tokens,
      response_mime_type='application/json',
      response_json_schema=dict(said.schema),
      automatic_continuation=False,
      automatic_function_calling=api.AutomaticFunctionCallingConfig(disable=True),
    )


def _contents(turns: tuple[str, ...]) -> list[api.Content]:
  who = ('user', 'model')
  return [
    api.Content(role=who[number % 2], parts=[api.Part(text=text)])
    for number, text in enumerate(turns)
  ]


def _ended(ended: Exchange, got: Reply | Failure, secret: str, seconds: float) -> Exchange:
  """The second record of a call: `ended` with the outcome."""
  ended = dataclasses.replace(ended, seconds=seconds, response=_clean(ended.response, secret))
  if isinstance(got, Reply):
    return dataclasses.replace(ended, state='answered', error='')
  ended = dataclasses.replace(ended, error=_clean(got.sentence, secret))
  if got.billed:
    return ended
  return dataclasses.replace(ended, input_tokens=0, output_tokens=0, dollars=0.0)


def _read(response: api.GenerateContentResponse, model: str) -> Reply | Failure:
  """The answer in a response, or why there is none."""
  feedback = response.prompt_feedback
  if feedback and feedback.block_reason:
    return Failure(f'{model} refused the prompt ({_word(feedback.block_reason)}).')
  if not response.candidates:
    return Failure(f'{model} gave no answer.', again=True)
  candidate = response.candidates[0]
  parts = (candidate.content.parts or []) if candidate.content else []
  text = ''.join(part.text for part in parts if part.text and not part.thought)
  finish = _word(candidate.finish_reason)
  if finish == CUT:
    return Reply(text, cut=True)
  if finish not in FINISHED:
    return Failure(f'{model} broke its answer off ({finish}).', again=finish in ACCIDENTS)
  return Reply(text) if text.strip() else Failure(f'{model} gave an empty answer.', again=True)


def _word(reason: Any) -> str:
  """The name of one of the API's reasons, which may be newer than the SDK; '' for none."""
  return one_line(str(getattr(reason, 'value', reason) or ''), 60)


def failure(error: Exception, model: str, seconds: float) -> Failure:
  """What an exception out of the SDK means. seconds: of the deadline."""
  match error:
    case errors.APIError():
      return _refused(error, model)
    case TimeoutError():
      return Failure(f'{model} did not answer within {seconds:g} seconds.')
    case TooLong():
      return Failure(f'{model} sent more than {MAX_BYTES} bytes.')
    case httpx2.ConnectError() | httpx2.ProxyError() | httpx2.UnsupportedProtocol():
      what = one_line(str(error), 300) or type(error).__name__
      return Failure(f'The Gemini API cannot be reached: {what}.', again=True, billed=False)
    case httpx2.TransportError():
      what = one_line(str(error), 300) or type(error).__name__
      return Failure(f'The connection to {model} was cut: {what}.', again=True)
  what = one_line(f'{type(error).__name__}: {error}', 300)
  return Failure(f'What {model} sent cannot be read: {what}.', again=True)


def _refused(error: errors.APIError, model: str) -> Failure:
  """An HTTP status other than 200. Only the API's own errors are known to cost nothing."""
  code, details = error.code, error.details
  inner = details.get('error') if isinstance(details, dict) else None
  own = isinstance(inner, dict)
  message = one_line(str(error.message or ''), 300).rstrip('.')
  said = f'The Gemini API refused the call of {model} ({code} {_word(error.status)}): {message}.'
  if code in WAITABLE:
    after = _delay(error, inner if own else {})
    return Failure(said, again=True, billed=not own, after=after)
  if code in (401, 402, 403) or 'API_KEY_INVALID' in str(details):
    said += f' Check the key in {" or ".join(KEYS)} and its billing.'
    return Failure(said, billed=False, rest=REST_SECONDS)
  if code == 404:
    said += ' Check the name in the option models.'
    return Failure(said, billed=False, rest=REST_SECONDS)
  return Failure(said, billed=not (own and 400 <= code < 500))


def _delay(error: errors.APIError, inner: Mapping[str, Any]) -> float:
  """Seconds that the API asks to wait: Retry-After, or google.rpc.RetryInfo; 0 where it does not.

  The SDK ignores both: https://github.com/googleapis/python-genai/issues/1875.
  """
  headers = getattr(error.response, 'headers', None) or {}
  given = inner.get('details')
  delays = [d.get('retryDelay', '') for d in given or () if isinstance(d, dict)]
  for text in (headers.get('retry-after', ''), *delays):
    with contextlib.suppress(ValueError):
      seconds = float(str(text).removesuffix('s'))  # the header may also be a date: then no number
      if 0 <= seconds < math.inf:
        return seconds
  return 0.0


def _clean(text: str, secret: str) -> str:
  """Without the key, should anybody have echoed it, and as it can be stored: a lone half of a
  surrogate pair cannot.
  """  # fmt: skip
  escaped = json.dumps(secret)[1:-1]
  for form in {secret, escaped}:
    text = text.replace(form, '[key]')
  return text.encode('utf-8', 'replace').decode('utf-8')


@functools.cache
def _trust() -> ssl.SSLContext:
  """The certificates that are trusted; reading them takes longer than the rest of a client."""
  return httpx2.create_ssl_context()


class TooLong(Exception):
  """A response with more bytes than any answer has."""


class _Bounded(httpx2.AsyncByteStream):
  """A response's bytes as they come, up to MAX_BYTES. Raises TooLong after that."""

  def __init__(self, stream: httpx2.AsyncByteStream):
    self._stream = stream

  async def __aiter__(self) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in self._stream:
      size += len(chunk)
      if size > MAX_BYTES:
        raise TooLong
      yield chunk

  async def aclose(self) -> None:
    await self._stream.aclose()


async def _bounded(response: httpx2.Response) -> None:
  """Runs before a response's body is read."""
  assert isinstance(response.stream, httpx2.AsyncByteStream)
  response.stream = _Bounded(response.stream)
