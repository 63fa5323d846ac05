"""What a language-model API must offer to `client.ModelClient`: send a request, read the response.

`Backend` is the interface; `gemini_backend` and `openai_backend` implement it. A backend knows one
API and nothing of spend limits, records, retries or programs.
"""

import abc
import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

import httpx2

from autoresearch_jax.proposers.llm import api_key

SUSPEND_SECONDS = 600.0  # how long a model is left alone after a permanent error
MAX_TOKENS = 10**9  # of one call; a server that reports more is not believed


def shown_url(url: str) -> str:
  """Returns a URL without credentials and query, which may hold secrets."""
  return re.sub(r'://[^/@\s]+@', '://', re.split(r'[?#]', url)[0])


def check_url(name: str, url: str) -> None:
  """Raises ValueError for a URL that cannot be called; '' stands for the default.

  Args:
    name: Where the URL comes from, for the message.
    url: The URL.
  """
  if url and not _is_http_url(url):
    raise ValueError(f'{name} is {url!r}; it must be a URL that begins with https:// or http://.')


def _is_http_url(text: str) -> bool:
  """Whether a text is a URL with a host, and with a valid port if it has one."""
  try:
    url = httpx2.URL(text)
    return url.scheme in ('http', 'https') and bool(url.host) and (url.port or 1) <= 65535
  except (httpx2.InvalidURL, ValueError):
    return False


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
    rewritten: Whether the backend will write the next request in another form, because the server
      does not know this one. The next attempt then follows at once and is not counted.
  """

  message: str
  retryable: bool = False
  billed: bool = True
  retry_after: float = 0.0
  suspend_seconds: float = 0.0
  local: bool = False
  rewritten: bool = False


@dataclasses.dataclass(frozen=True)
class ModelResponse:
  """A response of the API.

  Attributes:
    result: The answer, or why there is none.
    text: The response as it is recorded, JSON.
    usage: Input and output tokens that are billed; None if the response does not say.
  """

  result: ModelReply | FailedAttempt
  text: str
  usage: tuple[int, int] | None = None


class Backend(abc.ABC):
  """A language-model API.

  Attributes:
    key_variables: Environment variables of the API key; the first that is set counts.
    base_url: URL of the API as it was configured; '' for the SDK's default.
    default_url: The SDK's default.
    needs_key: Whether there is no call without a key.
    chatty_loggers: Loggers of the SDK that write lines for each request into the live view.
  """

  key_variables: tuple[str, ...]
  base_url: str = ''
  default_url: str
  needs_key: bool = True
  chatty_loggers: tuple[str, ...] = ('httpx2',)

  @property
  @abc.abstractmethod
  def title(self) -> str:
    """The API as messages name it, without the article: 'Gemini API'."""

  def load(self) -> None:  # noqa: B027 - most SDKs are imported with their module
    """Imports what a call needs, so that this does not count against its deadline."""

  def key(self) -> str:
    """Returns the API key from the environment; '' if none is set."""
    return api_key(self.key_variables)

  def form(self, model: str) -> Mapping[str, Any]:
    """Returns how requests to a model are written, beyond ModelRequest, for record and `send`."""
    del model
    return {}

  def texts(self, request: ModelRequest, form: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns all texts of a request. Their UTF-8 bytes bound its tokens."""
    del form
    return (request.system, *request.turns, json.dumps(request.schema))

  @abc.abstractmethod
  async def send(
    self,
    request: ModelRequest,
    form: Mapping[str, Any],
    key: str,
    max_output_tokens: int,
    channel: httpx2.AsyncClient,
  ) -> ModelResponse:
    """Sends a request once, without retries or redirects, and reads the response.

    Args:
      request: What to ask.
      form: What `form` returned before the call was recorded.
      key: The API key; '' for none.
      max_output_tokens: Maximum length of the answer, thoughts included.
      channel: The HTTP client to use. It has no timeout; the caller ends the call.
    """

  @abc.abstractmethod
  def explain(
    self, error: Exception, request: ModelRequest, form: Mapping[str, Any]
  ) -> FailedAttempt | None:
    """Returns what an exception of the SDK means once the request was sent; None if not known."""

  def cause(self, error: Exception) -> Exception:
    """Returns the exception of the HTTP library behind one of the SDK's."""
    return error
