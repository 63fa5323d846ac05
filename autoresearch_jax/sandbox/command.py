"""The controller's side of a confined command: starts the launcher, waits for it, ends it."""

import contextlib
import os
import pathlib
import select
import subprocess
import sys
import threading

import msgspec

from autoresearch_jax.clock import STRIDE, Awake
from autoresearch_jax.sandbox.plan import Ending, Plan

GRACE_SECONDS = 20.0  # beyond the deadline: the launcher's own start, and ending a whole tree


class Confined:
  """One command that runs by its plan. `stop` may be called from another thread."""

  def __init__(self, plan: Plan):
    """Starts it. Raises OSError when not even the launcher can be started."""
    self._plan = plan
    self._lock = threading.Lock()  # over the launcher's input, whose end is the sign to end
    self._launcher = subprocess.Popen(
      [sys.executable, '-m', 'autoresearch_jax.sandbox.launcher'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      env=_environment(),
      start_new_session=True,  # Ctrl-C is the controller's to handle
    )
    assert self._launcher.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # `wait` tells of it
      self._launcher.stdin.write(msgspec.json.encode(plan) + b'\n')
      self._launcher.stdin.flush()

  @property
  def pid(self) -> int:
    """The launcher's process id."""
    return self._launcher.pid

  def wait(self) -> Ending:
    """Blocks until the command and all that it started have ended; at most a grace too long."""
    answer = self._answer(self._plan.seconds + GRACE_SECONDS)
    self.stop()
    if answer is None:
      return Ending('lost', reason='its processes could not be ended in time.')
    self._launcher.wait()
    with contextlib.suppress(msgspec.DecodeError):
      return msgspec.json.decode(answer, type=Ending)
    return Ending('lost', reason='its launcher ended without an answer.')

  def stop(self) -> None:
    """Has the command and all that it started ended; `wait` tells when they have."""
    with self._lock:
      assert self._launcher.stdin is not None
      with contextlib.suppress(OSError):
        self._launcher.stdin.close()

  def _answer(self, seconds: float) -> bytes | None:
    """What the launcher says until it ends; None when it does not end."""
    assert self._launcher.stdout is not None
    found, awake = b'', Awake()
    with self._launcher.stdout as pipe:
      while (left := seconds - awake.seconds()) > 0:
        if select.select([pipe], [], [], min(left, STRIDE))[0]:
          data = os.read(pipe.fileno(), 1 << 20)
          if not data:
            return found
          found += data
    return None


def _environment() -> dict[str, str]:
  """The launcher's own: nothing of the user's, no keys."""
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
