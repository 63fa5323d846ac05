"""Measures what somebody who looks at the dashboard costs the device: its time for the same work.

python viewer.py [--blocks=2] [--trials=10] [--steps=20000] [--shared_cores]

Real runs of the digits config with a budget in steps, so that all train the same programs for the
same steps, in the order A B B A: A without a dashboard, B with one, and with its page open in a
headless Chromium from the first event to the end. The training time of each trial of a B is
compared with that of the same trial in the A beside it.

The run has one core, and the dashboard and the browser have another, as the browser is usually on
another machine; with --shared_cores all of them share the same cores. Needs the extras `dashboard`
and `browser`, Chromium, and two cores that nobody else uses. docs/dashboard.md has the figures.
"""

import contextlib
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
import time
from collections.abc import Iterator
from typing import Any

from absl import app, flags

from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.store import read_history

BLOCKS = flags.DEFINE_integer('blocks', 2, 'Blocks of four runs.', lower_bound=1)
TRIALS = flags.DEFINE_integer('trials', 10, 'Trials of a run.', lower_bound=2)
STEPS = flags.DEFINE_integer('steps', 20_000, 'Steps of a training run.', lower_bound=100)
SHARED = flags.DEFINE_bool('shared_cores', False, 'Let the browser use the cores of the run, too.')
WAIT_SECONDS = 120.0  # for the first event of a run


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


def run_once(workdir: pathlib.Path, watched: bool, browsers: Any) -> tuple[dict[int, float], float]:
  """Makes a run; returns the training seconds of each trial, and those of the whole search."""
  own, others = cores()
  command = [sys.executable, '-m', 'autoresearch_jax', 'run', '--config=digits']
  command += [f'--workdir={workdir}', f'--config.search.max_trials={TRIALS.value}']
  command += [f'--config.budget.amount={STEPS.value}', '--config.search.prefetch=0']
  command += ['--config.final_seeds=0', '--config.pruning=False', '--config.save_models=False']
  command += ['--config.acceptance_options.baseline_seeds=2']
  with starting_on(own):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
  try:
    with watching(workdir, browsers, others) if watched else contextlib.nullcontext():
      _, error = process.communicate()
  finally:
    if process.poll() is None:
      process.terminate()
      process.wait()
  if process.returncode:
    raise SystemExit(error.decode())
  history = read_history(workdir)
  trained = {
    number: sum(run.cost.training_seconds for run in result.measurements)
    for number, result in history.results.items()
    if result.measurements
  }
  return trained, history.wall_seconds


@contextlib.contextmanager
def watching(workdir: pathlib.Path, browsers: Any, where: set[int]) -> Iterator[None]:
  """Serves the run, and has its page open in a browser."""
  deadline = time.monotonic() + WAIT_SECONDS
  while time.monotonic() < deadline:
    with contextlib.suppress(LedgerError):
      if read_history(workdir).started is not None:
        break
    time.sleep(0.1)
  command = [sys.executable, '-m', 'autoresearch_jax', 'dashboard', str(workdir), '--port=0']
  with starting_on(where):
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
  assert server.stdout is not None
  page = browsers.new_page(viewport={'width': 1440, 'height': 900})
  try:
    page.goto(server.stdout.readline().split()[-1])
    page.wait_for_selector('#under-way article', timeout=60_000)
    yield
    shown = page.inner_text('#headline')
    if f'{TRIALS.value}\n' not in shown:  # the page has followed the run to its end
      page.wait_for_timeout(3000)
      shown = page.inner_text('#headline')
    print(f'  the page shows: {" | ".join(shown.splitlines()[:2])}', flush=True)
  finally:
    page.close()
    server.send_signal(signal.SIGINT)
    server.wait(30)
    server.stdout.close()


def report(pairs: list[tuple[dict[int, float], dict[int, float]]]) -> None:
  """Prints the mean difference over pairs of runs, each the mean over its trials, and its error."""
  changes = []
  for without, watched in pairs:
    both = sorted(without.keys() & watched.keys())
    assert both, 'The two runs have no trial in common.'
    change = statistics.fmean(math.log(watched[n] / without[n]) for n in both)
    total = sum(watched[n] for n in both) / sum(without[n] for n in both) - 1
    changes.append(change)
    print(f'a pair: {change:+.2%} a trial, {total:+.2%} of all training time', flush=True)
  error = statistics.stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else math.nan
  median = statistics.median(changes)
  print(
    f'training time with a viewer: {statistics.fmean(changes):+.2%} (standard error {error:.2%} '
    f'over {len(changes)} pairs, median {median:+.2%})'
  )


def main(arguments: list[str]) -> None:
  del arguments
  path = shutil.which('chromium') or shutil.which('chromium-browser')
  _, others = cores()
  folder = pathlib.Path(tempfile.mkdtemp())
  pairs = []
  with importlib.import_module('playwright.sync_api').sync_playwright() as started:
    with starting_on(others):
      browser = started.chromium.launch(executable_path=path, args=['--no-sandbox'])
    for block in range(BLOCKS.value):
      runs = []
      for place, watched in enumerate((False, True, True, False)):
        found, wall = run_once(folder / f'{block}-{place}', watched, browser)
        runs.append(found)
        word = 'watched' if watched else 'alone'
        print(f'{word:<8} {sum(found.values()):8.2f} s of training in {wall:.1f} s', flush=True)
      pairs += [(runs[0], runs[1]), (runs[3], runs[2])]
    browser.close()
  report(pairs)
  shutil.rmtree(folder)


if __name__ == '__main__':
  app.run(main)
