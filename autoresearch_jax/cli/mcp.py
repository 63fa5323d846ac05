"""`autoresearch mcp WORKDIR`: offers a run to coding agents by the Model Context Protocol."""

import functools
import importlib
import importlib.util
import pathlib
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from autoresearch_jax.cli import flags
from autoresearch_jax.cli.command import RUN_FIELDS, Command, CommandLine, Option, UsageError
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.ownership import WorkspaceError, require_usable
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.service.allowed_folder import AllowedFolder, Refusal

SKILL = pathlib.Path(__file__).resolve().parents[1] / 'service' / 'skill' / 'autoresearch'
COMMAND = Command(
  'mcp',
  'Offer a run to coding agents as tools, by the Model Context Protocol.',
  """
  Answers an MCP client on standard input and output; an agent starts it, from its configuration.
  The tools are check, verdict, history, lessons, diff and report, and with --allow_trials also
  trial, which trains a program. Programs are read below one folder only. docs/mcp.md has what to
  put into the configuration of agents.

  It needs the MCP SDK: pip install 'autoresearch_jax[mcp]'.
  """,
  (
    Option('allow_trials', 'Offer `trial`, which trains programs. Without it, nothing changes.',
           False),
    Option('programs', 'Folder below which programs may be read.', value='DIR',
           shown='the current folder'),
    Option('skill', 'Print the path of the skill folder for agents, and end.', False),
  ),
  operand='[WORKDIR]',
  config='The run: a shipped config or a file; not needed for a run that has begun.',
  describe=RUN_FIELDS,
  examples={
    'autoresearch mcp runs/mine': 'Lets an agent look at a run.',
    'autoresearch mcp runs/mine --config=gpt_small --allow_trials': 'Lets it begin one.',
    'cp -r "$(autoresearch mcp --skill)" ~/.claude/skills/': 'Installs the skill.',
  },
  exit_codes={
    '0': 'The client closed the connection.',
    '2': 'Invalid input, or a package is missing.',
  },
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  return COMMAND.run(_mcp, arguments, (LedgerError, WorkspaceError, Refusal, OSError))


def _mcp(line: CommandLine) -> int:
  if line['skill']:
    print(SKILL)
    return 0
  if not line.operand:
    raise UsageError('Name the folder of a run, for instance runs/mine.')
  directory = pathlib.Path(line.operand).absolute()
  require_usable(directory)
  config = None
  if (directory / 'ledger.db').exists():
    read_history(directory)  # raises what is wrong with it
  elif line.config is None:
    raise UsageError(f'There is no run in {directory}; name a config, such as --config=digits.')
  else:
    config = flags.config_of(line.config)
  if importlib.util.find_spec('mcp') is None:
    raise UsageError("The MCP SDK is not installed: pip install 'autoresearch_jax[mcp]'.")
  from autoresearch_jax.service.mcp_server import serve_mcp  # noqa: PLC0415 - needs an extra

  programs, made = AllowedFolder(pathlib.Path(line['programs'] or '.')), threading.Lock()

  @functools.cache
  def tools() -> Any:
    # Most of the imports are made at the first call, so that clients need not wait for them.
    return importlib.import_module('autoresearch_jax.service.tools').RunTools(
      directory, programs, config=config, config_arguments=line.config_arguments,
      allow_trials=line['allow_trials'],
    )  # fmt: skip

  def call(*arguments: Any) -> object:
    with made:
      run = tools()
    return run.call(*arguments)

  # Otherwise Ctrl-C would wait for the thread that reads standard input.
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  serve_mcp(call, line['allow_trials'])
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
