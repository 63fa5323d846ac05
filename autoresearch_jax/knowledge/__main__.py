"""`python -m autoresearch_jax.knowledge WORKDIR`: prints what a run has learned, with evidence.

Works while the run goes on. Reads the ledger only; writes WORKDIR/calibration.png.
"""

import pathlib
import sys
from collections.abc import Sequence

from rich.console import Console

from autoresearch_jax.cli import workdir
from autoresearch_jax.knowledge import calibration
from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.knowledge.report import KnowledgeReport
from autoresearch_jax.ledger.events import LedgerError

WIDTH = 110  # columns, if the output is not a terminal


def read(directory: pathlib.Path) -> tuple[Memory, str]:
  """Returns the memory of the run in `directory`, and the run's name. Raises LedgerError."""
  history = workdir.history(directory)
  memory = Memory(history.trials, history.objective, history.kept_programs, history.lessons)
  config = history.config
  return memory, f'{config.name} (proposer {config.proposer}, strategy {config.search.strategy})'


def plot(memory: Memory, path: pathlib.Path) -> str:
  """Writes the calibration plot. Returns where, or why it could not be written."""
  try:
    calibration.draw(memory.hypotheses.values(), memory.objective.metric, path)
  except OSError as error:
    return f'Cannot write the plot to {path}: {error.strerror or error}.'
  return f'Plot: {path}'


def main(arguments: Sequence[str]) -> int:
  directory = workdir.named('knowledge', arguments)
  if isinstance(directory, int):
    return directory
  try:
    memory, name = read(directory)
  except (LedgerError, OSError) as error:
    print(error, file=sys.stderr)
    return workdir.BAD_INPUT
  console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
  KnowledgeReport.of(memory, name).print(console)
  print(plot(memory, directory / 'calibration.png'))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
