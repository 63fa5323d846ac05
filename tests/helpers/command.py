"""The run command as a process: started, watched, waited for."""

import pathlib
import subprocess
import sys
import time

from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from helpers import HELPERS

SYNTHETIC = HELPERS / 'synthetic_command.py'


def start(*flags, workdir=None, command=(str(SYNTHETIC), f'--config={SYNTHETIC}'), **options):
  where = [f'--workdir={workdir}'] if workdir else []
  return subprocess.Popen(
    [sys.executable, *command, *where, *flags],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
  )  # fmt: skip


def finish(*flags, **options):
  with start(*flags, **options) as process:
    out, err = process.communicate(timeout=120)
  return process.returncode, out, err


def history(workdir):
  with Ledger.read(workdir / 'ledger.db') as ledger:
    return History.of(ledger.records())


def wait_for(line, process):
  for found in process.stdout:
    if line in found:
      return
  raise AssertionError(f'{line!r} was never printed; the last words: {process.stderr.read()}')


def wait_until_idle(pid):
  """Until the process has slept at each of many looks, as one does that waits for a trial."""
  slept = 0
  while slept < 10:
    state = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    slept = slept + 1 if state == 'S' else 0
    time.sleep(0.02)


def catches(pid, number):
  """Whether the process has a handler for the signal."""
  lines = pathlib.Path(f'/proc/{pid}/status').read_text().splitlines()
  caught = next(line.split()[1] for line in lines if line.startswith('SigCgt'))
  return bool(int(caught, 16) >> (number - 1) & 1)
