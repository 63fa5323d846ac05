"""A file system of its own for a process, by namespaces; for kernels without Landlock.

`enter` gives the calling process an empty root folder, in which only the readable paths appear,
mounted read-only. Other files do not exist there, not even by name.
It needs no privileges, but some distributions and containers forbid user namespaces; `missing` says
why. As bubblewrap does it (github.com/containers/bubblewrap), without a program of its own, since
the tracer's child is forked and must not execute anything.

`enter_own_places` is for kernels with Landlock. It only replaces the terminals and /tmp.
"""

import contextlib
import ctypes
import functools
import os
import pathlib
import re
import stat
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping

from autoresearch_jax.sandbox import linux
from autoresearch_jax.sandbox.linux import SandboxError

_NEW_MOUNTS, _NEW_IPC, _NEW_USER, _NEW_NETWORK = 0x20000, 0x8000000, 0x10000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_ATIME = {'noatime': 1024, 'nodiratime': 2048, 'relatime': 1 << 21}
_FLAGS = {'nosuid': _MS_NOSUID, 'nodev': _MS_NODEV, 'noexec': _MS_NOEXEC, **_ATIME}
TERMINALS = ('/dev/ptmx', '/dev/pts')
_BASE = '/tmp'  # covered by the new root, in this process alone
_PROBE_SECONDS = 20.0
_MAX_LINKS = 40  # as in the kernel


