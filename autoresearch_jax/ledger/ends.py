"""When a search ends, and what is left until then, from the ledger's events alone.

The limits are those of `config.search`, or of `autoresearch steer DIR end`, whichever came later.
"""

import dataclasses

from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.results import program_values
from autoresearch_jax.types import Ends


def effective(history: History, configured: Ends) -> Ends:
  """Returns the ends that apply: those of the config, with what was steered since."""
  steered = history.steering.ends.given()
  return dataclasses.replace(configured, **steered) if steered else configured


def why_spent(history: History, ends: Ends, dollars_per_hour: float = 0.0) -> str:
  """Returns why no further trial begins, also none that is prepared; '' if one may.

  The number of trials is not looked at, since prepared trials count as begun.
  """
  hours, dollars = history.wall_seconds / 3600, spent_dollars(history, dollars_per_hour)
  if ends.max_hours and hours >= ends.max_hours:
    return f'The search has run for {hours:.2f} hours; the limit is {ends.max_hours:g}.'
  if ends.max_dollars and dollars >= ends.max_dollars:
    return f'The search has cost ${dollars:.2f}; the limit is ${ends.max_dollars:.2f}.'
  if ends.target is not None and (reached := _reached(history, ends.target)):
    return reached
  return why_stale(history, ends)


def why_stale(history: History, ends: Ends) -> str:
  """Returns that the patience is used up: nothing was kept and nothing is under test; else ''."""
  if not 0 < (ends.patience or 0) <= history.tried_since_keep or history.under_test():
    return ''
  return f'None of the last {history.tried_since_keep} new programs was kept.'


def spent_dollars(history: History, dollars_per_hour: float, running_seconds: float = 0.0) -> float:
  """Returns what the search has cost: model calls, and the machine at a price per hour."""
  hours = (history.wall_seconds + running_seconds) / 3600
  return history.spend.dollars + dollars_per_hour * hours


def kept_value(history: History) -> tuple[float, int] | None:
  """Returns the mean of the metric over all runs of the best program, and their number."""
  values = program_values(history, history.best) if history.best is not None else []
  return (sum(values) / len(values), len(values)) if values else None


def left(
  history: History, ends: Ends, dollars_per_hour: float = 0.0, running_seconds: float = 0.0
) -> list[str]:
  """Returns what is left until each end, in words, such as '2.1 hours'.

  Args:
    history: The run.
    ends: The ends that apply.
    dollars_per_hour: Price of the machine.
    running_seconds: Wall-clock time since the last event of a run in progress.
  """
  found = []
  if ends.max_trials:
    found.append(_counted(max(0, ends.max_trials - history.next_trial), 'trial'))
  if ends.max_hours:
    seconds = max(0.0, ends.max_hours * 3600 - history.wall_seconds - running_seconds)
    found.append(_counted(round(seconds / 60), 'minute') if seconds < 5400 else (
      f'{seconds / 3600:.1f} hours'))  # fmt: skip
  if ends.max_dollars:
    dollars = ends.max_dollars - spent_dollars(history, dollars_per_hour, running_seconds)
    found.append(f'${max(0.0, dollars):.2f}')
  if ends.patience:
    tries = max(0, ends.patience - history.tried_since_keep)
    found.append(f'{_counted(tries, "program")} without a keep')
  if ends.target is not None:
    words = f'{history.objective.metric} {ends.target:g}'
    found.append(f'{words} is reached' if _reached(history, ends.target) else f'until {words}')
  return found


def _counted(count: int, noun: str) -> str:
  return f'{count} {noun}' if count == 1 else f'{count} {noun}s'


def _reached(history: History, target: float) -> str:
  """Returns that the best program has reached the target, a sentence; '' if it has not."""
  found = kept_value(history)
  if found is None:
    return ''
  value, runs = found
  score_of = history.objective.score_of
  if score_of(value) < score_of(target):
    return ''
  over = '' if runs == 1 else f' (mean of {runs} runs)'
  return (
    f'The target {history.objective.metric} {target:g} is reached: trial {history.best}, which was '
    f'kept, has {value:.6f}{over}.'
  )
