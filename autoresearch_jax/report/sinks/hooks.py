"""Hooks: commands and URLs that are called when something happens in a run.

A command gets the event as JSON on its standard input, a URL as the body of a POST. Both have
`TIMEOUT_SECONDS`. `$NAME` in them stands for an environment variable, so that no secret has to be
in the config, which is recorded in the ledger.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import urllib.parse

import msgspec
import requests

from autoresearch_jax.messages import one_line
from autoresearch_jax.report.sinks.base import Sink
from autoresearch_jax.report.sinks.events import RunInfo, SinkEvent

TIMEOUT_SECONDS = 30.0
SCHEMES = ('http://', 'https://')


class Hooks(Sink):
  """Calls the hooks of a config, one after the other."""

  title = 'config.hooks'

  def __init__(self, hooks: dict[str, str]):
    """Makes the sink.

    Args:
      hooks: Event, or `all` -> command or URL.
    """
    self._hooks = hooks
    self._run: RunInfo | None = None
    self._process: subprocess.Popen[bytes] | None = None

  def open(self, run: RunInfo) -> None:
    self._run = run

  def take(self, event: SinkEvent) -> None:
    assert self._run is not None
    body = msgspec.json.encode(self._run.payload(event))
    failures = []
    for kind in (event.event, 'all'):
      if hook := self._hooks.get(kind):
        try:
          self._call(os.path.expandvars(hook), body)
        except HookError as error:
          failures.append(f'{kind}: {error}')
    if failures:
      raise HookError('; '.join(failures))

  def abort(self) -> None:
    if (process := self._process) is not None:
      _kill(process)

  def _call(self, hook: str, body: bytes) -> None:
    if hook.startswith(SCHEMES):
      _post(hook, body)
    else:
      self._execute(hook, body)

  def _execute(self, command: str, body: bytes) -> None:
    """Runs a command. Raises HookError."""
    try:
      process = self._process = subprocess.Popen(
        shlex.split(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C stops the run, and must not stop what reports that
      )
    except (OSError, ValueError) as error:
      raise HookError(f'cannot be started: {error}') from None
    try:
      _, errors = process.communicate(body, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
      raise HookError(f'took more than {TIMEOUT_SECONDS:g} seconds, and was ended') from None
    finally:
      _kill(process)
      self._process = None
    if process.returncode:
      last = one_line(errors.decode(errors='replace')[-200:])
      raise HookError(f'exit code {process.returncode}{f": {last}" if last else ""}')


class HookError(RuntimeError):
  """A hook failed; the message says how, without the URL, which may be a secret."""


def _post(url: str, body: bytes) -> None:
  """Posts JSON. Raises HookError."""
  headers = {'Content-Type': 'application/json'}
  try:
    host = urllib.parse.urlsplit(url).hostname
    answer = requests.post(url, body, headers=headers, timeout=TIMEOUT_SECONDS)
  except (requests.RequestException, ValueError) as error:
    raise HookError(f'the request failed ({type(error).__name__})') from None
  if not answer.ok:
    raise HookError(f'{host} answered {answer.status_code} {one_line(answer.text, 100)}'.rstrip())


def _kill(process: subprocess.Popen[bytes]) -> None:
  with contextlib.suppress(ProcessLookupError, PermissionError):
    os.killpg(process.pid, signal.SIGKILL)
  process.wait()
