"""What the tracer's child may do while it runs a candidate program, and what it gives up.

`enter` is called in the child right after the fork, before any Python of the program runs.
`available_isolation` says what this kernel offers, without jax, so that the controller can refuse
to start a run.

Covered, on Linux for x86_64 and aarch64:
- network: seccomp refuses to create sockets of any family; Landlock (from version 4) refuses TCP.
- files: Landlock allows reading the program, the folders of the running Python and shared
  libraries (files called `*.so*`, no folder of them). Nothing can be written, created or removed.
  `hidden` paths stay unreadable inside what is readable, and so does every other installed Python.
  The child has two files open for writing, its artifact and its log; RLIMIT_FSIZE bounds both.
- system calls: a seccomp allow-list; any other call fails with EPERM. It has no call that creates
  processes, executes programs, signals or inspects other processes, changes attributes of files,
  mounts, loads code into the kernel, or uses keys, io_uring, bpf, user namespaces or shared memory.
- processes: no fork, vfork or exec; only threads. The child can signal nobody but itself and dies
  with its parent. At its timeout it is killed together with everything in its session.
- limits: CPU seconds, address space, file size, open files, core dumps. Level `limits` has no
  seccomp, so there the number of processes and threads is limited too, except for runs as root,
  whose processes the kernel does not count.
- privileges: all capabilities are dropped, so a run as root is no easier to break out of, and can
  not be regained. The environment is that of the tracer's server, which holds no keys.

Where the kernel has no Landlock, and at level `namespaces`, files are protected by a file system of
the child's own instead (`namespaces`): what is not readable does not exist there.

Not covered:
- bugs in the kernel and side channels, among them timing and the contents of caches.
- names, sizes and timestamps of files anywhere (`stat` is outside of Landlock), and names of files
  next to a hidden path.
- a hard link to a hidden file in a readable folder, or a copy of its contents under another name.
- what the fork server had in memory, such as docstrings of modules that it imported.
- the number of threads at level `full`, apart from the address space they take.
- what a traced program does on the device later: the artifact's reader is responsible for that.
- copies of hidden text in installed packages (site-packages is readable as a whole).
"""

import contextlib
import dataclasses
import errno
import functools
import itertools
import os
import pathlib
import platform
import resource
import site
import sys
import sysconfig
from typing import Literal

from autoresearch_jax.sandbox import linux, namespaces
from autoresearch_jax.sandbox.linux import SandboxError, landlock_version
from autoresearch_jax.types import Isolation

_MAX_FILES = 256
_EXTRA_PROCESSES = 256  # of the user, with threads, on top of all on the machine at the start
_MAX_MEMORY_FRACTION = 0.75
_MIN_MEMORY_BYTES = 2 * 2**30  # address space; with less, not even a small program can be traced

# The calls of Python, numpy, jax's tracing and XLA's CPU client. Some do not exist on aarch64.
_ALLOWED = """
  read write readv writev pread64 pwrite64 lseek close dup dup2 dup3 pipe pipe2 open openat
  stat lstat fstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink
  readlinkat getcwd getdents64 ftruncate fadvise64 umask poll ppoll select pselect6
  epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 mmap munmap mprotect mremap madvise
  mincore brk membarrier futex rseq set_robust_list set_tid_address arch_prctl sigaltstack
  rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending restart_syscall exit exit_group
  clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getpid getppid gettid
  getuid geteuid getgid getegid getgroups getresuid getresgid getpgrp getpgid getsid uname
  sysinfo getrandom getrusage times sched_yield sched_getaffinity sched_getparam
  sched_getscheduler getcpu getpriority capget"""
# name -> (index of an argument, values allowed in its lower 32 bits)
_BY_ARGUMENT: dict[str, tuple[int, tuple[int, ...]]] = {
  'prctl': (0, (linux.PR_SET_NAME, linux.PR_GET_NAME, linux.PR_SET_VMA)),
  'ioctl': (1, (0x5401, 0x5413, 0x5450, 0x5451)),  # TCGETS, TIOCGWINSZ, FIONCLEX, FIOCLEX
  'fcntl': (1, (0, 1, 2, 3, 4, 1030)),  # duplicate, flags of descriptor and file
}
_CLONE_THREAD = 0x10000
_CLONE_NAMESPACES = 0x7E020000
_ERRNOS = {'clone3': errno.ENOSYS, 'socket': errno.ENETDOWN, 'socketpair': errno.ENETDOWN}

