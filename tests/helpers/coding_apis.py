"""A stand-in for the APIs that command-line agents call, on 127.0.0.1.

It answers each turn with the next tool call of its script, then with a text, in the protocol of the
request: Gemini's generateContent, OpenAI's Responses and Chat Completions, Anthropic's Messages;
each streamed (server-sent events) or at once.
"""

import contextlib
import dataclasses
import http.server
import json
import re
import threading

INPUT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS = 1000, 200, 50  # that each answer reports
_FOLDER = re.compile(r'/[^\s"\'`<>\\]*/agent-\d+-\w+/program')


@dataclasses.dataclass(frozen=True)
class ToolCall:
  """A call of one of the agent's tools.

  Attributes:
    tool: Its name.
    arguments: Its arguments, with {folder} in texts for the program's folder; or one text, for a
      tool without a schema.
  """

  tool: str
  arguments: dict | str


@dataclasses.dataclass(frozen=True)
class Turn:
  """A request.

  Attributes:
    body: The request's JSON.
    tools: Names of the tools that the model may call.
    results: The results of its calls so far, as JSON.
  """

  body: dict
  tools: tuple[str, ...]
  results: tuple[str, ...]

  @property
  def text(self):
    return json.dumps(self.body, ensure_ascii=False)


class _Gemini:
  def turn(self, body):
    tools = [f['name'] for t in body.get('tools', ()) for f in t.get('functionDeclarations', ())]
    parts = [part for content in body['contents'] for part in content.get('parts', ())]
    results = [json.dumps(part) for part in parts if 'functionResponse' in part]
    return Turn(body, tuple(tools), tuple(results))

  def frames(self, answer, body, number):
    del number
    made = body.get('generationConfig', {})
    schema = made.get('responseJsonSchema') or made.get('responseSchema')
    if isinstance(answer, str):
      part = {'text': json.dumps(_instance(schema)) if schema else answer}
    else:
      part = {'functionCall': {'name': answer.tool, 'args': answer.arguments}}
    usage = {
      'promptTokenCount': INPUT_TOKENS,
      'cachedContentTokenCount': CACHED_TOKENS,
      'candidatesTokenCount': OUTPUT_TOKENS,
      'totalTokenCount': INPUT_TOKENS + OUTPUT_TOKENS,
    }
    content = {'role': 'model', 'parts': [part]}
    candidate = {'content': content, 'finishReason': 'STOP', 'index': 0}
    yield None, {'candidates': [candidate], 'usageMetadata': usage, 'modelVersion': 'stand-in'}

  def whole(self, frames):
    return frames[-1][1]


class _Responses:
  def turn(self, body):
    results = [json.dumps(i) for i in body['input'] if str(i.get('type')).endswith('_call_output')]
    return Turn(body, tuple(self._names([body, *body['input']])), tuple(results))

  def _names(self, holders):
    """Yields the tools of a request, of its inputs (additional_tools) and of their namespaces."""
    for tool in (tool for holder in holders for tool in holder.get('tools', ())):
      yield from self._names([tool]) if 'tools' in tool else [tool.get('name', tool['type'])]

  def frames(self, answer, body, number):
    if isinstance(answer, str):
      content = [{'type': 'output_text', 'text': answer, 'annotations': []}]
      item = {'type': 'message', 'id': f'm{number}', 'role': 'assistant', 'content': content}
    elif isinstance(answer.arguments, str):
      item = {'type': 'custom_tool_call', 'id': f't{number}', 'input': answer.arguments}
      item |= {'call_id': f'c{number}', 'name': answer.tool}
    else:
      item = {'type': 'function_call', 'id': f't{number}'}
      item |= {'arguments': json.dumps(answer.arguments)}
      item |= {'call_id': f'c{number}', 'name': answer.tool}
    item['status'] = 'completed'
    usage = {
      'input_tokens': INPUT_TOKENS,
      'input_tokens_details': {'cached_tokens': CACHED_TOKENS},
      'output_tokens': OUTPUT_TOKENS,
      'output_tokens_details': {'reasoning_tokens': 0},
      'total_tokens': INPUT_TOKENS + OUTPUT_TOKENS,
    }
    response = {'id': f'r{number}', 'object': 'response', 'model': body['model'], 'output': []}
    events = [
      {'type': 'response.created', 'response': {**response, 'status': 'in_progress'}},
      {'type': 'response.output_item.added', 'output_index': 0, 'item': item},
      {'type': 'response.output_item.done', 'output_index': 0, 'item': item},
      {
        'type': 'response.completed',
        'response': {**response, 'status': 'completed', 'output': [item], 'usage': usage},
      },
    ]
    for sequence, event in enumerate(events):
      yield event['type'], {**event, 'sequence_number': sequence}

  def whole(self, frames):
    return frames[-1][1]['response']


