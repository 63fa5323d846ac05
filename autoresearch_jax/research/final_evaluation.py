"""The last act of a run: baseline and best, trained again and scored on data that no search saw.

A search that looks at one validation slice a hundred times fits it, and the best of many noisy
scores is a lucky one. So a problem holds back a *test split*, and when the run has ended both
programs are trained on the same fresh seeds and scored there. What comes of it is on record
(`FinalScored`) and on the last line (`report/final_comparison.py`), and nowhere else: strategy,
acceptance rule and proposer are never told, also when the run goes on later. Killed in between, the
next start goes on; the baseline's runs serve a later best as well.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.executors import Executor, Unavailable
from autoresearch_jax.ledger.events import FinalScored
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.report.final_comparison import best_program
from autoresearch_jax.report.summary import duration
from autoresearch_jax.types import (
  INCONCLUSIVE,
  Budget,
  Dataset,
  Result,
  Status,
  TrialRequest,
  test_metric,
)

FIRST_SEED = 2**40  # the fresh seeds begin here, far from those that strategies and rules choose
REQUEST = -1  # the id of a request, and down from there where there are several: no trials
WAIT_SECONDS = 0.5


def announcement(config: Config, dataset: Dataset) -> str:
  """What the end of the run will cost, or why there is no such end.

  Raises ConfigError when it is asked for, and the problem holds no data back.
  """
  if config.final_seeds and not dataset.test:
    raise ConfigError(
      f'config.final_seeds is {config.final_seeds}, but the problem {config.problem!r} holds no '
      'test split back. Set config.final_seeds to 0, or have config.data hold some back.'
    )
  if not config.final_seeds:
    why = 'config.final_seeds is 0' if dataset.test else 'the problem holds no data back'
    return f'{why}, so best and baseline are not compared at the end'
  runs = f'{2 * config.final_seeds} x {config.budget.amount:g} {config.budget.unit}'
  return f'best and baseline are compared at the end, on data held back till then: {runs}'


@dataclasses.dataclass
class FinalEvaluation:
  """budget: of a trial. pairs: how many are wanted. stop: gives a reason to leave the rest."""

  ledger: Ledger
  history: History
  executor: Executor
  budget: Budget
  pairs: int
  stop: Callable[[], str]
  say: Callable[[str], None]

  def run(self) -> bool:
    """Trains what is missing; False when the machine failed, which is said."""
    best = best_program(self.history)
    programs = () if best is None else (BASELINE, best)
    seeds = fresh_seeds(self.history, self.pairs)
    due = [pair for pair in itertools.product(seeds, programs) if self._missing(*pair)]
    try:
      if due:
        self._train(due)
    except Unavailable as error:
      self.say(str(error))
      return False
    return True

  def _train(self, due: list[tuple[int, int]]) -> None:
    self.say(
      f'Training baseline and best again, to be scored on data never used for selection: '
      f'{len(due)} runs{self._estimate(len(due))}. Ctrl-C leaves it out.'
    )
    for trial in self.history.running:  # a stop came while they trained
      self.executor.cancel(trial)  # without a result, so the next start runs it again
    left = due[::-1]
    underway: dict[int, tuple[int, int]] = {}  # of requests, the pair that each is about
    while (left or underway) and not self.stop():
      while left and len(underway) < self.executor.slots:
        request = next(i for i in itertools.count(REQUEST, -1) if i not in underway)
        underway[request] = seed, trial = left.pop()
        program = self.history.edits[trial].program
        self.executor.submit(TrialRequest(request, program, (seed,), self.budget, on_test=True))
      for news in self.executor.wait(WAIT_SECONDS):
        if isinstance(news, Result) and news.trial in underway:
          self._record(*underway.pop(news.trial), news)

  def _record(self, seed: int, trial: int, result: Result) -> None:
    result = self._required(dataclasses.replace(result, trial=trial))
    self.say(f'{"baseline" if trial == BASELINE else "best"}, {self._outcome(result)}')
    if result.status not in INCONCLUSIVE:  # else the next start tries again
      self.history.apply(self.ledger.append(FinalScored(trial, seed, result)))

  def _missing(self, seed: int, trial: int) -> bool:
    return seed not in self.history.final_results.get(trial, {})

  def _required(self, result: Result) -> Result:
    """The result, or a crash in its place where an executor measured something else."""
    metric = test_metric(self.history.objective.metric)
    values = [m.metrics.get(metric, math.nan) for m in result.measurements]
    if result.status != Status.OK or (values and all(map(math.isfinite, values))):
      return result
    return Result(result.trial, Status.CRASH, f'The executor measured no finite {metric}.')

  def _outcome(self, result: Result) -> str:
    if result.status != Status.OK:
      return f'{result.status}: {result.reason}'
    metric = test_metric(self.history.objective.metric)
    return f'{metric} {result.measurements[0].metrics[metric]:.6f}'

  def _estimate(self, runs: int) -> str:
    """By what a seed of the baseline took."""
    seconds = [m.cost.total_seconds for m in self.history.results[BASELINE].measurements]
    each = statistics.fmean(seconds) if seconds else 0.0
    rounds = math.ceil(runs / max(1, self.executor.slots))  # slots may all be given up by now
    return f', about {duration(rounds * each)}' if each else ''


def fresh_seeds(history: History, count: int) -> list[int]:
  """Seeds that no trial had, the same ones at each start."""
  used = {seed for proposal in history.proposals.values() for seed in proposal.seeds}
  unused = (seed for seed in itertools.count(FIRST_SEED) if seed not in used)
  return list(itertools.islice(unused, count))