_X86_64 = (
  'read:0 write:1 open:2 close:3 stat:4 fstat:5 lstat:6 poll:7 lseek:8 mmap:9 mprotect:10 '
  'munmap:11 brk:12 rt_sigaction:13 rt_sigprocmask:14 rt_sigreturn:15 ioctl:16 pread64:17 '
  'pwrite64:18 readv:19 writev:20 access:21 pipe:22 select:23 sched_yield:24 mremap:25 mincore:27 '
  'madvise:28 dup:32 dup2:33 nanosleep:35 getpid:39 socket:41 socketpair:53 clone:56 exit:60 '
  'uname:63 fcntl:72 ftruncate:77 getcwd:79 readlink:89 umask:95 gettimeofday:96 getrusage:98 '
  'sysinfo:99 times:100 getuid:102 getgid:104 geteuid:107 getegid:108 getppid:110 getpgrp:111 '
  'getgroups:115 getresuid:118 getresgid:120 getpgid:121 getsid:124 capget:125 rt_sigpending:127 '
  'sigaltstack:131 statfs:137 fstatfs:138 getpriority:140 sched_getparam:143 '
  'sched_getscheduler:145 prctl:157 arch_prctl:158 gettid:186 time:201 futex:202 '
  'sched_getaffinity:204 getdents64:217 set_tid_address:218 restart_syscall:219 fadvise64:221 '
  'clock_gettime:228 clock_getres:229 clock_nanosleep:230 exit_group:231 epoll_wait:232 '
  'epoll_ctl:233 tgkill:234 openat:257 newfstatat:262 readlinkat:267 faccessat:269 pselect6:270 '
  'ppoll:271 set_robust_list:273 epoll_pwait:281 eventfd2:290 epoll_create1:291 dup3:292 '
  'pipe2:293 prlimit64:302 getcpu:309 getrandom:318 membarrier:324 statx:332 rseq:334 clone3:435 '
  'faccessat2:439'
)
_AARCH64 = (
  'getcwd:17 eventfd2:19 epoll_create1:20 epoll_ctl:21 epoll_pwait:22 dup:23 dup3:24 fcntl:25 '
  'ioctl:29 statfs:43 fstatfs:44 ftruncate:46 faccessat:48 openat:56 close:57 pipe2:59 '
  'getdents64:61 lseek:62 read:63 write:64 readv:65 writev:66 pread64:67 pwrite64:68 pselect6:72 '
  'ppoll:73 readlinkat:78 newfstatat:79 fstat:80 capget:90 exit:93 exit_group:94 '
  'set_tid_address:96 futex:98 set_robust_list:99 nanosleep:101 clock_gettime:113 '
  'clock_getres:114 clock_nanosleep:115 sched_getscheduler:120 sched_getparam:121 '
  'sched_getaffinity:123 sched_yield:124 restart_syscall:128 tgkill:131 sigaltstack:132 '
  'rt_sigaction:134 rt_sigprocmask:135 rt_sigpending:136 rt_sigreturn:139 getpriority:141 '
  'getresuid:148 getresgid:150 times:153 getpgid:155 getsid:156 getgroups:158 uname:160 '
  'getrusage:165 umask:166 prctl:167 getcpu:168 gettimeofday:169 getpid:172 getppid:173 '
  'getuid:174 geteuid:175 getgid:176 getegid:177 gettid:178 sysinfo:179 socket:198 '
  'socketpair:199 brk:214 munmap:215 mremap:216 clone:220 mmap:222 fadvise64:223 mprotect:226 '
  'mincore:232 madvise:233 prlimit64:261 getrandom:278 membarrier:283 statx:291 rseq:293 '
  'clone3:435 faccessat2:439'
)
_SYSCALL_NUMBERS = {'x86_64': _X86_64, 'aarch64': _AARCH64}

