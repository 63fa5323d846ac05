"""Launches and supervises one sandboxed command in a process of its own.

    python -m autoresearch_jax.sandbox.command_launcher  < CommandSpec  > CommandResult

Both messages are JSON, the spec on one line. If stdin closes before the command has ended, the
command is killed: the controller asked for it, or is dead. This process is a subreaper, so
processes that the command abandons become its children and are killed too. The result is written
once none is left.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec

from autoresearch_jax.clock import ActiveTimer
from autoresearch_jax.sandbox import command_policy, linux
from autoresearch_jax.sandbox.command_spec import CommandResult, CommandSpec, EndedBy

PROCESS_CHECK_SECONDS = 0.1  # between two checks of the process tree
FOLDER_CHECK_SECONDS = 1.0  # between two checks of disk usage
MAX_FILES = 200_000  # in the writable folder
_PAGE = os.sysconf('SC_PAGE_SIZE')


class OutputTail:
  """Keeps the last `max_bytes` of an output stream."""

  def __init__(self, max_bytes: int):
    self.max_bytes, self.truncated, self.data = max_bytes, False, bytearray()

  def add(self, data: bytes) -> None:
    self.data += data
    if len(self.data) > 2 * self.max_bytes:
      self._trim()

  def bytes(self) -> bytes:
    self._trim()
    return bytes(self.data)

  def _trim(self) -> None:
    if (excess := len(self.data) - self.max_bytes) > 0:
      self.truncated = True
      del self.data[:excess]


class CommandSupervisor:
  """Runs one command to its end and enforces its limits on the whole process tree.

  Args:
    spec: The command.
    stop: File descriptor whose end of file is the request to kill the command.
  """

  def __init__(self, spec: CommandSpec, stop: int):
    self.spec, self.stop = spec, stop
    self.began = time.monotonic()
    self.output = OutputTail(spec.output_bytes)
    self.exit_code: int | None = None
    self.leftover_processes = 0
    self._pid = self._pidfd = 0  # of the command's own process
    self._pipe, self._write_end = os.pipe()
    os.set_blocking(self._pipe, False)
    self._processes_checked = self._folder_checked = self.began
    self._timer = ActiveTimer()

  def run(self) -> CommandResult:
    if reason := self._start():
      return CommandResult('not_started', reason=reason)
    try:
      ended_by = self._supervise()
    finally:
      self._kill_all()
    self._read_output()
    return CommandResult(
      ended_by=ended_by,
      exit_code=self.exit_code if ended_by == 'exit' else None,
      output=self.output.bytes(),
      truncated=self.output.truncated,
      leftover_processes=self.leftover_processes,
      seconds=time.monotonic() - self.began,
    )

  def _start(self) -> str:
    """Starts the command. Returns an error message when that fails, else ''."""
    error_read, error_write = os.pipe()
    launcher = os.getpid()

    def enter_sandbox() -> None:
      try:
        command_policy.enter(self.spec, launcher)
      except BaseException as error:
        os.write(error_write, str(error).encode())
        raise

    try:
      with pathlib.Path(self.spec.stdin).open('rb') as stdin:
        process = subprocess.Popen(
          self.spec.command,
          stdin=stdin,
          stdout=self._write_end,
          stderr=self._write_end,
          cwd=self.spec.folder,
          env=self.spec.environment,
          start_new_session=True,
          preexec_fn=enter_sandbox,  # noqa: PLW1509 - this process has one thread
        )
    except (OSError, ValueError) as error:
      return f'{self.spec.command[0]} cannot be started: {error}.'
    except subprocess.SubprocessError:
      return os.read(error_read, 4096).decode(errors='replace')
    finally:
      for descriptor in (error_read, error_write, self._write_end):
        os.close(descriptor)
    self._pid, self._pidfd = process.pid, os.pidfd_open(process.pid)
    process.returncode = 0  # `_reap` waits for it, not Popen
    return ''

  def _supervise(self) -> EndedBy:
    """Collects output and checks the limits until the command ends or must be killed."""
    pipes = [self._pipe]
    while True:
      ready = select.select([*pipes, self.stop, self._pidfd], [], [], PROCESS_CHECK_SECONDS)[0]
      if self.stop in ready and not os.read(self.stop, 4096):
        return 'stopped'
      if self._pipe in ready and not self._read_output():
        pipes = []  # all writers have closed it
      self._reap()
      if self.exit_code is not None:
        return 'exit'
      if exceeded := self._exceeded_limit(time.monotonic()):
        return exceeded

  def _exceeded_limit(self, now: float) -> EndedBy | None:
    """The limit that is exceeded now, or None."""
    if self._timer.seconds() > self.spec.timeout_seconds:
      return 'timeout'
    if now - self._processes_checked > PROCESS_CHECK_SECONDS:
      found = list(descendants())
      self._processes_checked = time.monotonic()
      if len(found) > self.spec.processes:
        return 'processes'
      if sum(map(_resident_bytes, found)) > self.spec.memory_bytes:
        return 'memory'
    if now - self._folder_checked > FOLDER_CHECK_SECONDS:
      fits = disk_usage(self.spec.writable) <= self.spec.folder_bytes
      self._folder_checked = time.monotonic()
      return None if fits else 'folder'
    return None

  def _kill_all(self) -> None:
    """Kills descendants until none is left, those forked meanwhile included."""
    seen: set[int] = set()
    while self._reap():
      for pid in descendants():
        seen.add(pid)
        with contextlib.suppress(ProcessLookupError):
          os.kill(pid, signal.SIGKILL)
      time.sleep(0.001)
    self.leftover_processes = len(seen - {self._pid})

  def _reap(self) -> bool:
    """Reaps processes that have ended. Returns whether any descendants are left."""
    with contextlib.suppress(ChildProcessError):
      while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
        if ended[0] == self._pid:
          self.exit_code = os.waitstatus_to_exitcode(ended[1])
      return True
    return False

  def _read_output(self) -> bool:
    """Reads pending output. Returns False at its end."""
    with contextlib.suppress(BlockingIOError):
      for _ in range(16):  # bounded, so that a flood of output cannot delay the limit checks
        data = os.read(self._pipe, 1 << 16)
        if not data:
          return False
        self.output.add(data)
    return True


def descendants() -> Iterator[int]:
  """Process ids of all descendants of this process, zombies included."""
  queue = [os.getpid()]
  while queue:
    for task in _entries(f'/proc/{queue.pop()}/task'):
      try:
        children = pathlib.Path(task, 'children').read_text().split()
      except OSError:
        continue  # it ended meanwhile
      queue += map(int, children)
      yield from map(int, children)


def disk_usage(folder: str) -> float:
  """Bytes on disk below a folder; infinity where they cannot be counted.

  That is so with more than MAX_FILES files, with paths that are too long, and with folders that
  can be written to but not listed.
  """
  total, files, queue = 0, 0, [folder]
  while queue:
    try:
      with os.scandir(queue.pop()) as entries:
        for entry in entries:
          files += 1
          if files > MAX_FILES:
            return math.inf
          with contextlib.suppress(FileNotFoundError):
            status = entry.stat(follow_symlinks=False)
            total += 512 * status.st_blocks
            if stat.S_ISDIR(status.st_mode):
              queue.append(entry.path)
    except (FileNotFoundError, NotADirectoryError):
      continue  # removed meanwhile
    except OSError:
      return math.inf
  return total


def _resident_bytes(pid: int) -> int:
  """Resident memory of a process; 0 when it has ended."""
  try:
    return _PAGE * int(pathlib.Path(f'/proc/{pid}/statm').read_text().split()[1])
  except (OSError, IndexError):
    return 0


def _entries(folder: str) -> list[str]:
  try:
    return [entry.path for entry in os.scandir(folder)]
  except OSError:
    return []


def main() -> None:
  """Runs the one command whose spec is on stdin."""
  linux.adopt_orphans()
  linux.set_realtime_priority()  # a fork bomb would leave it no time to count and kill
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)  # the controller stops it by closing stdin
  line = bytearray()
  while not line.endswith(b'\n'):  # byte by byte: whatever follows is for the supervisor
    data = os.read(0, 1)
    if not data:
      return
    line += data
  spec = msgspec.json.decode(line, type=CommandSpec)
  try:
    result = CommandSupervisor(spec, 0).run()
  except linux.SandboxError as error:
    result = CommandResult('not_started', reason=str(error))
  sys.stdout.buffer.write(msgspec.json.encode(dataclasses.asdict(result)))


if __name__ == '__main__':
  main()
