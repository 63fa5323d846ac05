"""A fake language-model API on 127.0.0.1, for tests of proposers and for measurements.

It speaks the protocols of `loopback_protocols`, Gemini's and OpenAI's, by the path of a request. It
answers each request with the next step of its script, or with the step that its rule returns for
the request. Steps write to the connection, so they can also break it.
"""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from autoresearch_jax import types
from autoresearch_jax.testing.loopback_protocols import (
  ANSWER_TOKENS,
  CHAT,
  GEMINI,
  KEY,
  PROMPT_TOKENS,
  THOUGHT_TOKENS,
  Protocol,
  protocol_of,
)

__all__ = ['ANSWER_TOKENS', 'CHAT', 'GEMINI', 'KEY', 'PROMPT_TOKENS', 'THOUGHT_TOKENS']

Step = Callable[[http.server.BaseHTTPRequestHandler, dict[str, Any]], None]


class ModelServer:
  """The server. It runs in a thread until `close`.

  Attributes:
    script: Steps for the next requests, in order.
    rule: Returns the step for a request when the script is empty.
    requests: Bodies of the requests so far, with the model's name under 'model', the API key under
      'key' and the protocol under 'protocol'.
    hung_up: Set when the client closes the connection during `drip`.
  """

  def __init__(self, rule: Callable[[dict[str, Any]], Step] | None = None):
    self.script: list[Step] = []
    self.rule = rule
    self.requests: list[dict[str, Any]] = []
    self.hung_up = threading.Event()
    self._lock = threading.Lock()
    server = self

    class Handler(http.server.BaseHTTPRequestHandler):
      def do_POST(self) -> None:
        with contextlib.suppress(ConnectionError):  # clients close the connection at their deadline
          server._answer(self)

      def log_message(self, format: str, *arguments: object) -> None:
        del format, arguments

    self._http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    self._http.daemon_threads = True
    self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
    self._thread.start()

  @property
  def url(self) -> str:
    return f'http://127.0.0.1:{self._http.server_port}'

  @property
  def models(self) -> list[str]:
    return [request['model'] for request in self.requests]

  def after_first_request(self, act: Callable[[], object]) -> threading.Thread:
    """Calls `act` soon after the first request, in the returned thread."""

    def wait() -> None:
      while not self.requests:
        time.sleep(0.01)
      time.sleep(0.3)  # until the client waits for the rest of the answer
      act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread

  def close(self) -> None:
    self._http.shutdown()
    self._http.server_close()
    self._thread.join()

  def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
    body = json.loads(handler.rfile.read(int(handler.headers['content-length'])))
    protocol = protocol_of(handler.path)
    body['protocol'] = protocol
    body['model'] = protocol.model(handler.path, body)
    body['key'] = protocol.key(handler.headers)
    with self._lock:
      self.requests.append(body)
      step = self.script.pop(0) if self.script else None
    if step is None:
      assert self.rule is not None, 'the script is empty and there is no rule'
      step = self.rule(body)
    step(handler, body)


@contextlib.contextmanager
def serving(rule: Callable[[dict[str, Any]], Step] | None = None) -> Iterator[ModelServer]:
  """Runs a server for the duration of a `with` block."""
  server = ModelServer(rule)
  try:
    yield server
  finally:
    server.close()


def turn_texts(body: dict[str, Any]) -> list[str]:
  """Returns the texts of a request's turns."""
  return body['protocol'].turns(body)


def system_text(body: dict[str, Any]) -> str:
  """Returns the system instruction of a request."""
  return body['protocol'].system(body)


def settings(body: dict[str, Any]) -> dict[str, Any]:
  """Returns a request's schema, seed, temperature and max_output_tokens; None for each unset."""
  return body['protocol'].settings(body)


def send(
  status: int, content: bytes, kind: str = 'application/json', headers: dict[str, str] | None = None
) -> Step:
  """Sends an HTTP response."""

  def step(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    del body
    handler.send_response(status)
    handler.send_header('content-type', kind)
    handler.send_header('content-length', str(len(content)))
    for name, value in (headers or {}).items():
      handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)

  return step


