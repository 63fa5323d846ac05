"""The server of a hub of findings: `autoresearch hub`.

    GET  /                                            what it is
    GET  /findings?after=N&limit=N&problem=&metric=   a page: {"hub", "next", "findings"}
    POST /findings                                    a finding's file; 409 {"missing"} if blobs are
    GET  /blobs/SHA256, PUT /blobs/SHA256             a content
    GET  /claims, POST /claims                        claims that hold now

Every request needs a bearer token, unless reading is open to all. Answers are data: no page, no
redirect, nothing that a browser would render or run.
"""

import asyncio
import errno
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from autoresearch_jax.findings.claims import MAX_CLAIM_BYTES, decode_claim
from autoresearch_jax.findings.encoding import MAX_BLOB_BYTES, MAX_FINDING_BYTES
from autoresearch_jax.findings.finding import FindingError
from autoresearch_jax.findings.hub_store import TOKEN_VARIABLE
from autoresearch_jax.report.dashboard.access import is_loopback, with_headers
from autoresearch_jax.service.hub_database import HubDatabase, MissingContents, QuotaExceeded

MAX_PAGE = 500
HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy': "default-src 'none'; sandbox",
  'X-Content-Type-Options': 'nosniff',
}
_JSON = 'application/json'


def make_hub_app(database: HubDatabase, is_local: bool, open_reading: bool = False) -> ASGIApp:
  """Returns the application of a hub.

  Args:
    database: Its database.
    is_local: Whether it is reached from this machine only.
    open_reading: Whether reading needs no token.
  """

  def index(_: Request) -> Response:
    return _json({'format': 'autoresearch hub', 'schema': 1, 'findings': database.count()})

  def findings(request: Request) -> Response:
    query = request.query_params
    after, limit = query.get('after', '0'), query.get('limit', str(MAX_PAGE))
    if not (after.isdecimal() and limit.isdecimal() and len(after + limit) < 24):
      return PlainTextResponse('after and limit are numbers.', 400)
    problem, metric = query.get('problem', ''), query.get('metric', '')
    size = max(1, min(int(limit), MAX_PAGE))
    found, following = database.findings(int(after), size, problem, metric)
    page = {'hub': database.id, 'next': following, 'findings': [msgspec.Raw(f) for f in found]}
    return _json(page)

  def blob(request: Request) -> Response:
    content = database.blob(request.path_params['digest'])
    if content is None:
      return PlainTextResponse('There is no such content.', 404)
    headers = {'Content-Disposition': 'attachment'}
    return Response(content, media_type='application/octet-stream', headers=headers)

  def claims(_: Request) -> Response:
    return _json([msgspec.Raw(claim) for claim in database.claims()])

  def posted(limit: int, take: Callable[[Request, bytes], bool]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
      body = bytearray()
      try:
        async for part in request.stream():
          body += part
          if len(body) > limit:
            return PlainTextResponse(f'It has more than {limit} bytes.', 413)
      except ClientDisconnect:
        return PlainTextResponse('The connection is gone.', 400)
      return await anyio.to_thread.run_sync(_answer, take, request, bytes(body))

    return endpoint

  def take_finding(request: Request, body: bytes) -> bool:
    return database.add_finding(body, request.scope['hub.token'])

  def take_blob(request: Request, body: bytes) -> bool:
    return database.add_blob(request.path_params['digest'], body, request.scope['hub.token'])

  def take_claim(request: Request, body: bytes) -> bool:
    database.add_claim(decode_claim(body, time.time()), request.scope['hub.token'])
    return True

  routes = [
    Route('/', index),
    Route('/findings', findings),
    Route('/findings', posted(MAX_FINDING_BYTES, take_finding), methods=['POST']),
    Route('/blobs/{digest}', blob),
    Route('/blobs/{digest}', posted(MAX_BLOB_BYTES, take_blob), methods=['PUT']),
    Route('/claims', claims),
    Route('/claims', posted(MAX_CLAIM_BYTES, take_claim), methods=['POST']),
  ]
  return _HubGuard(Starlette(routes=routes), database, is_local, open_reading)


class _HubGuard:
  """Refuses requests without a token or under a foreign name, and adds headers to all answers."""

  def __init__(self, app: ASGIApp, database: HubDatabase, is_local: bool, open_reading: bool):
    self._app, self._database = app, database
    self._is_local, self._open_reading = is_local, open_reading

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    if scope['type'] != 'http':
      return
    request = Request(scope)
    code, refusal = await anyio.to_thread.run_sync(self._refusal, request)

    answer = PlainTextResponse(refusal, code) if refusal else self._app
    await answer(scope, receive, with_headers(send, HEADERS))

  def _refusal(self, request: Request) -> tuple[int, str]:
    """Returns a status and a sentence if the request is refused, else ''."""
    host = urlsplit(f'//{request.headers.get("host", "")}').hostname or ''
    if self._is_local and not is_loopback(host):  # a web page that points its name here
      return 403, f'This hub answers to localhost only, and was asked as {host!a}.'
    if 'origin' in request.headers:
      return 403, 'Web pages may not use this hub.'
    scheme, _, token = request.headers.get('authorization', '').partition(' ')
    name = self._database.token_name(token.strip()) if scheme.lower() == 'bearer' else ''
    request.scope['hub.token'] = name
    if name or (self._open_reading and request.method in ('GET', 'HEAD')):
      return 200, ''
    return 401, (
      f'This hub needs a token. Ask its owner for one, and set {TOKEN_VARIABLE}; the owner makes '
      'it by `autoresearch hub FOLDER --add_token=NAME`.'
    )


def _answer(take: Callable[[Request, bytes], bool], request: Request, body: bytes) -> Response:
  try:
    return PlainTextResponse('Added.', 201) if take(request, body) else PlainTextResponse('Known.')
  except MissingContents as error:
    return _json({'missing': error.digests}, 409)
  except QuotaExceeded as error:
    return PlainTextResponse(str(error), 429)
  except FindingError as error:
    return PlainTextResponse(str(error), 422)


def _json(data: Any, code: int = 200) -> Response:
  return Response(msgspec.json.encode(data), code, media_type=_JSON)


def serve_hub(
  database: HubDatabase,
  host: str,
  port: int,
  open_reading: bool,
  started: Callable[[str], None],
) -> None:
  """Serves a hub until it is interrupted.

  Args:
    database: Its database.
    host: Name or address of the interface.
    port: The port; 0 for any free one.
    open_reading: Whether reading needs no token.
    started: Receives the address.

  Raises:
    FindingError: The hub cannot listen there.
  """
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  try:
    listener = socket.create_server((host, port), family=family)
  except OSError as error:
    taken = (
      'is taken, perhaps by another hub' if error.errno == errno.EADDRINUSE else error.strerror
    )
    raise FindingError(f'{host}, port {port}: {taken}. Use another --port or --host.') from None
  with listener:
    local = is_loopback(host)
    name = 'localhost' if local else socket.gethostname()
    started(f'http://{name}:{listener.getsockname()[1]}')
    config = uvicorn.Config(
      make_hub_app(database, local, open_reading),
      log_level='warning',
      access_log=False,
      server_header=False,
      lifespan='off',
      ws='none',
      timeout_graceful_shutdown=1,
    )
    asyncio.run(uvicorn.Server(config).serve([listener]))
