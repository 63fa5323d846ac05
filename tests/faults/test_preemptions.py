"""A fake cloud takes the machine of a run away, again and again; another one goes on.

PREEMPTIONS=12 python -m pytest -n 0 -s tests/faults/test_preemptions.py

The bar is 12 preemptions, two of each kind; by default there are three.
"""

import collections
import contextlib
import os
import random
import shutil
import signal
import time

import pytest
from helpers import cloud
from helpers.kills import outcomes, require_consistent
from helpers.processes import adopting, family, finish, require_ended, said, start

from autoresearch_jax.data.bucket import Bucket
from autoresearch_jax.ledger.events import Finished, LedgerError, Resumed, SeedFinished, Started
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.mirror import snapshots
from autoresearch_jax.mirror.lease import newest

pytestmark = pytest.mark.slow

PREEMPTIONS = int(os.environ.get('PREEMPTIONS', '3'))
KINDS = ('wiped', 'second', 'term', 'killed', 'slow', 'failing')
PATIENCE = 600.0  # seconds for what must happen in the end, however slow the machine is
DIGITS = [cloud.COMMAND, '--config=configs/digits.py', '--config.budget.amount=300']
DIGITS += ['--config.acceptance_options.baseline_seeds=2']
DIGITS += ['--config.pruning=False']  # a verdict on a pruned trial has the seconds that it saved


def wait_until(condition, otherwise):
  deadline = time.monotonic() + PATIENCE
  while not condition():
    assert time.monotonic() < deadline, otherwise
    time.sleep(0.05)


def events(path):
  """The events of a ledger; none where there is none."""
  try:
    with Ledger.read(path) as ledger:
      return [record.event for record in ledger.records()]
  except LedgerError:
    return []


def runs(found):
  """(trial, seed) of each training run on record."""
  return [(e.trial, e.result.measurement.seed) for e in found if isinstance(e, SeedFinished)]


class FakeCloud:
  """A bucket, and one machine after the other that has the run.

  Attributes:
    lost: How many training runs each kind of preemption has lost, beside those under way.
    sessions: How many controllers had the run.
  """

  def __init__(self, folder):
    cloud.register()
    self.folder, self.bucket = folder, folder / 'bucket'
    self.store = Bucket(cloud.url(self.bucket))
    self.flags = [*DIGITS, f'--config.mirror={cloud.url(self.bucket)}']
    self.lost, self.sessions, self.machine = collections.Counter(), 0, 0
    self.process = None

  @property
  def workdir(self):
    return self.folder / f'machine{self.machine}'

  def begin(self):
    self.process = start([*self.flags, '--config.search.max_trials=0'], self.workdir)
    self.sessions += 1
    wait_until(lambda: self.begun() == self.sessions, 'The session does not begin.')
    self.train()

  def train(self, trials=1):
    """Waits until more trials have ended."""
    before = len(self.results())
    wait_until(lambda: len(self.results()) >= before + trials or self.process.poll() is not None,
               'No trial ends.')  # fmt: skip
    assert self.process.poll() is None, said(self.workdir)

  def begun(self):
    return len([e for e in events(self.workdir / 'ledger.db') if isinstance(e, Started | Resumed)])

  def results(self):
    return [e for e in events(self.workdir / 'ledger.db') if isinstance(e, Finished)]

  def copied(self):
    """The events in the bucket, also while it fails for others."""
    weather = self.bucket.with_name('bucket.weather')
    with contextlib.suppress(FileNotFoundError):
      weather.unlink()
    found = snapshots.latest(self.store)
    if found is None:
      return []
    (self.folder / 'copy.db').write_bytes(found[1])
    return events(self.folder / 'copy.db')

  def preempt(self, kind):
    getattr(self, f'_{kind}')()
    cloud.set_weather(self.bucket)

  def _term(self):
    self.process.send_signal(signal.SIGTERM)
    assert self.process.wait(PATIENCE) == 143, said(self.workdir)
    assert self.copied() == events(self.workdir / 'ledger.db')
    self._leave()

  def _killed(self):
    self._kill()

  def _wiped(self):
    self._take_away('wiped')

  def _slow(self):
    cloud.set_weather(self.bucket, delay=0.3)
    self.train()
    self._take_away('slow')

  def _failing(self):
    cloud.set_weather(self.bucket, fail=True)
    self.train(2)
    cloud.set_weather(self.bucket)
    self._take_away('failing')

  def _second(self):
    code, text = finish(self.flags, self.folder / 'second', timeout=PATIENCE)
    assert code == 2 and f'process {self.process.pid} on' in text and '--take_over' in text, text
    assert not (self.folder / 'second').exists()
    self.train()
    self._kill()

  def _take_away(self, kind):
    """Ends the machine with its disk, once the bucket has what had ended by now."""
    have = len(events(self.workdir / 'ledger.db'))
    count = lambda: int(max((self.bucket / 'ledger').glob('*.gz')).name.split('-')[2])  # noqa: E731
    wait_until(lambda: count() >= have, 'The bucket never has the events.')
    self.process.send_signal(signal.SIGSTOP)
    here, there = events(self.workdir / 'ledger.db'), self.copied()
    assert here[: len(there)] == there
    self.lost[kind] += max(0, len(runs(here)) - len(runs(there)) - 1)
    self._kill()
    self._leave()

  def _kill(self):
    relatives = [self.process.pid, *family(self.process.pid)]
    self.process.kill()
    self.process.wait()
    require_ended(relatives)

  def _leave(self):
    shutil.rmtree(self.workdir)
    self.machine += 1


@pytest.mark.timeout(1800)
def test_preemptions_lose_nothing_but_the_training_run_under_way(tmp_path):
  fake, began = FakeCloud(tmp_path), time.monotonic()
  dealt = [KINDS[number % len(KINDS)] for number in range(PREEMPTIONS)]
  random.Random(1).shuffle(dealt)
  with adopting():
    try:
      for kind in dealt:
        fake.begin()
        fake.preempt(kind)
    finally:
      fake.process.kill()
  trials = len([e for e in fake.copied() if isinstance(e, Finished)]) + 4
  print(f'{dealt} in {time.monotonic() - began:.0f} s; lost beyond the run under way: {fake.lost}')
  last = f'--config.search.max_trials={trials}'
  code, text = finish([*fake.flags, last], fake.workdir, timeout=PATIENCE)
  assert code == 0, text
  assert fake.lost.total() == 0
  found = events(fake.workdir / 'ledger.db')
  assert fake.copied() == found
  doubled = [run for run, count in collections.Counter(runs(found)).items() if count > 1]
  assert not doubled
  assert newest(fake.store)[0] == fake.sessions + 1
  assert fake.begun() == fake.sessions + 1
  code, text = finish([*DIGITS, last], tmp_path / 'whole', timeout=PATIENCE)
  assert code == 0, text
  preempted = require_consistent(fake.workdir, trials)
  assert outcomes(preempted) == outcomes(require_consistent(tmp_path / 'whole', trials))
