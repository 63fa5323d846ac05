"""Runs trials on machines that ssh reaches, through the standard input and output of `host`."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import queue
import re
import select
import shlex
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.executors.cluster import ClusterExecutor
from autoresearch_jax.executors.remote_machine import HostLost, Link
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Platform

SSH = 'ssh -o BatchMode=yes -o ServerAliveInterval=10 -o ServerAliveCountMax=3 {host} {command}'
HOST_COMMAND = '-m autoresearch_jax.executors.host'


@EXECUTORS.register('ssh')
@dataclasses.dataclass
class SshExecutor(ClusterExecutor):
  """Runs trials on machines that a command such as ssh reaches. See `cluster`.

  Attributes:
    hosts: The machines, as the command names them, such as 'me@10.0.0.3'.
    hosts_file: A file with further ones, one a line, which may change while the run goes on.
    command: The command that runs {command} on {host}.
    python: The Python on the machines, as their shell finds it, possibly after `env NAME=VALUE`.
  """

  hosts: tuple[str, ...] = ()
  hosts_file: str = ''
  command: str = SSH
  python: str = 'python3'

  @classmethod
  def require_options(cls, platform: Platform, options: Mapping[str, Any]) -> None:
    super().require_options(platform, options)
    if not (options.get('hosts') or options.get('hosts_file')):
      raise ValueError('The executor ssh needs the option hosts, or hosts_file: its machines.')
    command = options.get('command', cls.command)
    if missing := [part for part in ('{host}', '{command}') if part not in command]:
      raise ValueError(f'The option command lacks {missing[0]}: {command}')

  def names(self) -> Sequence[str]:
    listed = list(self.hosts)
    if self.hosts_file:
      text = pathlib.Path(self.hosts_file).read_text(encoding='utf-8')
      listed += [line.strip() for line in text.splitlines() if line.strip()]
    return list(dict.fromkeys(name for name in listed if not name.startswith('#')))

  def connect(self, name: str) -> Link:
    remote = f'exec {self.python} {HOST_COMMAND}'
    words = [
      word.replace('{host}', name).replace('{command}', remote)
      for word in shlex.split(self.command)
    ]
    log = self.scratch / f'host-{re.sub(r"[^A-Za-z0-9.@-]", "_", name)}.log'
    return ProcessLink(words, log)


class ProcessLink(Link):
  """A connection through the standard input and output of a process.

  Args:
    words: The command.
    log: File that its standard error is appended to.

  Raises:
    HostLost: The command cannot be started.
  """

  def __init__(self, words: Sequence[str], log: pathlib.Path):
    self._log, self._began = log, log.stat().st_size if log.exists() else 0
    try:
      with log.open('ab') as file:
        self._process = subprocess.Popen(
          words,
          stdin=subprocess.PIPE,
          stdout=subprocess.PIPE,
          stderr=file,
          start_new_session=True,  # the controller handles Ctrl-C
        )
    except OSError as error:
      raise HostLost(f'{words[0]} cannot be started: {error.strerror}.') from None
    assert self._process.stdout
    self._readable = select.poll()  # unlike `select.select`, for any number of files
    self._readable.register(self._process.stdout, select.POLLIN)
    self._buffer = b''
    self._received: collections.deque[bytes] = collections.deque()
    self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=self._write, daemon=True).start()

  def send(self, message: Mapping[str, Any]) -> None:
    self._outbox.put(msgspec.json.encode(message) + b'\n')

  def receive(self, timeout: float) -> dict[str, Any] | None:
    assert self._process.stdout
    while not self._received:
      try:
        if not self._readable.poll(1000 * timeout):
          return None
        data = os.read(self._process.stdout.fileno(), 1 << 16)
      except OSError:
        data = b''
      if not data:
        raise HostLost(self._how_it_ended())
      *lines, self._buffer = (self._buffer + data).split(b'\n')
      # A login shell may greet on standard output.
      self._received += [line for line in lines if line.startswith(b'{')]
    return msgspec.json.decode(self._received.popleft())

  def hang_up(self) -> None:
    self._outbox.put(None)  # closes its standard input, at which the host ends

  def close(self) -> None:
    self.hang_up()
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(timeout=10)
    with contextlib.suppress(ProcessLookupError):
      self._process.kill()
    self._process.wait()
    if self._process.stdout:
      self._process.stdout.close()

  def _write(self) -> None:
    """The thread that writes, so that a machine that does not read delays nobody else."""
    assert self._process.stdin
    with contextlib.suppress(OSError, ValueError):
      while (data := self._outbox.get()) is not None:
        self._process.stdin.write(data)
        self._process.stdin.flush()
    with contextlib.suppress(OSError, ValueError):
      self._process.stdin.close()

  def _how_it_ended(self) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):
      self._process.wait(timeout=5)
    code = self._process.poll()
    how = 'The connection was closed' if code is None else f'The connection ended with code {code}'
    with contextlib.suppress(OSError):
      lines = self._log.read_bytes()[self._began :].decode(errors='replace').strip().splitlines()
      if lines:
        return f'{how}: {one_line(lines[-1], 300)}'
    return f'{how}.'
