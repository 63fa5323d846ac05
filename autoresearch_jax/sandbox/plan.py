"""What a confined command is allowed, and how it ended: what crosses between the two processes."""

import dataclasses
from typing import Literal

Level = Literal['full', 'none']
# How it came to an end: by itself, for a bound that it broke, or because it was told to; or not at
# all: it was never started, or nobody can tell.
How = Literal['exit', 'deadline', 'memory', 'processes', 'folder', 'stopped', 'unstarted', 'lost']


@dataclasses.dataclass(frozen=True)
class Plan:
  """A command with its bounds.

  command: words; the first is a path. folder: where it starts. writable: the folder, around that
  one, in which it may write. input: path of the file that it has as stdin. readable, hidden: paths.
  seconds: of wall clock. memory_bytes, processes: of all it starts, together. file_bytes: of any
  one file. folder_bytes: of `writable`. output_bytes: how much of the end of what it prints, on
  stdout and stderr together, is kept.
  """

  command: tuple[str, ...]
  folder: str
  writable: str
  input: str
  environment: dict[str, str]
  level: Level = 'full'
  network: bool = True
  readable: tuple[str, ...] = ()
  hidden: tuple[str, ...] = ()
  seconds: float = 600.0
  memory_bytes: int = 8 * 2**30
  processes: int = 256
  file_bytes: int = 256 * 2**20
  folder_bytes: int = 2 * 2**30
  output_bytes: int = 2**20


@dataclasses.dataclass(frozen=True)
class Ending:
  """How a command ended.

  code: its exit status, minus a signal's number, None where it did not end by itself. reason:
  why it is unstarted or lost. output: the end of what it printed, cut: whether there was more.
  left: processes it had left behind and that were ended. seconds: wall clock.
  """

  how: How
  code: int | None = None
  reason: str = ''
  output: bytes = b''
  cut: bool = False
  left: int = 0
  seconds: float = 0.0
