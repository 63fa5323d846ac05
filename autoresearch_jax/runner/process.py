"""The runner as a process: reads requests from its standard input, and ends in good order."""

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Callable
from typing import Any, TextIO

import jax.extend.backend
import msgspec

RELEASE_SECONDS = 3.0  # to release accelerators when the process ends
before_end: list[Callable[[], object]] = []  # called when the process is asked to end


class RequestReader:
  """Reads requests in a thread of its own, also while a trial trains.

  At the end of input the controller is gone, so it ends the process.

  Attributes:
    requests: Requests that get a reply.
    prefetches: Prefetch requests.
  """

  def __init__(self, source: TextIO):
    self.requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    self.prefetches: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    self._source = source
    threading.Thread(target=self._read, name='requests', daemon=True).start()

  def _read(self) -> None:
    for line in self._source:
      message = msgspec.json.decode(line)
      if message['method'] == 'prefetch':
        self.prefetches.put(message)
      else:
        self.requests.put(message)
    end_process()


def end_on_sigterm() -> None:
  """Makes SIGTERM end the process, also while the main thread waits for a device."""
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  signal.set_wakeup_fd(writer)
  signal.signal(signal.SIGTERM, lambda *_: None)  # the wakeup descriptor has it

  def wait() -> None:
    while signal.SIGTERM not in os.read(reader, 1):
      pass
    end_process()

  threading.Thread(target=wait, name='signals', daemon=True).start()


def end_process() -> None:
  """Ends the process. Accelerators are released first, or the next process would find them busy."""
  for call in [*before_end]:
    call()
  if os.environ.get('JAX_PLATFORMS') != 'cpu':
    late = threading.Timer(RELEASE_SECONDS, os._exit, (0,))
    late.daemon = True
    late.start()
    with contextlib.suppress(Exception):  # a device that is in use
      jax.extend.backend.clear_backends()
  os._exit(0)
