"""One attack a property. Each is bounded, so that a defence that fails fails its test only.

Attacks run at import of a program that is valid otherwise. The refusal's sentence is compared,
not only that something went wrong.
"""

import ast
import os
import pathlib
import platform
import time

import numpy
import pytest
import sklearn

from autoresearch_jax.data import corpus
from autoresearch_jax.sandbox import namespaces, tracer_policy
from autoresearch_jax.tracer import preload
from autoresearch_jax.types import Isolation

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    not tracer_policy.available_isolation().files,
    reason='this kernel has no Landlock or no seccomp',
  ),
]

CALL = """
import ctypes, errno
def call(number, *arguments):
  libc = ctypes.CDLL(None, use_errno=True)
  result = libc.syscall(ctypes.c_long(number), *arguments)
  return errno.errorcode.get(ctypes.get_errno()) if result < 0 else 'done'
"""


@pytest.fixture(scope='module')
def attack(trace, edit):
  """Runs code at the import of a program, at line 6 of its file."""
  return lambda code: trace.refused(edit(('RATE = 0.1', f'{code}\nRATE = 0.1')))


@pytest.fixture(scope='module')
def told(trace, edit):
  """What an expression says inside of the sandbox, told in an exception."""

  def ask(expression, before=''):
    code = f'{before}\nraise ValueError("<" + str({expression}) + ">")'
    reason = trace.refused(edit(('RATE = 0.1', f'{code}\nRATE = 0.1')))
    return reason.partition('<')[2].rpartition('>')[0]

  return ask


@pytest.mark.parametrize(
  ('code', 'line', 'refused'),
  [
    ('import socket; socket.socket()', 6, 'a network socket'),
    ('import socket; socket.socketpair()', 6, 'a network socket'),
    ('import socket; socket.socket(socket.AF_UNIX)', 6, 'a network socket'),
    ('import os\nos.fork()', 7, 'a system call'),
    ('import subprocess as s\ns.run(["/bin/true"], start_new_session=True)', 7, 'a system call'),
    ('import subprocess as s\ns.run(["/bin/true"], close_fds=False)', 7, "access to '/bin/true'"),
    ('import os\nos.execv("/bin/true", ["true"])', 7, 'a system call'),
    ('import os\nos.kill(os.getppid(), 0)', 7, 'a system call'),
    ('import os\nos.killpg(0, 0)', 7, 'a system call'),
    ('import os\nos.setsid()', 7, 'a system call'),
    ('import os\nos.chroot("/")', 7, "access to '/'"),
    ('open("/etc/passwd")', 6, "access to '/etc/passwd'"),
    ('import os\nos.listdir("/")', 7, "access to '/'"),
    ('open("/proc/1/environ")', 6, "access to '/proc/1/environ'"),
    ('open("note.txt", "w")', 6, "access to 'note.txt'"),
    ('open(__file__, "a")', 6, "access to '"),
    ('import os\nos.remove(__file__)', 7, "access to '"),
    ('import os\nos.mkdir("x")', 7, "access to 'x'"),
    ('import os\nos.chmod(__file__, 0o777)', 7, "access to '"),
    ('import os\nos.symlink("/etc/passwd", "x")', 7, "access to '/etc/passwd'"),
    ('import os\nos.link(__file__, "x")', 7, "access to '"),
    ('import os\nos.sched_setaffinity(os.getppid(), {0})', 7, 'a system call'),
    ('import os\nos.nice(1)', 7, 'a system call'),
  ],
)
def test_an_attack_is_refused_with_its_line(attack, code, line, refused):
  reason = attack(code)
  assert reason.startswith(f'model.py:{line}: '), reason
  assert f'the sandbox refused {refused}' in reason, reason


def test_validation_data_outside_the_installation_can_not_be_read(attack, tmp_path):
  secret = tmp_path / 'rows.npy'
  secret.write_bytes(b'secret')
  assert f"the sandbox refused access to '{secret}'" in attack(f'open({str(secret)!r}, "rb")')


