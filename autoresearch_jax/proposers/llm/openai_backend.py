"""OpenAI's Chat Completions protocol: its own API, vLLM, Ollama, llama.cpp and others.

Servers differ in what they accept. A request is first written as OpenAI's API wants it: the answer
by JSON schema, strict where the schema permits, and the limit as `max_completion_tokens`. If a
server refuses a part, the next request goes without it or with an older form of it, and the rest of
the session keeps to that, by model. Responses are read as plain JSON, since the SDK does not
validate them and servers leave fields out.

The SDK's retries are off, since each request has to be recorded.
"""

import dataclasses
import functools
import json
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.llm.backend import (
  SUSPEND_SECONDS,
  Backend,
  FailedAttempt,
  ModelReply,
  ModelRequest,
  ModelResponse,
  shown_url,
)
from autoresearch_jax.proposers.llm.responses import RETRYABLE, reason_name, retry_after

DEFAULT_URL = 'https://api.openai.com/v1'
FORMATS = ('strict', 'json_schema', 'json_object', 'text')  # how the form of an answer is asked for
LIMITS = ('max_completion_tokens', 'max_tokens')  # fields for the maximum length of an answer
OPTIONAL = ('seed', 'temperature', 'service_tier')  # fields that a request can do without
SCHEMA_INTRO = 'Answer with one JSON object, and nothing else, that fits this JSON schema:'
TRUNCATED = 'length'
FILTERED = 'content_filter'
TRANSIENT = ('error', 'abort', 'insufficient_system_resource')  # finish reasons that may not recur
TOOL_CALLS = ('tool_calls', 'function_call')
THOUGHTS = re.compile(r'\A\s*<think>.*?</think>', re.DOTALL)  # of models that think aloud
REFUSED_FIELD = (400, 404, 415, 422, 500, 501)  # statuses of servers that do not know a field
# What error messages call the form of an answer.
FORMAT_WORDS = re.compile(r'response_format|json_schema|json_object|json schema|structured|grammar')
TOO_LONG = re.compile(r'too (large|long|many)|at most|maximum|exceed|context length|context_length')
COMPLAINTS = ('message', 'msg', 'param', 'code', 'type', 'detail', 'loc', 'error', 'errors')
MAX_COMPLAINTS = 50  # texts of an error that are looked at


@dataclasses.dataclass(frozen=True)
class RequestForm:
  """How requests to one model are written.

  Attributes:
    response_format: One of FORMATS.
    limit: One of LIMITS.
    omitted: Fields among OPTIONAL that are left out.
    system_role: Whether the system instruction has a message of its own.
  """

  response_format: str = FORMATS[0]
  limit: str = LIMITS[0]
  omitted: tuple[str, ...] = ()
  system_role: bool = True

  def without(self, complaint: str, sent: Mapping[str, Any]) -> 'RequestForm | None':
    """Returns the form without what a server complains about; None if that is nothing of it.

    Args:
      complaint: The server's error, in lower case.
      sent: The request's body.
    """
    if self.limit in complaint and self.limit != LIMITS[-1] and not TOO_LONG.search(complaint):
      return dataclasses.replace(self, limit=LIMITS[LIMITS.index(self.limit) + 1])
    for name in OPTIONAL:
      if name in sent and re.search(rf'\b{name}\b', complaint):
        return dataclasses.replace(self, omitted=(*self.omitted, name))
    if self.response_format != FORMATS[-1] and FORMAT_WORDS.search(complaint):
      following = FORMATS[FORMATS.index(self.response_format) + 1]
      return dataclasses.replace(self, response_format=following)
    if self.system_role and 'system' in complaint and 'role' in complaint:
      return dataclasses.replace(self, system_role=False)
    return None


class _Forms:
  """The present form by model. Safe from any thread."""

  def __init__(self) -> None:
    self._lock = threading.Lock()
    self._forms: dict[str, RequestForm] = {}

  def get(self, model: str) -> RequestForm:
    with self._lock:
      return self._forms.get(model, RequestForm())

  def replace(self, model: str, old: RequestForm, new: RequestForm) -> None:
    """Changes the form, unless another thread has."""
    with self._lock:
      if self._forms.get(model, RequestForm()) == old:
        self._forms[model] = new


