"""Signals to parent, runner and controller. Their number is 0, which harms nobody."""

import os
import platform

import pytest

CALL = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
  result = libc.syscall(ctypes.c_long(number), *arguments)
  if result < 0: raise OSError(ctypes.get_errno(), '')
"""


def test_signals_are_refused(arena):
  runner = arena.executor.pids()['runner']
  came = arena.done(
    {
      'parent': 'import os; os.kill(os.getppid(), 0)',
      'runner': f'import os; os.kill({runner}, 0)',
      'controller': f'import os; os.kill({os.getpid()}, 0)',
      'group': 'import os; os.killpg(os.getpgid(os.getppid()), 0)',
      'everybody': 'import os; os.kill(-1, 0)',
      'a descriptor': f'import signal, os; signal.pidfd_send_signal(os.pidfd_open({runner}), 0)',
      'owner': f'import fcntl; fcntl.fcntl(1, fcntl.F_SETOWN, {runner})',
      'priority': f'import os; os.setpriority(os.PRIO_PROCESS, {runner}, 19)',
      'affinity': f'import os; os.sched_setaffinity({runner}, {{0}})',
      'policy': f'import os; os.sched_setscheduler({runner}, os.SCHED_IDLE, os.sched_param(0))',
      'limits': f'import resource; resource.prlimit({runner}, resource.RLIMIT_CPU, (1, 1))',
    }
  )
  assert set(came.values()) <= {'EPERM', 'PermissionError', 'ValueError'}, came


@pytest.mark.skipif(platform.machine() != 'x86_64', reason='numbers of x86-64')
def test_raw_calls_are_refused(arena):
  runner = arena.executor.pids()['runner']
  numbers = {
    'rt_sigqueueinfo': f'129, {runner}, 0, None',
    'rt_tgsigqueueinfo': f'297, {runner}, {runner}, 0, None',
    'tgkill': f'234, {runner}, {runner}, 0',
    'pidfd_send_signal': '424, 0, 0, None, 0',
    'pidfd_getfd': '438, 0, 0, 0',
    'process_vm_writev': f'311, {runner}, None, 0, None, 0, 0',
    'ptrace': f'101, 16, {runner}, 0, 0',
    'timer_create': '222, 0, None, None',
    'ioprio_set': f'251, 1, {runner}, 0',
    'die with': '157, 1, 9, 0, 0, 0',
    'be traced': f'157, 0x59616d61, {runner}, 0, 0, 0',
    'dumpable': '157, 4, 1, 0, 0, 0',
    'type into a terminal': '16, 1, 0x5412, None',
    'open_by_handle_at': '304, -100, None, 0',
    'perf_event_open': '298, None, 0, -1, -1, 0',
    'mq_open': '240, None, 0, 0, None',
    'msgget': '68, 0, 0',
    'semget': '64, 0, 0, 0',
    'inotify_init1': '294, 0',
    'fanotify_init': '300, 0, 0',
    'add_key': '248, None, None, None, 0, 0',
    'clock_settime': '227, 0, None',
    'settimeofday': '164, None, None',
    'adjtimex': '159, None',
    'reboot': '169, 0, 0, 0, None',
    'sethostname': '170, None, 0',
    'init_module': '175, None, 0, None',
    'iopl': '172, 0',
    'pivot_root': '155, None, None',
    'umount2': '166, None, 0',
    'swapon': '167, None, 0',
    'personality': '135, 0xffffffff',
    'seccomp': '317, 0, 0, None',
    'execveat': '322, -100, None, None, None, 0',
    'setuid': '105, 0',
    'vmsplice': '278, 0, None, 0, 0',
    'fallocate': '285, 1, 0, 0, 9',
    'rename': '82, None, None',
    'mknod': '133, None, 0, 0',
    'utimensat': '280, -100, None, None, 0',
  }
  came = arena.done({name: f'call({call})' for name, call in numbers.items()}, CALL)
  assert {name: how for name, how in came.items() if how != 'EPERM'} == {}