TracerIsolation = Literal['full', 'namespaces', 'limits', 'none']
_NAMESPACES = Isolation(
  network=True, files=True, system_calls=True, processes=True, limits=True,
  detail='user namespaces and read-only mounts',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TracerPolicy:
  """Permissions and limits of the process that traces a program.

  Attributes:
    level: `full`, `namespaces` (the same by other means than Landlock), `limits` (resource limits
      alone) or `none`.
    readable: Files and folders that may be read, besides the Python installation.
    hidden: Paths that stay unreadable inside of them.
    cpu_seconds: CPU time limit of the process.
    memory_bytes: Address space limit.
    file_bytes: Limit on the size of any one file.
  """

  level: TracerIsolation
  readable: tuple[str, ...] = ()
  hidden: tuple[str, ...] = ()
  cpu_seconds: int = 60
  memory_bytes: int = 8 * 2**30
  file_bytes: int = 64 * 2**20


def available_isolation() -> Isolation:
  """The strongest isolation that this machine offers; `detail` says what is missing."""
  landlock, seccomp = landlock_version(), linux.has_seccomp()
  missing, why = [], ''
  if seccomp and not landlock:
    why = namespaces.missing()
    if not why:
      return _NAMESPACES
  if not seccomp:
    missing.append('seccomp filters on x86_64 or aarch64')
  if not landlock:
    missing.append('Landlock')
  return Isolation(
    network=seccomp,
    files=landlock > 0 and seccomp,
    system_calls=seccomp,
    processes=seccomp,
    limits=sys.platform == 'linux',
    detail=f'the kernel has no {" and no ".join(missing)}{f" ({why})" if why else ""}'
    if missing
    else f'Landlock {landlock}',
  )


def check(level: TracerIsolation) -> Isolation:
  """The isolation that `level` provides on this machine.

  Raises:
    SandboxError: the machine offers less; the message says what is missing.
  """
  available = available_isolation()
  if level == 'none':
    return Isolation(detail='isolation is none, as configured')
  if not available.limits:
    raise SandboxError(
      "The sandbox needs Linux. config.limits.isolation='none' runs programs without protection."
    )
  if level == 'limits':
    return Isolation(limits=True, detail='isolation is limits, as configured')
  if level == 'namespaces':
    why = namespaces.missing() if linux.has_seccomp() else 'the kernel has no seccomp filters'
    if why:
      raise SandboxError(
        f"config.limits.isolation='namespaces' is not available: {why}. 'full' needs Landlock or "
        'the same; see `autoresearch doctor`.'
      )
    return _NAMESPACES
  if not (available.network and available.files and available.system_calls and available.processes):
    raise SandboxError(
      f"config.limits.isolation='full' is not available: {available.detail}. Use a newer kernel "
      '(Linux 5.13 or later with Landlock enabled) or allow user namespaces, or accept less: '
      "config.limits.isolation='limits' limits CPU, memory and file size, but leaves files and "
      "network open; 'none' limits nothing."
    )
  return available


def enter(policy: TracerPolicy, keep: tuple[int, ...], parent: int) -> Isolation:
  """Applies the sandbox to the calling process, irrevocably. It must have one thread.

  Args:
    policy: Permissions and limits.
    keep: File descriptors that stay open; all others are closed.
    parent: Process id of the server, whose death kills the process.

  Returns:
    The isolation that was applied.

  Raises:
    SandboxError: the machine offers less, or the kernel refuses.
  """
  os.setsid()
  _close_all_but(keep)
  linux.die_with(parent)
  if policy.level == 'none':
    return check('none')
  own_files = policy.level == 'namespaces' or (policy.level == 'full' and not landlock_version())
  isolation = _NAMESPACES if own_files else check(policy.level)
  _set_limits(policy)
  if policy.level in ('full', 'namespaces'):
    if len(os.listdir('/proc/self/task')) != 1:  # noqa: PTH208 - a count of threads
      raise SandboxError('Only a process with one thread can enter the sandbox.')
    if own_files:
      namespaces.enter(*_own_files(policy))
      linux.die_with(parent)  # a new user namespace ends the first request
    linux.drop_privileges()
    if not own_files:
      linux.restrict_files(_readable(policy))
    linux.filter_calls(_seccomp_program(os.getpid()))
  return isolation


def children() -> tuple[int, ...]:
  """Process ids of the calling process's children, zombies included."""
  pid = os.getpid()
  try:
    return tuple(map(int, pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()))
  except OSError:
    return ()


def max_memory_bytes() -> int:
  """Upper bound on the address space of a trace: a fraction of the machine's memory."""
  total = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  return max(_MIN_MEMORY_BYTES, int(_MAX_MEMORY_FRACTION * total))


def python_installation() -> tuple[str, ...]:
  """Paths that Python, jax and XLA's CPU client must read, besides `shared_libraries`.

  No system folder as a whole: /usr/lib contains other Pythons, with their standard libraries.
  """
  paths = sysconfig.get_paths()
  roots = {paths[name] for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')}
  roots |= {*site.getsitepackages(), site.getusersitepackages(), *_imported_packages()}
  roots |= {
    '/etc/ld.so.cache',
    '/dev/null',
    '/dev/urandom',
    '/proc/cpuinfo',
    '/proc/meminfo',
    '/proc/stat',
  }
  roots |= {f'/proc/self/{name}' for name in ('maps', 'stat', 'status', 'statm', 'task')}
  roots |= {'/proc/sys/vm/overcommit_memory', '/sys/devices/system/cpu', '/sys/devices/system/node'}
  return tuple(sorted(roots))


@functools.cache
def shared_libraries() -> tuple[str, ...]:
  """Files that the dynamic linker may open: `*.so*` directly inside its folders.

  Cached for the lifetime of the process. Subfolders are not searched.
  """
  found = set()
  for folder in set(map(os.path.realpath, _library_folders())):
    try:
      entries = list(os.scandir(folder))
    except OSError:
      continue  # not on this machine
    # Links count as what they point to.
    found |= {os.path.realpath(e.path) for e in entries if '.so' in e.name and not e.is_dir()}
  return tuple(sorted(path for path in found if '.so' in pathlib.PurePath(path).name))


def _library_folders() -> set[str]:
  """Folders in which the dynamic linker looks for libraries."""
  triple = f'{platform.machine()}-linux-gnu'
  system = ('/lib', '/lib64', '/usr/lib', '/usr/lib64', '/usr/local/lib')
  folders = {*system, *(f'{folder}/{triple}' for folder in system)}
  folders |= {f'{prefix}/lib' for prefix in (sys.prefix, sys.base_prefix)}
  return folders | set(filter(None, os.environ.get('LD_LIBRARY_PATH', '').split(':')))


def _imported_packages() -> set[str]:
  """Paths of imported top-level packages and modules; some are outside of site-packages."""
  found = set()
  for name, module in list(sys.modules.items()):
    file = getattr(module, '__file__', None)
    if '.' in name or name == '__main__' or not file:
      continue
    folder, _, last = file.rpartition(os.sep)
    found.add(folder if last.startswith('__init__.') else file)
  return found


def _close_all_but(keep: tuple[int, ...]) -> None:
  edges = sorted({-1, *keep, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1024)})
  for before, after in itertools.pairwise(edges):
    if after - before > 1:  # os.closerange with an empty range at 0 closes everything
      os.closerange(before + 1, after)


def _set_limits(policy: TracerPolicy) -> None:
  limits = {
    resource.RLIMIT_CPU: (policy.cpu_seconds, policy.cpu_seconds + 1),
    resource.RLIMIT_AS: (policy.memory_bytes, policy.memory_bytes),
    resource.RLIMIT_FSIZE: (policy.file_bytes, policy.file_bytes),
    resource.RLIMIT_NOFILE: (_MAX_FILES, _MAX_FILES),
    resource.RLIMIT_CORE: (0, 0),
  }
  if policy.level == 'limits':
    max_processes = linux.thread_count() + _EXTRA_PROCESSES
    limits[resource.RLIMIT_NPROC] = (max_processes, max_processes)
  linux.set_limits(limits)


def _readable(policy: TracerPolicy) -> dict[str, int]:
  """Path -> Landlock rights: readable paths minus hidden ones; nothing is writable."""
  hidden = {os.path.realpath(path) for path in policy.hidden}
  rules = linux.readable_rules((*python_installation(), *policy.readable), hidden)
  libraries = set(shared_libraries()) - hidden
  folders = {path: path.rpartition('/')[0] for path in libraries}  # many files in few folders
  in_hidden = {folder for folder in set(folders.values()) if linux.inside(f'{folder}/', hidden)}
  rules |= {path: linux.READ_FILE for path, folder in folders.items() if folder not in in_hidden}
  return rules


def _own_files(policy: TracerPolicy) -> tuple[dict[str, int], dict[str, str]]:
  """What appears in the child's own file system: paths with their rights, and symbolic links."""
  rules = _readable(policy)
  paths = {*python_installation(), *policy.readable, *sys.path, *library_links()}
  for path, rights in rules.items():
    if not rights & linux.READ_FILE:
      paths |= {entry.path for entry in os.scandir(path) if entry.is_symlink()}
  return rules, namespaces.links_of(filter(None, paths))


@functools.cache
def library_links() -> tuple[str, ...]:
  """Symbolic links to shared libraries, by which the dynamic linker finds them."""
  found = []
  for folder in _library_folders():
    with contextlib.suppress(OSError):
      found += [e.path for e in os.scandir(folder) if '.so' in e.name and e.is_symlink()]
  return tuple(found)


def _seccomp_program(pid: int) -> list[tuple[int, int, int, int]]:
  """The allow-list as BPF instructions for this machine.

  Args:
    pid: The process's own id, the only one that it may signal.
  """
  machine = platform.machine()
  numbers = {
    name: int(n) for name, n in (entry.split(':') for entry in _SYSCALL_NUMBERS[machine].split())
  }
  load, jeq, jset, jge, return_ = 0x20, 0x15, 0x45, 0x35, 0x06
  allow, fail = 0x7FFF0000, 0x00050000 | errno.EPERM
  offsets = [16 + 8 * index for index in range(6)]
  program = [
    (load, 0, 0, 4),
    (jeq, 1, 0, linux.ARCHITECTURES[machine]),
    (return_, 0, 0, 0x80000000),  # another architecture's calls: kill the process
    (load, 0, 0, 0),
    (jge, 0, 1, 0x40000000),  # x32
    (return_, 0, 0, fail),
  ]

  def case(name: str, *body: tuple[int, int, int, int]) -> None:
    if name in numbers:
      program.extend([(jeq, 0, len(body), numbers[name]), *body])

  for name in _ALLOWED.split():
    case(name, (return_, 0, 0, allow))
  for name, code in _ERRNOS.items():
    case(name, (return_, 0, 0, 0x00050000 | code))
  for name, (index, values) in _BY_ARGUMENT.items():
    tests = [(jeq, len(values) - position, 0, value) for position, value in enumerate(values)]
    case(name, (load, 0, 0, offsets[index]), *tests, (return_, 0, 0, fail), (return_, 0, 0, allow))
  case(
    'clone',
    (load, 0, 0, offsets[0]),
    (jset, 1, 0, _CLONE_NAMESPACES),
    (jset, 1, 0, _CLONE_THREAD),
    (return_, 0, 0, fail),
    (return_, 0, 0, allow),
  )
  case(
    'tgkill',
    (load, 0, 0, offsets[0]),
    (jeq, 1, 0, pid),
    (return_, 0, 0, fail),
    (return_, 0, 0, allow),
  )
  # Limits may be read, not set: the new limit is a pointer, and both of its halves must be zero.
  case(
    'prlimit64',
    (load, 0, 0, offsets[2]),
    (jeq, 0, 2, 0),
    (load, 0, 0, offsets[2] + 4),
    (jeq, 1, 0, 0),
    (return_, 0, 0, fail),
    (return_, 0, 0, allow),
  )
  program.append((return_, 0, 0, fail))
  return program
