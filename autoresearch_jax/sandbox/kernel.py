"""What a confined command gives up before it starts: files, system calls, privileges.

Called in the launcher's child, right before the command's program takes its place. What is covered
and what is not stands in the room's docstring.
"""

import errno
import os
import platform
import resource
from collections.abc import Sequence

from autoresearch_jax.sandbox import linux
from autoresearch_jax.sandbox.plan import Plan
from autoresearch_jax.types import Isolation

SYSTEM = ('/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/nix/store', '/proc')
# Of /etc, what programs look up; private keys and password hashes lie beside.
_ETC = (
  'alternatives bash.bashrc ca-certificates ca-certificates.conf crypto-policies debian_version '
  'gai.conf group host.conf hosts inputrc ld.so.cache ld.so.conf ld.so.conf.d locale.alias '
  'localtime lsb-release mime.types nsswitch.conf os-release passwd pki/ca-trust pki/tls/certs '
  'profile protocols resolv.conf services shells ssl/cert.pem ssl/certs ssl/openssl.cnf '
  'terminfo timezone'
)
LOOKED_UP = (
  *(f'/etc/{name}' for name in _ETC.split()),
  '/dev/random',
  '/dev/urandom',
  '/sys/devices/system/cpu',
  '/sys/devices/system/node',
  '/sys/fs/cgroup',
  '/sys/kernel/mm/transparent_hugepage',
)
DEVICES = ('/dev/full', '/dev/null', '/dev/zero')
# In its own folder: all of Landlock's rights, apart from making devices and sockets.
_OWN = ((1 << 15) - 1) & ~(1 << 6 | 1 << 9 | 1 << 11)
_SIGNALS_SINCE, _TRUNCATE_SINCE = 6, 3  # Landlock's versions
_NICENESS = 10  # on a machine that trains on its CPU, the trial comes first
_MAX_DESCRIPTORS = 4096

_INET, _INET6, _NETLINK, _STREAM, _SEQUENCED = 2, 10, 16, 1, 5
_NAMESPACES = 0x7E020000  # of clone's flags
_NEWEST = 463  # the first system call that came after what is judged below
# name:number on x86_64:number on aarch64, - where there is none.
_REFUSED = """
  ptrace:101:117 process_vm_readv:310:270 process_vm_writev:311:271 kcmp:312:272
  pidfd_getfd:438:438 process_madvise:440:440 move_pages:279:239 migrate_pages:256:238
  perf_event_open:298:241 mount:165:40 umount2:166:39 pivot_root:155:41 chroot:161:51
  open_tree:428:428 move_mount:429:429 fsopen:430:430 fsconfig:431:431 fsmount:432:432
  fspick:433:433 mount_setattr:442:442 unshare:272:97 setns:308:268 swapon:167:224
  swapoff:168:225 reboot:169:142 init_module:175:105 delete_module:176:106 finit_module:313:273
  kexec_load:246:104 kexec_file_load:320:294 bpf:321:280 userfaultfd:323:282 keyctl:250:219
  add_key:248:217 request_key:249:218 open_by_handle_at:304:265 name_to_handle_at:303:264
  quotactl:179:60 quotactl_fd:443:443 acct:163:89 settimeofday:164:170 adjtimex:159:171
  clock_settime:227:112 clock_adjtime:305:266 sethostname:170:161 setdomainname:171:162
  iopl:172:- ioperm:173:- syslog:103:116 vhangup:153:58 fanotify_init:300:262 shmget:29:194
  shmat:30:196 shmctl:31:195 semget:64:190 semop:65:193 semctl:66:191 semtimedop:220:192
  msgget:68:186 msgsnd:69:189 msgrcv:70:188 msgctl:71:187 mq_open:240:180 mq_unlink:241:181"""
_ABSENT = 'clone3:435:435 io_uring_setup:425:425 io_uring_enter:426:426 io_uring_register:427:427'
_UNSUPPORTED = """
  setxattr:188:5 lsetxattr:189:6 fsetxattr:190:7 removexattr:197:14 lremovexattr:198:15
  fremovexattr:199:16"""
_WITHOUT_EFFECT = """
  chmod:90:- fchmod:91:52 fchmodat:268:53 fchmodat2:452:452 chown:92:- fchown:93:55 lchown:94:-
  fchownat:260:54 utime:132:- utimes:235:- futimesat:261:-"""
# name -> arguments that must be these, so that the call is on the caller itself.
_ON_ITSELF = {
  'setpriority:141:140': {0: 0, 1: 0},
  'ioprio_set:251:30': {0: 1, 1: 0},
  'sched_setaffinity:203:122': {0: 0},
  'sched_setscheduler:144:119': {0: 0},
  'sched_setparam:142:118': {0: 0},
  'sched_setattr:314:274': {0: 0},
}
_TERMINAL, _FLAGS = (0x5412, 0x541C), (0x40086602, 0x40046602, 0x401C5820)
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _AND, _GIVE = 0x20, 0x15, 0x45, 0x35, 0x54, 0x06
_ALLOW, _FAIL, _KILL = 0x7FFF0000, 0x00050000, 0x80000000

Line = tuple[int, int, int, int]


def check(level: str) -> Isolation:
  """What `level` gets on this machine. Raises linux.SandboxError with what is missing."""
  if level == 'none':
    return Isolation(limits=True, detail='isolation none was asked for')
  version, seccomp = linux.landlock_version(), linux.has_seccomp()
  if not (version and seccomp):
    missing = [
      name for name, has in {'Landlock': version, 'seccomp filters': seccomp}.items() if not has
    ]
    raise linux.SandboxError(
      f"isolation='full' of an agent can not be had: the kernel has no {' and no '.join(missing)}. "
      'Use a newer one (Linux 5.13 with Landlock enabled, on x86_64 or aarch64), or let the agent '
      "run unprotected with isolation='none'."
    )
  detail = f'Landlock {version}'
  if version < _SIGNALS_SINCE:
    detail += ': an agent can signal other processes of its user (not from Linux 6.12 on)'
  return Isolation(files=True, system_calls=True, limits=True, detail=detail)


