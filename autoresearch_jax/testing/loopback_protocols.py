"""The protocols that `loopback_model` speaks: the forms of requests, answers and errors."""

import abc
import email.message
import json
from collections.abc import Mapping
from typing import Any

KEY = 'a-key-that-nobody-may-see-0123456789'
# OpenAI's names for Gemini's finish reasons.
FINISHES = {'STOP': 'stop', 'MAX_TOKENS': 'length', 'SAFETY': 'content_filter', 'OTHER': 'error'}
PROMPT_TOKENS, ANSWER_TOKENS, THOUGHT_TOKENS = 700, 90, 10


class Protocol(abc.ABC):
  """The form of an API's requests and responses. Responses are JSON, encoded."""

  @abc.abstractmethod
  def model(self, path: str, body: Mapping[str, Any]) -> str:
    """Returns the model that a request is for."""

  @abc.abstractmethod
  def key(self, headers: email.message.Message) -> str:
    """Returns the API key of a request; '' for none."""

  @abc.abstractmethod
  def turns(self, body: Mapping[str, Any]) -> list[str]:
    """Returns the texts of a request's turns."""

  @abc.abstractmethod
  def system(self, body: Mapping[str, Any]) -> str:
    """Returns the system instruction of a request."""

  @abc.abstractmethod
  def settings(self, body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schema, seed, temperature and max_output_tokens of a request."""

  @abc.abstractmethod
  def answer(self, text: str | None, finish: str, usage: Any) -> bytes:
    """Returns an answer; for the arguments see `loopback_model.answer`."""

  @abc.abstractmethod
  def refusal(self, reason: str) -> bytes:
    """Returns a response that refuses the prompt."""

  @abc.abstractmethod
  def error(self, code: int, status: str, message: str, details: Mapping[str, Any]) -> bytes:
    """Returns the body of an error."""


class GeminiProtocol(Protocol):
  """Gemini's generateContent."""

  def model(self, path: str, body: Mapping[str, Any]) -> str:
    """Returns the model that a request is for."""
    return path.rpartition('/')[2].removesuffix(':generateContent')

  def key(self, headers: email.message.Message) -> str:
    """Returns the API key of a request."""
    return headers['x-goog-api-key']

  def turns(self, body: Mapping[str, Any]) -> list[str]:
    """Returns the texts of a request's turns."""
    return [turn['parts'][0]['text'] for turn in body['contents']]

  def system(self, body: Mapping[str, Any]) -> str:
    """Returns the system instruction of a request."""
    return body['systemInstruction']['parts'][0]['text']

  def settings(self, body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schema, seed, temperature and max_output_tokens of a request."""
    made = body['generationConfig']
    return {
      'schema': made.get('responseJsonSchema'),
      'seed': made.get('seed'),
      'temperature': made.get('temperature'),
      'max_output_tokens': made.get('maxOutputTokens'),
    }

  def answer(self, text: str | None, finish: str = 'STOP', usage: Any = 'full') -> bytes:
    """Returns an answer."""
    if usage == 'full':
      usage = {
        'promptTokenCount': PROMPT_TOKENS,
        'candidatesTokenCount': ANSWER_TOKENS,
        'thoughtsTokenCount': THOUGHT_TOKENS,
        'totalTokenCount': PROMPT_TOKENS + ANSWER_TOKENS + THOUGHT_TOKENS,
      }
    parts = [] if text is None else [{'text': text}]
    candidate = {'content': {'role': 'model', 'parts': parts}, 'finishReason': finish, 'index': 0}
    return json.dumps({'candidates': [candidate], 'usageMetadata': usage}).encode()

  def refusal(self, reason: str) -> bytes:
    """Returns a response that refuses the prompt."""
    usage = {'promptTokenCount': PROMPT_TOKENS, 'totalTokenCount': PROMPT_TOKENS}
    shown = {'promptFeedback': {'blockReason': reason}, 'usageMetadata': usage}
    return json.dumps(shown).encode()

  def error(self, code: int, status: str, message: str, details: Mapping[str, Any]) -> bytes:
    """Returns the body of an error; `details` are the fields of one google.rpc detail."""
    error: dict[str, Any] = {'code': code, 'message': message, 'status': status}
    if details:
      error['details'] = [details]
    return json.dumps({'error': error}).encode()


class ChatProtocol(Protocol):
  """OpenAI's Chat Completions."""

  def model(self, path: str, body: Mapping[str, Any]) -> str:
    """Returns the model that a request is for."""
    return body['model']

  def key(self, headers: email.message.Message) -> str:
    """Returns the API key of a request."""
    return headers['authorization'].removeprefix('Bearer ')

  def turns(self, body: Mapping[str, Any]) -> list[str]:
    """Returns the texts of a request's turns."""
    return [turn['content'] for turn in body['messages'] if turn['role'] != 'system']

  def system(self, body: Mapping[str, Any]) -> str:
    """Returns the system instruction of a request."""
    return ''.join(turn['content'] for turn in body['messages'] if turn['role'] == 'system')

  def settings(self, body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schema, seed, temperature and max_output_tokens of a request."""
    return {
      'schema': body.get('response_format', {}).get('json_schema', {}).get('schema'),
      'seed': body.get('seed'),
      'temperature': body.get('temperature'),
      'max_output_tokens': body.get('max_completion_tokens', body.get('max_tokens')),
    }

  def answer(self, text: str | None, finish: str = 'STOP', usage: Any = 'full') -> bytes:
    """Returns an answer."""
    if usage == 'full':
      usage = {
        'prompt_tokens': PROMPT_TOKENS,
        'completion_tokens': ANSWER_TOKENS + THOUGHT_TOKENS,
        'total_tokens': PROMPT_TOKENS + ANSWER_TOKENS + THOUGHT_TOKENS,
        'completion_tokens_details': {'reasoning_tokens': THOUGHT_TOKENS},
      }
    elif usage is not None:
      thoughts = usage.get('candidatesTokenCount', 0) + usage.get('thoughtsTokenCount', 0)
      usage = {
        'prompt_tokens': usage.get('promptTokenCount'),
        'completion_tokens': thoughts,
        'total_tokens': usage.get('totalTokenCount'),
      }
    message = {'role': 'assistant', 'content': text, 'refusal': None}
    choice = {'index': 0, 'message': message, 'finish_reason': FINISHES.get(finish, finish)}
    return self._completion([choice], usage)

  def refusal(self, reason: str) -> bytes:
    """Returns a response that refuses the prompt."""
    message = {'role': 'assistant', 'content': None, 'refusal': reason}
    usage = {'prompt_tokens': PROMPT_TOKENS, 'completion_tokens': 0, 'total_tokens': PROMPT_TOKENS}
    return self._completion([{'index': 0, 'message': message, 'finish_reason': 'stop'}], usage)

  def error(self, code: int, status: str, message: str, details: Mapping[str, Any]) -> bytes:
    """Returns the body of an error."""
    error = {'message': message, 'type': status.lower(), 'param': None, 'code': None, **details}
    return json.dumps({'error': error}).encode()

  def _completion(self, choices: list[dict[str, Any]], usage: Any) -> bytes:
    shown = {'id': 'c', 'object': 'chat.completion', 'created': 0, 'choices': choices}
    return json.dumps({**shown, 'usage': usage}).encode()


GEMINI, CHAT = GeminiProtocol(), ChatProtocol()


def protocol_of(path: str) -> Protocol:
  """Returns the protocol of a request by its path."""
  return CHAT if path.endswith('/chat/completions') else GEMINI
