"""What the end of a call means, whatever the API: timeouts, broken connections, sizes, waits.

What an API's own responses and errors mean is in its backend.
"""

import contextlib
import email.utils
import math
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import httpx2

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.llm.backend import FailedAttempt

MAX_RESPONSE_BYTES = 16 * 2**20  # the longest answer has some 65,536 tokens
RETRYABLE = (408, 429, 500, 502, 503, 504)  # HTTP statuses


def reason_name(reason: Any) -> str:
  """Returns the name of one of the API's reasons, which may be newer than the SDK; '' for none."""
  return one_line(str(getattr(reason, 'value', reason) or ''), 60)


def explain_failure(error: Exception, model: str, timeout_seconds: float) -> FailedAttempt:
  """Returns what an exception means, once the request was sent, if it is none of the API's own."""
  match error:
    case TimeoutError():
      return FailedAttempt(f'{model} did not answer within {timeout_seconds:g} seconds.')
    case ResponseTooLarge():
      return FailedAttempt(f'{model} sent more than {MAX_RESPONSE_BYTES} bytes.')
    case httpx2.TransportError():
      what = one_line(str(error), 300).rstrip('.') or type(error).__name__
      return FailedAttempt(f'The connection to {model} broke: {what}.', retryable=True)
  what = one_line(f'{type(error).__name__}: {error}', 300)
  return FailedAttempt(f'The response of {model} cannot be read: {what}.', retryable=True)


def retry_after(headers: Mapping[str, str], further: Iterable[object] = ()) -> float:
  """Returns the seconds to wait by a response's headers; 0 if they do not say.

  Args:
    headers: Headers of the response.
    further: Other places that may say so, as text, such as the fields of a google.rpc.RetryInfo.
  """
  with contextlib.suppress(ValueError):
    if 0 < (milliseconds := float(headers.get('retry-after-ms', ''))) < math.inf:
      return milliseconds / 1000
  for text in (headers.get('retry-after', ''), *further):
    if 0 < (wait := _seconds(str(text))) < math.inf:
      return wait
  return 0.0


def _seconds(text: str) -> float:
  """Returns the seconds in '3', '3.5s' or an HTTP date; 0 for another text."""
  with contextlib.suppress(ValueError):
    return float(text.removesuffix('s'))
  with contextlib.suppress(ValueError, TypeError, OverflowError):
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
