"""The processes of a run, by id: who they are, whether they ended. Shared by the fault tests."""

import contextlib
import ctypes
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
DIGITS = ['-m', 'autoresearch_jax.main', '--config=configs/digits.py', '--config.budget.amount=30']
ADOPT = 36  # PR_SET_CHILD_SUBREAPER


def start(command, workdir, **environment):
  """Starts the command on `workdir`, with what it prints in `workdir`.log."""
  with pathlib.Path(f'{workdir}.log').open('ab') as log:
    return subprocess.Popen(
      [sys.executable, *command, f'--workdir={workdir}'],
      stdout=log,
      stderr=subprocess.STDOUT,
      cwd=ROOT,
      env={**os.environ, **environment},
      start_new_session=True,
    )


def said(workdir):
  return pathlib.Path(f'{workdir}.log').read_text()


def finish(command, workdir, timeout=180, **environment):
  """Runs the command to its end; the exit code and what was printed."""
  process = start(command, workdir, **environment)
  try:
    code = process.wait(timeout)
  finally:
    process.kill()
    process.wait()
  return code, said(workdir)


@contextlib.contextmanager
def adopting():
  """Makes this process the parent of what others leave behind, so that it can be seen to end."""
  prctl = ctypes.CDLL(None).prctl
  assert prctl(ADOPT, 1, 0, 0, 0) == 0
  try:
    yield
  finally:
    prctl(ADOPT, 0, 0, 0, 0)


def family(pid):
  """Process ids of all that a process started, at whatever distance, with their command lines."""
  found, waiting = {}, [pid]
  while waiting:
    parent = waiting.pop()
    for task in pathlib.Path('/proc', str(parent), 'task').glob('*/children'):
      with contextlib.suppress(OSError):
        children = [int(word) for word in task.read_text().split()]
        waiting += children
        for child in children:
          with contextlib.suppress(OSError):
            line = pathlib.Path('/proc', str(child), 'cmdline').read_bytes()
            found[child] = line.replace(b'\0', b' ').decode()
  return found


def roles(controller):
  """Process ids of a running controller's relatives: runner, tracer, children of the tracer."""
  found = {'controller': [controller], 'runner': [], 'tracer': [], 'child': []}
  for pid, line in family(controller).items():
    if 'runner.server' in line:
      found['runner'].append(pid)
    elif 'tracer.server' in line:
      found['tracer'].append(pid)
  for tracer in found['tracer']:
    children = [*family(tracer)]
    found['child'] += children
    found['tracer'] = [pid for pid in found['tracer'] if pid not in children]
  return found


def require_ended(pids, seconds=10.0):
  """Waits until none of the processes lives; those that were adopted are reaped."""
  deadline = time.monotonic() + seconds
  while left := [pid for pid in pids if _lives(pid)]:
    assert time.monotonic() < deadline, f'{left} outlived what started them'
    time.sleep(0.02)


def _lives(pid):
  with contextlib.suppress(ChildProcessError):
    os.waitpid(pid, os.WNOHANG)
  try:
    state = pathlib.Path('/proc', str(pid), 'stat').read_text().rpartition(')')[2].split()[0]
  except OSError:
    return False
  return state != 'Z'
