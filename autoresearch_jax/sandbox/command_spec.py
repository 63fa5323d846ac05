"""The messages between `command` and `command_launcher`: what to run, and how it ended."""

import dataclasses
from typing import Literal

CommandIsolation = Literal['full', 'none']
# What ended a command: it exited, it exceeded a limit, or it was stopped; or it never started, or
# its end could not be observed.
EndedBy = Literal[
  'exit', 'timeout', 'memory', 'processes', 'folder', 'stopped', 'not_started', 'lost'
]


@dataclasses.dataclass(frozen=True)
class CommandSpec:
  """A command to run in the sandbox, with its permissions and its limits.

  Attributes:
    command: Program and arguments; the program is a path.
    folder: Working directory.
    writable: The only folder that the command may write to; it contains `folder`.
    stdin: Path of the file that becomes standard input.
    environment: All environment variables of the command.
    isolation: `full` applies the sandbox, `none` only the limits below.
    network: Whether TCP, UDP and netlink sockets may be created.
    readable: Further files and folders that may be read.
    hidden: Paths that stay unreadable, even inside readable folders.
    timeout_seconds: Wall-clock limit.
    memory_bytes: Limit on the resident memory of the whole process tree.
    processes: Limit on the number of processes in the tree.
    file_bytes: Limit on the size of any one file.
    folder_bytes: Limit on the disk usage of `writable`.
    output_bytes: How many bytes are kept, from the end, of stdout and stderr together.
    terminals: Whether it can open pseudo-terminals, which are its own.
    temporary: Folder inside of `writable` that appears as /tmp, too; '' for none.
  """

  command: tuple[str, ...]
  folder: str
  writable: str
  stdin: str
  environment: dict[str, str]
  isolation: CommandIsolation = 'full'
  network: bool = True
  readable: tuple[str, ...] = ()
  hidden: tuple[str, ...] = ()
  timeout_seconds: float = 600.0
  memory_bytes: int = 8 * 2**30
  processes: int = 256
  file_bytes: int = 256 * 2**20
  folder_bytes: int = 2 * 2**30
  output_bytes: int = 2**20
  terminals: bool = False
  temporary: str = ''


@dataclasses.dataclass(frozen=True)
class CommandResult:
  """How a command ended.

  Attributes:
    ended_by: What ended it.
    exit_code: Exit status, or minus the number of the signal that killed it; None unless it ended
      by itself.
    reason: Error message when it did not start or was lost, else ''.
    output: The end of stdout and stderr.
    truncated: Whether earlier output was dropped.
    leftover_processes: Number of processes that outlived the command and were killed.
    seconds: Wall-clock duration.
  """

  ended_by: EndedBy
  exit_code: int | None = None
  reason: str = ''
  output: bytes = b''
  truncated: bool = False
  leftover_processes: int = 0
  seconds: float = 0.0
