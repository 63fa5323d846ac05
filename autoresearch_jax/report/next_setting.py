"""Harder settings to go on with, once gains are too small to be told from the noise.

Nothing changes by itself. Each setting comes with the command that trains the kept programs there
(`autoresearch transfer`), which says how well their ranking carries over, and with what that costs.
"""

import dataclasses
import pathlib
import shlex
import statistics

import msgspec

from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.programs.start import constants_of
from autoresearch_jax.types import RERUNS

STALE = 40  # new programs without a keep
PILOT_PROGRAMS, PILOT_SEEDS = 8, 3  # beside the baseline; a program and a setting
SIZES = ('DEPTH', 'WIDTH', 'NUM_LAYERS', 'N_LAYER', 'HIDDEN')  # constants, the first one counts
LENGTHS = ('sequence_length', 'context_length')  # options of a problem's data


@dataclasses.dataclass(frozen=True)
class HarderSetting:
  """A setting that the run could go on with.

  Attributes:
    name: In words.
    assignment: Fields of the config that differ, as `autoresearch transfer --set` takes them.
    cost: Training time of one run, as a multiple of the present one.
  """

  name: str
  assignment: str
  cost: float


def is_stale(history: History) -> bool:
  """Whether gains have fallen under the noise: many new programs in a row brought no keep."""
  return history.tried_since_keep >= STALE


def harder_settings(history: History) -> tuple[HarderSetting, ...]:
  """Returns the settings that a run could go on with, the cheapest first."""
  if history.best is None:
    return ()
  config, constants = history.config, constants_of(history.edits[history.best].program)
  amount = config.budget.amount
  found = [HarderSetting('twice the budget', f'budget.amount={2 * amount:g}', 2.0)]
  timed = config.budget.unit in ('seconds', 'flops')
  for name in SIZES:
    if isinstance(value := constants.get(name), int) and value > 0:
      cost = 1.0 if timed else 2.0
      found.append(HarderSetting('a larger model', f'constants.{name}={2 * value}', cost))
      break
  for name in LENGTHS:
    if isinstance(value := config.data.get(name), int) and value > 0:
      cost = 1.0 if timed else 2.0
      found.append(HarderSetting('longer sequences', f'data.{name}={2 * value}', cost))
      break
  return tuple(sorted(found, key=lambda setting: setting.cost))


def pilot_seconds(history: History, setting: HarderSetting) -> float:
  """Returns the training time of a pilot: the best programs here and there."""
  seconds = [
    run.cost.total_seconds
    for trial in history.trials.values()
    if trial.proposal.operation not in RERUNS and trial.proposal.fidelity == 1
    for run in trial.result.measurements
  ]
  each = statistics.median(seconds) if seconds else 0.0
  programs = 1 + min(PILOT_PROGRAMS, len(history.program_trials) - 1)
  return programs * PILOT_SEEDS * each * (1 + setting.cost)


def pilot_command(directory: str, setting: HarderSetting) -> str:
  """Returns the command that measures how the ranking carries over."""
  return (
    f'autoresearch transfer {shlex.quote(directory)} --set={setting.assignment} '
    f'--top={PILOT_PROGRAMS} --seeds={PILOT_SEEDS}'
  )


def describe_stale(history: History) -> str:
  """Returns a sentence about harder settings where the run needs one; else ''."""
  if not is_stale(history) or history.best in (None, BASELINE):
    return ''
  names = ', '.join(setting.name for setting in harder_settings(history))
  return (
    f'The last {history.tried_since_keep} new programs brought no keep: gains are under the noise '
    f'of this setting. `autoresearch audit` proposes harder ones ({names}) with their cost.'
  )


def describe_settings(history: History, directory: pathlib.Path) -> str:
  """Returns the settings as lines of text, with what a finished pilot has found."""
  lines = []
  for setting in harder_settings(history):
    seconds = pilot_seconds(history, setting)
    lines.append(
      f'  {setting.name}: a pilot trains for about {_minutes(seconds)}\n'
      f'    {pilot_command(str(directory), setting)}'
    )
  if found := _finished_pilot(directory):
    lines.append(f'  {found}')
  return '\n'.join(lines)


def _finished_pilot(directory: pathlib.Path) -> str:
  """Returns what the pilot in a run's folder has found; '' without one."""
  try:
    record = msgspec.json.decode((directory / 'transfer' / 'transfer.json').read_bytes())
    correlation, (low, high) = record['rank_correlation'], record['interval']
    return (
      f'The last pilot: rank correlation (Spearman) {correlation:.2f} ({low:.2f} to {high:.2f}) '
      'between the two settings.'
    )
  except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError):
    return ''


def _minutes(seconds: float) -> str:
  if seconds > 5400:
    return f'{seconds / 3600:.1f} hours'
  minutes = max(1, round(seconds / 60))
  return f'{minutes} minute{"s" if minutes > 1 else ""}'
