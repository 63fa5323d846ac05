"""The Gemini API, through google-genai.

Errors before or instead of an answer are not billed:
https://ai.google.dev/gemini-api/docs/billing. The retries of the SDK are off, since each request
has to be recorded, and so are its continuations.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import httpx2
from google import genai
from google.genai import errors
from google.genai import types as genai_types

from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.llm import API_KEY_VARIABLES
from autoresearch_jax.proposers.llm.backend import (
  SUSPEND_SECONDS,
  Backend,
  FailedAttempt,
  ModelReply,
  ModelRequest,
  ModelResponse,
)
from autoresearch_jax.proposers.llm.local_failures import trusted_certificates
from autoresearch_jax.proposers.llm.responses import RETRYABLE, reason_name, retry_after

COMPLETE = ('STOP', 'FINISH_REASON_UNSPECIFIED', '')  # finish reasons of whole answers
TRANSIENT = ('OTHER', 'MALFORMED_RESPONSE')  # finish reasons that may not recur
TRUNCATED = 'MAX_TOKENS'


@dataclasses.dataclass(frozen=True)
class GeminiBackend(Backend):
  """The Gemini API.

  Attributes:
    base_url: URL of the API; '' for the SDK's default.
  """

  base_url: str = ''
  key_variables = API_KEY_VARIABLES
  default_url = 'https://generativelanguage.googleapis.com'
  chatty_loggers = ('httpx2', 'google_genai')

  @property
  def title(self) -> str:
    """The API as messages name it."""
    return 'Gemini API'

  async def send(
    self,
    request: ModelRequest,
    form: Mapping[str, Any],
    key: str,
    max_output_tokens: int,
    channel: httpx2.AsyncClient,
  ) -> ModelResponse:
    """Sends a request and reads the response; see Backend."""
    del form
    trusted = trusted_certificates()
    with httpx2.Client(verify=trusted) as unused:
      client = genai.Client(
        vertexai=False,
        api_key=key,
        http_options=genai_types.HttpOptions(
          base_url=self.base_url or None,
          httpx_client=unused,
          httpx_async_client=channel,
          async_client_args={'ssl': trusted},  # else read again at each call
        ),
      )
      response = await client.aio.models.generate_content(
        model=request.model,
        contents=_contents(request.turns),
        config=_generation_config(request, max_output_tokens),
      )
    shown = response.model_dump_json(exclude_none=True, exclude={'sdk_http_response', 'parsed'})
    return ModelResponse(_read(response, request.model), shown, _usage(response))

  def explain(
    self, error: Exception, request: ModelRequest, form: Mapping[str, Any]
  ) -> FailedAttempt | None:
    """Explains an HTTP error. Only errors in the API's own form are known to be free."""
    del form
    if not isinstance(error, errors.APIError):
      return None
    code, details = error.code, error.details
    inner = details.get('error') if isinstance(details, dict) else None
    own = isinstance(inner, dict)
    reason = one_line(str(error.message or ''), 300).rstrip('.')
    message = (
      f'The Gemini API refused the call of {request.model} ({code} {reason_name(error.status)}): '
      f'{reason}.'
    )
    if code in RETRYABLE:
      return FailedAttempt(
        message,
        retryable=True,
        billed=not own,
        retry_after=_retry_after(error, inner if own else {}),
      )
    if code in (401, 402, 403) or 'API_KEY_INVALID' in str(details):
      message += f' Check the key in {" or ".join(self.key_variables)} and its billing.'
      return FailedAttempt(message, billed=False, suspend_seconds=SUSPEND_SECONDS)
    if code == 404:
      message += ' Check the name in the option models.'
      return FailedAttempt(message, billed=False, suspend_seconds=SUSPEND_SECONDS)
    return FailedAttempt(message, billed=not (own and 400 <= code < 500))


def _read(response: genai_types.GenerateContentResponse, model: str) -> ModelReply | FailedAttempt:
  """Returns the answer in a response, or why there is none."""
  feedback = response.prompt_feedback
  if feedback and feedback.block_reason:
    return FailedAttempt(f'{model} refused the prompt ({reason_name(feedback.block_reason)}).')
  if not response.candidates:
    return FailedAttempt(f'{model} gave no answer.', retryable=True)
  candidate = response.candidates[0]
  parts = (candidate.content.parts or []) if candidate.content else []
  text = ''.join(part.text for part in parts if part.text and not part.thought)
  finish = reason_name(candidate.finish_reason)
  if finish == TRUNCATED:
    return ModelReply(text, truncated=True)
  if finish not in COMPLETE:
    return FailedAttempt(f'{model} broke off its answer ({finish}).', retryable=finish in TRANSIENT)
  if not text.strip():
    return FailedAttempt(f'{model} gave an empty answer.', retryable=True)
  return ModelReply(text)


def _usage(response: genai_types.GenerateContentResponse) -> tuple[int, int] | None:
  usage = response.usage_metadata
  if usage is None or usage.prompt_token_count is None:
    return None
  inputs = usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0)
  outputs = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
  return inputs, max(outputs, (usage.total_token_count or 0) - inputs)


def _retry_after(error: errors.APIError, inner: Mapping[str, Any]) -> float:
  """Returns the seconds to wait, by Retry-After or google.rpc.RetryInfo; 0 if there is neither.

  The SDK ignores both: https://github.com/googleapis/python-genai/issues/1875.
  """
  headers = getattr(error.response, 'headers', None) or {}
  details = inner.get('details')
  delays = [d.get('retryDelay', '') for d in details or () if isinstance(d, dict)]
  return retry_after(headers, delays)


def _generation_config(
  request: ModelRequest, max_output_tokens: int
) -> genai_types.GenerateContentConfig:
  return genai_types.GenerateContentConfig(
    system_instruction=request.system,
    temperature=request.temperature,
    seed=request.seed,
    max_output_tokens=max_output_tokens,
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
