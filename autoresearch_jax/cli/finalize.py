"""`autoresearch finalize WORKDIR`: the best program as a branch or as patches."""

import pathlib
import sys
from collections.abc import Sequence

import pygit2

from autoresearch_jax.cli.command import FAILED, WORKDIR, Command, CommandLine, Option
from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.executors import Unavailable
from autoresearch_jax.finalize.ablation import Ablation, AblationFailed, AblationResult
from autoresearch_jax.finalize.branch import find_place, original_of, write_branch
from autoresearch_jax.finalize.commits import FinalizeError, require_traceable, steps_of
from autoresearch_jax.finalize.lineage import CarriedEdit, carried_edits
from autoresearch_jax.finalize.patch_files import write_patches
from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.git_repo import Workspace, WorkspaceError, branch_name
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import Ledger, read_history
from autoresearch_jax.messages import say
from autoresearch_jax.programs.start import PROGRAMS, is_packaged, with_constants
from autoresearch_jax.report.final_comparison import best_program
from autoresearch_jax.research.build import Task, build_task
from autoresearch_jax.sandbox.tracer_policy import SandboxError
from autoresearch_jax.types import Program

MAX_SEEDS = 1000

COMMAND = Command(
  'finalize',
  'Write the kept edits as a branch of your repository, or as patches.',
  """
  One commit for each edit that led to the best program, with its hypothesis, its measured effect
  and its trials in the message. Each program on the way is traced. The branch starts from the
  latest commit of your repository that has the starting program; your working tree and your current
  branch are not touched.

  --ablate first trains the best program without each of the edits, on the same unused seeds, and
  drops those that carry nothing. It uses the run's executor, and resumes if it is stopped.
  """,
  (
    Option('to', 'Write patches into this new folder instead of a branch.', value='FOLDER'),
    Option('branch', 'Name of the branch.', value='NAME', shown='autoresearch/NAME of the run'),
    Option('program', 'Folder of your program.', value='FOLDER', shown='config.program'),
    Option('ablate', 'Drop the edits that carry nothing.', False),
    Option('seeds', 'Training runs of each program in the ablation.', 4, minimum=2,
           maximum=MAX_SEEDS, value='N'),
  ),
  operand=WORKDIR,
  examples={
    'autoresearch finalize runs/mine': 'A branch in the repository that the run started from.',
    'autoresearch finalize runs/digits_steps --to=patches': 'Patches against the packaged program.',
    'autoresearch finalize runs/mine --ablate --seeds=8': 'Only what carries the gain.',
  },
  exit_codes={
    '0': 'Done.',
    '1': 'The ablation failed; the same command resumes it.',
    '2': 'Nothing was written; the message on standard error says why.',
  },
)  # fmt: skip


def finalize(directory: pathlib.Path, line: CommandLine) -> None:
  """Writes the branch or the patches. Raises FinalizeError, and as the ablation does."""
  history = read_history(directory)
  best = best_program(history)
  if best is None:
    raise FinalizeError(f'No edit was kept in {directory}, so there is nothing to finalize.')
  config, start = history.config, history.edits[BASELINE].program
  folder = pathlib.Path(line['program'] or config.program)
  packaged = not line['program'] and is_packaged(config.program)
  place = original = None
  if packaged or not folder.is_dir():
    _require_patches(line['to'], folder, packaged)
    if packaged:
      names = tuple(name for name, _ in start.files)
      original = Program.read(PROGRAMS / config.program, names, start.entry)
      original = original if _starts(original, config, start) else None
  else:
    try:
      place = find_place(folder, start, lambda program: _starts(program, config, start))
      original = original_of(place, start)
    except FinalizeError:
      if not line['to']:
        raise
  original = start if original is None else original
  task = build_task(config)
  edits = carried_edits(history, best)
  ablation = _ablation(directory, task, edits, line['seeds']) if line['ablate'] else None
  if ablation is not None:
    edits = ablation.edits
    _say_ablation(ablation)
  steps = steps_of(history, edits, original, ablation)
  if not edits:
    raise FinalizeError('The ablation found no edit that carries anything, so nothing is written.')
  require_traceable(steps, config, task.spec)
  if line['to']:
    files = write_patches(
      pathlib.Path(line['to']), original, steps, history.last_time, place.folder if place else ''
    )
    return say('\n'.join([f'{len(files)} patches; each program traces:', *map(str, files)]))
  assert place is not None
  name = line['branch'] or branch_name(history.started.tag if history.started else 'run')
  commits = write_branch(place, name, steps)
  if not place.is_head:
    say(
      f'The program has changed since; the branch starts at {str(place.base.id)[:10]}, the last '
      'commit with the starting program.'
    )
  if place.is_dirty:
    say('Your uncommitted changes are neither touched nor part of the branch.')
  say(f'Branch {name} in {place.repository.workdir}; each of its programs traces:')
  say('\n'.join(f'  {str(c)[:10]} {step.subject}' for c, step in zip(commits, steps, strict=True)))


def _ablation(
  directory: pathlib.Path, task: Task, edits: tuple[CarriedEdit, ...], seeds: int
) -> AblationResult:
  dataset = task.prepare_data(say)
  with Workspace.open(directory) as workspace, Ledger.open(workspace.ledger_path) as ledger:
    history = History.of(ledger.records())
    assert history.started is not None
    if dataset.fingerprint != history.started.dataset:
      raise FinalizeError('The data differ from those of the run, so scores do not compare.')
    executor = task.start_executor(dataset, workspace.scratch)
    try:
      return Ablation(
        ledger, history, executor, task.config.budget, seeds, bool(dataset.test), say
      ).run(edits)
    finally:
      executor.close()


def _say_ablation(found: AblationResult) -> None:
  if found.note:
    say(found.note)
  if not found.dropped:
    return say('All edits are kept.')
  dropped = ', '.join(map(str, found.dropped))
  on_test = f'; on the test split {found.on_test}' if found.on_test is not None else ''
  say(f'Dropped: trials {dropped}. The rest against the best program: {found.remaining}{on_test}.')


def _starts(program: Program, config: Config, start: Program) -> bool:
  """Whether a program becomes the starting one with the constants of the config."""
  try:
    return program == start or with_constants(program, config.constants) == start
  except ConfigError:
    return False


def _require_patches(to: str | None, folder: pathlib.Path, packaged: bool) -> None:
  """Raises FinalizeError unless patches are written, where there is no folder of the user's."""
  if to:
    return
  if packaged:
    raise FinalizeError(
      f'The run started from {str(folder)!r}, a program of this package, so there is no repository '
      'of yours to make a branch in. Use --to=FOLDER for patches.'
    )
  raise FinalizeError(
    f'The program {str(folder)!r} is not a folder here. Name yours with --program=FOLDER, or use '
    '--to=FOLDER for patches.'
  )


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  errors = (
    LedgerError, FinalizeError, WorkspaceError, SandboxError, OSError, UnicodeError,
    pygit2.GitError,
  )  # fmt: skip
  return COMMAND.run(_finalize, arguments, errors, interrupted='Stopped; the same command resumes.')


def _finalize(line: CommandLine) -> int:
  try:
    finalize(pathlib.Path(line.operand), line)
  except (AblationFailed, Unavailable) as error:
    print(error, file=sys.stderr)
    return FAILED
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