@dataclasses.dataclass(frozen=True)
class OpenAIBackend(Backend):
  """A server that speaks the Chat Completions protocol.

  Attributes:
    base_url: URL of the server, which often ends in /v1; '' for OpenAI's.
    key_variables: Environment variables of the API key.
    needs_key: Whether there is no call without a key.
  """

  base_url: str = ''
  key_variables: tuple[str, ...] = ('OPENAI_API_KEY',)
  needs_key: bool = True
  _forms: _Forms = dataclasses.field(default_factory=_Forms, repr=False, compare=False)
  default_url = DEFAULT_URL
  chatty_loggers = ('httpx2', 'openai')

  @property
  def title(self) -> str:
    """The API as messages name it."""
    return f'API at {shown_url(self.base_url)}' if self.base_url else 'OpenAI API'

  def load(self) -> None:
    """Imports the SDK's parts, which it loads when they are first used."""
    _load()

  def form(self, model: str) -> Mapping[str, Any]:
    """Returns the form of requests to a model, as it is recorded."""
    return dataclasses.asdict(self._forms.get(model))

  def texts(self, request: ModelRequest, form: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns all texts of a request. Their UTF-8 bytes bound its tokens."""
    return (*super().texts(request, form), SCHEMA_INTRO)

  async def send(
    self,
    request: ModelRequest,
    form: Mapping[str, Any],
    key: str,
    max_output_tokens: int,
    channel: httpx2.AsyncClient,
  ) -> ModelResponse:
    """Sends a request and reads the response; see Backend."""
    import openai  # noqa: PLC0415 - an extra

    client = openai.AsyncOpenAI(
      api_key=key or 'none',  # the SDK wants one
      base_url=self.base_url or DEFAULT_URL,
      http_client=channel,
      max_retries=0,
      timeout=None,
    )
    body = self.body(request, form, max_output_tokens)
    response = await client.chat.completions.with_raw_response.create(**body)
    text = response.http_response.text
    found = json.loads(text)
    return ModelResponse(_read(found, request.model), text, _usage(found))

  def explain(  # noqa: PLR0911 - one return per meaning
    self, error: Exception, request: ModelRequest, form: Mapping[str, Any]
  ) -> FailedAttempt | None:
    """Explains an HTTP error. Only errors in JSON, as APIs send them, are known to be free."""
    from openai import APIStatusError  # noqa: PLC0415 - an extra

    if not isinstance(error, APIStatusError):
      return None
    code, found = error.status_code, _error_object(error.response)
    own = found is not None
    complaint = ' '.join(_complaints(found)) if own else ''
    reason = one_line(_message(found) or error.response.reason_phrase, 300).rstrip('.')
    model = request.model
    message = f'The {self.title} refused the call of {model} ({code}): {reason}.'
    if own and code in REFUSED_FIELD:
      old = RequestForm(**form)
      if new := old.without(complaint.lower(), self.body(request, form, 1)):
        self._forms.replace(model, old, new)
        return FailedAttempt(message, billed=False, rewritten=True)
    if code in (401, 402, 403) or 'insufficient_quota' in complaint:
      message += f' Check the key in {" or ".join(self.key_variables)} and its billing.'
      return FailedAttempt(message, billed=False, suspend_seconds=SUSPEND_SECONDS)
    if code in RETRYABLE:
      wait = retry_after(error.response.headers)
      return FailedAttempt(message, retryable=True, billed=not own, retry_after=wait)
    if 300 <= code < 400:
      message += ' Redirects are not followed, since the key would go along; check base_url.'
      return FailedAttempt(message, billed=False, suspend_seconds=SUSPEND_SECONDS)
    if code == 404:
      message += ' Check the name in the option models, and base_url, which often ends in /v1.'
      return FailedAttempt(message, billed=False, suspend_seconds=SUSPEND_SECONDS)
    if own and TOO_LONG.search(complaint.lower()):
      message += ' Lower max_output_tokens or max_prompt_tokens.'
    return FailedAttempt(message, billed=not (own and 400 <= code < 500))

  def cause(self, error: Exception) -> Exception:
    """Returns the exception behind a connection error of the SDK."""
    from openai import APIConnectionError  # noqa: PLC0415 - an extra

    if isinstance(error, APIConnectionError) and isinstance(error.__cause__, Exception):
      return error.__cause__
    return error

  def body(
    self, request: ModelRequest, form: Mapping[str, Any], max_output_tokens: int
  ) -> dict[str, Any]:
    """Returns a request's body; for the arguments see `send`."""
    wire = RequestForm(**form)
    system, turns = request.system, list(request.turns)
    schema = json.dumps(request.schema)
    if wire.response_format in ('json_object', 'text'):
      system = f'{system}\n\n{SCHEMA_INTRO}\n{schema}'
    if not wire.system_role:
      turns[0] = f'{system}\n\n{turns[0]}'
    roles = ('user', 'assistant')
    messages = [{'role': roles[i % 2], 'content': turn} for i, turn in enumerate(turns)]
    if wire.system_role:
      messages.insert(0, {'role': 'system', 'content': system})
    optional = {
      'seed': request.seed,
      'temperature': request.temperature,
      # A project may be set to a dearer tier.
      'service_tier': 'default' if not self.base_url else None,
    }
    return {
      'model': request.model,
      'messages': messages,
      wire.limit: max_output_tokens,
      **_response_format(wire.response_format, request.schema),
      **{k: v for k, v in optional.items() if v is not None and k not in wire.omitted},
    }


@functools.cache
def _load() -> None:
  import openai  # noqa: PLC0415 - an extra

  _ = openai.AsyncOpenAI(api_key='none').chat.completions.with_raw_response


def _response_format(level: str, schema: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the field response_format for one of FORMATS; nothing for 'text'."""
  if level == 'text':
    return {}
  if level == 'json_object':
    return {'response_format': {'type': 'json_object'}}
  strict = strict_schema(schema) if level == 'strict' else None
  wanted: dict[str, Any] = {'name': 'answer', 'schema': strict or dict(schema)}
  if strict:
    wanted['strict'] = True
  return {'response_format': {'type': 'json_schema', 'json_schema': wanted}}


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
  """Returns the schema as strict mode wants it; None if it cannot be strict.

  Strict mode wants objects without further fields and with all fields required:
  https://developers.openai.com/api/docs/guides/structured-outputs.
  """
  made = dict(schema)
  if made.get('type') == 'object':
    properties = made.get('properties', {})
    if not properties or set(made.get('required', ())) != set(properties):
      return None
    inner = {name: strict_schema(part) for name, part in properties.items()}
    if None in inner.values():
      return None
    return {**made, 'properties': inner, 'additionalProperties': False}
  if 'items' in made:
    items = strict_schema(made['items'])
    return None if items is None else {**made, 'items': items}
  return made


def _read(found: Any, model: str) -> ModelReply | FailedAttempt:  # noqa: PLR0911 - one per meaning
  """Returns the answer in a response's JSON, or why there is none."""
  if not isinstance(found, dict):
    return FailedAttempt(f'The response of {model} is no JSON object.', retryable=True)
  choices = found.get('choices')
  if not choices and found.get('error'):  # some gateways answer so with status 200
    reason = one_line(_message(found) or 'no reason', 300).rstrip('.')
    return FailedAttempt(f'{model} gave no answer: {reason}.', retryable=True)
  choice = choices[0] if isinstance(choices, list) and choices else None
  message = choice.get('message') if isinstance(choice, dict) else None
  if not isinstance(choice, dict) or not isinstance(message, dict):
    return FailedAttempt(f'{model} gave no answer.', retryable=True)
  if refusal := message.get('refusal'):
    return FailedAttempt(f'{model} refused the prompt ({one_line(str(refusal), 200)}).')
  text = THOUGHTS.sub('', _text(message.get('content')))
  finish = reason_name(choice.get('finish_reason'))
  if finish == TRUNCATED:
    return ModelReply(text, truncated=True)
  if finish == FILTERED or finish in TRANSIENT:
    return FailedAttempt(f'{model} broke off its answer ({finish}).', retryable=finish != FILTERED)
  if not text.strip():
    if finish in TOOL_CALLS or message.get('tool_calls'):
      return FailedAttempt(f'{model} called a tool, but there is none.', retryable=True)
    return FailedAttempt(f'{model} gave an empty answer.', retryable=True)
  return ModelReply(text)


def _text(content: Any) -> str:
  """Returns the text of a message: a string, or a list of parts."""
  if isinstance(content, list):
    parts = (part.get('text') for part in content if isinstance(part, dict))
    return ''.join(part for part in parts if isinstance(part, str))
  return content if isinstance(content, str) else ''


def _usage(found: Any) -> tuple[int, int] | None:
  usage = found.get('usage') if isinstance(found, dict) else None
  if not isinstance(usage, dict):
    return None
  inputs = _count(usage.get('prompt_tokens'))
  outputs = _count(usage.get('completion_tokens')) or 0
  total = _count(usage.get('total_tokens')) or 0
  # Some servers count thoughts in the total only.
  return None if inputs is None else (inputs, max(outputs, total - inputs))


def _count(value: Any) -> int | None:
  return value if isinstance(value, int) and not isinstance(value, bool) else None


def _error_object(response: httpx2.Response) -> dict[str, Any] | None:
  """Returns the JSON object of an error that an API sent; None for anything else."""
  try:
    found = json.loads(response.text)
  except (ValueError, RecursionError):
    return None
  known = isinstance(found, dict) and any(n in found for n in ('error', 'detail', 'message'))
  return found if known else None


def _message(found: Any) -> str:
  """Returns the message in an error, wherever servers put it."""
  for name in ('error', 'message', 'detail'):
    inner = found.get(name) if isinstance(found, dict) else None
    if isinstance(inner, str):
      return inner
    if inner:
      return _message(inner) or ' '.join(_complaints(inner))
  return ''


def _complaints(found: Any) -> list[str]:
  """Returns the texts of an error, without what it repeats of the request."""
  return list(_walk(found, 0))[:MAX_COMPLAINTS]


def _walk(found: Any, depth: int) -> Iterator[str]:
  if depth > 6:
    return
  if isinstance(found, str):
    yield found[:2000]
  elif isinstance(found, list):
    for part in found[:MAX_COMPLAINTS]:
      yield from _walk(part, depth + 1)
  elif isinstance(found, dict):
    for name in COMPLAINTS:
      yield from _walk(found.get(name), depth + 1)
