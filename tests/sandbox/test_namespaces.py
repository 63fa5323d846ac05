"""The sandbox of kernels without Landlock: what is not readable does not exist."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import pytest

from autoresearch_jax.artifact.fingerprint import fingerprint
from autoresearch_jax.sandbox import namespaces, tracer_policy
from autoresearch_jax.sandbox.linux import SandboxError

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(bool(namespaces.missing()), reason='user namespaces do not work here'),
]


@pytest.fixture(scope='module')
def inside(tracing_of, limits):
  return tracing_of(dataclasses.replace(limits, isolation='namespaces'))


def test_a_program_is_traced_as_with_landlock_and_the_trial_names_the_sandbox(inside, trace):
  found, other = inside(), trace()
  assert found.status == other.status == 'ok', found.reason
  assert 'namespaces' in found.isolation.detail
  flags = ('network', 'files', 'system_calls', 'processes', 'limits')
  assert all(getattr(found.isolation, flag) for flag in flags)
  assert fingerprint(inside.artifact()) == fingerprint(trace.artifact())


@pytest.mark.parametrize(
  'code',
  [
    'open("/etc/passwd")',
    'import os; os.listdir("/var/log")',
    'open("/proc/1/environ")',
    'import os; os.stat("/etc/shadow")',
    'open("note.txt", "w")',
    'open(__file__, "a")',
    'open("/dev/shm/x", "w")',
    'open("/tmp/x", "w")',
    'import os; os.remove(__file__)',
    'import os; os.mkdir("/x")',
    'import os; os.rmdir("/dev")',
    'import socket; socket.socket()',
    'import os; os.fork()',
    'import os; os.setsid()',
    'import ctypes as c; assert c.CDLL(None).unshare(0x10000000) == 0',
    'import ctypes as c; assert c.CDLL(None).umount2(b"/usr", 2) == 0',
  ],
)
def test_an_attack_is_refused(inside, edit, code):
  reason = inside.refused(edit(('RATE = 0.1', f'{code}\nRATE = 0.1')))
  assert 'model.py:6' in reason, reason


def test_hidden_files_are_not_there_and_their_neighbours_are(tracing_of, edit, limits):
  package = pathlib.Path(numpy.__file__).parent
  hidden, beside = package / 'version.py', package / '__init__.pyi'
  tracing = tracing_of(
    dataclasses.replace(limits, isolation='namespaces'), (hidden, package / 'tests')
  )
  for path in (hidden, package / 'tests' / '__init__.py'):
    assert path.exists()
    tracing.refused(edit(('RATE = 0.1', f'RATE = 0.1 * len(open({str(path)!r}).read())')))
  code = f'RATE = 0.1 * min(1, len(open({str(beside)!r}).read()))'
  assert tracing(edit(('RATE = 0.1', code))).status == 'ok'


def test_full_isolation_falls_back_where_there_is_no_landlock(monkeypatch):
  monkeypatch.setattr(tracer_policy, 'landlock_version', lambda: 0)
  found = tracer_policy.check('full')
  assert found.files and 'namespaces' in found.detail
  monkeypatch.setattr(namespaces, 'missing', lambda: 'user.max_user_namespaces is 0')
  for level in ('full', 'namespaces'):
    with pytest.raises(SandboxError, match='max_user_namespaces'):
      tracer_policy.check(level)


def test_a_child_without_landlock_enters_namespaces():
  """In a process of its own, since it can never leave."""
  code = """
import os
from autoresearch_jax.sandbox import tracer_policy
tracer_policy.landlock_version = lambda: 0
found = tracer_policy.enter(tracer_policy.TracerPolicy('full'), (1, 2), os.getppid())
try:
  open('/etc/passwd')
except OSError as error:
  print(found.detail, error.errno)
"""
  done = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=False, env=dict(os.environ)
  )
  assert done.stdout == 'user namespaces and read-only mounts 2\n', done.stderr


COMMAND = """
import os, sys
from autoresearch_jax.sandbox import command_policy, linux
from autoresearch_jax.sandbox.command_spec import CommandSpec
linux.landlock_version = lambda: 0
assert command_policy.check('full').files
own = {'terminals': True, 'temporary': sys.argv[3]} if sys.argv[3:] else {}
spec = CommandSpec(('/bin/sh',), '.', sys.argv[1], '/dev/null', {}, network=False, **own)
os.chdir(sys.argv[1])
command_policy.enter(spec, os.getppid())
os.execv('/bin/sh', ['sh', '-c', sys.argv[2]])
"""


def test_an_agents_command_writes_in_its_folder_only_and_reads_no_secrets(tmp_path):
  inside, outside = tmp_path / 'inside', tmp_path / 'outside'
  inside.mkdir()
  outside.mkdir()
  (outside / 'secret').write_text('hidden')
  script = f"""
    echo made > note && cat note
    echo x > {outside}/x || echo no writing
    cat {outside}/secret || echo no reading
    cat /etc/shadow || echo no passwords
    cat /proc/{os.getpid()}/environ || echo no environments
    echo x > /usr/bin/x || echo no installing
    echo x > /dev/null && ls /usr/bin/env"""
  done = subprocess.run(
    [sys.executable, '-c', COMMAND, str(inside), script],
    capture_output=True, text=True, check=False,
  )  # fmt: skip
  said = ['made', 'no writing', 'no reading', 'no passwords', 'no environments', 'no installing']
  assert done.stdout.splitlines() == [*said, '/usr/bin/env'], done.stderr
  assert (inside / 'note').read_text() == 'made\n'
  assert [p.name for p in outside.iterdir()] == ['secret']


@pytest.mark.skipif(
  bool(namespaces.missing('enter_own_places')), reason='no terminals can be mounted here'
)
def test_an_agents_command_has_terminals_and_a_tmp_of_its_own():
  script = """
    ls /dev/pts
    exec 3<>/dev/ptmx && ls /dev/pts
    echo mine > /tmp/note && cat tmp/note
    ls -A /tmp"""
  with tempfile.TemporaryDirectory(dir='/var/tmp') as folder:
    temporary = pathlib.Path(folder, 'tmp')
    temporary.mkdir()
    done = subprocess.run(
      [sys.executable, '-c', COMMAND, folder, script, str(temporary)],
      capture_output=True, text=True, check=False,
    )  # fmt: skip
  assert done.stdout.split() == ['ptmx', '0', 'ptmx', 'mine', 'note'], done.stderr
