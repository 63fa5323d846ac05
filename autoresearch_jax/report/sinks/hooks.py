"""Hooks: commands and URLs that are called when something happens in a run.

A command gets the event as JSON on its standard input, a URL as the body of a POST. Both have
`TIMEOUT_SECONDS`. `$NAME` in them stands for an environment variable, so that no secret has to be
in the config, which is recorded in the ledger.
"""

import contextlib
import os
import re
import shlex
import shutil
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

  def require_readable(self) -> None:
    """Raises HookError for a hook that is no URL and no command. The message has no URL."""
    for event, hook in self._hooks.items():
      if why := _why_unreadable(hook):
        raise HookError(f'{event!r}: {why}')

  def warnings(self) -> list[str]:
    return [
      f'config.hooks.{event}: {why}.'
      for event, hook in self._hooks.items()
      if (why := _why_uncallable(os.path.expandvars(hook)))
    ]

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


def _why_unreadable(hook: str) -> str:
  """Returns what is wrong with the form of a hook, and how it must be; '' for a good one."""
  if '://' not in hook.split(' ', 1)[0]:
    try:
      return '' if shlex.split(hook) else 'name a command or a URL'
    except ValueError as error:
      return f'the command cannot be read ({error}); close its quotes'
  try:
    url = urllib.parse.urlsplit(hook)
    hidden = '$' in url.netloc  # the environment may have a port, too
    good = hook.startswith(SCHEMES) and (hidden or (url.hostname and url.port != 0))
  except ValueError:  # of the port, or of an IPv6 address
    good = False
  return '' if good and not re.search(r'\s', hook) else 'a URL must be http(s)://HOST[:PORT]/PATH'


def _why_uncallable(hook: str) -> str:
  """Returns what a hook, its variables filled in, lacks on this machine; '' if nothing."""
  if unset := re.search(r'\$(\w+|\{\w+\})', hook.split(' ', 1)[0]):
    return f'the environment variable {unset[0]} is not set, so the hook fails'
  if hook.startswith(SCHEMES):
    return _why_unreadable(hook) and f'with its variables filled in, {_why_unreadable(hook)}'
  try:
    words = shlex.split(hook) or ['']
  except ValueError as error:
    return f'with its variables filled in, the command cannot be read ({error})'
  return '' if shutil.which(words[0]) else f'there is no command {words[0]!r}, so the hook fails'


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
