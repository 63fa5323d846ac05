"""Proposes the edits of an earlier run again, or a folder of patches.

This is the offline stand-in for a language model: its edits are proposed again in their order, with
their descriptions, hypotheses and authors, on whatever program the strategy wants edited. An edit
of a run is transferred by a three-way merge (`programs/rebase`), a patch is applied where its
context lines match (`programs/patches`). An edit that does not fit waits for a program that it
fits.

The next edit follows from the trials that are done or pending, so a run that was killed goes on
where it was.
"""

import abc
import collections
import dataclasses
import pathlib
from collections.abc import Iterator

import numpy as np

from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.messages import one_line
from autoresearch_jax.programs import patches, protection
from autoresearch_jax.programs.rebase import patched, rebased
from autoresearch_jax.proposers.base import PROPOSERS, NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.types import RERUNS, Edit, Hypothesis, Program, Proposal

LEDGER = 'ledger.db'
SUFFIXES = ('.patch', '.diff')
MAX_REASONS = 3  # in a sentence


class RecordedChange(abc.ABC):
  """What a recorded edit changed, independent of the program it was made on."""

  @abc.abstractmethod
  def apply_to(self, program: Program, start: Program) -> Program | None:
    """Returns the program after the change; None if it does not fit.

    Args:
      program: The program to edit.
      start: The unmodified program of the current run.
    """


@dataclasses.dataclass(frozen=True)
class MergedChange(RecordedChange):
  """The difference between two programs, transferred by a three-way merge.

  Attributes:
    base: The program before the edit.
    edited: The program after it.
  """

  base: Program
  edited: Program

  def apply_to(self, program: Program, start: Program) -> Program | None:
    del start
    return rebased(self.edited, self.base, program)


@dataclasses.dataclass(frozen=True)
class PatchedChange(RecordedChange):
  """A patch, applied to the program directly, or else to the start and then merged.

  Attributes:
    patch: The patch.
  """

  patch: patches.Patch

  def apply_to(self, program: Program, start: Program) -> Program | None:
    return patched(self.patch, program, start)


@dataclasses.dataclass(frozen=True)
class EditMetadata:
  """Everything about an edit except its program; identifies the edit among the run's trials.

  Attributes:
    description: The edit in one line.
    hypothesis: Why it was made.
    author: The model or agent that wrote it; '' if none did.
    role: The role that it acted in.
  """

  description: str
  hypothesis: Hypothesis
  author: str = ''
  role: str = ''

  @classmethod
  def of(cls, edit: Edit) -> 'EditMetadata':
    return cls(edit.description, edit.hypothesis, edit.author, edit.role)

  def edit(self, program: Program) -> Edit:
    return Edit(program, self.description, self.hypothesis, self.author, self.role)


@dataclasses.dataclass(frozen=True)
class RecordedEdit:
  """One edit of the source.

  Attributes:
    name: The trial or file that it comes from.
    metadata: The edit without its program.
    change: What it changed.
  """

  name: str
  metadata: EditMetadata
  change: RecordedChange