def test_hidden_files_inside_the_installation_stay_shut(tracing_of, edit):
  digits = pathlib.Path(sklearn.__file__).parent / 'datasets' / 'data' / 'digits.csv.gz'
  beside = digits.with_name('iris.csv')
  module = pathlib.Path(os.__file__).parent / 'turtle.py'
  folder = pathlib.Path(numpy.__file__).parent / 'tests'
  trace = tracing_of(hidden=(digits, module, folder))
  assert trace().status == 'ok'
  for path in (digits, module, next(folder.glob('test_*.py'))):
    code = f'RATE = 0.1 * (open({str(path)!r}, "rb") is None)'
    assert f"refused access to '{path}'" in trace.refused(edit(('RATE = 0.1', code)))
  assert beside.exists()
  code = f'RATE = len(open({str(beside)!r}, "rb").read())'
  assert trace(edit(('RATE = 0.1', code))).status == 'ok'


def test_the_python_corpus_can_not_be_read_and_its_modules_can_be_imported(tracing_of, edit):
  library = corpus.PythonLibrary()
  trace = tracing_of(hidden=library.hidden())
  program = edit(('RATE = 0.1', 'import json, xml.sax, asyncio, scipy.linalg, optax\nRATE = 0.1'))
  assert trace(program).status == 'ok'
  held_out = {name.removesuffix('.py') for name in corpus.VALIDATION}
  left_out, generated = sorted(corpus.LEFT_OUT - {'__pycache__'}), corpus.GENERATED
  code = f"""
import os, sys
opened = []
for folder, folders, files in os.walk({str(library.root)!r}):
  if folder == {str(library.root)!r}:
    folders[:] = [f for f in folders if f not in {left_out!r} and not f.startswith({generated!r})]
  for name in files:
    try:
      open(os.path.join(folder, name)).close()
      opened.append(name)
    except OSError: pass
opened = [n for n in opened if n.endswith(('.py', '.pyc')) and n not in {left_out!r}]
opened = [n for n in opened if not n.startswith({generated!r})]
held_out = sorted(m for m in sys.modules if m.partition('.')[0] in {held_out!r})
raise ValueError(opened[:9], held_out)
"""
  told = trace.refused(edit(('RATE = 0.1', f'{code}\nRATE = 0.1')))
  assert 'ValueError: ([], [])' in told, told


def test_the_library_is_there_from_the_first_trace_on(tracing_of, edit):
  modules = 'colorsys, statistics, xml.dom.minidom, wsgiref.headers'
  program = edit(('RATE = 0.1', f'import {modules}\nRATE = 0.1'))
  trace = tracing_of(hidden=corpus.PythonLibrary().hidden())
  first = trace.artifact(program)
  time.sleep(1)  # the server has imported what it had put off
  assert trace.artifact(program).to_bytes() == first.to_bytes()


def test_a_program_that_asks_for_the_library_and_needs_it_not_is_traced_twice_at_most(tracing_of):
  trace = tracing_of()
  for _ in range(2):
    text = f'import os\nos._exit({preload.NEEDS_STDLIB})\n'
    assert f'exit code {preload.NEEDS_STDLIB}; remove the exit' in trace.refused(text)
  assert trace().status == 'ok'


def test_what_was_put_off_does_not_hold_up_the_first_trace(tracing_of, edit):
  seen = edit(
    (
      'RATE = 0.1',
      'import sys\nraise ValueError("xmlrpc" in sys.modules or "wsgiref" in sys.modules)',
    )
  )
  assert 'ValueError: False' in tracing_of().refused(seen)


def test_no_other_python_is_readable(attack):
  others = [p for root in ('/usr/lib', '/usr/lib64', '/lib') for p in pathlib.Path(root).glob('*')]
  readable = set(tracer_policy.python_installation())
  closed = [p for p in others if p.is_dir() and str(p.resolve()) not in readable]
  running = pathlib.Path(os.__file__).resolve()
  closed = [p for p in closed if p.resolve() not in running.parents]
  assert not readable & {'/lib', '/lib64', '/usr/lib', '/usr/lib64', '/usr/local/lib'}
  for path in (p / 'os.py' for p in closed if (p / 'os.py').exists()):
    assert f"the sandbox refused access to '{path}'" in attack(f'open({str(path)!r})')