@functools.cache
def missing(function: str = 'enter') -> str:
  """Why this machine offers no such namespaces, for a message; '' if it does.

  Tried once, in a process of its own.

  Args:
    function: `enter` or `enter_own_places`.
  """
  command = [sys.executable, '-m', 'autoresearch_jax.sandbox.namespaces', function]
  try:
    done = subprocess.run(
      command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False,
      stdin=subprocess.DEVNULL, env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
  except (OSError, subprocess.TimeoutExpired) as error:
    return f'user namespaces could not be tried: {error}'
  if done.returncode == 0:
    return ''
  return (done.stderr.strip() or 'user namespaces do not work').splitlines()[-1]


def enter(
  readable: Mapping[str, int],
  links: Mapping[str, str],
  writable: Collection[str] = (),
  network: bool = False,
  terminals: bool = False,
  temporary: str = '',
) -> None:
  """Moves the calling process into the new file system, irrevocably. It must have one thread.

  Args:
    readable: Real path -> rights, as `linux.readable_rules` returns them: a folder with READ_FILE
      appears with all below it, one without as an empty folder.
    links: Symbolic links to make: path -> target.
    writable: Those of the readable paths that can be written.
    network: Whether the network of the machine stays.
    terminals: Whether it can open terminals of its own.
    temporary: Folder that appears as /tmp, too; '' for none.

  Raises:
    SandboxError: the kernel refuses.
  """
  folder = os.getcwd()  # noqa: PTH109
  _unshare(_NEW_MOUNTS | _NEW_IPC | (0 if network else _NEW_NETWORK))
  _mount('tmpfs', _BASE, 'tmpfs', _MS_NOSUID | _MS_NODEV, 'size=16m,mode=0755')
  old = f'{_BASE}/.old'
  os.mkdir(old)  # noqa: PTH102
  _pivot(_BASE, old)
  os.chdir('/')
  for path, rights in sorted(readable.items()):
    _show(f'/.old{path}', path, rights)
  for path, target in sorted(links.items()):
    _link(path, target)
  if terminals:
    pathlib.Path('/dev/pts').mkdir(parents=True, exist_ok=True)
    pathlib.Path('/dev/ptmx').touch()
    _mount_terminals()
    writable = {*writable, *TERMINALS}
  if temporary:
    _show(f'/.old{temporary}', '/tmp', linux.READ_FILE)
    writable = {*writable, '/tmp'}
  mounts = _mounts(f'/.old/proc/{os.getpid()}/mountinfo')
  linux.call('umount2', _path('/.old'), _MNT_DETACH)
  os.rmdir('/.old')  # noqa: PTH106
  for path, flags in mounts.items():
    if path in writable:
      continue
    _mount('none', path, '', _MS_REMOUNT | _MS_BIND | _MS_RDONLY | flags)
  with contextlib.suppress(OSError):  # it is not readable
    os.chdir(folder)


def enter_own_places(temporary: str = '') -> None:
  """Gives the calling process its own terminals and /tmp, irrevocably. It must have one thread.

  Args:
    temporary: Folder that appears as /tmp; '' for the machine's.

  Raises:
    SandboxError: the kernel refuses.
  """
  _unshare(_NEW_MOUNTS)
  _mount_terminals()
  if temporary:
    _mount(temporary, '/tmp', '', _MS_BIND)


def links_of(paths: Iterable[str]) -> dict[str, str]:
  """Returns the symbolic links on the way to paths: link -> its target."""
  found: dict[str, str] = {}
  for path in paths:
    _follow(os.path.abspath(path), found)  # noqa: PTH100 - does not resolve links
  return found


def _follow(path: str, found: dict[str, str], depth: int = 0) -> None:
  """Adds the links in an absolute path, and those in the targets of its links."""
  parts = path.split('/')
  for end in range(2, len(parts) + 1):
    prefix = '/'.join(parts[:end])
    if not os.path.islink(prefix):  # noqa: PTH114
      continue
    found[prefix] = target = os.readlink(prefix)  # noqa: PTH115
    rest = os.path.join('/'.join(parts[: end - 1]) or '/', target, *parts[end:])  # noqa: PTH118
    if depth < _MAX_LINKS:
      _follow(os.path.normpath(rest), found, depth + 1)
    return


def _unshare(spaces: int) -> None:
  """Moves this process to new namespaces, with its user and group and no others."""
  user, group = os.geteuid(), os.getegid()
  linux.call('unshare', _NEW_USER | spaces)
  _write('/proc/self/setgroups', 'deny')
  _write('/proc/self/uid_map', f'{user} {user} 1')
  _write('/proc/self/gid_map', f'{group} {group} 1')
  _mount('none', '/', '', _MS_REC | _MS_PRIVATE)


def _mount_terminals() -> None:
  """Puts new pseudo-terminals in the place of the machine's."""
  _mount('devpts', '/dev/pts', 'devpts', _MS_NOSUID | _MS_NOEXEC, 'newinstance,ptmxmode=0666')
  _mount('/dev/pts/ptmx', '/dev/ptmx', '', _MS_BIND)


def _pivot(new: str, old: str) -> None:
  """pivot_root has no wrapper in the C library."""
  libc = ctypes.CDLL(None, use_errno=True)
  number = {'x86_64': 155, 'aarch64': 41}[os.uname().machine]
  if libc.syscall(ctypes.c_long(number), _path(new), _path(old)):
    raise SandboxError(
      f'The sandbox could not be entered: pivot_root failed with {os.strerror(ctypes.get_errno())}.'
    )


def _show(source: str, path: str, rights: int) -> None:
  """Makes a path of the old root appear in the new one."""
  try:
    mode = os.stat(source).st_mode  # noqa: PTH116
  except OSError:
    return  # not on this machine
  target = pathlib.Path(path)
  if stat.S_ISDIR(mode):
    target.mkdir(parents=True, exist_ok=True)
    if not rights & linux.READ_FILE:
      return  # what is below appears by itself
  else:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()
  _mount(source, path, '', _MS_BIND | _MS_REC)


def _link(path: str, target: str) -> None:
  link = pathlib.Path(path)
  if not os.path.lexists(path):
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def _mounts(file: str) -> dict[str, int]:
  """Mount points of the new root, with the flags that a remount must repeat."""
  found = {}
  for line in pathlib.Path(file).read_text().splitlines():
    fields = line.split()
    path = re.sub(r'\\(\d{3})', lambda code: chr(int(code.group(1), 8)), fields[4])
    if path != '/.old' and not path.startswith('/.old/'):
      found[path] = sum(_FLAGS.get(option, 0) for option in fields[5].split(','))
  return found


def _mount(source: str, target: str, kind: str, flags: int, data: str = '') -> None:
  linux.call('mount', _path(source), _path(target), _path(kind), flags, _path(data))


def _path(text: str) -> bytes:
  return os.fsencode(text)


def _write(path: str, text: str) -> None:
  with open(path, 'w') as file:  # noqa: PTH123
    file.write(text)


if __name__ == '__main__':
  try:
    if sys.argv[1:] == ['enter_own_places']:
      enter_own_places()
    else:
      enter({'/proc/self/mountinfo': linux.READ_FILE}, {})
  except (SandboxError, OSError) as error:
    sys.exit(str(error))
