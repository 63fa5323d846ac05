"""The process between the controller and a confined command: starts it, watches it, ends it all.

    python -m autoresearch_jax.sandbox.launcher  < a Plan as a line of JSON   > an Ending as JSON

Input that ends before the command does is the sign to end it: the controller closed its side, or is
dead. What the command starts and abandons becomes a child of this process (a subreaper), so there
is always somebody who knows it; the answer is given when there is no such process any more.
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

from autoresearch_jax.clock import Awake
from autoresearch_jax.sandbox import kernel, linux
from autoresearch_jax.sandbox.plan import Ending, How, Plan

LOOK, LOOK_AT_FOLDER = 0.1, 1.0  # seconds between counts of processes, and of what is in the folder
MAX_FILES = 200_000  # in the folder
_PAGE = os.sysconf('SC_PAGE_SIZE')


class Tail:
  """The end of what is written into a pipe."""

  def __init__(self, most: int):
    self.most, self.cut, self.data = most, False, bytearray()

  def add(self, data: bytes) -> None:
    self.data += data
    if len(self.data) > 2 * self.most:
      self._trim()

  def bytes(self) -> bytes:
    self._trim()
    return bytes(self.data)

  def _trim(self) -> None:
    if (over := len(self.data) - self.most) > 0:
      self.cut = True
      del self.data[:over]


class Watch:
  """A command that runs, and all that it starts."""

  def __init__(self, plan: Plan, stop: int):
    self.plan, self.stop = plan, stop
    self.began = time.monotonic()
    self.tail = Tail(plan.output_bytes)
    self.code: int | None = None
    self.left = 0
    self._main = self._over = 0  # the command's process, and what becomes readable at its end
    self._pipe, self._written = os.pipe()
    os.set_blocking(self._pipe, False)
    self._looked = self._looked_at_folder = self.began
    self._awake = Awake()

  def run(self) -> Ending:
    if reason := self._start():
      return Ending('unstarted', reason=reason)
    try:
      how = self._until_over()
    finally:
      self._end_all()
    self._read()
    seconds = time.monotonic() - self.began
    output = self.tail.bytes()
    code = self.code if how == 'exit' else None
    return Ending(how, code, '', output, self.tail.cut, self.left, seconds)

  def _start(self) -> str:
    """Starts the command; a sentence when that can not be."""
    refusal, told = os.pipe()
    launcher = os.getpid()

    def enter() -> None:
      try:
        kernel.enter(self.plan, launcher)
      except BaseException as error:
        os.write(told, str(error).encode())
        raise

    try:
      with pathlib.Path(self.plan.input).open('rb') as given:
        process = subprocess.Popen(
          self.plan.command,
          stdin=given,
          stdout=self._written,
          stderr=self._written,
          cwd=self.plan.folder,
          env=self.plan.environment,
          start_new_session=True,
          preexec_fn=enter,  # noqa: PLW1509 - this process has one thread
        )
    except (OSError, ValueError) as error:
      return f'{self.plan.command[0]} can not be started: {error}.'
    except subprocess.SubprocessError:
      return os.read(refusal, 4096).decode(errors='replace')
    finally:
      for descriptor in (refusal, told, self._written):
        os.close(descriptor)
    self._main, self._over = process.pid, os.pidfd_open(process.pid)
    process.returncode = 0  # it is waited for here, with all others
    return ''

  def _until_over(self) -> How:
    pipes = [self._pipe]
    while True:
      waiting = select.select([*pipes, self.stop, self._over], [], [], LOOK)[0]
      if self.stop in waiting and not os.read(self.stop, 4096):
        return 'stopped'
      if self._pipe in waiting and not self._read():
        pipes = []  # nobody can write there any more
      self._reap()
      if self.code is not None:
        return 'exit'
      if broken := self._broken(time.monotonic()):
        return broken

  def _broken(self, now: float) -> How | None:
    """The bound that is broken, if one is."""
    if self._awake.seconds() > self.plan.seconds:
      return 'deadline'
    if now - self._looked > LOOK:
      found = list(descendants())
      self._looked = time.monotonic()
      if len(found) > self.plan.processes:
        return 'processes'
      if sum(map(_resident, found)) > self.plan.memory_bytes:
        return 'memory'
    if now - self._looked_at_folder > LOOK_AT_FOLDER:
      fits = holds(self.plan.writable) <= self.plan.folder_bytes
      self._looked_at_folder = time.monotonic()
      return None if fits else 'folder'
    return None

  def _end_all(self) -> None:
    """Kills what is left until nothing is: what is forked meanwhile is found the next time."""
    seen: set[int] = set()
    while self._reap():
      for pid in descendants():
        seen.add(pid)
        with contextlib.suppress(ProcessLookupError):
          os.kill(pid, signal.SIGKILL)
      time.sleep(0.001)
    self.left = len(seen - {self._main})

  def _reap(self) -> bool:
    """Takes in those that have ended; whether any others are left."""
    with contextlib.suppress(ChildProcessError):
      while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
        if ended[0] == self._main:
          self.code = os.waitstatus_to_exitcode(ended[1])
      return True
    return False

  def _read(self) -> bool:
    """Takes in what was printed; False at its end."""
    with contextlib.suppress(BlockingIOError):
      for _ in range(16):  # a flood must not keep the clock from being looked at
        data = os.read(self._pipe, 1 << 16)
        if not data:
          return False
        self.tail.add(data)
    return True


def descendants() -> Iterator[int]:
  """Process ids of all that this process started, at whatever distance, zombies too."""
  waiting = [os.getpid()]
  while waiting:
    for task in _listed(f'/proc/{waiting.pop()}/task'):
      try:
        found = pathlib.Path(task, 'children').read_text().split()
      except OSError:
        continue  # it ended meanwhile
      waiting += map(int, found)
      yield from map(int, found)


def holds(folder: str) -> float:
  """Bytes on disk below a folder; infinitely many where they can not be counted.

  That is so with too many files, in folders deeper than a path can be long, and in those that may
  be written and not listed.
  """
  total, files, waiting = 0, 0, [folder]
  while waiting:
    try:
      with os.scandir(waiting.pop()) as entries:
        for entry in entries:
          files += 1
          if files > MAX_FILES:
            return math.inf
          with contextlib.suppress(FileNotFoundError):
            found = entry.stat(follow_symlinks=False)
            total += 512 * found.st_blocks
            if stat.S_ISDIR(found.st_mode):
              waiting.append(entry.path)
    except (FileNotFoundError, NotADirectoryError):
      continue  # removed meanwhile
    except OSError:
      return math.inf
  return total


def _resident(pid: int) -> int:
  """Bytes of memory that a process has in use; 0 when it has ended."""
  try:
    return _PAGE * int(pathlib.Path(f'/proc/{pid}/statm').read_text().split()[1])
  except (OSError, IndexError):
    return 0


def _listed(folder: str) -> list[str]:
  try:
    return [entry.path for entry in os.scandir(folder)]
  except OSError:
    return []


def main() -> None:
  """Handles one plan."""
  linux.adopt_orphans()
  linux.go_first()  # a thousand processes that fork would leave it no time to count and end them
  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)  # the controller says when to end, by closing the input
  line = bytearray()
  while not line.endswith(b'\n'):  # not a byte more: the rest is the sign to end
    data = os.read(0, 1)
    if not data:
      return
    line += data
  plan = msgspec.json.decode(line, type=Plan)
  try:
    ending = Watch(plan, 0).run()
  except linux.SandboxError as error:
    ending = Ending('unstarted', reason=str(error))
  sys.stdout.buffer.write(msgspec.json.encode(dataclasses.asdict(ending)))


if __name__ == '__main__':
  main()
