"""Kept programs that users had measured again (`autoresearch steer DIR remeasure`): the outcome.

The new runs are on fresh seeds, so they were not picked for being good, as those behind a keep may
be. They are compared with all runs of the program that the kept one replaced. That is no paired
test, and the machine may have changed in between, so a keep is put in doubt and not taken back:
measuring the replaced program again has the acceptance rule test it against the best one.
"""

import dataclasses
import itertools
import math
import statistics

from autoresearch_jax.knowledge.program_results import ProgramResults
from autoresearch_jax.ledger import requests
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.results import program_values
from autoresearch_jax.ledger.steering import TakenRequest
from autoresearch_jax.report.final_comparison import critical_value
from autoresearch_jax.types import Verb


@dataclasses.dataclass(frozen=True)
class Remeasured:
  """A kept program, its new runs, and the program that it replaced.

  Attributes:
    trial: First trial of the kept program.
    again: The trials that measured it again.
    mean: Mean of the metric over their runs.
    runs: Number of these runs.
    replaced: First trial of the program that was the best one before it.
    replaced_mean: Mean of the metric over all runs of that.
    gain: Score of the new runs minus that of the replaced program; above 0 is better.
    half_width: Half width of the 95 % interval of the gain; None if the noise is not known.
    is_best: Whether the kept program still is the best one.
  """

  trial: int
  again: tuple[int, ...]
  mean: float
  runs: int
  replaced: int
  replaced_mean: float
  gain: float
  half_width: float | None
  is_best: bool

  @property
  def in_doubt(self) -> bool:
    """Whether the new runs are worse than those of the replaced program."""
    return self.gain < 0

  def describe(self, metric: str) -> str:
    """Returns the outcome in one or two sentences."""
    width = '' if self.half_width is None else f' ± {self.half_width:.2g}'
    runs = 'a fresh seed' if self.runs == 1 else f'{self.runs} fresh seeds'
    trials = 'trial' if len(self.again) == 1 else 'trials'
    text = (
      f'Measured again on {runs} ({trials} {", ".join(map(str, self.again))}), trial {self.trial} '
      f'has {metric} {self.mean:.6g}; trial {self.replaced}, which it replaced, has '
      f'{self.replaced_mean:.6g}: a gain of {self.gain:+.3g}{width}.'
    )
    if not self.in_doubt:
      return text
    advice = (
      f', and it stays the best program unless you have trial {self.replaced} tested against it: '
      f'`autoresearch steer WORKDIR remeasure {self.replaced}`'
      if self.is_best
      else ''
    )
    return f'{text} So its keep is in doubt{advice}.'


def remeasured(history: History) -> list[Remeasured]:
  """Returns the kept programs that were measured again on request, in the order of their keeps."""
  again: dict[int, list[int]] = {}
  for taken in history.steering.taken.values():
    if taken.request.verb is Verb.REMEASURE and taken.trial in history.trials:
      again.setdefault(history.original(taken.trial), []).append(taken.trial)
  if not again:
    return []
  programs = ProgramResults(history.objective)
  for trial in history.trials.values():
    programs.add(trial)
  kept = list(dict.fromkeys(history.original(number) for number in history.kept))
  found = (
    _outcome(history, programs, trial, before, again[trial])
    for before, trial in itertools.pairwise(kept)
    if trial in again
  )
  return [outcome for outcome in found if outcome is not None]


def _outcome(
  history: History, programs: ProgramResults, trial: int, replaced: int, again: list[int]
) -> Remeasured | None:
  """Returns what new runs of a program gave; None if one of the two has no score."""
  metric, score_of = history.objective.metric, history.objective.score_of
  results = (history.results[number] for number in again)
  new = [m.metrics[metric] for r in results for m in r.measurements if metric in m.metrics]
  old = program_values(history, replaced)
  if not new or not old:
    return None
  mean, before = statistics.fmean(new), statistics.fmean(old)
  width = None
  if noise := programs.noise or history.noise():
    error = noise * math.sqrt(1 / len(new) + 1 / len(old))
    width = critical_value(programs.degrees_of_freedom) * error
  return Remeasured(
    trial=trial,
    again=tuple(again),
    mean=mean,
    runs=len(new),
    replaced=replaced,
    replaced_mean=before,
    gain=score_of(mean) - score_of(before),
    half_width=width if width is not None and math.isfinite(width) else None,
    is_best=history.best == trial,
  )


def request_outcome(history: History, taken: TakenRequest) -> str:
  """Returns what became of a request, and for a trial that was measured again what that gave."""
  words = requests.outcome(history, taken)
  if taken.request.verb is not Verb.REMEASURE or taken.trial not in history.trials:
    return words
  of = history.original(taken.trial)
  metric = history.objective.metric
  return '. '.join([words, *(r.describe(metric) for r in remeasured(history) if r.trial == of)])