def test_only_shared_objects_of_the_system_are_opened():
  libraries = list(map(pathlib.Path, tracer_policy.shared_libraries()))
  assert libraries and all('.so' in path.name and not path.is_dir() for path in libraries)
  assert any(path.name.startswith('libc.so') for path in libraries)


def test_memory_is_a_share_of_what_the_machine_has(monkeypatch):
  pages = {'SC_PHYS_PAGES': 2**20, 'SC_PAGE_SIZE': 4096}
  monkeypatch.setattr(os, 'sysconf', pages.__getitem__)
  assert tracer_policy.max_memory_bytes() == 3 * 2**30
  pages['SC_PHYS_PAGES'] = 1
  assert tracer_policy.max_memory_bytes() == 2 * 2**30


def test_without_seccomp_processes_are_bounded(trace, edit):
  code = 'import resource\nraise ValueError(resource.getrlimit(resource.RLIMIT_NPROC))'
  with trace.within(isolation='limits'):
    said = trace.refused(edit(('RATE = 0.1', code)))
  soft, hard = ast.literal_eval(said.partition('ValueError: ')[2].partition(';')[0])
  assert 256 < soft == hard < 100_000


def test_no_fork_succeeds_however_often_it_is_tried(told):
  before = """
import os
done = 0
for _ in range(200):
  try:
    if os.fork() == 0:
      os._exit(0)
    done += 1
  except PermissionError:
    pass
"""
  assert told('done', before) == '0'


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='numbers of x86-64')
def test_raw_system_calls_are_refused_too(told):
  calls = {
    'socket': (41, 'ENETDOWN'),
    'clone': (56, 'EPERM'),
    'fork': (57, 'EPERM'),
    'vfork': (58, 'EPERM'),
    'execve': (59, 'EPERM'),
    'kill': (62, 'EPERM'),
    'ptrace': (101, 'EPERM'),
    'mount': (165, 'EPERM'),
    'tkill': (200, 'EPERM'),
    'tgkill': (234, 'EPERM'),
    'unshare': (272, 'EPERM'),
    'process_vm_readv': (310, 'EPERM'),
    'kcmp': (312, 'EPERM'),
    'memfd_create': (319, 'EPERM'),
    'bpf': (321, 'EPERM'),
    'userfaultfd': (323, 'EPERM'),
    'keyctl': (250, 'EPERM'),
    'shmget': (29, 'EPERM'),
    'pidfd_open': (434, 'EPERM'),
    'clone3': (435, 'ENOSYS'),
    'io_uring_setup': (425, 'EPERM'),
    'setns': (308, 'EPERM'),
    'x32 getpid': (0x40000000 + 39, 'EPERM'),
    'far beyond': (100_000, 'EPERM'),
  }
  numbers = {name: number for name, (number, _) in calls.items()}
  said = told(f'[call(n, 0, 0, 0, 0, 0) for n in {list(numbers.values())}]', CALL)
  assert dict(zip(calls, ast.literal_eval(said), strict=True)) == {
    n: e for n, (_, e) in calls.items()
  }


def test_limits_can_be_read_and_not_set(told):
  before = 'import resource\n'
  assert told('resource.getrlimit(resource.RLIMIT_CORE)', before) == '(0, 0)'
  assert told('resource.getrlimit(resource.RLIMIT_CPU)', before) == '(20, 21)'
  before += (
    'try:\n  resource.setrlimit(resource.RLIMIT_CPU, (9, 9))\nexcept ValueError as e: said = e'
  )
  assert told('said', before) == 'not allowed to raise maximum limit'


def test_nothing_of_the_server_is_open_in_the_child(told):
  said = told(
    '[(n, os.readlink(f"/proc/self/fd/{n}").rpartition("/")[2]) for n in opened]',
    'import os\nopened = []\nfor n in range(256):\n'
    '  try:\n    os.fstat(n); opened.append(n)\n  except OSError: pass',
  )
  names = [name.partition(':')[0] for _, name in ast.literal_eval(said)]
  assert names == ['null', 'log', 'log', 'pipe', 'artifact']


