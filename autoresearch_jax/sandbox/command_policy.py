"""What a sandboxed command may do: its Landlock rules, its seccomp filter, its resource limits.

`enter` is called in the launcher's child, right before it executes the command's program. The
docstring of the package says what is and is not covered.
"""

import dataclasses
import errno
import os
import platform
import resource
from collections.abc import Sequence

from autoresearch_jax.sandbox import linux, namespaces
from autoresearch_jax.sandbox.command_spec import CommandSpec
from autoresearch_jax.types import Isolation

READABLE_FOLDERS = ('/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/nix/store', '/proc')
# Only these files of /etc: others hold private keys and password hashes.
_ETC = (
  'alternatives bash.bashrc ca-certificates ca-certificates.conf crypto-policies debian_version '
  'gai.conf group host.conf hosts inputrc ld.so.cache ld.so.conf ld.so.conf.d locale.alias '
  'localtime lsb-release mime.types nsswitch.conf os-release passwd pki/ca-trust pki/tls/certs '
  'profile protocols resolv.conf services shells ssl/cert.pem ssl/certs ssl/openssl.cnf '
  'terminfo timezone'
)
READABLE_FILES = (
  *(f'/etc/{name}' for name in _ETC.split()),
  '/dev/random',
  '/dev/urandom',
  '/sys/devices/system/cpu',
  '/sys/devices/system/node',
  '/sys/fs/cgroup',
  '/sys/kernel/mm/transparent_hugepage',
)
WRITABLE_DEVICES = ('/dev/full', '/dev/null', '/dev/zero')
_OWN_TERMINAL = ('/dev/tty',)  # of a session that has opened one
_DEVICE_RIGHTS = linux.READ_FILE | linux.WRITE_FILE | linux.TRUNCATE
_TMP = '/tmp'
# In the writable folder: all Landlock rights except creating devices and sockets.
_WRITABLE_RIGHTS = ((1 << 15) - 1) & ~(1 << 6 | 1 << 9 | 1 << 11)
_SIGNALS_SINCE, _TRUNCATE_SINCE = 6, 3  # Landlock ABI versions
_NICENESS = 10  # where trials train on the CPU, they take precedence
_MAX_DESCRIPTORS = 4096

_AF_INET, _AF_INET6, _AF_NETLINK, _SOCK_STREAM, _SOCK_SEQPACKET = 2, 10, 16, 1, 5
_CLONE_NEW_ANY = 0x7E020000  # flags of clone that create namespaces
_FIRST_UNKNOWN = 463  # the first system call that is newer than the lists below
# name:number on x86_64:number on aarch64, with - where the call does not exist.
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
# call -> {argument: required value}, so that a process can only apply it to itself.
_SELF_ONLY = {
  'setpriority:141:140': {0: 0, 1: 0},
  'ioprio_set:251:30': {0: 1, 1: 0},
  'sched_setaffinity:203:122': {0: 0},
  'sched_setscheduler:144:119': {0: 0},
  'sched_setparam:142:118': {0: 0},
  'sched_setattr:314:274': {0: 0},
}
# ioctls: TIOCSTI and TIOCLINUX; those that set a file's attributes.
_TERMINAL_IOCTLS = (0x5412, 0x541C)
_ATTRIBUTE_IOCTLS = (0x40086602, 0x40046602, 0x401C5820)
# Opcodes of BPF and return values of a seccomp filter.
_LOAD, _JEQ, _JSET, _JGE, _AND, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x54, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000

Instruction = tuple[int, int, int, int]  # of BPF: code, jump if true, jump if false, operand


