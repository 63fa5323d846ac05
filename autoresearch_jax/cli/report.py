"""`autoresearch report WORKDIR`: summarises a run, as text, a plot, a web page or JSON."""

import dataclasses
import pathlib
import sys
import textwrap
from collections.abc import Sequence

import msgspec

from autoresearch_jax.cli.command import WORKDIR, Command, CommandLine, Option
from autoresearch_jax.config import ConfigError
from autoresearch_jax.ledger.events import LedgerError, Retold
from autoresearch_jax.ledger.git_repo import Workspace, WorkspaceError
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger, read_history, read_records
from autoresearch_jax.messages import describe_os_error
from autoresearch_jax.proposers.llm.story import NoStory, rewritten
from autoresearch_jax.report import plot
from autoresearch_jax.report.final_comparison import conclusion
from autoresearch_jax.report.page import RunProjection, RunView, write_page
from autoresearch_jax.report.samples import format_samples, read_samples
from autoresearch_jax.report.story_text import StoryParagraph
from autoresearch_jax.report.summary import summary
from autoresearch_jax.research.build import build_task

WIDTH = 100  # columns of the prose

COMMAND = Command(
  'report',
  'Draw the progress plot of a run and summarise the run.',
  """
  Only reads the run's ledger; the run may be in progress, but for --rewrite, whose call is recorded
  there. Tells what was tried, what worked, what
  did not, how sure that is and what to try next, with the trials behind each sentence. Then prints
  the number of trials and keeps, the best program and the result of the final evaluation, and
  writes WORKDIR/progress.png.
  """,
  (
    Option('html', 'Write WORKDIR/report.html, one file that opens offline.', False),
    Option('json', 'Print the whole run as JSON instead; docs/reference/report.md.', False),
    Option('rewrite', 'Have the language model of the run rewrite the prose.', False),
  ),
  operand=WORKDIR,
  examples={
    'autoresearch report runs/gpt_small_cpu': 'The run with that --workdir.',
    'autoresearch report runs/gpt_small_cpu --html': 'A page with all trials, to look at or mail.',
  },
  exit_codes={'0': 'Done.', '2': 'There is no such run, or its ledger cannot be read.'},
)


def report(directory: pathlib.Path) -> str:
  """Draws the plot and returns the summary. Raises LedgerError."""
  return _summarized(read_history(directory), directory)


def _summarized(history: History, directory: pathlib.Path) -> str:
  path = directory / 'progress.png'
  try:
    plot.draw(history, path)
    drawn = f'Plot: {path}'
  except OSError as error:  # the folder of somebody else, for instance
    drawn = f'No plot: {describe_os_error(error, "")}'
  lines = [summary(history), drawn, conclusion(history)]
  return '\n'.join(filter(None, lines))


def view(directory: pathlib.Path) -> RunView:
  """Returns the run as plain data. Raises LedgerError."""
  return RunProjection.of(read_records(directory)).view()


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_report, arguments, (LedgerError, OSError))


def _report(line: CommandLine) -> int:
  directory = pathlib.Path(line.operand)
  projection = RunProjection.of(read_records(directory))
  told = _rewritten(projection, directory) if line['rewrite'] else projection.story()
  if line['json']:
    print(msgspec.json.encode(_complete(projection, directory, told)).decode())
    return 0
  for paragraph in told:
    print(f'{paragraph.heading}\n{textwrap.fill(paragraph.text, WIDTH)}\n')
  if told:
    print('In this text, what follows ± is a 95 % interval.\n')
  print(_summarized(projection.history, directory))
  if samples := read_samples(directory):
    print(f'\nText from the models\n{format_samples(samples)}')
  if line['html']:
    write_page(_complete(projection, directory, told), directory / 'report.html')
    print(f'Page: {directory / "report.html"}')
  return 0


def _complete(
  projection: RunProjection, directory: pathlib.Path, told: tuple[StoryParagraph, ...]
) -> RunView:
  """Returns the run with what is not in the ledger."""
  return dataclasses.replace(projection.view(), story=told, samples=read_samples(directory))


def _rewritten(projection: RunProjection, directory: pathlib.Path) -> tuple[StoryParagraph, ...]:
  """Returns the story as a model tells it; with a message the one made by rules if none does.

  The call is recorded in the ledger, so that the run's limits hold over all calls.
  """
  told, history = projection.story(), projection.history
  try:
    spec = build_task(history.config).spec
    with Workspace.open(directory) as workspace, Ledger.open(workspace.ledger_path) as ledger:
      return rewritten(
        told, history, spec, lambda call: projection.apply(ledger.append(Retold(call)))
      )
  except (NoStory, ConfigError, WorkspaceError) as error:
    print(f'{error} This is the story made by rules.', file=sys.stderr)
    return told


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
