"""An agent for tests that tries to get out of its folder, and prints what came of each attempt.

attacking_agent.py RUN HOME HIDDEN CONTROLLER: folders, a file, and the controller's process id.
The last line is JSON: name of the attempt -> name of the error, or 'done'.
"""

import ctypes
import errno
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys

RUN, HOME, HIDDEN = map(pathlib.Path, sys.argv[1:4])
CONTROLLER = int(sys.argv[4])
LEDGER = RUN / 'ledger.db'
LIBC = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
  if getattr(LIBC, name)(*arguments) < 0:
    raise OSError(ctypes.get_errno(), name)


def through_a_link():
  pathlib.Path('out').symlink_to(LEDGER)
  try:
    pathlib.Path('out').write_text('x')
  finally:
    pathlib.Path('out').unlink()


ATTEMPTS = {
  'write the ledger': lambda: LEDGER.write_text('x'),
  'append to the ledger': lambda: LEDGER.open('a'),
  'read the ledger': LEDGER.read_text,
  'truncate the ledger': lambda: os.truncate(LEDGER, 0),
  'remove the ledger': LEDGER.unlink,
  'move the ledger here': lambda: LEDGER.rename('here'),
  'link the ledger here': lambda: os.link(LEDGER, 'here'),
  'write through a link': through_a_link,
  'write a hook of the run': lambda: (RUN / 'repo' / '.git' / 'hooks' / 'x').write_text('x'),
  'list the run': lambda: list(RUN.iterdir()),
  'write beside its folder': lambda: pathlib.Path('../../x').write_text('x'),
  'write in the home': lambda: (HOME / 'x').write_text('x'),
  'read the home': lambda: list(HOME.iterdir()),
  'read the hidden file': HIDDEN.read_text,
  'read password hashes': lambda: pathlib.Path('/etc/shadow').read_text(),
  'write to /tmp': lambda: pathlib.Path('/tmp/from-the-agent').write_text('x'),
  "read the controller's environment": lambda: pathlib.Path(
    f'/proc/{CONTROLLER}/environ'
  ).read_bytes(),
  "read the launcher's environment": lambda: pathlib.Path(
    f'/proc/{os.getppid()}/environ'
  ).read_bytes(),
  "look through the controller's root": lambda: list(
    pathlib.Path(f'/proc/{CONTROLLER}/root').iterdir()
  ),
  'limit the controller': lambda: resource.prlimit(CONTROLLER, resource.RLIMIT_CORE, (0, 0)),
  'slow the controller': lambda: os.setpriority(os.PRIO_PROCESS, CONTROLLER, 19),
  'pin the controller': lambda: os.sched_setaffinity(CONTROLLER, {0}),
  'trace the controller': lambda: call('ptrace', 16, CONTROLLER, 0, 0),
  'make a unix socket': lambda: socket.socket(socket.AF_UNIX),
  'make datagram sockets': lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
  'make a namespace': lambda: call('unshare', 0x10000000),
  'mount': lambda: call('mount', b'none', b'.', b'tmpfs', 0, None),
  'use keys': lambda: call('syscall', 250 if os.uname().machine == 'x86_64' else 219, 0, -3, 0),
  'set an attribute': lambda: os.setxattr(sys.executable, 'user.x', b'x'),
  'leave the arm of the law': lambda: os.setuid(12345),
  # These report success and do nothing; the test looks at what became of the ledger.
  'change the mode of the ledger': lambda: LEDGER.chmod(0o777),
  'change the times of the ledger': lambda: os.utime(LEDGER, (1, 1)),
  'change the owner of the ledger': lambda: os.chown(LEDGER, 12345, 12345),
  # These are its right.
  'write in its folder': lambda: pathlib.Path('.mine').write_text('x'),
  'write in its own home': lambda: (pathlib.Path.home() / 'x').write_text('x'),
  'write a temporary file': lambda: pathlib.Path(os.environ['TMPDIR'], 'x').write_text('x'),
  'run a program': lambda: subprocess.run(['sh', '-c', 'exit 0'], check=True),
  'make stream sockets': socket.socketpair,
  'pretend to make it executable': lambda: pathlib.Path('.mine').chmod(0o755),
  'print to nowhere': lambda: pathlib.Path('/dev/null').write_text('x'),
}
if sys.argv[5:] == ['signals']:
  ATTEMPTS['signal the controller'] = lambda: os.kill(CONTROLLER, 0)
  ATTEMPTS['signal the launcher'] = lambda: os.kill(os.getppid(), signal.SIGCONT)


def tried(attempt):
  try:
    attempt()
  except OSError as error:
    return errno.errorcode.get(error.errno, str(error))
  except subprocess.CalledProcessError as error:
    return str(error)
  return 'done'


print(json.dumps({name: tried(attempt) for name, attempt in ATTEMPTS.items()}))