class _Chat:
  def turn(self, body):
    tools = [t['function']['name'] for t in body.get('tools', ())]
    results = [json.dumps(m) for m in body['messages'] if m['role'] == 'tool']
    return Turn(body, tuple(tools), tuple(results))

  def frames(self, answer, body, number):
    if isinstance(answer, str):
      delta, finish = {'role': 'assistant', 'content': answer}, 'stop'
    else:
      function = {'name': answer.tool, 'arguments': json.dumps(answer.arguments)}
      call = {'index': 0, 'id': f'call{number}', 'type': 'function', 'function': function}
      delta, finish = {'role': 'assistant', 'content': None, 'tool_calls': [call]}, 'tool_calls'
    usage = {
      'prompt_tokens': INPUT_TOKENS,
      'prompt_tokens_details': {'cached_tokens': CACHED_TOKENS},
      'completion_tokens': OUTPUT_TOKENS,
      'total_tokens': INPUT_TOKENS + OUTPUT_TOKENS,
    }
    made = {'id': f'r{number}', 'object': 'chat.completion.chunk', 'created': 0}
    made['model'] = body['model']
    yield None, {**made, 'choices': [{'index': 0, 'delta': delta, 'finish_reason': None}]}
    yield None, {**made, 'choices': [{'index': 0, 'delta': {}, 'finish_reason': finish}]}
    yield None, {**made, 'choices': [], 'usage': usage}

  def whole(self, frames):
    (_, first), (_, end), (_, last) = frames
    choice = {'index': 0, 'message': first['choices'][0]['delta']}
    choice['finish_reason'] = end['choices'][0]['finish_reason']
    return {**last, 'object': 'chat.completion', 'choices': [choice]}


class _Messages:
  def turn(self, body):
    tools = [t['name'] for t in body.get('tools', ())]
    blocks = [b for m in body['messages'] if isinstance(m['content'], list) for b in m['content']]
    results = [json.dumps(block) for block in blocks if block['type'] == 'tool_result']
    return Turn(body, tuple(tools), tuple(results))

  def frames(self, answer, body, number):
    if isinstance(answer, str):
      block, reason = {'type': 'text', 'text': ''}, 'end_turn'
      delta = {'type': 'text_delta', 'text': answer}
    else:
      block = {'type': 'tool_use', 'id': f'toolu_{number}', 'name': answer.tool, 'input': {}}
      delta = {'type': 'input_json_delta', 'partial_json': json.dumps(answer.arguments)}
      reason = 'tool_use'
    usage = {
      'input_tokens': INPUT_TOKENS - CACHED_TOKENS,
      'cache_read_input_tokens': CACHED_TOKENS,
      'cache_creation_input_tokens': 0,
      'output_tokens': OUTPUT_TOKENS,
    }
    message = {'id': f'msg_{number}', 'type': 'message', 'role': 'assistant', 'content': []}
    message |= {'model': body['model'], 'stop_reason': None, 'stop_sequence': None, 'usage': usage}
    ended = {'stop_reason': reason, 'stop_sequence': None}
    for event in (
      {'type': 'message_start', 'message': message},
      {'type': 'content_block_start', 'index': 0, 'content_block': block},
      {'type': 'content_block_delta', 'index': 0, 'delta': delta},
      {'type': 'content_block_stop', 'index': 0},
      {'type': 'message_delta', 'delta': ended, 'usage': {'output_tokens': OUTPUT_TOKENS}},
      {'type': 'message_stop'},
    ):
      yield event['type'], event

  def whole(self, frames):
    events = [event for _, event in frames]
    block, delta = events[1]['content_block'], events[2]['delta']
    if block['type'] == 'text':
      block = {**block, 'text': delta['text']}
    else:
      block = {**block, 'input': json.loads(delta['partial_json'])}
    return {**events[0]['message'], 'content': [block], **events[4]['delta']}


def _instance(schema):
  """Returns a value of a JSON schema."""
  kind = str(schema.get('type', 'string')).lower()
  if kind == 'object':
    return {name: _instance(inner) for name, inner in schema.get('properties', {}).items()}
  simple = {'integer': 1, 'number': 1.0, 'boolean': False, 'array': []}
  return schema['enum'][0] if schema.get('enum') else simple.get(kind, 'x')