def in_protocol(make: Callable[[Protocol], bytes], status: int = 200) -> Step:
  """Answers with a body that depends on the protocol."""

  def step(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    send(status, make(body['protocol']))(handler, body)

  return step


def answer(text: str | None, finish: str = 'STOP', usage: Any = 'full') -> Step:
  """Answers with a text.

  Args:
    text: The text; None for an answer without one.
    finish: Why the answer ends, as Gemini calls it.
    usage: Token counts in Gemini's fields, or None for none; by default those above.
  """
  return in_protocol(lambda protocol: protocol.answer(text, finish, usage))


def edit(search: str, replace: str, file: str = 'model.py', claim: str = 'It helps.') -> str:
  """Returns the text of an answer with one edit, in the form of `proposers/llm/answer.py`."""
  block = {'file': file, 'search': search, 'replace': replace}
  guess = {'predicted_change': -0.01, 'uncertainty': 0.02}
  shown = {
    'description': f'{search} becomes {replace}',
    'hypothesis': {'claim': claim, 'mechanisms': ['width'], **guess},
    'edits': [block],
    'files': [],
  }
  return json.dumps(shown)


def delayed(seconds: float, step: Step) -> Step:
  """Takes a step after some seconds."""

  def wait_and_step(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    time.sleep(seconds)
    step(handler, body)

  return wait_and_step


def blocked(reason: str = 'SAFETY') -> Step:
  """Refuses the prompt."""
  return in_protocol(lambda protocol: protocol.refusal(reason))


def api_error(
  code: int,
  status: str,
  /,
  message: str = 'No.',
  headers: dict[str, str] | None = None,
  **details: Any,
) -> Step:
  """Answers with an error in the API's form. `details` are its further fields."""

  def step(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    content = body['protocol'].error(code, status, message, details)
    send(code, content, headers=headers)(handler, body)

  return step


def retry_after(delay: str) -> dict[str, str]:
  """Returns the fields of a google.rpc.RetryInfo, for `api_error`."""
  return {'@type': 'type.googleapis.com/google.rpc.RetryInfo', 'retryDelay': delay}


def cut_off(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
  """Sends half of an answer and closes the connection."""
  whole = body['protocol'].answer('{"never": "whole"}')
  handler.send_response(200)
  handler.send_header('content-type', 'application/json')
  handler.send_header('content-length', str(len(whole)))
  handler.end_headers()
  handler.wfile.write(whole[: len(whole) // 2])
  handler.close_connection = True


def hang_up(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
  """Closes the connection without an answer."""
  del body
  handler.close_connection = True


def drip(server: ModelServer, pause: float = 0.02) -> Step:
  """Sends single bytes for ever, so that only a total deadline ends the call; sets `hung_up`."""

  def step(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    del body
    handler.send_response(200)
    handler.send_header('content-type', 'application/json')
    handler.end_headers()
    try:
      while True:
        handler.wfile.write(b' ')
        time.sleep(pause)
    except ConnectionError:
      server.hung_up.set()

  return step


def flood(size: int) -> Step:
  """Sends an answer of that many bytes without a content length."""

  def step(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    del body
    handler.send_response(200)
    handler.send_header('content-type', 'application/json')
    handler.end_headers()
    handler.wfile.write(b'{"x": "')
    for _ in range(size // 65536 + 1):
      handler.wfile.write(b'x' * 65536)

  return step


class RecordedCalls:
  """Stands in for the ledger: `record` and `spend` of a ProposalContext.

  Attributes:
    exchanges: All records, in order.
  """

  def __init__(self) -> None:
    self.exchanges: list[types.Exchange] = []

  def record(self, exchange: types.Exchange) -> None:
    """Stores a record, which must survive a round trip through JSON."""
    assert types.from_json(types.to_json(exchange), types.Exchange) == exchange
    self.exchanges.append(exchange)

  @property
  def last(self) -> list[types.Exchange]:
    """The last record of each call, in the order of the calls."""
    return list({exchange.id: exchange for exchange in self.exchanges}.values())

  def spend(self) -> types.Spend:
    """Returns what all calls have cost."""
    calls = (types.Spend(1, e.input_tokens, e.output_tokens, e.dollars) for e in self.last)
    return sum(calls, types.Spend())
