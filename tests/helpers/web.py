"""Requests to a web application without a server."""

import asyncio
import gzip
import json

import httpx2


class Answer:
  """An answer: its status, headers, and content."""

  def __init__(self, status, headers, body):
    self.status, self.headers = status, headers
    self.body = gzip.decompress(body) if headers.get('content-encoding') else body

  @property
  def text(self):
    return self.body.decode()

  @property
  def json(self):
    return json.loads(self.text)


def request(app, path, method='GET', body=b'', **headers):
  """Returns the answer to a request; underscores in the names of headers stand for dashes."""
  found, parts = {}, []
  path, _, query = path.partition('?')
  sent = {'host': 'localhost:8730', **{k.replace('_', '-'): v for k, v in headers.items()}}
  scope = {
    'type': 'http', 'http_version': '1.1', 'method': method, 'path': path,
    'raw_path': path.encode(),
    'query_string': query.encode(), 'root_path': '', 'scheme': 'http', 'server': ('localhost', 80),
    'headers': [(k.encode(), v.encode()) for k, v in sent.items()],
  }  # fmt: skip

  async def receive():
    return {'type': 'http.request', 'body': body, 'more_body': False}

  async def send(message):
    if message['type'] == 'http.response.start':
      found.update(status=message['status'], headers=dict(message['headers']))
    else:
      parts.append(message.get('body', b''))

  asyncio.run(app(scope, receive, send))
  named = {k.decode(): v.decode() for k, v in found['headers'].items()}
  return Answer(found['status'], named, b''.join(parts))


class AppTransport(httpx2.BaseTransport):
  """Carries the requests of a client to an application in this process."""

  def __init__(self, app):
    self.app, self.requests = app, []

  def handle_request(self, request):
    self.requests.append((request.method, request.url.path))
    headers = {k: v for k, v in request.headers.items() if k not in ('accept-encoding', 'host')}
    answer = asked(self.app, request, headers)
    headers = {k: v for k, v in answer.headers.items() if k != 'content-encoding'}
    return httpx2.Response(answer.status, headers=headers, content=answer.body)


def asked(app, request_, headers):
  """Returns the application's answer to a request of httpx2."""
  path = request_.url.raw_path.decode()
  return request(app, path, request_.method, request_.read(), **headers)