@PROPOSERS.register('replay')
@dataclasses.dataclass(frozen=True)
class Replay(Proposer):
  """Proposes recorded edits again.

  Attributes:
    source: The --workdir of another run or its ledger.db, or a folder of unified diffs (*.patch,
      *.diff), taken in the order of their names.
    kept_only: Whether to take only what a run kept.
    cycle: Whether to start over when all edits were proposed. That makes sense if they will meet
      other programs; without it the run has nothing more to propose then.
    recorded: The edits of the source.
  """

  source: str = ''
  kept_only: bool = False
  cycle: bool = False
  recorded: tuple[RecordedEdit, ...] = dataclasses.field(init=False, repr=False, compare=False)

  def __post_init__(self) -> None:
    """Reads the source. Raises ValueError."""
    found = _read(self.source, self.kept_only)
    if not found:
      which = 'kept edit' if self.kept_only else 'edit to propose again'
      raise ValueError(f'{self.source} has no {which}.')
    object.__setattr__(self, 'recorded', found)

  @property
  def title(self) -> str:
    """How many edits of which source are proposed again."""
    count = len(self.recorded)
    return f'replay: {count} edit{"s" if count > 1 else ""} of {self.source}'

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """Returns the first recorded edit that this run has not seen and that fits the parent.

    Raises:
      NothingToPropose: All were proposed, or none of the others fits.
    """
    del proposal, rng
    reasons = []
    remaining = self._remaining(context)
    baseline = context.history.get(BASELINE)
    start = baseline.edit.program if baseline else context.parents[0]
    for recorded in remaining:
      program = recorded.change.apply_to(context.parents[0], start)
      why = refusal(program, context)
      if program is not None and not why:
        return recorded.metadata.edit(program)
      reasons.append(f'{recorded.name}, {one_line(recorded.metadata.description, 60)!r}: {why}')
    if not remaining:
      raise NothingToPropose(
        f'All {len(self.recorded)} recorded edits of {self.source} were proposed.'
      )
    more = f' And {len(reasons) - MAX_REASONS} more.' if len(reasons) > MAX_REASONS else ''
    raise NothingToPropose(
      f'None of the {len(remaining)} remaining edits of {self.source} fits '
      f'{", ".join(context.editable)}. {" ".join(reasons[:MAX_REASONS])}{more}'
    )

  def _remaining(self, context: ProposalContext) -> list[RecordedEdit]:
    """Returns the edits to try, in their order, those that were proposed less often first.

    Several edits with equal metadata are taken to have been proposed in their order.
    """
    proposed = collections.Counter(
      EditMetadata.of(trial.edit)
      for number, trial in context.history.items()
      if number != BASELINE and trial.proposal.operation not in RERUNS
    )
    proposed.update(map(EditMetadata.of, context.pending.values()))
    copies = collections.Counter(recorded.metadata for recorded in self.recorded)
    before: collections.Counter[EditMetadata] = collections.Counter()
    times = []  # how often each was proposed
    for recorded in self.recorded:
      metadata = recorded.metadata
      times.append(-((before[metadata] - proposed[metadata]) // copies[metadata]))
      before[metadata] += 1
    order = sorted(range(len(times)), key=lambda i: times[i])
    return [self.recorded[i] for i in order if self.cycle or not times[i]]


def refusal(program: Program | None, context: ProposalContext) -> str:
  """Returns why the program of an edit from elsewhere is not proposed; '' if it is.

  Args:
    program: The edited program; None if the edit does not fit the parent.
    context: What is known of the run.
  """
  parent = context.parents[0]
  if program is None:
    return 'the lines that it changes are missing or differ.'
  if program == parent:
    return 'the program has this change already.'
  before, after = dict(parent.files), dict(program.files)
  changed = [n for n in sorted({*before, *after}) if before.get(n) != after.get(n)]
  if foreign := [name for name in changed if name not in context.editable]:
    return f'it changes {foreign[0]}, which is not editable.'
  if program.entry != parent.entry:
    return f'it makes {program.entry} the entry.'
  if name := protection.changed(context.protected, parent, program):
    return f'it changes {name}, which is protected.'
  tried = program.digest in context.tried
  return 'its program was tried before.' if tried else context.check_duplicate(program)


def _read(source: str, kept_only: bool) -> tuple[RecordedEdit, ...]:
  """Reads the edits of a run or a folder. Raises ValueError."""
  if not source:
    raise ValueError(
      'The proposer replay has no source: set config.proposer_options.source to the --workdir of '
      'another run or to a folder of patches.'
    )
  path = pathlib.Path(source).expanduser()
  if path.is_file() or (path / LEDGER).is_file():
    return tuple(_read_run(path if path.is_file() else path / LEDGER, kept_only))
  if not path.is_dir():
    raise ValueError(
      f'The source of the proposer replay, {source}, is neither a ledger nor a folder.'
    )
  files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
  if not files:
    raise ValueError(f'{source} has no {LEDGER} and no file that ends in {" or ".join(SUFFIXES)}.')
  if kept_only:
    raise ValueError(f'kept_only applies to runs, and {source} is a folder of patches.')
  return tuple(_read_patch(file) for file in files)


def _read_run(path: pathlib.Path, kept_only: bool) -> Iterator[RecordedEdit]:
  try:
    with Ledger.read(path) as ledger:
      history = History.of(ledger.records())
  except LedgerError as error:
    raise ValueError(str(error)) from error
  for number, edit in history.edits.items():
    parent = history.parent(number)
    repeats = history.proposals[number].operation in RERUNS
    if parent is None or repeats or (kept_only and number not in history.kept_programs):
      continue
    change = MergedChange(history.edits[parent].program, edit.program)
    yield RecordedEdit(f'trial {number}', EditMetadata.of(edit), change)


def _read_patch(path: pathlib.Path) -> RecordedEdit:
  try:
    patch = patches.parse(path.read_bytes().decode())
  except UnicodeDecodeError:
    raise ValueError(f'{path} is not text in UTF-8.') from None
  except OSError as error:
    raise ValueError(f'Cannot read {path}: {error.strerror}.') from None
  except patches.PatchError as error:
    raise ValueError(f'{path} cannot be proposed. {error}') from None
  description = patch.description or one_line(path.stem)
  hypothesis = patch.hypothesis
  if not hypothesis.claim:
    hypothesis = dataclasses.replace(hypothesis, claim=f'{description}.')
  return RecordedEdit(path.name, EditMetadata(description, hypothesis), PatchedChange(patch))
