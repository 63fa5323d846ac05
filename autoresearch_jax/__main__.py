"""`autoresearch COMMAND`, the console script; also `python -m autoresearch_jax COMMAND`.

Each command is a module in cli/ with a `main(arguments)` that returns the exit code. A module is
imported when its command is used, and its `COMMAND.summary` repeats the line below.
"""

import difflib
import importlib.metadata
import sys
from collections.abc import Sequence

from autoresearch_jax.cli import process

PACKAGE = 'autoresearch_jax.cli'
BAD_INPUT = 2  # exit code
COMMANDS = {
  'run': 'Start or resume a run: search for better programs until stopped.',
  'report': 'Draw the progress plot of a run and summarise the run.',
  'dashboard': 'Show runs live in a browser.',
  'attach': 'Show a run that was started elsewhere in this terminal.',
  'steer': 'Say something to a run in progress: a hint, an idea, a pause, another end.',
  'knowledge': 'Print what a run has learned: hypotheses, their outcomes, lessons.',
  'share': 'Share what the edits of a run did, as signed findings, in a store.',
  'learn': 'List what edits did elsewhere: the findings of a store, or of runs.',
  'hub': 'Serve findings to several machines over HTTP.',
  'transcript': 'Print what a model or an agent was asked and answered for a trial.',
  'export-model': 'Write the trained model of a trial: parameters and the traced program.',
  'sample': 'Write text from the language models of a run.',
  'finalize': 'Write the kept edits as a branch of your repository, or as patches.',
  'transfer': 'Train the kept programs of a run in another setting, and compare their gains.',
  'audit': 'Say how far a run can be trusted: its canaries, its metric, and what to try next.',
  'trial': 'Train one program, and print its score or the verdict on it.',
  'serve': 'Keep a run warm for trials that are requested by `autoresearch trial`.',
  'check': 'Trace a program without training it, and say what is wrong.',
  'mcp': 'Offer a run to coding agents as tools, by the Model Context Protocol.',
  'new': 'Write a folder for a problem of your own: config, model, README, sample data.',
  'start': 'Write the starting program of a run, or its best one, into a folder, for editing.',
  'doctor': 'Check whether this machine is ready for a run, and say what to do.',
  'prepare': 'Download and prepare the data of language models.',
  'repair': 'Make a run with a damaged ledger resumable.',
  'benchmark': 'Compare search strategies on simulated problems, without a device.',
  'measure': 'Measure this machine: speed, memory, overhead, utilization.',
  'table': 'Describe a table of recorded trials as a problem for the benchmark.',
}
HELP = """Usage: autoresearch COMMAND [OPTIONS]

Autonomous machine-learning research: edit a program, train it for a fixed budget, and keep the edit
if its gain exceeds the noise.

Commands:
{commands}

`autoresearch COMMAND --help` explains a command, `autoresearch --version` prints the version.

Examples:
  autoresearch run --config=digits
      A complete run in about a minute, on a CPU.
  autoresearch run --config=gpt_small
      Research on a small GPT, on the best device of this machine. Ctrl-C stops it, and the same
      command resumes it.
  autoresearch report runs/digits_steps
      The result of the first run."""


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command that the arguments name; returns its exit code.

  Args:
    arguments: Those after `autoresearch`; None for the process's.
  """
  given = sys.argv[1:] if arguments is None else arguments
  return process.guarded(lambda: _run(list(given) or ['--help']))


def _run(arguments: list[str]) -> int:
  name, *rest = arguments
  if name in ('--help', '-h', 'help'):
    if rest and rest[0] in COMMANDS:
      return _run([rest[0], '--help'])
    print(HELP.format(commands='\n'.join(f'  {n:<14}{text}' for n, text in COMMANDS.items())))
    return 0
  if name == '--version':
    print(importlib.metadata.version('autoresearch_jax'))
    return 0
  if name not in COMMANDS:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f'did you mean {near[0]}?' if near else f'there are: {", ".join(COMMANDS)}.'
    print(f'There is no command {name!r}; {hint} See `autoresearch --help`.', file=sys.stderr)
    return BAD_INPUT
  return process.run_module(f'{PACKAGE}.{name.replace("-", "_")}', rest)


if __name__ == '__main__':
  sys.exit(main())
