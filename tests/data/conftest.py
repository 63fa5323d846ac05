"""A loopback server of shards with scripted faults, and shards to serve."""

import http.server
import io
import threading
import time

import pyarrow as pa
import pytest
from pyarrow import parquet

WORDS = ['the', 'cat', 'sat', 'on', 'a', 'mat', 'and', 'saw', 'another', 'Zürich', '2024', 'times']


def shard(seed, documents=60):
  """A parquet shard of made-up documents, as bytes."""
  texts = [
    ' '.join(WORDS[(seed + i * j) % len(WORDS)] for j in range(5 + (7 * i + seed) % 90))
    for i in range(1, documents + 1)
  ]
  target = io.BytesIO()
  parquet.write_table(pa.table({'text': texts, 'other': range(len(texts))}), target)
  return target.getvalue()


class ShardServer(http.server.ThreadingHTTPServer):
  """files: name -> bytes. faults: name -> list of faults, one consumed by each request.

  A fault is a status code with headers, or one of `cut` (half of the body, then the connection
  ends), `stall` (half, then silence), `whole` (ignores Range), `shifted` (another range than was
  asked for). requests: (name, Range header or '', what was done), in order.
  """

  daemon_threads = True
  handle_error = lambda *_: None  # noqa: E731 - clients that hang up are part of the tests

  def __init__(self):
    super().__init__(('127.0.0.1', 0), _Handler)
    self.files, self.faults, self.requests, self.tags = {}, {}, [], {}

  @property
  def url(self):
    return f'http://127.0.0.1:{self.server_address[1]}'


class _Handler(http.server.BaseHTTPRequestHandler):
  server: ShardServer
  protocol_version = 'HTTP/1.1'

  def do_GET(self):
    name = self.path.lstrip('/')
    asked = self.headers.get('Range', '')
    fault = (self.server.faults.get(name) or [None]).pop(0)
    self.server.requests.append((name, asked, fault))
    if isinstance(fault, tuple) or name not in self.server.files:
      code, headers = fault or (404, {})
      self._head(code, {'Content-Length': '0', **headers})
      return
    body, tag = self.server.files[name], self.server.tags.get(name, '"1"')
    start = int(asked.removeprefix('bytes=').removesuffix('-')) if asked else 0
    if fault == 'whole' or self.headers.get('If-Range', tag) != tag:
      start = 0
    if start >= len(body):
      self._head(416, {'Content-Length': '0'})
      return
    if start:
      told = start + 1 if fault == 'shifted' else start
      span = {'Content-Range': f'bytes {told}-{len(body) - 1}/{len(body)}'}
      self._head(206, {'Content-Length': str(len(body) - start), 'ETag': tag, **span})
    else:
      self._head(200, {'Content-Length': str(len(body)), 'ETag': tag})
    rest = body[start:]
    self.wfile.write(rest[: len(rest) // 2] if fault in ('cut', 'stall') else rest)
    self.wfile.flush()
    if fault == 'stall':
      time.sleep(1.5)
    self.close_connection = fault in ('cut', 'stall')

  def _head(self, code, headers):
    self.send_response(code)
    for key, value in headers.items():
      self.send_header(key, value)
    self.end_headers()

  def log_message(self, *_):
    pass


@pytest.fixture
def server():
  with ShardServer() as running:
    thread = threading.Thread(target=running.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    running.files = {
      f'shard_{index:05d}.parquet': shard(seed) for seed, index in enumerate([0, 1, 6542])
    }
    yield running
    running.shutdown()
    thread.join()
