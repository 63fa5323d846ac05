"""The kernel interfaces of both sandboxes: Landlock, seccomp, rlimits, capabilities and prctl.

Called through ctypes, on x86_64 and aarch64. The rules themselves are in `tracer_policy` and
`command_policy`.
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

# Landlock access rights (linux/landlock.h); _FILE_RIGHTS by the version that introduced them.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL = 1 << 14, 1 << 15
_RIGHTS_ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL  # others: folders only
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_NET_RIGHTS = 0b11  # bind and connect of TCP, from version 4
_SCOPES = 0b11  # abstract unix sockets and signals, from version 6
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446


class SandboxError(Exception):
  """The requested isolation is not available here; the message says what is missing."""


def landlock_version() -> int:
  """Version of the Landlock ABI; 0 where Landlock is absent or disabled."""
  if sys.platform != 'linux' or platform.machine() not in ARCHITECTURES:
    return 0
  return max(0, _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1))


def has_seccomp() -> bool:
  """Whether seccomp filters can be installed."""
  if sys.platform != 'linux' or platform.machine() not in ARCHITECTURES:
    return False
  status = pathlib.Path('/proc/self/status').read_text()
  return 'Seccomp:' in status


def die_with(parent: int) -> None:
  """Makes the kernel kill the calling process when its parent ends.

  Args:
    parent: Process id of the parent. The process exits at once if that is no longer its parent.
  """
  call('prctl', _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
  if os.getppid() != parent:
    os._exit(1)


def adopt_orphans() -> None:
  """Makes the calling process a subreaper: orphaned descendants become its children."""
  call('prctl', _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_realtime_priority() -> None:
  """Gives the calling process, but not its children, a real-time priority where permitted.

  Only root is permitted, and only root needs it: RLIMIT_NPROC bounds fork bombs of other users.
  """
  with contextlib.suppress(OSError):
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, policy, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))


def set_limits(limits: Mapping[int, tuple[int, int]]) -> None:
  """Sets resource limits, each capped at its present hard limit.

  Args:
    limits: RLIMIT_* -> (soft, hard).
  """
  for kind, (soft, hard) in limits.items():
    cap = resource.getrlimit(kind)[1]
    unlimited = cap == resource.RLIM_INFINITY
    resource.setrlimit(kind, (soft, hard) if unlimited else (min(soft, cap), min(hard, cap)))


def thread_count() -> int:
  """Number of threads on this machine, of all users."""
  return int(pathlib.Path('/proc/loadavg').read_text().split()[3].partition('/')[2])


def drop_privileges() -> None:
  """Drops all capabilities for this process and what it executes; none can be regained."""
  call('prctl', _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
  call('prctl', _PR_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
  for capability in range(64):
    if _libc().prctl(_PR_CAPBSET_DROP, *map(ctypes.c_ulong, (capability, 0, 0, 0))):
      break  # past the last one, or not privileged, which is as good
  header, none = struct.pack('<Ii', _CAP_VERSION_3, 0), bytes(24)
  call('capset', header, none)


def restrict_files(rules: Mapping[str, int], tcp: bool = False) -> None:
  """Applies a Landlock ruleset to the calling thread: no file access but the given rights.

  Args:
    rules: Path -> rights on it and on everything below it.
    tcp: Whether TCP may still be used (bind and connect).

  Raises:
    SandboxError: Landlock refuses.
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


def readable_rules(roots: Sequence[str], hidden: set[str]) -> dict[str, int]:
  """Landlock rules that allow reading `roots` except `hidden`.

  Landlock has no deny rules, so a folder that contains something hidden is granted entry by entry.

  Args:
    roots: Files and folders.
    hidden: Real paths (links resolved).

  Returns:
    Path -> rights.
  """
  holders = {folder for path in hidden for folder in _parents(path)}
  rules: dict[str, int] = {}
  queue = [path for path in map(os.path.realpath, roots) if not inside(path, hidden)]
  while queue:
    path = queue.pop()
    if path in hidden or path in rules:
      continue
    rules[path] = READ_DIR if path in holders else READ_DIR | READ_FILE
    if path in holders:
      # The kernel resolves symbolic links and checks their targets.
      queue.extend(entry.path for entry in os.scandir(path) if not entry.is_symlink())
  return rules


def inside(path: str, folders: set[str]) -> bool:
  """Whether an absolute path lies below any of the folders."""
  return any(folder in folders for folder in _parents(path))


def _parents(path: str) -> Iterator[str]:
  """The folders above an absolute path; with a trailing separator, the path itself too."""
  while path := path.rpartition(os.sep)[0]:
    yield path
  yield os.sep


def filter_calls(program: Sequence[tuple[int, int, int, int]]) -> None:
  """Installs a seccomp filter, irrevocably.

  Args:
    program: BPF instructions (code, jump if true, jump if false, operand).

  Raises:
    SandboxError: the kernel refuses the filter.
  """
  code = b''.join(struct.pack('<HBBI', *instruction) for instruction in program)
  buffer = ctypes.create_string_buffer(code, len(code))
  # struct sock_fprog: number of instructions, padding, pointer.
  filter_ = struct.pack('@HP', len(code) // 8, ctypes.addressof(buffer))
  call('prctl', _PR_SET_SECCOMP, 2, filter_, 0, 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
  try:
    descriptor = os.open(path, _OPEN_FLAGS)
  except OSError:
    return  # not on this machine
  try:
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
      rights &= _RIGHTS_ON_FILES
    if rights:
      rule = struct.pack('<Qi', rights, descriptor)
      _syscall(_ADD_RULE, ruleset, 1, rule, 0)
  finally:
    os.close(descriptor)


@functools.cache
def _libc() -> ctypes.CDLL:
  return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: object) -> int:
  result = _libc().syscall(ctypes.c_long(number), *map(_as_register, arguments))
  if result < 0:
    _raise_error(f'system call {number}')
  return result


def call(name: str, *arguments: object) -> None:
  """Calls a C function that returns 0 on success. Raises SandboxError."""
  if getattr(_libc(), name)(*map(_as_register, arguments)) != 0:
    _raise_error(name)


def _as_register(argument: object) -> object:
  """An argument of a variadic C function; integers must fill a whole register."""
  return ctypes.c_ulong(argument) if isinstance(argument, int) else argument


def _raise_error(name: str) -> None:
  code = ctypes.get_errno()
  raise SandboxError(f'The sandbox could not be entered: {name} failed with {os.strerror(code)}.')
