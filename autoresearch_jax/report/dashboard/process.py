"""The dashboard as a process beside a run, so that it takes no time from the run's."""

import contextlib
import importlib.util
import pathlib
import subprocess
import sys
from collections.abc import Iterator

END_SECONDS = 5.0  # for the server to end
SERVER = 'autoresearch_jax.report.dashboard.serve'
MISSING = (
  "The dashboard needs packages that are not installed: pip install 'autoresearch_jax[dashboard]'. "
  '`autoresearch report WORKDIR --html` writes the same page into a file without them.'
)


class DashboardError(RuntimeError):
  """The dashboard cannot be started; the message says why and what to do."""


def require_packages() -> None:
  """Raises DashboardError if a package that the server needs is not installed."""
  if not all(map(importlib.util.find_spec, ('starlette', 'uvicorn'))):
    raise DashboardError(MISSING)


@contextlib.contextmanager
def dashboard_beside(directory: pathlib.Path) -> Iterator[str]:
  """Serves the run in a folder while the context lasts, and yields the address.

  Raises:
    DashboardError: A package is missing, or the server does not start.
  """
  require_packages()
  # Ctrl-C is for the run. The server ends with its input, also if this process is killed.
  server = subprocess.Popen(
    [sys.executable, '-m', SERVER, str(directory)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    start_new_session=True,
    text=True,
  )
  assert server.stdin is not None and server.stdout is not None
  try:
    if not (address := server.stdout.readline().strip()):
      raise DashboardError('The dashboard did not start. `autoresearch dashboard` says why.')
    yield address
  finally:
    server.stdin.close()
    try:
      server.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
      server.kill()
      server.wait()
    server.stdout.close()
