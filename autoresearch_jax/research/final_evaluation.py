"""The final evaluation: retrains baseline and best program, and scores both on the test split.

A search overfits the validation split that it selects on, and the best of many noisy scores is
biased upwards. So when a run ends, both programs are trained on the same unused seeds and scored on
a held-out *test split*. The results are logged (`FinalScored`) and reported
(`report/final_comparison.py`). Strategy, acceptance rule and proposer never see them, even if the
run is resumed later. A killed evaluation resumes, and the baseline's runs are reused if a resumed
search finds a better program.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Callable

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.executors import Executor, Unavailable, outside_trials
from autoresearch_jax.ledger.events import FinalScored
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.report.final_comparison import best_program
from autoresearch_jax.report.summary import format_duration
from autoresearch_jax.types import (
  INCONCLUSIVE,
  Budget,
  Dataset,
  Result,
  Status,
  TrialRequest,
  test_metric,
)

FIRST_SEED = 2**40  # of the unused seeds; far from those that strategies and rules choose


def announcement(config: Config, dataset: Dataset) -> str:
  """Returns a line about the cost of the final evaluation, or why there is none.

  Raises:
    ConfigError: It is requested, but the problem has no test split.
  """
  if config.final_seeds and not dataset.test:
    raise ConfigError(
      f'config.final_seeds is {config.final_seeds}, but the problem {config.problem!r} has no '
      'test split. Set config.final_seeds to 0, or set aside a test split in config.data.'
    )
  if not config.final_seeds:
    why = 'config.final_seeds is 0' if dataset.test else 'the problem has no test split'
    return f'{why}, so best and baseline are not compared at the end'
  runs = f'{2 * config.final_seeds} x {config.budget.amount:g} {config.budget.unit}'
  return f'best and baseline are compared on it at the end: {runs}'


@dataclasses.dataclass
class FinalEvaluation:
  """The final evaluation of a run.

  Attributes:
    ledger: Records the results.
    history: The run.
    executor: Trains the programs.
    budget: Budget of one training run.
    num_seeds: Training runs per program.
    stop: Returns why to stop early, a sentence; '' to continue.
    say: Receives lines of text.
    programs: First trials of the programs; None for the best one. The baseline is always trained.
  """

  ledger: Ledger
  history: History
  executor: Executor
  budget: Budget
  num_seeds: int
  stop: Callable[[], str]
  say: Callable[[str], None]
  programs: tuple[int, ...] | None = None

  def run(self) -> bool:
    """Trains and scores what is missing. Returns False if the machine failed, after saying so."""
    chosen = self.programs
    if chosen is None:
      best = best_program(self.history)
      chosen = () if best is None else (best,)
    programs = (BASELINE, *chosen) if chosen else ()
    seeds = unused_seeds(self.history, self.num_seeds)
    # In the order A B B A, so that a machine that slowly changes does not favour either program.
    order = [
      (seed, trial)
      for index, seed in enumerate(seeds)
      for trial in (programs if index % 2 == 0 else programs[::-1])
    ]
    missing = [pair for pair in order if self._is_missing(*pair)]
    try:
      if missing:
        self._train(missing)
    except Unavailable as error:
      self.say(str(error))
      return False
    return True

  def _train(self, missing: list[tuple[int, int]]) -> None:
    which = 'best' if self.programs is None else f'{len(self.programs)} kept programs'
    self.say(
      f'Retraining baseline and {which}, to score them on the test split: {len(missing)} runs'
      f'{self._estimate(len(missing))}. Ctrl-C skips it.'
    )
    canaries = self.history.canaries
    unfinished = [canaries.next_trial] if canaries.active else []
    for trial in (*self.history.running, *unfinished):  # the search was stopped while they trained
      self.executor.cancel(trial)  # it has no result, so the next session runs it again
    edits, reference = self.history.edits, self.history.reference
    left = [
      TrialRequest(
        trial, edits[trial].program, (seed,), self.budget, on_test=True, reference=reference
      )
      for seed, trial in missing[::-1]
    ]
    for request, result in outside_trials(self.executor, left, self.stop):
      self._record(request.seeds[0], request.trial, result)

  def _record(self, seed: int, trial: int, result: Result) -> None:
    result = self._checked(dataclasses.replace(result, trial=trial))
    name = 'best' if self.programs is None else f'trial {trial}'
    self.say(f'{"baseline" if trial == BASELINE else name}, {self._outcome(result)}')
    if result.status not in INCONCLUSIVE:  # those are tried again at the next start
      self.history.apply(self.ledger.append(FinalScored(trial, seed, result)))

  def _is_missing(self, seed: int, trial: int) -> bool:
    return seed not in self.history.final_results.get(trial, {})

  def _checked(self, result: Result) -> Result:
    """Returns the result, or a crash if the executor did not measure the test metric."""
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
    """Estimates the duration from the baseline's runs."""
    seconds = [m.cost.total_seconds for m in self.history.results[BASELINE].measurements]
    each = statistics.fmean(seconds) if seconds else 0.0
    rounds = math.ceil(runs / max(1, self.executor.slots))  # 0 once all slots were retired
    return f', about {format_duration(rounds * each)}' if each else ''


def unused_seeds(history: History, count: int) -> list[int]:
  """Returns seeds that no trial used. They are the same at each start."""
  used = {seed for proposal in history.proposals.values() for seed in proposal.seeds}
  unused = (seed for seed in itertools.count(FIRST_SEED) if seed not in used)
  return list(itertools.islice(unused, count))
