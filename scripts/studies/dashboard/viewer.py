"""Measures what somebody who looks at the dashboard costs the device: its time for the same work.

python viewer.py [--trials=260] [--steps=5000] [--viewer=browser] [--shared_cores]

One real run of the digits config whose edits have no effect (`placebo`), so that every trial trains
the same program for the same steps. The dashboard serves it throughout. Somebody looks at it during
the second and third of every four trials: its page in a headless Chromium, or with --viewer=stream
a client that reads what the page would get, as when the browser is on another machine. Trials that
follow each other are compared, so that the machine's slower changes cancel.

The run has one core, and the dashboard and the viewer have the others; with --shared_cores all of
them share all. Needs the extras `dashboard` and `browser`, Chromium, and two cores that nobody else
uses. docs/dashboard.md has the figures.
"""

import contextlib
import http.client
import importlib
import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from absl import app, flags

from autoresearch_jax.ledger.events import Decided, LedgerError
from autoresearch_jax.ledger.follower import LedgerFollower
from autoresearch_jax.ledger.store import read_history

TRIALS = flags.DEFINE_integer('trials', 260, 'Trials of the run.', lower_bound=9)
STEPS = flags.DEFINE_integer('steps', 5_000, 'Steps of a training run.', lower_bound=100)
VIEWER = flags.DEFINE_enum('viewer', 'browser', ('browser', 'stream'), 'Who looks.')
SHARED = flags.DEFINE_bool('shared_cores', False, 'Let the browser use the cores of the run, too.')
WAIT_SECONDS = 120.0  # for the first event of a run
WATCHED = (False, True, True, False)  # of every four trials

Look = Callable[[bool], None]  # begins or ends looking


def cores() -> tuple[set[int], set[int]]:
  """Returns the cores of the run, and those of the dashboard and the browser."""
  free = sorted(os.sched_getaffinity(0))
  if SHARED.value or len(free) < 2:
    return {*free}, {*free}
  return {free[0]}, {*free[1:]}


@contextlib.contextmanager
def running(workdir: pathlib.Path, own: set[int], others: set[int]) -> Iterator[subprocess.Popen]:
  """The run, on its own cores."""
  command = [sys.executable, '-m', 'autoresearch_jax', 'run', '--config=digits']
  command += [f'--workdir={workdir}', f'--config.search.max_trials={TRIALS.value}']
  command += [f'--config.budget.amount={STEPS.value}', '--config.search.prefetch=0']
  command += ['--config.final_seeds=0', '--config.pruning=False', '--config.save_models=False']
  command += ['--config.proposer=placebo', '--config.acceptance=strict']
  os.sched_setaffinity(0, own)
  process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
  os.sched_setaffinity(0, others)
  try:
    yield process
  finally:
    process.terminate()
    process.wait()


@contextlib.contextmanager
def serving(workdir: pathlib.Path) -> Iterator[str]:
  """The dashboard of the run; its address."""
  deadline = time.monotonic() + WAIT_SECONDS
  while time.monotonic() < deadline:
    with contextlib.suppress(LedgerError):
      if read_history(workdir).started is not None:
        break
    time.sleep(0.1)
  command = [sys.executable, '-m', 'autoresearch_jax', 'dashboard', str(workdir), '--port=0']
  server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
  assert server.stdout is not None
  try:
    yield server.stdout.readline().split()[-1]
  finally:
    server.send_signal(signal.SIGINT)
    server.wait(30)
    server.stdout.close()


@contextlib.contextmanager
def browser(address: str) -> Iterator[Look]:
  """Looks with a browser."""
  path = shutil.which('chromium') or shutil.which('chromium-browser')
  with importlib.import_module('playwright.sync_api').sync_playwright() as started:
    chromium = started.chromium.launch(executable_path=path, args=['--no-sandbox'])
    page = chromium.new_page(viewport={'width': 1440, 'height': 900})
    yield lambda begin: page.goto(address if begin else 'about:blank')
    chromium.close()


@contextlib.contextmanager
def stream(address: str) -> Iterator[Look]:
  """Reads the events that the page would get."""
  reading: list[Any] = []

  def read(events: Any) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
      while events.read1(1 << 20):
        pass

  def look(begin: bool) -> None:
    if begin:
      reading.append(urllib.request.urlopen(f'{address}events/', timeout=60))
      threading.Thread(target=read, args=reading[-1:], daemon=True).start()
    else:
      reading.pop().close()

  yield look


def follow(workdir: pathlib.Path, process: subprocess.Popen, look: Look) -> dict[int, bool]:
  """Begins or ends looking when a trial ends; returns which trials were watched."""
  follower, looking, watched = LedgerFollower(workdir), False, {}
  while process.poll() is None:
    time.sleep(0.02)
    for record in follower.new_records()[1]:
      if isinstance(record.event, Decided):
        following = record.event.trial + 1
        wanted = WATCHED[following % len(WATCHED)]
        if wanted != looking:
          look(wanted)
        looking = watched[following] = wanted
  if process.returncode:
    raise SystemExit('The run failed; its message is above.')
  return watched


def main(arguments: list[str]) -> None:
  del arguments
  own, others = cores()
  folder = pathlib.Path(tempfile.mkdtemp())
  with (
    running(folder / 'run', own, others) as process,
    serving(folder / 'run') as address,
    (browser if VIEWER.value == 'browser' else stream)(address) as look,
  ):
    watched = follow(folder / 'run', process, look)
  seconds = {
    number: math.log(result.measurements[0].cost.training_seconds)
    for number, result in read_history(folder / 'run').results.items()
    if result.measurements
  }
  changes = []
  for start in range(4, TRIALS.value - 3, 4):
    four = [
      (seconds[n], watched[n]) for n in range(start, start + 4) if n in watched and n in seconds
    ]
    if [looked for _, looked in four] == list(WATCHED):
      changes.append((four[1][0] + four[2][0] - four[0][0] - four[3][0]) / 2)
  if len(changes) < 2:
    raise SystemExit('Too few trials were compared. Raise --trials.')
  error = statistics.stdev(changes) / math.sqrt(len(changes))
  print(
    f'training time with a viewer: {statistics.fmean(changes):+.2%} (standard error {error:.2%} '
    f'over {len(changes)} times four trials; median {statistics.median(changes):+.2%}); a trial '
    f'trains for {math.exp(statistics.median(seconds.values())):.2f} s'
  )
  shutil.rmtree(folder)


if __name__ == '__main__':
  app.run(main)
