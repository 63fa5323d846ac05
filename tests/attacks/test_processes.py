"""Making processes, outliving the tracer, filling the process table."""

import platform

import pytest
from helpers.tiny_language import program

from autoresearch_jax.types import Status


def test_forking_and_outliving(arena):
  came = arena.done(
    {
      'fork': 'import os\nif os.fork() == 0: os._exit(0)',
      'twice': 'import os\nif os.fork() == 0: os.setsid(); os.fork(); os._exit(0)',
      'forkpty': 'import os\nif os.forkpty()[0] == 0: os._exit(0)',
      'spawn': 'import os; os.posix_spawn("/bin/sleep", ["sleep", "5"], {})',
      'shell': 'import os\nif os.system("sleep 5"): raise PermissionError(1, "")',
      'multiprocessing': 'import multiprocessing as m; m.get_context("fork").Process().start()',
      'exec': 'import os; os.execv("/bin/true", ["true"])',
      'linker': 'import os; os.execv("/lib64/ld-linux-x86-64.so.2", ["ld", "/bin/true"])',
      'session': 'import os; os.setsid()',
      'group': 'import os; os.setpgid(0, 0)',
    }
  )
  assert came.pop('forkpty') in ('EPERM', 'EACCES', 'ENOENT', 'OSError')
  assert set(came.values()) <= {'EPERM', 'EACCES'}, came


def test_a_thread_that_waits_is_ended(arena):
  code = 'import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n'
  assert arena.attack(code + program()).status == Status.OK


def test_two_thousand_threads(arena):
  """They take address space, which is limited, and are gone with the trace."""
  code = """
import threading
stop = threading.Event()
made = 0
try:
  for _ in range(2000):
    threading.Thread(target=stop.wait, args=(60,), daemon=True).start()
    made += 1
except RuntimeError:
  pass
"""
  assert int(arena.told('made', code)) < 2000


def test_what_runs_at_exit_does_not(arena):
  code = """
import atexit, signal, threading
atexit.register(lambda: [None for _ in iter(int, 1)])
threading._register_atexit(lambda: [None for _ in iter(int, 1)])
class Undying:
  def __del__(self):
    while True: pass
keep = Undying()
"""
  assert arena.attack(code + program()).status == Status.OK


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='machine code of x86-64')
def test_the_calls_of_another_architecture_end_it(arena):
  """`int 0x80` enters the kernel by the 32-bit table, whose numbers mean other calls."""
  code = """
import ctypes, mmap
memory = mmap.mmap(-1, 4096, prot=7)
memory.write(bytes.fromhex('b814000000cd80c3'))  # getpid
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
"""
  reason = arena.at_import(code)
  assert 'SIGSYS' in reason or 'a system call' in reason or 'SIGSEGV' in reason, reason