def enter(plan: Plan, launcher: int) -> None:
  """Shuts the calling process, which has one thread, in. launcher: process id of its parent.

  Raises linux.SandboxError.
  """
  linux.die_with(launcher)
  os.nice(_NICENESS)
  most = linux.threads() + plan.processes
  linux.set_limits(
    {
      resource.RLIMIT_FSIZE: (plan.file_bytes, plan.file_bytes),
      resource.RLIMIT_NOFILE: (_MAX_DESCRIPTORS, _MAX_DESCRIPTORS),
      resource.RLIMIT_NPROC: (most, most),
      resource.RLIMIT_CORE: (0, 0),
    }
  )
  if plan.level == 'none':
    return
  linux.drop_privileges()
  linux.shut_files(rules(plan), tcp=plan.network)
  linux.filter_calls(program(plan.network))


def rules(plan: Plan) -> dict[str, int]:
  """Landlock's rights by path."""
  hidden = {os.path.realpath(path) for path in plan.hidden}
  found = linux.readable((*SYSTEM, *LOOKED_UP, *plan.readable), hidden)
  found = {p: r | linux.EXECUTE if r & linux.READ_FILE else r for p, r in found.items()}
  found |= dict.fromkeys(DEVICES, linux.READ_FILE | linux.WRITE_FILE | linux.TRUNCATE)
  return found | {os.path.realpath(plan.writable): _OWN}


def program(network: bool) -> list[Line]:
  """Seccomp's program: a deny-list, since nobody knows what an agent's tools call."""
  machine = platform.machine()
  low = [16 + 8 * index for index in range(6)]
  lines: list[Line] = [
    (_LOAD, 0, 0, 4),
    (_EQUAL, 1, 0, linux.ARCHITECTURES[machine]),
    (_GIVE, 0, 0, _KILL),  # another architecture's calls: end the process
    (_LOAD, 0, 0, 0),
    (_AT_LEAST, 0, 1, _NEWEST),  # x32 too
    (_GIVE, 0, 0, _FAIL | errno.ENOSYS),
  ]

  def case(entry: str, *body: Line) -> None:
    _, *numbers = entry.split(':')
    number = numbers[machine == 'aarch64']
    if number != '-':
      lines.extend([(_EQUAL, 0, len(body), int(number)), *body])

  def must(index: int, values: Sequence[int], code: int, mask: int = 0xFFFFFFFF) -> list[Line]:
    """Fails with `code` unless the argument, masked, is one of the values."""
    tests = [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [
      (_LOAD, 0, 0, low[index]),
      (_AND, 0, 0, mask),
      *tests,
      (_GIVE, 0, 0, _FAIL | code),
    ]

  allow, refuse = (_GIVE, 0, 0, _ALLOW), (_GIVE, 0, 0, _FAIL | errno.EPERM)
  unsupported, nothing = (_GIVE, 0, 0, _FAIL | errno.EOPNOTSUPP), (_GIVE, 0, 0, _FAIL)
  answers = {
    _REFUSED: refuse,
    _ABSENT: (_GIVE, 0, 0, _FAIL | errno.ENOSYS),
    _UNSUPPORTED: unsupported,
    _WITHOUT_EFFECT: nothing,
  }
  for entries, answer in answers.items():
    for entry in entries.split():
      case(entry, answer)
  if linux.landlock_version() < _TRUNCATE_SINCE:
    case('truncate:76:45', refuse)
  for entry, arguments in _ON_ITSELF.items():
    tests = [must(index, (value,), errno.EPERM) for index, value in arguments.items()]
    case(entry, *(line for test in tests for line in test), allow)
  # Without a path, the times are an open file's.
  case(
    'utimensat:280:88',
    (_LOAD, 0, 0, low[1]),
    (_EQUAL, 0, 2, 0),
    (_LOAD, 0, 0, low[1] + 4),
    (_EQUAL, 1, 0, 0),
    nothing,
    allow,
  )
  # Limits of others may be read, not set; the new limit is a pointer.
  case(
    'prlimit64:302:261',
    (_LOAD, 0, 0, low[0]),
    (_EQUAL, 4, 0, 0),
    (_LOAD, 0, 0, low[2]),
    (_EQUAL, 0, 3, 0),
    (_LOAD, 0, 0, low[2] + 4),
    (_EQUAL, 0, 1, 0),
    allow,
    refuse,
  )
  commands = (*_TERMINAL, *_FLAGS)
  tests = [(_EQUAL, len(commands) - place, 0, value) for place, value in enumerate(commands)]
  case('ioctl:16:29', (_LOAD, 0, 0, low[1]), *tests, allow, (_GIVE, 0, 0, _FAIL | errno.ENOTTY))
  families = (_INET, _INET6, _NETLINK) if network else ()
  without = errno.EAFNOSUPPORT if network else errno.ENETDOWN
  case('socket:41:198', *must(0, families, without), allow)
  # A pair of datagram sockets could be connected to others, a pair of streams can not.
  case('socketpair:53:199', *must(1, (_STREAM, _SEQUENCED), errno.EPERM, mask=0xF), allow)
  case('clone:56:220', (_LOAD, 0, 0, low[0]), (_ANY_BIT, 0, 1, _NAMESPACES), refuse, allow)
  lines.append(allow)
  return lines
