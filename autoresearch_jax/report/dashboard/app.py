"""The dashboard's web application: pages, their data, and server-sent events."""

import asyncio
import gzip
import pathlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.mailbox import MAX_BYTES, default_author, post
from autoresearch_jax.ledger.requests import SteeringError, unread
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.messages import describe_os_error
from autoresearch_jax.report.dashboard.access import Access, with_headers
from autoresearch_jax.report.dashboard.followed_run import FollowedRun, RunSummary, find_runs
from autoresearch_jax.report.page.html import index_page, live_page
from autoresearch_jax.types import Verb

EVENT_SECONDS = 1.0  # between two looks at a run that somebody looks at
SILENCE_SECONDS = 15.0  # after which an empty message shows that the server is still there
FIND_SECONDS = 5.0  # between two searches for new runs
MIN_COMPRESSED = 2000  # bytes of an answer
HEADERS = {
  'Cache-Control': 'no-store',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
}


class Runs:
  """The runs in a folder, found again every few seconds."""

  def __init__(self, folder: pathlib.Path, clock: Callable[[], float] = time.monotonic):
    self.folder, self._clock = folder, clock
    self._runs: dict[str, FollowedRun] = {}
    self._found_at = float('-inf')
    self._lock = threading.Lock()

  def all(self) -> dict[str, FollowedRun]:
    """Returns the runs by key."""
    with self._lock:
      if (now := self._clock()) - self._found_at >= FIND_SECONDS:
        found = dict(find_runs(self.folder))
        self._runs = {
          key: self._runs.get(key) or FollowedRun(found[key], self._clock) for key in found
        }
        self._found_at = now
      return dict(self._runs)

  def summaries(self) -> list[RunSummary]:
    """Returns the list of runs, the latest first. Reads their ledgers."""
    found = []
    for key, run in self.all().items():
      run.refresh()
      try:
        found.append(run.summary(key))
      except LedgerError as error:
        found.append(RunSummary(key, problem=str(error)))
      run.rest()
    return sorted(found, key=lambda summary: -summary.updated)


def make_app(folder: pathlib.Path, access: Access, steer: bool = False) -> ASGIApp:
  """Returns the application for the runs in a folder.

  Args:
    folder: The folder.
    access: Who may use it.
    steer: Whether runs can be steered through it.
  """
  runs = Runs(folder)
  prefix = access.prefix

  def run_of(request: Request) -> FollowedRun | None:
    return runs.all().get(request.path_params.get('key', ''))

  def index(request: Request) -> Response:
    if '' in runs.all():
      return RedirectResponse(f'{prefix}/run/')
    return _html(index_page(prefix, str(folder)), request)

  def page(request: Request) -> Response:
    if run_of(request) is None:
      return _gone(request)
    key = request.path_params.get('key', '')
    return _html(live_page(key or folder.name, prefix, key, steer), request)

  def list_runs(request: Request) -> Response:
    return _json(runs.summaries(), request)

  def view(request: Request) -> Response:
    return _answer(request, _view)

  def trial(request: Request) -> Response:
    return _answer(request, lambda run: run.trial(request.path_params['number']))

  def _answer(request: Request, make: Callable[[FollowedRun], Any]) -> Response:
    run = run_of(request)
    if run is None:
      return _gone(request)
    run.refresh()
    try:
      return _json(make(run), request)
    except LedgerError as error:
      return PlainTextResponse(str(error), 409)
    except KeyError:
      return PlainTextResponse('There is no such trial.', 404)

  async def events(request: Request) -> Response:
    run = await anyio.to_thread.run_sync(run_of, request)
    if run is None:
      return _gone(request)
    last = request.headers.get('last-event-id') or request.query_params.get('since', '0')
    since = int(last) if last.isdecimal() else 0
    return StreamingResponse(_stream(run, since), media_type='text/event-stream')

  async def steering(request: Request) -> Response:
    run = await anyio.to_thread.run_sync(run_of, request)
    if run is None:
      return _gone(request)
    body = b''
    async for part in request.stream():
      body += part
      if len(body) > MAX_BYTES:
        return PlainTextResponse(f'A request has at most {MAX_BYTES} bytes.', 413)
    return await anyio.to_thread.run_sync(_posted, run.directory, body)

  routes = [
    Route(f'{prefix}/', index),
    Route(f'{prefix}/runs', list_runs),
    Route(f'{prefix}/run/{{key:path}}', page),
    Route(f'{prefix}/view/{{key:path}}', view),
    Route(f'{prefix}/trial/{{number:int}}/{{key:path}}', trial),
    Route(f'{prefix}/events/{{key:path}}', events),
  ]
  if steer:
    routes.append(Route(f'{prefix}/steer/{{key:path}}', steering, methods=['POST']))
  return _Guard(Starlette(routes=routes), access)


