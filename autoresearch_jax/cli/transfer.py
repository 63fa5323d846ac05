"""`autoresearch transfer WORKDIR`: whether the wins of a run hold in another setting."""

import ast
import hashlib
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
from ml_collections import ConfigDict

from autoresearch_jax.cli import flags
from autoresearch_jax.cli.command import (
  FAILED,
  WORKDIR,
  Command,
  CommandLine,
  Option,
  UsageError,
)
from autoresearch_jax.cli.single_trials import scratch_executor
from autoresearch_jax.cli.trial_output import show
from autoresearch_jax.config import Config, from_config_dict
from autoresearch_jax.executors import Unavailable
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.results import program_values
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.programs.start import constants_of, with_constants
from autoresearch_jax.research.build import Task, build_task
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.transfer import analysis, measurements
from autoresearch_jax.transfer.measurements import Recorded, Setting, TransferError, TransferHeading
from autoresearch_jax.types import Program, to_builtins

COMMAND = Command(
  'transfer',
  'Train the kept programs of a run in another setting, and compare their gains.',
  """
  Trains the starting program and the kept ones, or the best ones with --top, on the same unused
  seeds in the setting of the run and in another one: another size, budget, dataset or device.
  Prints each program's gain over the starting program in both, the share that is left, and the rank
  correlation, with intervals.

  Constants that the other setting sets replace those of every program. The run is not changed. A
  transfer that is stopped resumes by the same command.
  """,
  (
    Option('set', 'Fields of the config that differ, such as constants.DEPTH=4,budget.amount=30; '
           'or name another config by --config.', (), value='FIELD=VALUE,...'),
    Option('to', 'Folder for the training runs and transfer.json.', value='FOLDER',
           shown='WORKDIR/transfer'),
    Option('top', 'Take this many best programs, kept or not.', kind=int, minimum=1, value='N'),
    Option('seeds', 'Training runs of each program in each setting.', 4, minimum=2, maximum=1000,
           value='N'),
    Option('recorded', "Take the run's own scores, where its setting cannot be repeated here. The "
           'kept ones were picked for being good, so their shares are too small then.', False),
  ),
  operand=WORKDIR,
  config='The other setting: a shipped config or a file; without it, that of the run with --set.',
  examples={
    'autoresearch transfer runs/gpt_small_cpu --set=constants.DEPTH=4': 'Twice the depth.',
    'autoresearch transfer runs/digits_steps --set=budget.amount=1200 --top=10': (
      'The ten best programs with four times the steps.'
    ),
    'autoresearch transfer runs/gpt_small_cpu --config=gpt_small:tpu --recorded': (
      'A night on a CPU, tried on a TPU.'
    ),
  },
  exit_codes={
    '0': 'Done.',
    '1': 'A machine failed; the same command resumes.',
    '2': 'Invalid input; the message on standard error says what to fix.',
    '130': 'Stopped by Ctrl-C; the same command resumes.',
  },
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  errors = (LedgerError, SandboxError, OSError, UnicodeError, TransferError)
  return COMMAND.run(_transfer, arguments, errors, interrupted='Stopped; the same command resumes.')


def _transfer(line: CommandLine) -> int:
  directory = pathlib.Path(line.operand)
  history = read_history(directory)
  if history.started is None or not history.kept:
    raise TransferError(f'The run in {directory} has no program with a score yet. Let it go on.')
  source, target = history.config, _target(line, history.config)
  if (source.metric, source.entry) != (target.metric, target.entry):
    raise UsageError(
      f'The setting has the metric {target.metric!r} and the entry {target.entry!r}, the run '
      f'{source.metric!r} and {source.entry!r}; they must be the same.'
    )
  names = _chosen(history, line['top'])
  programs = {name: history.edits[name].program for name in names}
  there = {name: _moved(program, source, target) for name, program in programs.items()}
  _say_constants(history, programs, source, target)
  folder = pathlib.Path(line['to'] or directory / 'transfer')
  try:
    summary = _measured(line, history, folder, programs, there, source, target)
  except Unavailable as error:
    print(error, file=sys.stderr)
    return FAILED
  descriptions = {name: history.edits[name].description for name in names}
  text = analysis.table(summary, descriptions)
  (folder / 'transfer.json').write_bytes(
    msgspec.json.format(msgspec.json.encode({'schema': 1, **to_builtins(summary)}), indent=1)
  )
  print(text)
  show(f'Written: {folder / "transfer.json"}')
  return 0


def _measured(
  line: CommandLine,
  history: History,
  folder: pathlib.Path,
  programs: dict[int, Program],
  there: dict[int, Program],
  source: Config,
  target: Config,
) -> analysis.TransferSummary:
  """Trains what is missing; returns the comparison."""
  tasks: dict[Setting, Task] = {'source': build_task(source), 'target': build_task(target)}
  datasets = {setting: task.prepare_data(show) for setting, task in tasks.items()}
  assert history.started is not None
  if not line['recorded'] and datasets['source'].fingerprint != history.started.dataset:
    raise TransferError(
      'The data differ from those of the run, so its setting cannot be repeated here. Use the '
      "run's own scores: --recorded."
    )
  digests = {
    setting: f'{hash_of(tasks[setting].config)} {datasets[setting].fingerprint}'
    for setting in tasks
  }
  heading = TransferHeading(digests['source'], digests['target'])
  objective = history.objective
  with Recorded.opened(folder, heading) as record:
    for setting, task in tasks.items():
      if setting == 'source' and line['recorded']:
        continue
      pairs = [(p, p if setting == 'source' else there[name]) for name, p in programs.items()]
      if not measurements.missing(record, setting, pairs, line['seeds']):
        continue  # an executor takes seconds to start
      with scratch_executor(task, datasets[setting]) as executor:
        measurements.train(
          executor, record, setting, pairs, objective, task.config.budget, line['seeds'], show
        )
  scores = {
    setting: {name: record.scores(setting, p, objective) for name, p in programs.items()}
    for setting in tasks
  }
  if line['recorded']:
    scores['source'] = {name: _recorded(history, name) for name in programs}
  failures = {
    name: why
    for name, p in programs.items()
    for setting in tasks
    if (why := record.failure(setting, p))
  }
  if BASELINE in failures:
    raise TransferError(
      f'The starting program has no score: {failures[BASELINE]} Change the setting.'
    )
  return analysis.summarize(scores['source'], scores['target'], BASELINE, failures)


def _target(line: CommandLine, source: Config) -> Config:
  """Returns the config of the other setting. Raises UsageError, ConfigError."""
  if (line.config is None) == (not line['set']):
    raise UsageError(
      'Name the other setting: fields by --set, such as --set=constants.DEPTH=4, or a config by '
      '--config; not both.'
    )
  if line.config is not None:
    return flags.config_of(line.config)
  values = to_builtins(source)
  for assignment in line['set']:
    path, equals, text = assignment.partition('=')
    *above, name = path.strip().split('.')
    place: Any = values
    for part in above:
      place = place.get(part) if isinstance(place, dict) else None
    if not equals or not isinstance(place, dict) or (not above and name not in values):
      raise UsageError(
        f'--set has {assignment!r}, which is no field of the config; write FIELD=VALUE, such as '
        'constants.DEPTH=4.'
      )
    place[name] = _literal(text.strip())
  return from_config_dict(ConfigDict(values))


def _literal(text: str) -> Any:
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _chosen(history: History, top: int | None) -> list[int]:
  """Returns the starting program and those to compare with it, each by its first trial.

  Raises:
    TransferError: There is none to compare with.
  """
  first = {trial: name for name, trials in history.program_trials.items() for trial in trials}
  names = [first.get(trial, trial) for trial in history.kept]
  if top is not None:
    values = {name: program_values(history, name) for name in history.program_trials}
    means = {n: sum(v) / len(v) for n, v in values.items() if v and n != BASELINE}
    names = sorted(means, key=lambda n: -history.objective.score_of(means[n]))[:top]
  names = [name for name in dict.fromkeys(names) if name != BASELINE]
  if not names:
    raise TransferError(
      'No edit was kept, so there are no wins to carry over. Take the best programs by --top=5.'
    )
  return [BASELINE, *names]


def _moved(program: Program, source: Config, target: Config) -> Program:
  """Returns the program with the constants that the target sets. Raises ConfigError."""
  return with_constants(program, _set_by(source, target))


def _set_by(source: Config, target: Config) -> dict[str, Any]:
  """Returns the constants that the target sets otherwise than the run does."""
  return {
    name: value for name, value in target.constants.items() if source.constants.get(name) != value
  }


def _say_constants(
  history: History, programs: dict[int, Program], source: Config, target: Config
) -> None:
  """Says which wins the target undoes, since it sets what they changed."""
  before = constants_of(programs[BASELINE])
  for name, program in programs.items():
    values = constants_of(program)
    undone = [c for c in _set_by(source, target) if values.get(c) != before.get(c)]
    if undone:
      show(
        f'Trial {name} ({history.edits[name].description}) changed {", ".join(undone)}, which the '
        'other setting sets.'
      )


def _recorded(history: History, name: int) -> measurements.Scores:
  """Returns the run's own scores of a program; those of other programs have other seeds."""
  values = program_values(history, name)
  return {n: history.objective.score_of(value) for n, value in enumerate(values)}


def hash_of(config: Config) -> str:
  """Returns a digest of what decides a score in a setting, but for the program and the data."""
  fields = ('problem', 'metric', 'budget', 'constants', 'platform', 'executor', 'executor_options')
  parts = [to_builtins(getattr(config, name)) for name in fields]
  parts[fields.index('budget')] = config.budget.identity()
  return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
