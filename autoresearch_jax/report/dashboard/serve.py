"""Starts the dashboard's server.

The run command starts it as a process of its own, `python -m
autoresearch_jax.report.dashboard.serve FOLDER`, which ends when its standard input does.
"""

import asyncio
import contextlib
import errno
import os
import pathlib
import socket
import sys
import threading
from collections.abc import Callable

import uvicorn

from autoresearch_jax.messages import say
from autoresearch_jax.report.dashboard.access import Access
from autoresearch_jax.report.dashboard.app import make_app
from autoresearch_jax.report.dashboard.process import DashboardError

DEFAULT_HOST, DEFAULT_PORT = '127.0.0.1', 8730
NICENESS = 5  # the run comes first


def serve(
  folder: pathlib.Path,
  host: str = DEFAULT_HOST,
  port: int | None = None,
  steer: bool = False,
  started: Callable[[str], None] = say,
) -> None:
  """Serves the runs in a folder until it is interrupted.

  Args:
    folder: A run's folder, or a folder of such folders.
    host: Name or address of the interface. On others than the loopback interface, the address has
      a token.
    port: The port; 0 for any free one, None for the default or else a free one.
    steer: Whether runs can be steered through the page.
    started: Receives the address.

  Raises:
    DashboardError: The port is taken, or the host is not one of this machine's.
  """
  access = Access(host)
  with _listening(host, port) as listener:
    with contextlib.suppress(OSError):
      os.nice(NICENESS)
    name = 'localhost' if host in ('', '0.0.0.0', '::') else host
    if not access.is_local and name == 'localhost':
      name = socket.gethostname()
    name = f'[{name}]' if ':' in name else name
    started(f'http://{name}:{listener.getsockname()[1]}{access.prefix}/')
    config = uvicorn.Config(
      make_app(folder, access, steer),
      log_level='warning',
      access_log=False,
      server_header=False,
      lifespan='off',
      ws='none',
      timeout_graceful_shutdown=1,
    )
    asyncio.run(uvicorn.Server(config).serve([listener]))


def _listening(host: str, port: int | None) -> socket.socket:
  try:
    return _bound(host, DEFAULT_PORT if port is None else port)
  except OSError as error:
    if error.errno == errno.EADDRINUSE and port is None:
      return _listening(host, 0)
    if error.errno == errno.EADDRINUSE:
      raise DashboardError(
        f'Port {port} is taken, perhaps by another dashboard. Use another --port, or --port=0 for '
        'any that is free.'
      ) from None
    where = f'{host}:{DEFAULT_PORT if port is None else port}'
    raise DashboardError(
      f'The dashboard cannot listen at {where}: {error.strerror or error}. Use another --host or '
      '--port.'
    ) from None


def _bound(host: str, port: int) -> socket.socket:
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  return socket.create_server((host, port), family=family)


def _end_with_input() -> None:
  sys.stdin.buffer.read()
  os._exit(0)


if __name__ == '__main__':
  threading.Thread(target=_end_with_input, daemon=True).start()
  serve(pathlib.Path(sys.argv[1]))
