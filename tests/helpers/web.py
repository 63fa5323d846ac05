"""Requests to a dashboard's application without a server."""

import asyncio
import gzip
import json


class Answer:
  """An answer: its status, headers, and content."""

  def __init__(self, status, headers, body):
    self.status, self.headers = status, headers
    self.text = (gzip.decompress(body) if headers.get('content-encoding') else body).decode()

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
