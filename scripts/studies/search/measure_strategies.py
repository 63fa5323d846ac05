"""What a strategy takes once the history is long: median milliseconds of ask, tell and append.

  python measure_strategies.py [--strategies=greedy,tree] [--known=10000] [--trials=300]

Plays synthetic trials into each strategy's state through ask and tell: a child's metric is its
parent's with a step, mostly a worse one; some trials fail. Then measures the next `--trials`. One
append is that of the Decided event, into a ledger in --folder that holds the trials measured
(what an append takes does not depend on the events before). The bar of 1 ms is the sum of ask,
tell and one append.
"""

import dataclasses
import pathlib
import statistics
import tempfile
import time
from typing import Any

import numpy as np
from absl import app, flags

from autoresearch_jax import types
from autoresearch_jax.ledger.events import Decided
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OPTUNA = ('tpe', 'cma_es', 'gp', 'centaur')  # these refit a model of all trials with each ask
FAILURES = 0.2  # share of the trials that fail
BROKEN = (types.Status.CRASH, types.Status.OOM, types.Status.DIVERGED, types.Status.DUPLICATE)

_STRATEGIES = flags.DEFINE_list(
  'strategies', None, 'Registered names; default: all but ' + ', '.join(OPTUNA) + '.'
)
_KNOWN = flags.DEFINE_integer('known', 10_000, 'Trials in the state before measuring.')
_TRIALS = flags.DEFINE_integer('trials', 300, 'Trials measured.')
_FOLDER = flags.DEFINE_string('folder', None, 'Where the ledger is written; default: temporary.')


@dataclasses.dataclass
class Play:
  """A run without research: each proposal becomes a trial whose outcome is drawn."""

  strategy: Any
  seed: int = 0

  def __post_init__(self) -> None:
    first = baseline(0.0)
    self.values, self.edits, self.best = {0: 0.0}, {0: first.edit}, 0.0
    self.state = self.strategy.tell(self.strategy.init(OBJECTIVE), first)

  def step(self) -> tuple[float, float, types.Trial]:
    """Asks and tells once; returns the seconds of both, and the trial."""
    number = len(self.values)
    rng = np.random.default_rng((self.seed, number))
    start = time.perf_counter()
    proposal, asked = self.strategy.ask(self.state, rng)
    ask_seconds = time.perf_counter() - start
    trial = self._outcome(number, proposal, np.random.default_rng((self.seed + 1, number)))
    start = time.perf_counter()
    self.state = self.strategy.tell(asked, trial)
    return ask_seconds, time.perf_counter() - start, trial

  def _outcome(
    self, number: int, proposal: types.Proposal, rng: np.random.Generator
  ) -> types.Trial:
    parent = proposal.parents[0] if proposal.parents else 0
    repeats = proposal.operation in types.RERUNS
    change = 0.01 * rng.standard_normal() if repeats else 0.1 + 0.3 * rng.standard_t(3)
    value = self.values[parent] + change
    failed = rng.random() < FAILURES and not repeats
    status = BROKEN[rng.integers(len(BROKEN))] if failed else types.Status.OK
    kept = not failed and value < self.best
    trial = finished(
      number, proposal, (status, kept, value), self.edits[parent] if repeats else None
    )
    self.best = min(self.best, value) if kept else self.best
    self.values[number], self.edits[number] = value, trial.edit
    return trial


def measured(name: str, ledger: Ledger) -> tuple[float, float, float, float, float]:
  """Median milliseconds of ask, tell, append and their sum, and the sum's 95th percentile."""
  play = Play(STRATEGIES.make(name))
  for _ in range(_KNOWN.value):
    play.step()
  seconds = []
  for _ in range(_TRIALS.value):
    ask_seconds, tell_seconds, trial = play.step()
    assert trial.verdict is not None
    start = time.perf_counter()
    ledger.append(Decided(trial.id, trial.verdict))
    append_seconds = time.perf_counter() - start
    seconds.append((ask_seconds, tell_seconds, append_seconds))
  totals = [1e3 * sum(parts) for parts in seconds]
  ask, tell, append = (1e3 * statistics.median(part) for part in zip(*seconds, strict=True))
  return ask, tell, append, statistics.median(totals), float(np.percentile(totals, 95))


def main(_: list[str]) -> None:
  names = _STRATEGIES.value or [name for name in STRATEGIES.names() if name not in OPTUNA]
  print(f'Median ms over {_TRIALS.value} trials, with {_KNOWN.value} in the state.')
  print(f'{"strategy":<14}{"ask":>9}{"tell":>9}{"append":>9}{"total":>9}{"p95":>9}')
  with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
    for name in names:
      with Ledger.open(pathlib.Path(folder) / f'{name}.db') as ledger:
        figures = measured(name, ledger)
      print(f'{name:<14}' + ''.join(f'{figure:9.3f}' for figure in figures), flush=True)


if __name__ == '__main__':
  app.run(main)
