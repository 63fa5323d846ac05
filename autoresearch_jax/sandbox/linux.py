"""What both sandboxes, of traced programs and of confined commands, ask of the Linux kernel.

Landlock, seccomp, rlimits, capabilities and prctl, by ctypes, for x86_64 and aarch64. Which rules
are made of them stands where they are made: `sandbox/tracer.py` and `kernel.py` in this room.
"""

import contextlib
import ctypes
import functools
import os
import pathlib
import platform
import resource
import signal
import stat
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence

ARCHITECTURES = {'x86_64': 0xC000003E, 'aarch64': 0xC00000B7}  # as seccomp calls them
PR_SET_NAME, PR_GET_NAME, PR_SET_VMA = 15, 16, 0x53564D41
_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_CAP_AMBIENT_CLEAR_ALL = 4
_CAP_VERSION_3 = 0x20080522
_OPEN_FLAGS = os.O_PATH | os.O_CLOEXEC

# Landlock's rights (linux/landlock.h) by the version that brought them.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL = 1 << 14, 1 << 15
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL  # the others are of folders
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_NET_RIGHTS = 0b11  # bind and connect of TCP, from version 4
_SCOPES = 0b11  # abstract unix sockets and signals, from version 6
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446


class SandboxError(Exception):
  """The isolation that was asked for can not be had; the sentence says what is missing."""


def landlock_version() -> int:
  """Landlock's version, 0 where it is absent or switched off."""
  if sys.platform != 'linux' or platform.machine() not in ARCHITECTURES:
    return 0
  return max(0, _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def has_seccomp() -> bool:
  if sys.platform != 'linux' or platform.machine() not in ARCHITECTURES:
    return False
  status = pathlib.Path('/proc/self/status').read_text()
  return 'Seccomp:' in status


def die_with(parent: int) -> None:
  """Has the calling process killed when its parent, of that process id, ends."""
  _call('prctl', _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
  if os.getppid() != parent:
    os._exit(1)


def adopt_orphans() -> None:
  """Makes the calling process the parent of what its children leave behind."""
  _call('prctl', _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def go_first() -> None:
  """Has the calling process run before all others, its children not, where it may do so.

  Root may, and root alone needs it: the kernel bounds everybody else's number of processes.
  """
  with contextlib.suppress(OSError):
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, policy, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))


def set_limits(limits: Mapping[int, tuple[int, int]]) -> None:
  """Sets rlimits (kind -> soft and hard), none higher than it may be."""
  for kind, pair in limits.items():
    most = resource.getrlimit(kind)[1]
    unlimited = most == resource.RLIM_INFINITY
    resource.setrlimit(kind, pair if unlimited else (min(pair[0], most), min(pair[1], most)))


def threads() -> int:
  """How many threads this machine has, of all users."""
  return int(pathlib.Path('/proc/loadavg').read_text().split()[3].partition('/')[2])


def drop_privileges() -> None:
  """Gives up all capabilities, also for programs run later; new ones can not be gained."""
  _call('prctl', _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
  _call('prctl', _PR_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
  for capability in range(64):
    if _libc().prctl(_PR_CAPBSET_DROP, *map(ctypes.c_ulong, (capability, 0, 0, 0))):
      break  # past the last one, or not privileged, which is as good
  header, none = struct.pack('<Ii', _CAP_VERSION_3, 0), bytes(24)
  _call('capset', header, none)


def shut_files(rules: Mapping[str, int], tcp: bool = False) -> None:
  """Landlock: leaves the calling thread those rights (path -> rights below it), and no other.

  tcp: whether connections may be made and taken. Raises SandboxError.
  """
  version = landlock_version()
  handled = sum(rights for since, rights in _FILE_RIGHTS.items() if version >= since)
  net = 0 if tcp or version < 4 else _NET_RIGHTS
  attributes = struct.pack('<QQQ', handled, net, _SCOPES if version >= 6 else 0)
  attributes = attributes[: 8 if version < 4 else 16 if version < 6 else 24]
  ruleset = _syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
  for path, rights in sorted(rules.items()):
    _allow(ruleset, path, rights & handled)
  _syscall(_RESTRICT_SELF, ruleset, 0)
  os.close(ruleset)


def readable(roots: Sequence[str], hidden: set[str]) -> dict[str, int]:
  """Rules (path -> rights) that let `roots` be read, apart from `hidden`, which are real paths.

  A folder that holds something hidden is opened entry by entry.
  """
  holders = {folder for path in hidden for folder in _above(path)}
  rules: dict[str, int] = {}
  waiting = [path for path in map(os.path.realpath, roots) if not inside(path, hidden)]
  while waiting:
    path = waiting.pop()
    if path in hidden or path in rules:
      continue
    rules[path] = READ_DIR if path in holders else READ_DIR | READ_FILE
    if path in holders:
      # Symbolic links are resolved by the kernel, and judged by where they lead.
      waiting.extend(entry.path for entry in os.scandir(path) if not entry.is_symlink())
  return rules


def inside(path: str, folders: set[str]) -> bool:
  """Whether an absolute path lies below any of the folders."""
  return any(folder in folders for folder in _above(path))


def _above(path: str) -> Iterator[str]:
  """The folders that an absolute path lies in; with a separator at its end, itself too."""
  while path := path.rpartition(os.sep)[0]:
    yield path
  yield os.sep


def filter_calls(program: Sequence[tuple[int, int, int, int]]) -> None:
  """Seccomp: a BPF program, as lines (code, jump if true, jump if false, operand), for good."""
  code = b''.join(struct.pack('<HBBI', *line) for line in program)
  buffer = ctypes.create_string_buffer(code, len(code))
  # struct sock_fprog: number of instructions, padding, pointer.
  filter_ = struct.pack('@HP', len(code) // 8, ctypes.addressof(buffer))
  _call('prctl', _PR_SET_SECCOMP, 2, filter_, 0, 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
  try:
    descriptor = os.open(path, _OPEN_FLAGS)
  except OSError:
    return  # not on this machine
  try:
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
      rights &= _OF_FILES
    if rights:
      rule = struct.pack('<Qi', rights, descriptor)
      _syscall(_ADD_RULE, ruleset, 1, rule, 0)
  finally:
    os.close(descriptor)


@functools.cache
def _libc() -> ctypes.CDLL:
  return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: object) -> int:
  result = _libc().syscall(ctypes.c_long(number), *map(_word, arguments))
  if result < 0:
    _fail(f'system call {number}')
  return result


def _call(name: str, *arguments: object) -> None:
  if getattr(_libc(), name)(*map(_word, arguments)) != 0:
    _fail(name)


def _word(argument: object) -> object:
  """An argument of a C function with `...`: integers must fill a whole register."""
  return ctypes.c_ulong(argument) if isinstance(argument, int) else argument


def _fail(name: str) -> None:
  code = ctypes.get_errno()
  raise SandboxError(f'The sandbox could not be closed: {name} says {os.strerror(code)}.')
