"""What a response of the Gemini API means: an answer, or why there is none and what to do.

A failed attempt is classified by whether another may succeed, whether it may have been billed, and
how long to leave the model alone.
"""

import contextlib
import dataclasses
import email.utils
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2
from google.genai import errors
from google.genai import types as genai_types

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.llm import API_KEY_VARIABLES

MAX_RESPONSE_BYTES = 16 * 2**20  # the longest answer has some 65,536 tokens
SUSPEND_SECONDS = 600.0  # how long a model is left alone after a permanent error
RETRYABLE = (408, 429, 500, 502, 503, 504)  # HTTP statuses
COMPLETE = ('STOP', 'FINISH_REASON_UNSPECIFIED', '')  # finish reasons of whole answers
TRANSIENT = ('OTHER', 'MALFORMED_RESPONSE')  # finish reasons that may not recur
TRUNCATED = 'MAX_TOKENS'


@dataclasses.dataclass(frozen=True)
class ModelReply:
  """What a model answered.

  Attributes:
    text: The answer.
    truncated: Whether it was cut off at the token limit.
  """

  text: str
  truncated: bool = False


@dataclasses.dataclass(frozen=True)
class FailedAttempt:
  """Why one attempt failed.

  Attributes:
    message: The reason, as a sentence.
    retryable: Whether another attempt may succeed.
    billed: Whether the attempt may have cost something.
    retry_after: Seconds that the API wants to be left alone for.
    suspend_seconds: How long the model should be left alone.
    local: Whether the request never left this machine, so that no other model can be asked either.
  """

  message: str
  retryable: bool = False
  billed: bool = True
  retry_after: float = 0.0
  suspend_seconds: float = 0.0
  local: bool = False


def read_response(
  response: genai_types.GenerateContentResponse, model: str
) -> ModelReply | FailedAttempt:
  """Returns the answer in a response, or why there is none."""
  feedback = response.prompt_feedback
  if feedback and feedback.block_reason:
    return FailedAttempt(f'{model} refused the prompt ({_name(feedback.block_reason)}).')
  if not response.candidates:
    return FailedAttempt(f'{model} gave no answer.', retryable=True)
  candidate = response.candidates[0]
  parts = (candidate.content.parts or []) if candidate.content else []
  text = ''.join(part.text for part in parts if part.text and not part.thought)
  finish = _name(candidate.finish_reason)
  if finish == TRUNCATED:
    return ModelReply(text, truncated=True)
  if finish not in COMPLETE:
    return FailedAttempt(f'{model} broke off its answer ({finish}).', retryable=finish in TRANSIENT)
  if not text.strip():
    return FailedAttempt(f'{model} gave an empty answer.', retryable=True)
  return ModelReply(text)


def _name(reason: Any) -> str:
  """Returns the name of one of the API's reasons, which may be newer than the SDK; '' for none."""
  return one_line(str(getattr(reason, 'value', reason) or ''), 60)


def explain_error(error: Exception, model: str, timeout_seconds: float) -> FailedAttempt:
  """Returns what an exception of the SDK means, once the request was sent."""
  match error:
    case errors.APIError():
      return _explain_api_error(error, model)
    case TimeoutError():
      return FailedAttempt(f'{model} did not answer within {timeout_seconds:g} seconds.')
    case ResponseTooLarge():
      return FailedAttempt(f'{model} sent more than {MAX_RESPONSE_BYTES} bytes.')
    case httpx2.TransportError():
      what = one_line(str(error), 300) or type(error).__name__
      return FailedAttempt(f'The connection to {model} broke: {what}.', retryable=True)
  what = one_line(f'{type(error).__name__}: {error}', 300)
  return FailedAttempt(f'The response of {model} cannot be read: {what}.', retryable=True)


def _explain_api_error(error: errors.APIError, model: str) -> FailedAttempt:
  """Explains an HTTP error. Only errors in the API's own form are known to be free."""
  code, details = error.code, error.details
  inner = details.get('error') if isinstance(details, dict) else None
  own = isinstance(inner, dict)
  reason = one_line(str(error.message or ''), 300).rstrip('.')
  message = f'The Gemini API refused the call of {model} ({code} {_name(error.status)}): {reason}.'
  if code in RETRYABLE:
    retry_after = _retry_after(error, inner if own else {})
    return FailedAttempt(message, retryable=True, billed=not own, retry_after=retry_after)
  if code in (401, 402, 403) or 'API_KEY_INVALID' in str(details):
    message += f' Check the key in {" or ".join(API_KEY_VARIABLES)} and its billing.'
    return FailedAttempt(message, billed=False, suspend_seconds=SUSPEND_SECONDS)
  if code == 404:
    message += ' Check the name in the option models.'
    return FailedAttempt(message, billed=False, suspend_seconds=SUSPEND_SECONDS)
  return FailedAttempt(message, billed=not (own and 400 <= code < 500))


def _retry_after(error: errors.APIError, inner: Mapping[str, Any]) -> float:
  """Returns the seconds to wait, by Retry-After or google.rpc.RetryInfo; 0 if there is neither.

  The SDK ignores both: https://github.com/googleapis/python-genai/issues/1875.
  """
  headers = getattr(error.response, 'headers', None) or {}
  details = inner.get('details')
  delays = [d.get('retryDelay', '') for d in details or () if isinstance(d, dict)]
  for text in (headers.get('retry-after', ''), *delays):
    seconds = _seconds(str(text))
    if 0 < seconds < math.inf:
      return seconds
  return 0.0


def _seconds(text: str) -> float:
  """Returns the seconds in '3', '3.5s' or an HTTP date; 0 for another text."""
  with contextlib.suppress(ValueError):
    return float(text.removesuffix('s'))
  with contextlib.suppress(ValueError, TypeError):
    date = email.utils.parsedate_to_datetime(text)
    return date.timestamp() - time.time()
  return 0.0


def lasting(seconds: float) -> str:
  """Returns a duration in its two largest units: '1 day', '2 hours 5 minutes'."""
  parts, rest = [], max(1, round(seconds))
  for unit, size in (('day', 86400), ('hour', 3600), ('minute', 60), ('second', 1)):
    count, rest = divmod(rest, size)
    if count:
      parts.append(f'{count} {unit}{"s" if count > 1 else ""}')
  return ' '.join(parts[:2])


class ResponseTooLarge(Exception):
  """A response exceeds MAX_RESPONSE_BYTES."""


class _LimitedStream(httpx2.AsyncByteStream):
  """The bytes of a response. Raises ResponseTooLarge above MAX_RESPONSE_BYTES."""

  def __init__(self, stream: httpx2.AsyncByteStream):
    self._stream = stream

  async def __aiter__(self) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in self._stream:
      size += len(chunk)
      if size > MAX_RESPONSE_BYTES:
        raise ResponseTooLarge
      yield chunk

  async def aclose(self) -> None:
    await self._stream.aclose()


async def limit_size(response: httpx2.Response) -> None:
  """Event hook that runs before a response's body is read."""
  assert isinstance(response.stream, httpx2.AsyncByteStream)
  response.stream = _LimitedStream(response.stream)