def test_the_environment_holds_no_keys(monkeypatch, tracing_of, edit):
  monkeypatch.setenv('SECRET_API_KEY', 'abc')
  trace = tracing_of()
  reason = trace.refused(edit(('RATE = 0.1', 'import os\nraise ValueError(sorted(os.environ))')))
  assert "'JAX_PLATFORMS'" in reason and 'SECRET' not in reason


def test_privileges_are_gone(told):
  before = 'lines = dict(l.split(":", 1) for l in open("/proc/self/status") if ":" in l)'
  said = told('[lines[n].strip() for n in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")]', before)
  none, bound, locked, filtered = ast.literal_eval(said)
  assert int(none, 16) == 0 and locked == '1' and filtered == '2'
  if os.geteuid() == 0:
    assert int(bound, 16) == 0


def test_memory_far_over_the_limit_is_invalid(trace, edit):
  # At most 6 GiB of address space are asked for, and none of it is touched.
  code = 'import numpy\nBLOCKS = [numpy.empty(2**27, numpy.uint8) for _ in range(48)]'
  with trace.within(trace_bytes=3 * 2**30):
    reason = trace.refused(edit(('RATE = 0.1', code)))
  assert 'model.py: tracing exceeded its memory limit of 3 GiB (limits.trace_bytes' in reason


def test_the_log_is_bounded(trace, edit):
  code = 'for _ in range(64):\n  print("x" * 2**16)'
  with trace.within(artifact_bytes=2**20):
    reason = trace.refused(edit(('RATE = 0.1', code)))
  assert 'File too large' in reason


def test_threads_work_and_outlive_nothing(trace, edit):
  code = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
threading.Thread(target=time.sleep, args=(60,)).start()
"""
  assert trace(edit(('RATE = 0.1', code + 'RATE = 0.1'))).status == 'ok'  # it did not wait
  assert not sandbox_children(trace.tracer.pid)


def test_without_seccomp_what_was_forked_is_ended_with_the_trace(trace, edit):
  code = 'import os\nif os.fork() == 0:\n  os.setsid()\n  import time; time.sleep(30)\n'
  with trace.within(isolation='limits'):
    result = trace(edit(('RATE = 0.1', code + 'RATE = 0.1')))
  assert result.isolation.limits and not result.isolation.processes
  assert not sandbox_children(trace.tracer.pid)


def test_an_answer_that_is_forged_does_no_harm(trace, edit):
  for forged in ('{"ok":true}', '{"ok":false,"reason":"a\\\\nb"}', 'x' * 1000):
    code = f"import os\nos.write(3, b'{forged}')\nos.write(3, b'')\nos._exit(0)"
    result = trace(edit(('RATE = 0.1', code)))
    assert result.status == 'invalid' and '\n' not in result.reason


def test_an_artifact_for_another_problem_is_refused(trace, edit):
  code = """
import dataclasses
from autoresearch_jax.artifact import reader
from autoresearch_jax.tracer import check
check.check = lambda *_: None
honest = reader.Artifact.to_bytes
forged = lambda self: honest(dataclasses.replace(self, evaluation_batch=1))
reader.Artifact.to_bytes = forged
"""
  reason = trace.refused(edit(('RATE = 0.1', code + 'RATE = 0.1')))
  assert 'rejected' in reason and 'another problem than requested' in reason


def test_less_than_asked_is_refused_with_what_is_missing(monkeypatch):
  monkeypatch.setattr(tracer_policy, 'landlock_version', lambda: 0)
  monkeypatch.setattr(namespaces, 'missing', lambda: 'user namespaces are off')
  with pytest.raises(tracer_policy.SandboxError) as caught:
    tracer_policy.check('full')
  for words in (
    'no Landlock',
    'user namespaces are off',
    "config.limits.isolation='limits'",
    "'none'",
  ):
    assert words in str(caught.value)
  assert tracer_policy.check('limits') == Isolation(
    limits=True, detail='isolation is limits, as configured'
  )
  assert not tracer_policy.check('none').limits


def sandbox_children(pid):
  return pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