_PROTOCOLS = (
  (re.compile(r':(generate|streamGenerate)Content'), _Gemini()),
  (re.compile(r'/responses$'), _Responses()),
  (re.compile(r'/chat/completions$'), _Chat()),
  (re.compile(r'/messages$'), _Messages()),
)


class CodingServer:
  """The server. It runs in a thread until `close`.

  Attributes:
    script: Calls that the model makes, one a turn; then it says `farewell`.
    farewell: Its last text.
    refusal: Status with which it refuses all requests; 0 for none.
    turns: The requests with tools so far.
    keys: The API keys of all requests.
    unknown: Methods and paths of the requests that it has no answer for.
  """

  def __init__(self, script=(), farewell='The rate is doubled.', refusal=0):
    self.script, self.farewell, self.refusal = tuple(script), farewell, refusal
    self.turns, self.keys, self.unknown = [], set(), []
    self._lock, server = threading.Lock(), self

    class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = 'HTTP/1.1'

      def do_POST(self):
        with contextlib.suppress(ConnectionError):
          server._answer(self)

      def do_GET(self):
        with contextlib.suppress(ConnectionError):
          server._refuse(self)

      do_HEAD = do_GET

      def log_message(self, format, *arguments):
        del format, arguments

    self._http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    self._http.daemon_threads = True
    self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
    self._thread.start()

  @property
  def url(self):
    return f'http://127.0.0.1:{self._http.server_port}'

  def close(self):
    self._http.shutdown()
    self._http.server_close()
    self._thread.join()

  def _refuse(self, handler):
    self.unknown.append(f'{handler.command} {handler.path}')
    # 426 tells a client that asks for a WebSocket to use plain HTTP.
    _send(handler, 426 if handler.headers.get('upgrade') else 404, b'{}', 'application/json')

  def _answer(self, handler):
    body = json.loads(handler.rfile.read(int(handler.headers['content-length'] or 0)) or '{}')
    path, _, query = handler.path.partition('?')
    protocol = next((made for pattern, made in _PROTOCOLS if pattern.search(path)), None)
    if protocol is None:
      self._refuse(handler)
      return
    if self.refusal:
      error = {'type': 'authentication_error', 'message': 'This key is not known.'}
      error |= {'code': self.refusal, 'status': 'UNAUTHENTICATED'}
      content = json.dumps({'type': 'error', 'error': error}).encode()
      _send(handler, self.refusal, content, 'application/json')
      return
    turn = protocol.turn(body)
    with self._lock:
      self.keys |= {key for key in map(handler.headers.get, _KEY_HEADERS) if key}
      if turn.tools:
        self.turns.append(turn)
      number = len(self.turns)
    answer = self._next(turn)
    frames = list(protocol.frames(answer, body, number))
    if not (body.get('stream') or 'alt=sse' in query):
      _send(handler, 200, json.dumps(protocol.whole(frames)).encode(), 'application/json')
      return
    lines = []
    for name, event in frames:
      lines += [f'event: {name}'] if name else []
      lines += [f'data: {json.dumps(event)}', '']
    if isinstance(protocol, _Chat):
      lines += ['data: [DONE]', '']
    _send(handler, 200, '\n'.join([*lines, '']).encode(), 'text/event-stream')

  def _next(self, turn):
    """Returns the answer to a turn; one without tools asks for a title or the like."""
    if not turn.tools:
      return 'A title'
    if len(turn.results) >= len(self.script):
      return self.farewell
    call, folder = self.script[len(turn.results)], _FOLDER.search(turn.text)
    folder = folder.group() if folder else '.'
    if isinstance(call.arguments, str):
      return dataclasses.replace(call, arguments=call.arguments.replace('{folder}', folder))
    arguments = {
      name: value.replace('{folder}', folder) if isinstance(value, str) else value
      for name, value in call.arguments.items()
    }
    return dataclasses.replace(call, arguments=arguments)


_KEY_HEADERS = ('x-goog-api-key', 'authorization', 'x-api-key')


def _send(handler, status, content, kind):
  handler.send_response(status)
  handler.send_header('content-type', kind)
  handler.send_header('content-length', str(len(content)))
  handler.end_headers()
  if handler.command != 'HEAD':
    handler.wfile.write(content)
