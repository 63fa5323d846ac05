"""Runs a sandboxed command from the controller: starts the launcher, waits for it, stops it."""

import contextlib
import os
import pathlib
import select
import subprocess
import sys
import threading

import msgspec

from autoresearch_jax.clock import POLL_SECONDS, ActiveTimer
from autoresearch_jax.sandbox.command_spec import CommandResult, CommandSpec

GRACE_SECONDS = 20.0  # beyond the timeout: to start the launcher and to kill a whole process tree


class SandboxedCommand:
  """A running sandboxed command.

  `stop` may be called from another thread; everything else belongs to one thread.
  """

  def __init__(self, spec: CommandSpec):
    """Starts the command.

    Raises:
      OSError: the launcher itself cannot be started.
    """
    self._spec = spec
    self._lock = threading.Lock()  # guards the launcher's stdin; closing it stops the command
    self._launcher = subprocess.Popen(
      [sys.executable, '-m', 'autoresearch_jax.sandbox.command_launcher'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      env=_environment(),
      start_new_session=True,  # the controller handles Ctrl-C
    )
    assert self._launcher.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # `wait` reports it
      self._launcher.stdin.write(msgspec.json.encode(spec) + b'\n')
      self._launcher.stdin.flush()

  @property
  def pid(self) -> int:
    """The launcher's process id."""
    return self._launcher.pid

  def wait(self) -> CommandResult:
    """Blocks until the command and its descendants have ended; returns how the command ended.

    Returns at the latest GRACE_SECONDS after the timeout of the command.
    """
    reply = self._read_reply(self._spec.timeout_seconds + GRACE_SECONDS)
    self.stop()
    if reply is None:
      return CommandResult('lost', reason='its processes could not be killed in time.')
    self._launcher.wait()
    with contextlib.suppress(msgspec.DecodeError):
      return msgspec.json.decode(reply, type=CommandResult)
    return CommandResult('lost', reason='its launcher exited without a result.')

  def stop(self) -> None:
    """Asks the launcher to kill the command and its descendants; `wait` returns once it has."""
    with self._lock:
      assert self._launcher.stdin is not None
      with contextlib.suppress(OSError):
        self._launcher.stdin.close()

  def _read_reply(self, timeout: float) -> bytes | None:
    """What the launcher writes before it exits; None when it does not exit in time."""
    assert self._launcher.stdout is not None
    reply, timer = b'', ActiveTimer()
    with self._launcher.stdout as pipe:
      while (remaining := timeout - timer.seconds()) > 0:
        if select.select([pipe], [], [], min(remaining, POLL_SECONDS))[0]:
          data = os.read(pipe.fileno(), 1 << 20)
          if not data:
            return reply
          reply += data
    return None


def _environment() -> dict[str, str]:
  """Environment of the launcher: no variables of the user, so no keys."""
  package = pathlib.Path(__file__).resolve().parents[2]
  inherited = [entry for entry in os.environ.get('PYTHONPATH', '').split(os.pathsep) if entry]
  return {
    'PATH': '/usr/bin:/bin',
    'LANG': 'C.UTF-8',
    'PYTHONPATH': os.pathsep.join([*inherited, str(package)]),
    'PYTHONSAFEPATH': '1',
    'PYTHONDONTWRITEBYTECODE': '1',
    **{name: os.environ[name] for name in ('LD_LIBRARY_PATH',) if name in os.environ},
  }
