"""Watches for the notice of Google Compute Engine that this machine is about to be taken away.

A spot machine gets the notice at the metadata server about 30 s before it is powered off, and TPU
VMs do not always get a SIGTERM. Scheduled maintenance is only reported: it may be an hour away.
"""

import contextlib
import os
import pathlib
import sys
import threading
from typing import Self

import requests

from autoresearch_jax.messages import say

POLL_SECONDS = 2.0
HOST_VARIABLE = 'GCE_METADATA_HOST'  # as in Google's own libraries
DEFAULT_HOST = 'metadata.google.internal'
PRODUCT = pathlib.Path('/sys/class/dmi/id/product_name')
PREEMPTED = 'This machine is about to be preempted; the same command resumes the run.'


def metadata_host() -> str:
  """Returns the host of the metadata server; '' on a machine that is not Google's."""
  if chosen := os.environ.get(HOST_VARIABLE):
    return chosen
  with contextlib.suppress(OSError):
    if 'Google' in PRODUCT.read_text():
      return DEFAULT_HOST
  return ''


class PreemptionNotice:
  """A context manager that watches in a thread. Calling it returns why to stop, or ''."""

  def __init__(self, host: str | None = None):
    """Makes a watch.

    Args:
      host: The metadata server, as `HOST` or `HOST:PORT`; by default that of this machine.
    """
    self._host = metadata_host() if host is None else host
    self._reason, self._maintenance = '', 'NONE'
    self._ended = threading.Event()

  def __call__(self) -> str:
    return self._reason

  def __enter__(self) -> Self:
    if self._host:
      threading.Thread(target=self._watch, name='preemption notice', daemon=True).start()
    return self

  def __exit__(self, *_: object) -> None:
    self._ended.set()

  def _watch(self) -> None:
    while not self._ended.is_set():
      if self._value('preempted') == 'TRUE':
        self._reason = PREEMPTED
        return
      event = self._value('maintenance-event')
      if event and event not in ('NONE', self._maintenance):
        with contextlib.suppress(BrokenPipeError):
          say(f'This machine has maintenance: {event}. The run goes on.', file=sys.stderr)
      self._maintenance = event or self._maintenance
      self._ended.wait(POLL_SECONDS)

  def _value(self, name: str) -> str:
    """Returns a value of this instance's metadata; '' where there is none."""
    url = f'http://{self._host}/computeMetadata/v1/instance/{name}'
    try:
      answer = requests.get(url, headers={'Metadata-Flavor': 'Google'}, timeout=5)
    except requests.RequestException:
      return ''
    return answer.text.strip() if answer.status_code == requests.codes.ok else ''
