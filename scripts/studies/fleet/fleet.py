"""How many machines a controller keeps busy: a run whose machines are played.

  python scripts/studies/fleet/fleet.py --slots=256 --trial_seconds=16 --trials=2000

The run is real: controller, strategy, proposer, ledger, git repository, and the executor for many
machines. The machines are played: each answers after `trial_seconds` with random numbers, and is
lost now and then. Prints rates, the busy share of the slots, the size of the ledger, and with
--profile where the controller's time goes. `fleet.md` has the results.
"""

import argparse
import cProfile
import dataclasses
import heapq
import itertools
import pathlib
import pstats
import queue
import random
import tempfile
import threading
import time

import msgspec

from autoresearch_jax import config as configs
from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.executors.cluster import ClusterExecutor
from autoresearch_jax.executors.host import HostReady
from autoresearch_jax.executors.remote_machine import HostLost, Link
from autoresearch_jax.ledger.history import History
from autoresearch_jax.proposers import PROPOSERS
from autoresearch_jax.proposers.mutate.proposer import Mutate
from autoresearch_jax.report import View
from autoresearch_jax.research.session import run_session
from autoresearch_jax.types import (
  Cost,
  Hardware,
  Measurement,
  Progress,
  Result,
  SeedResult,
  Status,
)


class Timer:
  """Calls functions at given times, in a thread of its own; counts how long slots were busy."""

  def __init__(self, trial_seconds: float, hours_between_losses: float):
    self.trial_seconds, self.hours = trial_seconds, hours_between_losses
    self.losses = 0
    self._due: list = []
    self._numbers = itertools.count()
    self._condition = threading.Condition()
    threading.Thread(target=self._run, daemon=True).start()

  def call(self, seconds: float, function) -> None:
    with self._condition:
      heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), function))
      self._condition.notify()

  def _run(self) -> None:
    while True:
      with self._condition:
        while not self._due or self._due[0][0] > time.monotonic():
          self._condition.wait(self._due[0][0] - time.monotonic() if self._due else None)
        _, _, function = heapq.heappop(self._due)
      function()


class PlayedMachine(Link):
  """A machine that answers with random numbers."""

  def __init__(self, timer: Timer, rng: random.Random, slots: int):
    self._timer, self._rng = timer, rng
    self._inbox: queue.SimpleQueue = queue.SimpleQueue()
    self._slots = slots
    if timer.hours:
      timer.call(rng.expovariate(1 / (3600 * timer.hours)), self._lose)

  def _lose(self) -> None:
    self._timer.losses += 1
    self.hang_up()

  def send(self, message) -> None:
    message = msgspec.json.decode(msgspec.json.encode(message))
    if 'start' in message:
      self._answer({'ready': HostReady(self._slots, Hardware('played', 1))})
    elif 'alive' in message:
      self._answer(message)
    elif 'check' in message:
      self._answer({'checked': message['check'], 'reason': ''})
    elif 'submit' in message:
      trial, seeds = message['submit']['trial'], message['submit']['seeds']
      self._answer({'progress': Progress(trial, 'train', seeds[0])})
      seconds = self._timer.trial_seconds * len(seeds) * self._rng.uniform(0.95, 1.05)
      self._timer.call(seconds, lambda: self._finish(trial, seeds))

  def _finish(self, trial: int, seeds: list[int]) -> None:
    runs, curve = [], [[step / 64, 2.0 + 1 / (1 + step)] for step in range(64)]
    for seed in seeds:
      cost = Cost(training_seconds=self._timer.trial_seconds, steps=300)
      runs.append(Measurement(seed, {'val_loss': self._rng.gauss(2.0, 0.015)}, cost))
      facts = {'curves': {str(seed): curve}}
      self._answer({'seed': SeedResult(trial, f'{trial:064}', runs[-1], facts)})
    facts = {'curves': {str(run.seed): curve for run in runs}, 'device': 'played'}
    digest = f'{self._rng.getrandbits(256):064x}'
    self._answer(
      {'result': Result(trial, Status.OK, '', digest, measurements=tuple(runs), facts=facts)}
    )

  def _answer(self, message) -> None:
    self._inbox.put(msgspec.json.encode(message))

  def receive(self, timeout: float):
    try:
      message = self._inbox.get(timeout=timeout)
    except queue.Empty:
      return None
    if message is None:
      raise HostLost('The connection was closed.')
    return msgspec.json.decode(message)

  def hang_up(self) -> None:
    self._inbox.put(None)

  def close(self) -> None:
    pass


