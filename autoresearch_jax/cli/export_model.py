"""`autoresearch export-model WORKDIR`: writes the trained model of a trial."""

import dataclasses
import math
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from autoresearch_jax.cli.command import FAILED, WORKDIR, Command, CommandLine, Option
from autoresearch_jax.executors import Unavailable, finished
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.messages import say
from autoresearch_jax.models import scoring
from autoresearch_jax.models.exported import (
  ModelError,
  default_folder,
  info_of,
  require_replaceable,
  wait_for,
  write_model,
)
from autoresearch_jax.models.states import TrainingRun, runs_of
from autoresearch_jax.report.final_comparison import best_program
from autoresearch_jax.research.build import Task, build_task
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.types import (
  STATES,
  TARGET_METRIC,
  Dataset,
  Measurement,
  SavePlan,
  Status,
  TrialRequest,
)

# How far the score of a retrained run may be from the recorded one: standard deviations between
# seeds, or this fraction where these are not known.
MAX_DEVIATIONS, MAX_FRACTION = 3.0, 0.05

COMMAND = Command(
  'export-model',
  'Write the trained model of a trial: parameters and the traced program.',
  """
  A run saves the parameters of its best program and of the baseline. Those of other trials are not
  on disk, so their best training run is repeated here, for as many steps, and its score is compared
  with the recorded one. The model is scored once more from the files that were written.

  `autoresearch_jax.load_model(FOLDER)` loads it, and needs none of the program's Python.
  """,
  (
    Option('trial', 'The trial; 0 is the baseline.', None, kind=int, minimum=0, value='N',
           shown='the best program'),
    Option('seed', 'Seed of the training run.', None, kind=int, minimum=0, value='N',
           shown='the one with the best score'),
    Option('to', 'Folder to write.', value='FOLDER', shown='WORKDIR/models/best'),
  ),
  operand=WORKDIR,
  examples={
    'autoresearch export-model runs/digits_steps': 'The best program of the run.',
    'autoresearch export-model runs/digits_steps --trial=0 --to=baseline': 'The baseline.',
  },
  exit_codes={
    '0': 'Done.',
    '1': 'The training run could not be repeated with its score.',
    '2': 'There is no such run or trial, or it has no score.',
  },
)  # fmt: skip


class NotRepeated(Exception):
  """A repeated training run failed, or has another score; the message says which."""


def export(directory: pathlib.Path, line: CommandLine) -> pathlib.Path:
  """Exports a trial's model and returns its folder.

  Raises:
    ModelError: There is no such trial or seed, or it has no score.
    NotRepeated: Its parameters are not on disk, and training it again failed.
  """
  history = read_history(directory)
  program = _program(history, line['trial'])
  run = _run(history, program, line['seed'])
  folder = pathlib.Path(line['to'] or default_folder(directory, history, program))
  require_replaceable(folder.absolute())  # before a training run
  state = directory / 'scratch' / STATES / run.state
  task = build_task(history.config)
  dataset = task.prepare_data(_say)
  text = history.edits[program].program
  if run.state and wait_for(state):
    write_model(folder, state, info_of(history, run, None), text, dataset)
  else:
    _retrain(history, run, task, dataset, folder)
  return folder


def _retrain(
  history: History, run: TrainingRun, task: Task, dataset: Dataset, folder: pathlib.Path
) -> None:
  """Trains a run again and writes its model. Raises NotRepeated."""
  cost, seed = run.measurement.cost, run.measurement.seed
  program = history.edits[run.trial].program
  say(
    f'The parameters of trial {run.trial}, seed {seed}, are not on disk: training it again for '
    f'{cost.steps} steps.'
  )
  local = dataclasses.replace(task.config, executor='local', executor_options={})
  with tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as scratch:
    executor = dataclasses.replace(task, config=local).start_executor(
      dataset, pathlib.Path(scratch)
    )
    try:
      plan = SavePlan(history.objective, steps=cost.steps)
      request = TrialRequest(0, program, (seed,), task.config.budget, save=plan)
      (result,) = finished(executor, request)
      if result.status is not Status.OK:
        raise NotRepeated(f'It failed this time ({result.status}): {result.reason}')
      again = result.measurements[0]
      _require_equal(history, run, again)
      state = pathlib.Path(scratch) / STATES / result.facts['states'][str(seed)]
      if not wait_for(state):
        raise NotRepeated(f'Its parameters could not be written to {scratch}; is the disk full?')
      write_model(folder, state, info_of(history, run, again.metrics), program, dataset)
    finally:
      executor.close()


def _require_equal(history: History, run: TrainingRun, again: Measurement) -> None:
  metric = history.objective.metric
  before, after = run.measurement.metrics[metric], again.metrics[metric]
  noise = history.noise()
  limit = MAX_DEVIATIONS * noise if noise else MAX_FRACTION * abs(before)
  if before == after:
    say(f'It has the same {metric} as then, {after:.6f}.')
  elif math.isclose(before, after, abs_tol=limit, rel_tol=0):
    say(
      f'Its {metric} is {after:.6f}, and was {before:.6f}: equal within the noise of {limit:.2g}.'
    )
  else:
    raise NotRepeated(
      f'Its {metric} is {after:.6f}, and was {before:.6f}. They differ by more than the noise '
      f'({limit:.2g}), so this is not the same model and was not exported.'
    )


def _program(history: History, trial: int | None) -> int:
  """Returns the first trial of the program to export. Raises ModelError."""
  if trial is None:
    if history.incumbent is None:
      raise ModelError('No trial of this run has a score yet.')
    best = best_program(history)
    return BASELINE if best is None else best
  if trial not in history.edits:
    raise ModelError(f'There is no trial {trial}; the run has 0 to {len(history.edits) - 1}.')
  return history.original(trial)


def _run(history: History, program: int, seed: int | None) -> TrainingRun:
  """Returns the training run to export. Raises ModelError."""
  runs = runs_of(history, program)
  if not runs:
    result = history.results.get(program)
    why = f' ({result.status}: {result.reason})' if result is not None and result.reason else ''
    raise ModelError(f'Trial {program} has no score at the full budget{why}, so it has no model.')
  found = [run for run in runs if seed in (None, run.measurement.seed)]
  if not found:
    seeds = ', '.join(str(run.measurement.seed) for run in runs)
    raise ModelError(f'Trial {program} was not trained with seed {seed}, but with {seeds}.')
  return found[0]


def _say(line: str) -> None:
  say(line, file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  errors = (LedgerError, ModelError, SandboxError, Unavailable, OSError)
  return COMMAND.run(_export, arguments, errors)


def _export(line: CommandLine) -> int:
  try:
    folder = export(pathlib.Path(line.operand), line)
  except NotRepeated as error:
    print(error, file=sys.stderr)
    return FAILED
  info = scoring.read_info(folder)
  metrics = scoring.score(folder, say=_say)
  metric = info.metric if info.metric in metrics else TARGET_METRIC  # no cost of the training
  then, now = info.metrics[metric], metrics[metric]
  same = 'the same as in its trial' if then == now else f'{then:.6f} in its trial'
  say(
    f'{folder}: trial {info.trial}, seed {info.seed}, {info.parameters:,} parameters.\n'
    f'Loaded from there, its {metric} is {now:.6f}, {same}.'
  )
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
