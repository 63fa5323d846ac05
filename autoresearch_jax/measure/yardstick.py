"""Searches for an evaluation that separates programs better per device second than the metric.

  autoresearch measure yardstick --config=digits --to=runs/yardstick [--minutes=4]
  autoresearch measure yardstick --run=runs/gpt_small_cpu --to=runs/yardstick

Trains some programs (random edits of the starting program, or with --run the best ones of a run) on
the same seeds, with whole and shorter budgets, and records the losses of single rows on both
held-out splits. What is stopped resumes by the same command, and --minutes makes it stop by itself.

Then it chooses an evaluator on one half of the programs: which share of the budget, which rows,
which weights, clipping, a control variate. It is judged on the other half: the gain in power,
(mean / standard deviation)² of the paired difference, per device second of training and evaluation,
and whether it orders known pairs as the metric does there and on the test split.
"""

import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.measure import row_recording
from autoresearch_jax.measure.evaluator_choice import TooFewPairs
from autoresearch_jax.measure.evaluators import MIN_SEEDS
from autoresearch_jax.measure.row_recording import RecordingError, RecordingFolder
from autoresearch_jax.measure.yardstick_report import report
from autoresearch_jax.research.build import build_task
from autoresearch_jax.sandbox.tracer_policy import SandboxError

_CONFIG = command.define_config('The setting whose evaluation is examined.')
_RUN = flags.DEFINE_string('run', '', 'Folder of a run, for its config and its best programs.')
_TO = flags.DEFINE_string('to', '', 'Folder of the recording.')
_PROGRAMS = flags.DEFINE_integer('programs', 16, 'Programs of a new recording.', 4)
_SEEDS = flags.DEFINE_integer('seeds', 8, 'Seeds of each program and budget.', MIN_SEEDS)
_BUDGETS = flags.DEFINE_list(
  'budgets', ['1', '0.25', '0.5'], 'Fractions of the budget, in the order of recording.'
)
_STATES = flags.DEFINE_list(
  'states', ['0.25', '0.5', '0.75', '0.9'],
  'Fractions of a training after which its rows are scored, beside its end.',
)  # fmt: skip
_MINUTES = flags.DEFINE_float('minutes', 600.0, 'No training begins after so many minutes.', 0)
_SPLITS = flags.DEFINE_integer('splits', 20, 'Splits of the programs that are compared.', 0)
ERRORS = (
  ConfigError, LedgerError, OSError, RecordingError, SandboxError, TooFewPairs, UnicodeError,
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  try:
    if len(arguments) > 1:
      raise ConfigError(f'{arguments[1]!r} is no flag.')
    return _measure()
  except ERRORS as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT


def _measure() -> int:
  if not _TO.value:
    raise ConfigError('Name the folder of the recording by --to.')
  budgets = _fractions('budgets', _BUDGETS.value)
  if 1.0 not in budgets:
    raise ConfigError('--budgets has to have 1, the whole budget, such as --budgets=1,0.25.')
  states = sorted(set(_fractions('states', _STATES.value)) - {1.0})
  history = read_history(pathlib.Path(_RUN.value)) if _RUN.value else None
  if history is not None and history.started is None:
    raise RecordingError(f'The run in {_RUN.value} has not begun. Let it go on.')
  config: Config = command.config_of(_CONFIG) if history is None else history.config
  task = build_task(config)
  dataset = task.prepare_data(_say)
  row_recording.require_rows(config, dataset)

  def drawn() -> list[row_recording.RecordedProgram]:
    if history is not None:
      return row_recording.programs_of(history, _PROGRAMS.value)
    return row_recording.drawn_programs(config, _PROGRAMS.value)

  recording = RecordingFolder.opened(pathlib.Path(_TO.value), config, dataset, drawn)
  complete = row_recording.record(
    recording, config, task, dataset, budgets, _SEEDS.value, states, 60 * _MINUTES.value, _say
  )
  if not complete:
    left = sum(len(seeds) for *_, seeds in recording.missing(budgets, _SEEDS.value))
    _say(f'{left} trainings are left; the same command goes on.')
  print(report(recording, config, _SPLITS.value))
  return 0


def _fractions(name: str, words: Sequence[str]) -> list[float]:
  """Returns the numbers of an option. Raises ConfigError."""
  try:
    fractions = [float(word) for word in words]
  except ValueError:
    fractions = [0.0]
  if not all(0 < fraction <= 1 for fraction in fractions):
    raise ConfigError(
      f'--{name} is {",".join(words)!r}; give fractions above 0 and up to 1, such as '
      f'--{name}=1,0.25.'
    )
  return list(dict.fromkeys(fractions))


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)


if __name__ == '__main__':
  command.run(main)