def check(level: str) -> Isolation:
  """The isolation that `level` provides on this machine.

  Raises:
    SandboxError: the kernel lacks something; the message says what.
  """
  if level == 'none':
    return Isolation(limits=True, detail='isolation is none, as configured')
  version, seccomp = linux.landlock_version(), linux.has_seccomp()
  why = namespaces.missing() if seccomp and not version else ''
  if seccomp and not version and not why:
    return Isolation(
      files=True, system_calls=True, limits=True,
      detail='user namespaces and read-only mounts: an agent can signal processes of its user',
    )  # fmt: skip
  if not (version and seccomp):
    missing = [
      name for name, has in {'Landlock': version, 'seccomp filters': seccomp}.items() if not has
    ]
    raise linux.SandboxError(
      f"isolation='full' is not available for agents: the kernel has no "
      f'{" and no ".join(missing)}{f" ({why})" if why else ""}. Use a newer kernel (Linux 5.13 or '
      'later with Landlock enabled, on x86_64 or aarch64), or run the agent without protection: '
      "isolation='none'."
    )
  detail = f'Landlock {version}'
  if version < _SIGNALS_SINCE:
    detail += ': an agent can signal other processes of its user (prevented from Linux 6.12 on)'
  return Isolation(files=True, system_calls=True, limits=True, detail=detail)


def with_own_places(spec: CommandSpec, temporary: str) -> CommandSpec:
  """Returns a spec with terminals and a /tmp of its own, as far as this machine offers them.

  There is no such /tmp for a command that needs other files of the machine's.

  Args:
    spec: The command.
    temporary: Folder inside of `spec.writable` that appears as /tmp.
  """
  if spec.isolation == 'none' or namespaces.missing('enter_own_places'):
    return spec
  needed = {*file_rules(spec), *spec.readable, *spec.command[:1]}
  shared = os.path.islink(_TMP) or any(f'{path}/'.startswith(f'{_TMP}/') for path in needed)  # noqa: PTH114
  return dataclasses.replace(spec, terminals=True, temporary='' if shared else temporary)


def enter(spec: CommandSpec, launcher: int) -> None:
  """Applies the sandbox to the calling process, irrevocably. It must have one thread.

  Args:
    spec: Permissions and limits.
    launcher: Process id of the parent, whose death kills the process.

  Raises:
    SandboxError: the kernel refuses.
  """
  linux.die_with(launcher)
  os.nice(_NICENESS)
  max_processes = linux.thread_count() + spec.processes
  linux.set_limits(
    {
      resource.RLIMIT_FSIZE: (spec.file_bytes, spec.file_bytes),
      resource.RLIMIT_NOFILE: (_MAX_DESCRIPTORS, _MAX_DESCRIPTORS),
      resource.RLIMIT_NPROC: (max_processes, max_processes),
      resource.RLIMIT_CORE: (0, 0),
    }
  )
  if spec.isolation == 'none':
    return
  rules = file_rules(spec)
  own_files = not linux.landlock_version()
  if own_files:
    paths = (*READABLE_FOLDERS, *READABLE_FILES, *spec.readable, spec.writable)
    writable = {os.path.realpath(spec.writable), *WRITABLE_DEVICES, *_OWN_TERMINAL}
    links = namespaces.links_of(paths)
    namespaces.enter(rules, links, writable, spec.network, spec.terminals, spec.temporary)
  elif spec.terminals:
    namespaces.enter_own_places(spec.temporary)
    rules |= dict.fromkeys(namespaces.TERMINALS, _DEVICE_RIGHTS | linux.READ_DIR | linux.IOCTL)
    rules |= {_TMP: _WRITABLE_RIGHTS} if spec.temporary else {}
  if own_files or spec.terminals:
    linux.die_with(launcher)  # a new user namespace ends the first request
  linux.drop_privileges()
  if not own_files:
    linux.restrict_files(rules, tcp=spec.network)
  linux.filter_calls(seccomp_program(spec.network))


def file_rules(spec: CommandSpec) -> dict[str, int]:
  """Landlock rights by path."""
  hidden = {os.path.realpath(path) for path in spec.hidden}
  rules = linux.readable_rules((*READABLE_FOLDERS, *READABLE_FILES, *spec.readable), hidden)
  rules = {p: r | linux.EXECUTE if r & linux.READ_FILE else r for p, r in rules.items()}
  rules |= dict.fromkeys(WRITABLE_DEVICES, _DEVICE_RIGHTS)
  if spec.terminals:
    rules |= dict.fromkeys(_OWN_TERMINAL, _DEVICE_RIGHTS | linux.IOCTL)
  return rules | {os.path.realpath(spec.writable): _WRITABLE_RIGHTS}


