"""`python -m autoresearch_jax.knowledge WORKDIR`: what this run has learned, with evidence.

Also of a run that goes on. Reads the ledger and nothing else; writes WORKDIR/calibration.png.
"""

import pathlib
import sys
from collections.abc import Sequence

from rich.console import Console

from autoresearch_jax.history import History
from autoresearch_jax.knowledge import calibration
from autoresearch_jax.knowledge.findings import Findings
from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.ledger import Ledger, LedgerError

BAD_INPUT = 2
WIDTH = 110  # where there is no terminal that has one


def read(workdir: pathlib.Path) -> tuple[Memory, str]:
  """The memory of the run in `workdir`, and what it is called. Raises LedgerError."""
  with Ledger.read(workdir / 'ledger.db') as ledger:
    history = History.of(ledger.records())
  if history.started is None:
    raise LedgerError(f'The run in {workdir} has not begun: its ledger is empty.')
  told = getattr(history, 'lessons', ())
  memory = Memory(history.trials, history.objective, history.kept_programs, told)
  config = history.config
  return memory, f'{config.name} (proposer {config.proposer}, strategy {config.search.strategy})'


def plot(memory: Memory, path: pathlib.Path) -> str:
  """Draws how good the predictions were; says where, or why it could not."""
  try:
    calibration.draw(memory.entries.values(), memory.objective.metric, path)
  except OSError as error:
    return f'The plot could not be written to {path}: {error.strerror or error}.'
  return f'Plot: {path}'


def main(arguments: Sequence[str]) -> int:
  if len(arguments) != 1 or arguments[0].startswith('-'):
    asked = list(arguments) in (['--help'], ['-h'])
    usage = 'Usage: python -m autoresearch_jax.knowledge WORKDIR  (the --workdir of a run)'
    print(usage, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else BAD_INPUT
  workdir = pathlib.Path(arguments[0])
  try:
    memory, name = read(workdir)
  except (LedgerError, OSError) as error:
    print(error, file=sys.stderr)
    return BAD_INPUT
  console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
  Findings.of(memory, name).print(console)
  print(plot(memory, workdir / 'calibration.png'))
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
