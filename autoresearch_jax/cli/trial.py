"""`autoresearch trial`: trains a program: once, against another one, or as a trial of a run."""

import pathlib
import sys
from collections.abc import Sequence

import msgspec

from autoresearch_jax.cli import flags
from autoresearch_jax.cli.command import (
  FAILED,
  RUN_FIELDS,
  Command,
  CommandLine,
  Option,
  UsageError,
)
from autoresearch_jax.cli.trial_output import (
  depth_of,
  judged,
  progress_printer,
  record,
  show,
  summary,
  verdict_record,
)
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.executors import Unavailable
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.ownership import WorkspaceError, require_usable
from autoresearch_jax.ledger.requests import SteeringError
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.messages import ComponentError
from autoresearch_jax.programs.start import read_program, starting_program
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.service import client
from autoresearch_jax.types import Program, Status

COMMAND = Command(
  'trial',
  'Train one program, and print its score or the verdict on it.',
  """
  Traces, trains and evaluates the program in FOLDER. Prints the original's summary block (`---`,
  then one `key: value` per line) on standard output and progress on standard error, and writes the
  complete result as JSON.

  With --workdir, it is a trial of that run: the acceptance rule keeps or discards it, on further
  runs where one is not enough, and ledger, results.tsv, branch and report have it like any other. A
  run that is in progress makes it its next trial. Otherwise a service is started in the background
  (`autoresearch serve`), so that later trials need not start anything. A program that the run has
  tried already is not trained again.

  With --against, both programs are trained on the same seeds in turn, and the verdict is that of
  the config's acceptance rule. Without --workdir, no run is touched.
  """,
  (
    Option('program', 'The same as FOLDER.', value='DIR', shown='the starting program'),
    Option('workdir', 'Folder of the run that this is a trial of.', value='DIR'),
    Option('description', 'One line for the log of the run: what you changed, and why.',
           value='TEXT'),
    Option('author', 'Your name in the ledger of the run.', shown='USER@HOST'),
    Option('against', 'Folder of a program to compare with.', value='DIR'),
    Option('seeds', 'Seeds of the training runs, such as 0,1,2. With --against: the only ones to '
           'use; by default as many as the rule needs.', value='N,N', shown='0'),
    Option('seed', 'One seed, as --seeds.', kind=int, minimum=0, value='N'),
    Option('out', 'JSON file to write the result to.', value='FILE'),
    Option('json', 'Print the content of --out instead of the summary block.', False),
  ),
  operand='[FOLDER]',
  config='The run: a shipped config or a file; not needed for a --workdir that has one.',
  describe=RUN_FIELDS,
  examples={
    'autoresearch start --config=gpt_small --out=my_program': 'Write the program, then edit it.',
    'autoresearch trial my_program --config=gpt_small --out=trial.json': 'Train it.',
    'autoresearch trial my_program --config=gpt_small --workdir=runs/mine --description="wider"': (
      'Train it as a trial of a run, until it is kept or discarded.'
    ),
    'autoresearch trial my_program --config=gpt_small --against=other --seeds=0,1,2': (
      'Compare two programs on three seeds.'
    ),
  },
  exit_codes={
    '0': 'The program trained and has a score (status ok).',
    '1': 'The program has no score; status and reason say why.',
    '2': 'Invalid input; the message on standard error says what to fix.',
    '130': 'Stopped by Ctrl-C; nothing was written. A trial of a run goes on.',
  },
)  # fmt: skip

ERRORS = (
  OSError, UnicodeError, SandboxError, Unavailable, LedgerError, WorkspaceError, SteeringError,
  ComponentError, client.ServiceError,
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_trial, arguments, ERRORS, interrupted='Stopped; nothing was written.')


