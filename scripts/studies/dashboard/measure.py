"""Measures the page of a long run: the file, the first paint, an update, and what looking costs.

python measure.py [--trials=2000] [--folder=DIR]

Makes a run of so many trials of the GPT program with invented scores (a minute for 2,000), and
prints a line per figure. Needs the extras `dashboard` and `browser`, and Chromium. Takes about
three minutes. The figures in docs/dashboard.md say on which machine they were made.
"""

import contextlib
import dataclasses
import http.client
import importlib
import os
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from absl import app, flags

from autoresearch_jax.config import from_config_dict, load
from autoresearch_jax.ledger.events import (
  Decided,
  Edited,
  Event,
  Finished,
  Proposed,
  Record,
  Started,
)
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger, read_records
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.report.base import View
from autoresearch_jax.report.dashboard.process import SERVER
from autoresearch_jax.report.page import RunProjection, write_page
from autoresearch_jax.report.shared_progress import SharedProgress, announce_viewer
from autoresearch_jax.research.resumable import plain
from autoresearch_jax.types import (
  Cost,
  Decision,
  Edit,
  Hypothesis,
  Measurement,
  Operation,
  Program,
  Progress,
  Proposal,
  Result,
  Status,
  Verdict,
)

TRIALS = flags.DEFINE_integer('trials', 2000, 'Trials of the run.', lower_bound=10)
FOLDER = flags.DEFINE_string('folder', None, 'Folder for the run; by default a temporary one.')
UPDATES = 10  # trials that come while the page is open
LOOKED_AT, TRIAL_SECONDS = 6, 5.0  # trials that come while only the cost of looking is measured
SETTLE_SECONDS = 10.0
SECONDS = 100  # of a run's progress
LONG_TASKS = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({ type: 'longtask', buffered: false });
"""


class InventedRun:
  """A run of the GPT program whose edits and scores are drawn at random."""

  def __init__(self) -> None:
    config = from_config_dict(load('gpt_small:cpu'))
    self._config = dataclasses.replace(config, direction='minimize')
    self._rng = random.Random(0)
    self._programs: list[Program] = [starting_program(self._config)]
    self._best = 0

  def start(self) -> Started:
    """Returns the first event."""
    return Started(plain(self._config), 'invented')

  def trial(self, number: int) -> Iterator[Event]:
    """Yields the events of a trial; trials come in order."""
    rng, parent = self._rng, None
    program = self._programs[0]
    if number:
      parent = rng.choice([self._best] * 3 + [number - 1])
      lines = self._programs[parent].text().splitlines()
      for _ in range(rng.randrange(1, 6)):
        lines[rng.randrange(20, len(lines))] += f'  # {rng.random()}'
      program = program.with_text('\n'.join(lines) + '\n')
      self._programs.append(program)
    kind = Operation.DRAFT if parent is None else Operation.IMPROVE
    yield Proposed(number, Proposal(kind, parents=() if parent is None else (parent,)))
    claim = 'It helps, since the learning rate is too low for this depth.'
    hypothesis = Hypothesis(claim, (rng.choice(('optimizer', 'width', 'depth')),), 0.01, 0.02)
    yield Edited(number, Edit(program, f'edit number {number} of the optimizer', hypothesis))
    failed = number > 0 and rng.random() < 0.08
    runs = (
      () if failed else tuple(self._run(number, seed) for seed in range(5 if not number else 1))
    )
    curve = [[k / 64, 4 - 2 * k / 64 + 0.1 * rng.random()] for k in range(64)]
    facts = {'curves': {str(run.seed): curve for run in runs}}
    status = Status.DIVERGED if failed else Status.OK
    reason = 'The loss was nan at step 3.' if failed else ''
    yield Finished(
      number, Result(number, status, reason, f'f{number}', measurements=runs, facts=facts)
    )
    keep = not number or (not failed and rng.random() < 0.03)
    self._best = number if keep else self._best
    decision = Decision.KEEP if keep else Decision.CRASH if failed else Decision.DISCARD
    yield Decided(
      number, Verdict(decision, reason or 'gain +0.0397, t = 2.59 (standard error 0.0153)')
    )

  def _run(self, number: int, seed: int) -> Measurement:
    value = 2.2 - 0.0002 * number * self._rng.random() + self._rng.gauss(0, 0.01)
    cost = Cost(trace_seconds=1, compile_seconds=2, training_seconds=12, steps=146)
    return Measurement(seed, {self._config.metric: value}, cost)


def measure_file(directory: pathlib.Path) -> None:
  """The page as a file."""
  began, cpu = time.perf_counter(), time.process_time()
  view = RunProjection.of(read_records(directory)).view()
  write_page(view, directory / 'report.html')
  size = (directory / 'report.html').stat().st_size / 1e6
  report('report.html', f'{size:.2f} MB, made in {time.perf_counter() - began:.1f} s, of which '
         f'{time.process_time() - cpu:.1f} s of CPU time')  # fmt: skip


def measure_page(browser: Any, address: str, add_trial: Callable[[], None]) -> None:
  """The live page: its first paint, and the longest task that an update causes."""
  page = browser.new_page(viewport={'width': 1440, 'height': 900})
  page.goto(address)
  page.wait_for_selector('#table tbody tr')
  paints = [opened(browser, address) for _ in range(5)]
  report('first contentful paint', spread([paint for paint, _ in paints], 'ms'))
  report('until the trials are there', spread([rows for _, rows in paints], 'ms'))
  page.wait_for_timeout(3000)
  page.evaluate(LONG_TASKS)
  tasks = []
  for _ in range(UPDATES):
    before = page.inner_text('#headline')
    page.evaluate('window.longest = 0')
    add_trial()
    page.wait_for_function('before => document.querySelector("#headline").innerText !== before',
                           arg=before, timeout=60_000)  # fmt: skip
    page.wait_for_timeout(500)
    tasks.append(page.evaluate('window.longest'))
  report('longest task of an update', f'{spread(tasks, "ms")} (0 stands for below 50)')
  page.close()


def opened(browser: Any, address: str) -> tuple[float, float]:
  """Opens the page anew; returns first contentful paint and time until rows, in milliseconds."""
  page = browser.new_page(viewport={'width': 1440, 'height': 900})
  page.goto(address)
  page.wait_for_selector('#table tbody tr')
  rows = page.evaluate('performance.now()')
  paint = page.evaluate('performance.getEntriesByName("first-contentful-paint")[0].startTime')
  page.close()
  return paint, rows


def measure_looking(address: str, server: int, add_trial: Callable[[], None]) -> None:
  """CPU time of the server while somebody looks and a trial ends every five seconds."""
  received: list[int] = []

  def read() -> None:
    stream = urllib.request.urlopen(f'{address}events/', timeout=60)
    with stream, contextlib.suppress(OSError, http.client.HTTPException):
      while part := stream.read1(1 << 20):
        received.append(len(part))

  threading.Thread(target=read, daemon=True).start()
  time.sleep(SETTLE_SECONDS)  # the first message has everything
  before, had = cpu_seconds(server), sum(received)
  for _ in range(LOOKED_AT):
    add_trial()
    time.sleep(TRIAL_SECONDS)
  share = (cpu_seconds(server) - before) / (LOOKED_AT * TRIAL_SECONDS)
  size = (sum(received) - had) / LOOKED_AT / 1000
  report('server while somebody looks', f'{share:.1%} of one core, {size:.0f} kB a trial')


def measure_progress(directory: pathlib.Path) -> None:
  """What the run itself does for those who look: in a second with 100 reports of progress."""

  class Silent(View):
    def record(self, record: Record, history: History) -> None:
      del record, history

  now = time.time()
  view = SharedProgress(Silent(), directory, lambda: now)
  for watched in (False, True):
    began = time.process_time()
    for _ in range(SECONDS):
      now += 1.0
      if watched:
        announce_viewer(directory)
        os.utime(directory / 'scratch' / 'watched', (now, now))
      for step in range(100):
        view.progress(Progress(1, 'train', 0, step / 100, step, 3.0))
      view.tick()
    spent = (time.process_time() - began) / SECONDS
    report(f'the run, {"watched" if watched else "not watched"}', f'{spent:.3%} of one core')


def cpu_seconds(pid: int) -> float:
  """Returns the CPU time of a process."""
  fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
  return (int(fields[11]) + int(fields[12])) / 100.0


def spread(values: list[float], unit: str) -> str:
  """Returns median and range."""
  ordered = sorted(values)
  return f'{ordered[len(ordered) // 2]:.0f} {unit} ({ordered[0]:.0f} to {ordered[-1]:.0f})'


def report(name: str, text: str) -> None:
  """Prints a figure."""
  print(f'{name:<30}{text}', flush=True)


def main(arguments: list[str]) -> None:
  del arguments
  directory = pathlib.Path(FOLDER.value or tempfile.mkdtemp())
  invented, numbers = InventedRun(), iter(range(10**9))
  with Workspace.open(directory) as workspace, Ledger.open(workspace.ledger_path) as ledger:

    def add_trial() -> None:
      for event in invented.trial(next(numbers)):
        ledger.append(event)

    ledger.append(invented.start())
    for _ in range(TRIALS.value):
      add_trial()
    report('trials', str(TRIALS.value))
    measure_file(directory)
    measure_progress(directory)
    command = [sys.executable, '-m', SERVER, str(directory)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None
    address = server.stdout.readline().strip()
    began = time.perf_counter()
    urllib.request.urlopen(f'{address}view/', timeout=600).read()
    report('server reads the ledger once', f'{time.perf_counter() - began:.1f} s')
    with importlib.import_module('playwright.sync_api').sync_playwright() as started:
      path = shutil.which('chromium') or shutil.which('chromium-browser')
      browser = started.chromium.launch(executable_path=path, args=['--no-sandbox'])
      measure_page(browser, f'{address}run/', add_trial)
      browser.close()
    measure_looking(address, server.pid, add_trial)
    server.stdin.close()
    server.wait(10)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
  report('peak memory of this script', f'{peak:.0f} MiB')
  if not FOLDER.value:
    shutil.rmtree(directory)


if __name__ == '__main__':
  app.run(main)
