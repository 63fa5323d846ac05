"""`autoresearch knowledge WORKDIR`: hypotheses, outcomes and lessons of a run."""

import pathlib
import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console

from autoresearch_jax.cli.command import WORKDIR, Command, CommandLine, Option
from autoresearch_jax.knowledge import calibration
from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.knowledge.report import KnowledgeReport
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.report.imports import outcomes, print_imports
from autoresearch_jax.types import to_builtins

SCHEMA = 1  # of the JSON; grows when a field changes its meaning or goes
WIDTH = 110  # columns, if the output is not a terminal
COMMAND = Command(
  'knowledge',
  'Print what a run has learned: hypotheses, their outcomes, lessons.',
  """
  Only reads the run's ledger; the run may be in progress. Prints which edits helped and which did
  not, with the trials as evidence, how well the proposer predicted effects, and what became of the
  findings of other runs. Writes a plot of the predictions to WORKDIR/calibration.png.
  """,
  (Option('json', 'Print it as JSON instead, without a plot; docs/reference/report.md.', False),),
  operand=WORKDIR,
  examples={'autoresearch knowledge runs/gpt_small_cpu': 'The run with that --workdir.'},
  exit_codes={'0': 'Done.', '2': 'There is no such run, or its ledger cannot be read.'},
)


def read(history: History) -> tuple[Memory, str]:
  """Returns the memory and the name of a run. Raises LedgerError."""
  memory = Memory(history.trials, history.objective, history.kept_programs, history.lessons)
  config = history.config
  return memory, f'{config.name} (proposer {config.proposer}, strategy {config.search.strategy})'


def plot(memory: Memory, path: pathlib.Path) -> str:
  """Plots predicted against measured effects; returns a line with the path or the error."""
  try:
    calibration.draw(memory.hypotheses.values(), memory.objective.metric, path)
  except OSError as error:
    return f'Cannot write the plot to {path}: {error.strerror or error}.'
  return f'Plot: {path}'


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_knowledge, arguments, (LedgerError, OSError))


def _knowledge(line: CommandLine) -> int:
  directory = pathlib.Path(line.operand)
  history = read_history(directory)
  memory, name = read(history)
  if line['json']:
    report = to_builtins(KnowledgeReport.of(memory, name))
    data = {'schema': SCHEMA, **report, 'imports': to_builtins(outcomes(history))}
    print(msgspec.json.encode(data).decode())
    return 0
  console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
  KnowledgeReport.of(memory, name).print(console)
  print_imports(history, console)
  print(plot(memory, directory / 'calibration.png'))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