def seccomp_program(network: bool) -> list[Instruction]:
  """The seccomp filter: a deny-list, since the calls of an agent's tools are not known.

  Args:
    network: Whether TCP, UDP and netlink sockets may be created.
  """
  machine = platform.machine()
  offsets = [16 + 8 * index for index in range(6)]
  program: list[Instruction] = [
    (_LOAD, 0, 0, 4),
    (_JEQ, 1, 0, linux.ARCHITECTURES[machine]),
    (_RETURN, 0, 0, _KILL),  # another architecture's calls: kill the process
    (_LOAD, 0, 0, 0),
    (_JGE, 0, 1, _FIRST_UNKNOWN),  # those of x32 are above it too
    (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
  ]

  def case(entry: str, *body: Instruction) -> None:
    _, *numbers = entry.split(':')
    number = numbers[machine == 'aarch64']
    if number != '-':
      program.extend([(_JEQ, 0, len(body), int(number)), *body])

  def require(
    index: int, values: Sequence[int], code: int, mask: int = 0xFFFFFFFF
  ) -> list[Instruction]:
    """Returns error `code` unless the masked argument is one of the values."""
    tests = [(_JEQ, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [
      (_LOAD, 0, 0, offsets[index]),
      (_AND, 0, 0, mask),
      *tests,
      (_RETURN, 0, 0, _ERRNO | code),
    ]

  allow, refuse = (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)
  not_supported, no_effect = (_RETURN, 0, 0, _ERRNO | errno.EOPNOTSUPP), (_RETURN, 0, 0, _ERRNO)
  answers = {
    _REFUSED: refuse,
    _ABSENT: (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
    _UNSUPPORTED: not_supported,
    _WITHOUT_EFFECT: no_effect,
  }
  for entries, answer in answers.items():
    for entry in entries.split():
      case(entry, answer)
  if linux.landlock_version() < _TRUNCATE_SINCE:
    case('truncate:76:45', refuse)
  for entry, arguments in _SELF_ONLY.items():
    tests = [require(index, (value,), errno.EPERM) for index, value in arguments.items()]
    case(entry, *(instruction for test in tests for instruction in test), allow)
  # Without a path, the times are set on an open file.
  case(
    'utimensat:280:88',
    (_LOAD, 0, 0, offsets[1]),
    (_JEQ, 0, 2, 0),
    (_LOAD, 0, 0, offsets[1] + 4),
    (_JEQ, 1, 0, 0),
    no_effect,
    allow,
  )
  # Limits of other processes may be read, not set; the new limit is a pointer.
  case(
    'prlimit64:302:261',
    (_LOAD, 0, 0, offsets[0]),
    (_JEQ, 4, 0, 0),
    (_LOAD, 0, 0, offsets[2]),
    (_JEQ, 0, 3, 0),
    (_LOAD, 0, 0, offsets[2] + 4),
    (_JEQ, 0, 1, 0),
    allow,
    refuse,
  )
  commands = (*_TERMINAL_IOCTLS, *_ATTRIBUTE_IOCTLS)
  tests = [(_JEQ, len(commands) - place, 0, value) for place, value in enumerate(commands)]
  case(
    'ioctl:16:29', (_LOAD, 0, 0, offsets[1]), *tests, allow, (_RETURN, 0, 0, _ERRNO | errno.ENOTTY)
  )
  address_families = (_AF_INET, _AF_INET6, _AF_NETLINK) if network else ()
  refusal = errno.EAFNOSUPPORT if network else errno.ENETDOWN
  case('socket:41:198', *require(0, address_families, refusal), allow)
  # Datagram sockets of a pair could be connected to other sockets; streams cannot.
  case(
    'socketpair:53:199', *require(1, (_SOCK_STREAM, _SOCK_SEQPACKET), errno.EPERM, mask=0xF), allow
  )
  case('clone:56:220', (_LOAD, 0, 0, offsets[0]), (_JSET, 0, 1, _CLONE_NEW_ANY), refuse, allow)
  program.append(allow)
  return program