def _trial(line: CommandLine) -> int:
  _require_fitting(line)
  _require_writable(line['out'])
  if line['workdir']:
    return _of_run(line, pathlib.Path(line['workdir']))
  # Imports every part of a run, which takes a second; a trial of a run needs none of them.
  from autoresearch_jax.cli import single_trials  # noqa: PLC0415

  config = flags.config_of(line.config)
  program, seeds = _program(line, config), _seeds(line)
  if line['against']:
    other = read_program(config, pathlib.Path(line['against']), '--against')
    comparison, objective = single_trials.compared(config, program, other, seeds)
    record_of, text = single_trials.comparison_record, single_trials.comparison_block
    _print(line, record_of(comparison, objective), text(comparison, objective))
    return 0 if comparison.status == Status.OK else FAILED
  result = single_trials.trained(config, program, seeds or (0,))
  _print(line, record(result), summary(config, result, depth_of(program)))
  return 0 if result.status == Status.OK else FAILED


def _of_run(line: CommandLine, directory: pathlib.Path) -> int:
  """Makes the program a trial of a run, and waits for the verdict."""
  require_usable(directory)
  begun = client.begun(directory)
  if begun is not None:
    config = begun.config
    flags.require_same(line.config, config, directory)
  else:
    config = flags.config_of(line.config)
  program = _program(line, config)
  printer = progress_printer()
  try:
    for happened in client.submit(
      directory, program, line['description'] or '', author=line['author'] or '',
      config=line.config_arguments if begun is None else (), on_progress=printer,
    ):  # fmt: skip
      show(happened)
  except KeyboardInterrupt:
    show('Stopped waiting; the trial goes on. The same command shows its verdict.')
    return 130
  history = read_history(directory)
  verdict = client.verdict(history, program)
  assert verdict is not None
  config = history.config
  _print(line, verdict_record(verdict), judged(config, verdict, depth_of(program)))
  return 0 if verdict.trial.result.status == Status.OK else FAILED


def _program(line: CommandLine, config: Config) -> Program:
  folder = line.operand or line['program']
  if not folder:
    return starting_program(config)
  return read_program(config, pathlib.Path(folder), 'FOLDER' if line.operand else '--program')


def _seeds(line: CommandLine) -> tuple[int, ...] | None:
  """Returns the seeds that were given; None for none. Raises UsageError."""
  if line['seed'] is not None:
    return (line['seed'],)
  if line['seeds'] is None:
    return None
  words = [word.strip() for word in line['seeds'].split(',')]
  if not all(word.isascii() and word.isdecimal() for word in words):
    raise UsageError(f'--seeds is {line["seeds"]!r}; write numbers such as 0,1,2.')
  seeds = tuple(map(int, words))
  if len(set(seeds)) < len(seeds) or max(seeds) >= 2**31:
    raise UsageError(f'--seeds is {line["seeds"]!r}; they must be different, and below 2^31.')
  return seeds


def _require_fitting(line: CommandLine) -> None:
  """Raises UsageError for options that do not go together."""
  if line.operand and line['program']:
    raise UsageError('FOLDER and --program name the same; leave one out.')
  if line['seed'] is not None and line['seeds'] is not None:
    raise UsageError('--seed and --seeds name the same; leave one out.')
  for name in ('seed', 'seeds', 'against'):
    if line['workdir'] and line[name] is not None:
      raise UsageError(
        f'--{name} does not go with --workdir: the acceptance rule of the run decides what is '
        'trained. Leave one out.'
      )
  for name in ('description', 'author'):
    if line[name] is not None and not line['workdir']:
      raise UsageError(f'--{name} goes into the log of a run; name it by --workdir.')
  if line['against'] and not (line.operand or line['program']):
    raise UsageError('--against needs a program to compare: name its FOLDER.')


def _require_writable(out: str | None) -> None:
  """Raises ConfigError if --out cannot be written, before minutes of training."""
  if out and not pathlib.Path(out).absolute().parent.is_dir():
    raise ConfigError(f'--out is {out!r}, but its folder does not exist; make it first.')
  if out and pathlib.Path(out).is_dir():
    raise ConfigError(f'--out is {out!r}, which is a folder; name a file in it.')


def _print(line: CommandLine, values: dict[str, object], text: str) -> None:
  """Prints the outcome, as JSON or text, and writes it to --out."""
  data = msgspec.json.encode(values)
  if line['out']:
    pathlib.Path(line['out']).write_bytes(msgspec.json.format(data, indent=1) + b'\n')
  print(data.decode() if line['json'] else text)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
