"""Measures what somebody who looks at the dashboard costs the device: its time for the same work.

python viewer.py [--blocks=2] [--trials=8] [--steps=40000] [--viewer=browser] [--shared_cores]

Real runs of the digits config with a budget in steps, so that all train the same programs for the
same steps, in the order A B B A: A without a dashboard, B with one, and with its page open in a
headless Chromium, or with --viewer=stream a client that reads what the page would get, as when the
browser is on another machine. Each B is compared with the A beside it: the training time of the
same trials, but for the baseline, during which the server starts; and the CPU time of all processes
of the run, in which other users of the machine count less.

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
from collections.abc import Iterator
from typing import Any

from absl import app, flags

from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.store import read_history

BLOCKS = flags.DEFINE_integer('blocks', 2, 'Blocks of four runs.', lower_bound=1)
TRIALS = flags.DEFINE_integer('trials', 8, 'Trials of a run.', lower_bound=2)
STEPS = flags.DEFINE_integer('steps', 40_000, 'Steps of a training run.', lower_bound=100)
VIEWER = flags.DEFINE_enum('viewer', 'browser', ('browser', 'stream'), 'Who looks.')
SHARED = flags.DEFINE_bool('shared_cores', False, 'Let the browser use the cores of the run, too.')
WAIT_SECONDS = 120.0  # for the first event of a run

Run = tuple[dict[int, float], float]  # training seconds of each trial, and CPU seconds of all


def cores() -> tuple[set[int], set[int]]:
  """Returns the cores of the run, and those of the dashboard and the browser."""
  free = sorted(os.sched_getaffinity(0))
  if SHARED.value or len(free) < 2:
    return {*free}, {*free}
  return {free[0]}, {*free[1:]}


@contextlib.contextmanager
def starting_on(where: set[int]) -> Iterator[None]:
  """Lets the processes that are started meanwhile use these cores only."""
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, where)
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


def run_once(workdir: pathlib.Path, own: set[int], watched: bool, browsers: Any) -> Run:
  """Makes a run; returns the training seconds of each trial, and the CPU seconds of the run."""
  command = [sys.executable, '-m', 'autoresearch_jax', 'run', '--config=digits']
  command += [f'--workdir={workdir}', f'--config.search.max_trials={TRIALS.value}']
  command += [f'--config.budget.amount={STEPS.value}', '--config.search.prefetch=0']
  command += ['--config.final_seeds=0', '--config.pruning=False', '--config.save_models=False']
  command += ['--config.acceptance_options.baseline_seeds=2']
  with starting_on(own):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
  try:
    with watching(workdir, browsers) if watched else contextlib.nullcontext():
      _, status, usage = os.wait4(process.pid, 0)
      process.returncode = os.waitstatus_to_exitcode(status)
  finally:
    if process.returncode is None:
      process.terminate()
      process.wait()
  if process.returncode:
    raise SystemExit('The run failed; its message is above.')
  history = read_history(workdir)
  trained = {
    number: sum(run.cost.training_seconds for run in result.measurements)
    for number, result in history.results.items()
    if result.measurements
  }
  return trained, usage.ru_utime + usage.ru_stime


@contextlib.contextmanager
def watching(workdir: pathlib.Path, browsers: Any) -> Iterator[None]:
  """Serves the run, and has its page open in a browser."""
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
    address = server.stdout.readline().split()[-1]
    with reading(address) if VIEWER.value == 'stream' else shown(address, browsers):
      yield
  finally:
    server.send_signal(signal.SIGINT)
    server.wait(30)
    server.stdout.close()


@contextlib.contextmanager
def shown(address: str, browsers: Any) -> Iterator[None]:
  """Has the page open in a browser."""
  page = browsers.new_page(viewport={'width': 1440, 'height': 900})
  page.goto(address)
  yield
  page.wait_for_function(
    'trials => document.querySelector("#headline").innerText.includes(`${trials}\\ntrials`)',
    arg=TRIALS.value,
    timeout=60_000,
  )  # the page has followed the run to its end
  page.close()


@contextlib.contextmanager
def reading(address: str) -> Iterator[None]:
  """Reads the events that the page would get."""
  sizes: list[int] = []

  def read() -> None:
    stream = urllib.request.urlopen(f'{address}events/', timeout=60)
    with stream, contextlib.suppress(OSError, http.client.HTTPException):
      while part := stream.read1(1 << 20):
        sizes.append(len(part))

  reader = threading.Thread(target=read, daemon=True)
  reader.start()
  yield
  print(f'  read {sum(sizes) / 1000:.0f} kB in {len(sizes)} parts', flush=True)


def report(what: str, changes: list[float]) -> None:
  """Prints the mean of relative changes over pairs of runs, and its standard error."""
  error = statistics.stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else math.nan
  each = ', '.join(f'{change:+.1%}' for change in changes)
  print(
    f'{what} with a viewer: {statistics.fmean(changes):+.2%} (standard error {error:.2%} over '
    f'{len(changes)} pairs: {each})',
    flush=True,
  )


def changes_of(without: Run, watched: Run) -> tuple[float, float]:
  """Returns the mean change of the training time of a trial, and that of the CPU time."""
  both = sorted((without[0].keys() & watched[0].keys()) - {0})
  assert both, 'The two runs have no trial in common.'
  change = statistics.fmean(math.log(watched[0][n] / without[0][n]) for n in both)
  return change, math.log(watched[1] / without[1])


def main(arguments: list[str]) -> None:
  del arguments
  path = shutil.which('chromium') or shutil.which('chromium-browser')
  own, others = cores()
  folder = pathlib.Path(tempfile.mkdtemp())
  changes: list[tuple[float, float]] = []
  os.sched_setaffinity(0, others)  # with what it starts, but for the runs
  with importlib.import_module('playwright.sync_api').sync_playwright() as started:
    browser = started.chromium.launch(executable_path=path, args=['--no-sandbox'])
    for block in range(BLOCKS.value):
      runs = []
      for place, watched in enumerate((False, True, True, False)):
        found, cpu = run_once(folder / f'{block}-{place}', own, watched, browser)
        runs.append((found, cpu))
        word = 'watched' if watched else 'alone'
        print(f'{word:<8} {sum(found.values()):8.2f} s of training, {cpu:.2f} CPU s', flush=True)
      changes += [changes_of(runs[0], runs[1]), changes_of(runs[3], runs[2])]
      report('training time', [change for change, _ in changes])
      report('CPU time of the run', [change for _, change in changes])
    browser.close()
  shutil.rmtree(folder)


if __name__ == '__main__':
  app.run(main)
