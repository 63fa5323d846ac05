"""Reading validation data: by its path, by /proc, by what was inherited, through links."""

CALL = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
  result = libc.syscall(ctypes.c_long(number), *arguments)
  if result < 0: raise OSError(ctypes.get_errno(), '')
  return result
"""


def test_by_its_path(arena):
  path = arena.validation
  came = arena.done(
    {
      'open': f'open({path!r}, "rb")',
      'numpy': f'import numpy; numpy.load({path!r})',
      'mapped': f'import numpy; numpy.memmap({path!r})',
      'jax': f'import jax.numpy; jax.numpy.load({path!r})',
      'relative': f'import os; open(os.path.relpath({path!r}), "rb")',
      'bytes': f'import os; os.open(os.fsencode({path!r}), os.O_RDONLY)',
      'by folder': f'import os; os.open("rows.npy", 0, dir_fd=os.open({path[:-9]!r}, os.O_PATH))',
      'reopened': f'import os; open(f"/proc/self/fd/{{os.open({path!r}, os.O_PATH)}}", "rb")',
      'folder': f'import os; os.listdir({path[:-9]!r})',
      'training data': f'open({path.replace("validation", "train")!r}, "rb")',
      'get_data': f'import importlib.util; importlib.util.spec_from_file_location("x", {path!r})'
      '.loader.get_data(' + repr(path) + ')',
    }
  )
  assert came.pop('get_data') in ('EACCES', 'AttributeError')
  assert came.pop('relative') in ('EACCES', 'EPERM')
  assert set(came.values()) == {'EACCES'}, came


def test_by_libraries_in_c(arena):
  path = arena.validation
  came = arena.done(
    {
      'sqlite': f'import sqlite3; sqlite3.connect("file:{path}?immutable=1", uri=True).execute("")',
      'libc': f'f = libc.fopen; f.restype = ctypes.c_void_p\n'
      f'if not f({path.encode()!r}, b"r"): raise OSError(ctypes.get_errno(), "")',
      'openat2': f'call(437, -100, {path.encode()!r}, (ctypes.c_uint64 * 3)(), 24)',
      'by handle': f'call(303, -100, {path.encode()!r}, None, None, 0)',
      'a handle': 'call(304, -100, None, 0)',
      'sendfile': 'call(40, 1, 0, None, 9)',
      'copy_file_range': 'call(326, 0, None, 1, None, 9, 0)',
      'splice': 'call(275, 0, None, 1, None, 9, 0)',
    },
    CALL,
  )
  assert came.pop('sqlite') == 'OperationalError'
  assert came.pop('libc') == 'EACCES'
  assert set(came.values()) == {'EPERM'}, came


def test_by_proc(arena):
  path = arena.validation
  runner = arena.executor.pids()['runner']
  roots = ['/proc/self/root', '/proc/self/cwd/../../../../../..', '/proc/thread-self/root']
  roots += [f'/proc/{pid}/root' for pid in (1, runner, '{os.getppid()}')]
  attempts = {root: f'import os; open(f"{root}{path}", "rb")' for root in roots}
  attempts['descriptors'] = f'import os; os.listdir("/proc/{runner}/fd")'
  attempts['memory'] = f'open("/proc/{runner}/mem", "rb")'
  attempts['maps'] = f'open("/proc/{runner}/maps", "rb")'
  attempts['parent'] = 'import os; open(f"/proc/{os.getppid()}/mem", "rb")'
  came = arena.done(attempts)
  assert set(came.values()) <= {'EACCES', 'EPERM', 'ENOENT'}, came
  assert came['parent'] == 'EACCES' and came['/proc/self/root'] == 'EACCES'


def test_by_an_inherited_descriptor(arena):
  code = """
import os
read = []
for number in range(1024):
  try:
    if os.read(number, 1): read.append(number)
  except OSError: pass
"""
  assert arena.told('read', code) == '[]'


def test_through_a_link(arena):
  link = f'{arena.executor.scratch}/link'
  came = arena.done(
    {
      'planted': f'open({link!r}, "rb")',
      'made': f'import os; os.symlink({arena.validation!r}, "x"); open("x", "rb")',
      'hard': f'import os; os.link({arena.validation!r}, "x"); open("x", "rb")',
      'renamed': f'import os; os.rename({arena.validation!r}, "x")',
    }
  )
  assert set(came.values()) <= {'EACCES', 'EPERM', 'EXDEV'}, came


def test_by_the_artifacts_of_others(arena):
  """Artifacts and logs of earlier trials lie beside; neither can be read or replaced."""
  scratch = str(arena.executor.scratch)
  came = arena.done(
    {
      'list': f'import os; os.listdir("{scratch}/artifacts")',
      'traces': f'import os; os.listdir("{scratch}/traces")',
      'log': f'open("{scratch}/runner.log")',
      'plant': f'open("{scratch}/artifacts/x.artifact", "w")',
      'own': 'import os; os.listdir("..")',
    }
  )
  assert set(came.values()) == {'EACCES'}, came