class SteeringForm(msgspec.Struct, forbid_unknown_fields=True):
  """What the page's form sends."""

  verb: Verb
  text: str = ''
  patch: str = ''
  trial: int | None = None
  request: int | None = None
  ends: dict[str, Any] | None = None


def _posted(directory: pathlib.Path, body: bytes) -> Response:
  """Posts a request to a run; answers with a sentence if it cannot be carried out."""
  try:
    form = msgspec.json.decode(body, type=SteeringForm)
    fields = {
      name: value for name, value in msgspec.structs.asdict(form).items() if value not in ('', None)
    }
    request = post(directory, author=f'{default_author()} (dashboard)', **fields)
    waits = unread(read_history(directory), request)
  except msgspec.MsgspecError as error:
    return PlainTextResponse(f'This is no request: {error}.', 400)
  except (SteeringError, LedgerError) as error:
    return PlainTextResponse(str(error), 409)
  except OSError as error:
    return PlainTextResponse(describe_os_error(error, ''), 409)
  return PlainTextResponse(f'Posted. {waits}'.strip())


class _Guard:
  """Refuses requests that `Access` does not allow, and adds headers to all answers."""

  def __init__(self, app: ASGIApp, access: Access):
    self._app, self._access = app, access

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    if scope['type'] != 'http':
      return
    request = Request(scope)
    refusal = self._access.refusal(
      request.method,
      scope['path'],
      request.headers.get('host', ''),
      request.headers.get('origin'),
    )

    answer = PlainTextResponse(refusal, 403) if refusal else self._app
    await answer(scope, receive, with_headers(send, HEADERS))


async def _stream(run: FollowedRun, since: int) -> AsyncIterator[str]:
  """Yields server-sent events: `update` after new events of the ledger, `activity` in between."""
  shown, silent = b'', 0.0
  while True:
    version, update, activity = await anyio.to_thread.run_sync(_news, run, since)
    if update is not None:
      since = version
      yield f'id: {version}\nevent: update\ndata: {update.decode()}\n\n'
    if activity != shown:
      shown = activity
      yield f'event: activity\ndata: {activity.decode()}\n\n'
    silent = 0.0 if update is not None else silent + EVENT_SECONDS
    if silent >= SILENCE_SECONDS:
      silent = 0.0
      yield ': still here\n\n'
    await asyncio.sleep(EVENT_SECONDS)


def _view(run: FollowedRun) -> dict[str, Any]:
  """Returns the page's data; without a run, and with a sentence, if that has not started."""
  try:
    version, view = run.view()
  except LedgerError as error:  # no failure of the page's, which waits for the run
    return {'version': 0, 'run': None, 'problem': str(error)}
  return {'version': version, 'run': view, 'problem': ''}


def _news(run: FollowedRun, since: int) -> tuple[int, bytes | None, bytes]:
  run.refresh()
  encode = msgspec.json.encode
  try:
    update = run.update(since)
  except LedgerError:  # the activity says what is wrong
    update = None
  activity = encode(run.activity())
  return (since, None, activity) if update is None else (update.version, encode(update), activity)


def _json(data: Any, request: Request) -> Response:
  return _compressed(msgspec.json.encode(data), 'application/json', request)


def _html(text: str, request: Request) -> Response:
  return _compressed(text.encode(), 'text/html; charset=utf-8', request)


def _compressed(body: bytes, kind: str, request: Request) -> Response:
  if len(body) < MIN_COMPRESSED or 'gzip' not in request.headers.get('accept-encoding', ''):
    return Response(body, media_type=kind)
  return Response(gzip.compress(body, 1), media_type=kind, headers={'Content-Encoding': 'gzip'})


def _gone(request: Request) -> Response:
  key = request.path_params.get('key', '')
  return PlainTextResponse(f'There is no run {key!r} in the folder of this dashboard.', 404)