@EXECUTORS.register('played_fleet')
@dataclasses.dataclass
class PlayedFleet(ClusterExecutor):
  """Runs trials on played machines.

  Attributes:
    machines: Number of machines.
    trial_seconds: Duration of a training run.
    hours_between_losses: Mean time until a machine is lost; 0 for never.
  """

  machines: int = 1
  trial_seconds: float = 16.0
  hours_between_losses: float = 0.0

  def __post_init__(self) -> None:
    self._timer = Timer(self.trial_seconds, self.hours_between_losses)
    self._rng = random.Random(0)
    super().__post_init__()

  def names(self) -> list[str]:
    return [f'machine{index}' for index in range(self.machines)]

  def connect(self, name: str) -> Link:
    del name
    return PlayedMachine(self._timer, self._rng, self._setup.slots)


@PROPOSERS.register('slow_mutate')
@dataclasses.dataclass(frozen=True)
class SlowMutate(Mutate):
  """Random edits that take a while, as a model's answers do.

  Attributes:
    seconds: Duration of a proposal, beside that of the edit.
  """

  seconds: float = 0.0

  def propose(self, proposal, context, rng):
    time.sleep(self.seconds)
    return super().propose(proposal, context, rng)


class Silent(View):
  """Shows nothing; notes time and CPU time, in seconds, of each verdict."""

  def __init__(self, verdicts: list[tuple[float, float]]):
    self.verdicts = verdicts

  def record(self, record, history: History) -> None:
    del history
    if type(record.event).__name__ == 'Decided':
      self.verdicts.append((time.monotonic(), time.process_time()))


def main() -> None:
  """Runs the study once with the given sizes."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--slots', type=int, default=256)
  parser.add_argument('--slots_per_machine', type=int, default=8)
  parser.add_argument('--proposal_seconds', type=float, default=0.0)
  parser.add_argument('--trial_seconds', type=float, default=16.0)
  parser.add_argument('--trials', type=int, default=1000)
  parser.add_argument('--prefetch', type=int, default=1)
  parser.add_argument('--strategy', default='greedy')
  parser.add_argument('--hours_between_losses', type=float, default=0.0)
  parser.add_argument('--profile', action='store_true')
  options = parser.parse_args()
  config = configs.from_config_dict(
    configs.load('digits'),
    {
      'executor': 'played_fleet',
      'executor_options': {
        'machines': options.slots // options.slots_per_machine,
        'slots': options.slots_per_machine,
        'trial_seconds': options.trial_seconds,
        'hours_between_losses': options.hours_between_losses,
      },
      'proposer': 'slow_mutate',
      'proposer_options': {'seconds': options.proposal_seconds},
      'search.max_trials': options.trials,
      'search.prefetch': options.prefetch,
      'search.strategy': options.strategy,
      'final_seeds': 0,
    },
  )
  verdicts: list[tuple[float, float]] = []
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / 'run'
    profile = cProfile.Profile()
    if options.profile:
      profile.enable()
    run_session(
      config,
      workdir,
      say=lambda line: None,
      make_view=lambda history: Silent(verdicts),
      stop=NeverStop(),
    )
    profile.disable()
    size = sum(file.stat().st_size for file in workdir.glob('ledger.db*'))
    repo = sum(file.stat().st_size for file in (workdir / 'repo').rglob('*') if file.is_file())
  _print(options, verdicts, size, repo)
  if options.profile:
    pstats.Stats(profile).sort_stats('cumulative').print_stats(45)


class NeverStop:
  """A stop request that nobody makes."""

  def __enter__(self):
    return self

  def __exit__(self, *_: object) -> None:
    pass

  def __call__(self) -> str:
    return ''

  def rearm(self) -> bool:
    return False


def _print(options, verdicts: list[tuple[float, float]], size: int, repo: int) -> None:
  """Prints rates after the first trials, which fill the slots."""
  trials = len(verdicts)
  skipped = min(trials // 2, 2 * options.slots)
  rate = _rates(verdicts[skipped:])[0]
  print(f'slots                    {options.slots}, trials of {options.trial_seconds:g} s')
  print(f'trials                   {trials}')
  print(f'trials a second          {rate:.1f} after the first {skipped}')
  print(f'possible                 {options.slots / options.trial_seconds:.1f}')
  print(f'busy share               {100 * rate * options.trial_seconds / options.slots:.1f} %')
  for quarter in range(4):
    part = verdicts[trials * quarter // 4 : trials * (quarter + 1) // 4]
    print(f'CPU a trial, quarter {quarter + 1}   {_rates(part)[1]:.1f} ms')
  print(f'ledger a trial           {size / trials / 1024:.1f} KiB')
  print(f'git repository a trial   {repo / trials / 1024:.1f} KiB')


def _rates(verdicts: list[tuple[float, float]]) -> tuple[float, float]:
  """Returns trials a second, and milliseconds of CPU time a trial."""
  (began, cpu_before), (ended, cpu_after) = verdicts[0], verdicts[-1]
  count = len(verdicts) - 1
  return count / (ended - began), 1000 * (cpu_after - cpu_before) / count


if __name__ == '__main__':
  main()
