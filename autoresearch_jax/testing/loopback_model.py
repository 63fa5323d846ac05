"""A language model on 127.0.0.1 that speaks as much of Gemini's REST protocol as the SDK needs.

It answers each `POST .../models/MODEL:generateContent` with the next step of its script, or with
what its rule makes of the request. Steps are functions that write to the connection, so that they
can also break it.
"""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from autoresearch_jax import types

KEY = 'a-key-that-nobody-may-see-0123456789'
PROMPT_TOKENS, ANSWER_TOKENS, THOUGHT_TOKENS = 700, 90, 10

Step = Callable[[http.server.BaseHTTPRequestHandler, dict[str, Any]], None]


class Server:
  """script: steps that are taken one by one; rule: makes the step of a request after those.

  requests: bodies that came in, with the model's name under 'model'.
  """

  def __init__(self, rule: Callable[[dict[str, Any]], Step] | None = None):
    self.script: list[Step] = []
    self.rule = rule
    self.requests: list[dict[str, Any]] = []
    self.gone = threading.Event()  # the client closed a connection in the midst of a drip
    self._lock = threading.Lock()
    server = self

    class Handler(http.server.BaseHTTPRequestHandler):
      def do_POST(self) -> None:
        with contextlib.suppress(ConnectionError):  # clients hang up at their deadline
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

  def once_asked(self, act: Callable[[], object]) -> threading.Thread:
    """Calls `act` a moment after the first request came, in the thread that is returned."""

    def wait() -> None:
      while not self.requests:
        time.sleep(0.01)
      time.sleep(0.3)  # the client has what was sent at once, and waits for more
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
    body['model'] = handler.path.rpartition('/')[2].removesuffix(':generateContent')
    body['key'] = handler.headers['x-goog-api-key']
    with self._lock:
      self.requests.append(body)
      step = self.script.pop(0) if self.script else None
    if step is None:
      assert self.rule is not None, 'the script is at its end'
      step = self.rule(body)
    step(handler, body)


@contextlib.contextmanager
def serving(rule: Callable[[dict[str, Any]], Step] | None = None) -> Iterator[Server]:
  server = Server(rule)
  try:
    yield server
  finally:
    server.close()


def said(body: dict[str, Any]) -> list[str]:
  """The texts of a request's turns."""
  return [turn['parts'][0]['text'] for turn in body['contents']]


def send(
  status: int, content: bytes, kind: str = 'application/json', headers: dict[str, str] | None = None
) -> Step:
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


def response(text: str | None, finish: str = 'STOP', **more: Any) -> dict[str, Any]:
  """As the API sends it, with the usage of the constants above."""
  parts = [] if text is None else [{'text': text}]
  usage = {
    'promptTokenCount': PROMPT_TOKENS,
    'candidatesTokenCount': ANSWER_TOKENS,
    'thoughtsTokenCount': THOUGHT_TOKENS,
    'totalTokenCount': PROMPT_TOKENS + ANSWER_TOKENS + THOUGHT_TOKENS,
  }
  candidate = {'content': {'role': 'model', 'parts': parts}, 'finishReason': finish, 'index': 0}
  return {'candidates': [candidate], 'usageMetadata': usage, **more}


def answer(text: str | None, finish: str = 'STOP', **more: Any) -> Step:
  return send(200, json.dumps(response(text, finish, **more)).encode())


def edit(search: str, replace: str, file: str = 'model.py', claim: str = 'It helps.') -> str:
  """An answer in the form that `proposers/llm/answer.py` asks for."""
  block = {'file': file, 'search': search, 'replace': replace}
  guess = {'predicted_change': -0.01, 'uncertainty': 0.02}
  shown = {
    'description': f'{search} becomes {replace}',
    'hypothesis': {'claim': claim, 'mechanisms': ['width'], **guess},
    'edits': [block],
    'files': [],
  }
  return json.dumps(shown)


def later(seconds: float, step: Step) -> Step:
  """The step after that long, in which a real model would think."""

  def waiting(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    time.sleep(seconds)
    step(handler, body)

  return waiting


def blocked(reason: str = 'SAFETY') -> Step:
  usage = {'promptTokenCount': PROMPT_TOKENS, 'totalTokenCount': PROMPT_TOKENS}
  shown = {'promptFeedback': {'blockReason': reason}, 'usageMetadata': usage}
  return send(200, json.dumps(shown).encode())


def refusal(
  code: int,
  status: str,
  message: str = 'No.',
  headers: dict[str, str] | None = None,
  **details: Any,
) -> Step:
  """An error as the API words it. details: of one google.rpc detail."""
  error = {'code': code, 'message': message, 'status': status}
  if details:
    error['details'] = [details]
  return send(code, json.dumps({'error': error}).encode(), headers=headers)


def retry_after(delay: str) -> dict[str, str]:
  return {'@type': 'type.googleapis.com/google.rpc.RetryInfo', 'retryDelay': delay}


def cut(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
  """Half an answer, and the connection is gone."""
  del body
  whole = json.dumps(response('{"never": "whole"}')).encode()
  handler.send_response(200)
  handler.send_header('content-type', 'application/json')
  handler.send_header('content-length', str(len(whole)))
  handler.end_headers()
  handler.wfile.write(whole[: len(whole) // 2])
  handler.close_connection = True


def hang_up(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
  """Not a byte."""
  del body
  handler.close_connection = True


def drip(server: Server, pause: float = 0.02) -> Step:
  """A byte at a time, for ever, each of them soon enough; says so when the client has gone."""

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
      server.gone.set()

  return step


def flood(size: int) -> Step:
  """An answer of that many bytes, without saying so beforehand."""

  def step(handler: http.server.BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    del body
    handler.send_response(200)
    handler.send_header('content-type', 'application/json')
    handler.end_headers()
    handler.wfile.write(b'{"x": "')
    for _ in range(size // 65536 + 1):
      handler.wfile.write(b'x' * 65536)

  return step


class Book:
  """What a context's `record` and `spend` are in a run: exchanges in order, the last of each id."""

  def __init__(self) -> None:
    self.exchanges: list[types.Exchange] = []

  def record(self, exchange: types.Exchange) -> None:
    """Takes it as a ledger does: it must come back from JSON as it was."""
    assert types.from_json(types.to_json(exchange), types.Exchange) == exchange
    self.exchanges.append(exchange)

  @property
  def last(self) -> list[types.Exchange]:
    """The last record of each call, in the order in which they were sent."""
    return list({exchange.id: exchange for exchange in self.exchanges}.values())

  def spend(self) -> types.Spend:
    calls = (types.Spend(1, e.input_tokens, e.output_tokens, e.dollars) for e in self.last)
    return sum(calls, types.Spend())
