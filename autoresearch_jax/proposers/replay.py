"""Proposes the edits of another run again, or those of a folder of patches.

The offline stand-in for a language model: what one wrote once is proposed in the same order, with
its own description, hypothesis and author, onto whatever program the strategy wants edited. A
recorded edit becomes one of that program by a three-way merge (`rebase`), a patch goes where its
lines are (`patches`), and one that does not fit waits for a program that it fits.

Which edit is next follows from the trials that are done or under way, so a run that was killed goes
on with the next one.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from autoresearch_jax.ledger.events import LedgerError
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.messages import one_line
from autoresearch_jax.programs import patches
from autoresearch_jax.programs.rebase import rebased
from autoresearch_jax.proposers.base import PROPOSERS, NothingToPropose, ProposalContext, Proposer
from autoresearch_jax.types import RERUNS, Edit, Hypothesis, Program, Proposal

LEDGER = 'ledger.db'
SUFFIXES = ('.patch', '.diff')
SHOWN = 3  # reasons in a sentence


class Change(Protocol):
  """How a recorded edit becomes an edit of another program."""

  def onto(self, program: Program, start: Program) -> Program | None:
    """The program after the edit; None where it does not fit. start: of the run that goes on."""
    ...


@dataclasses.dataclass(frozen=True)
class Merge:
  """What turned `base` into `edited`."""

  base: Program
  edited: Program

  def onto(self, program: Program, start: Program) -> Program | None:
    del start
    return rebased(self.edited, self.base, program)


@dataclasses.dataclass(frozen=True)
class Patching:
  """A patch of the program as it is; where that does not go, of the start, merged into it."""

  patch: patches.Patch

  def onto(self, program: Program, start: Program) -> Program | None:
    if (there := patches.applied(self.patch, program)) is not None:
      return there
    edited = patches.applied(self.patch, start)
    return None if edited is None else rebased(edited, start, program)


@dataclasses.dataclass(frozen=True)
class Recorded:
  """One edit of the source. name: where it is found there. words: the edit but for its program."""

  name: str
  words: 'Words'
  change: Change


@dataclasses.dataclass(frozen=True)
class Words:
  """What an edit says of itself; by this a trial that came of it is known again."""

  description: str
  hypothesis: Hypothesis
  author: str = ''
  role: str = ''

  @classmethod
  def of(cls, edit: Edit) -> 'Words':
    return cls(edit.description, edit.hypothesis, edit.author, edit.role)

  def edit(self, program: Program) -> Edit:
    return Edit(program, self.description, self.hypothesis, self.author, self.role)


@PROPOSERS.register('replay')
@dataclasses.dataclass(frozen=True)
class Replay(Proposer):
  """The options of `config.proposer_options`.

  source: the --workdir of another run or its ledger.db, or a folder of unified diffs (*.patch,
  *.diff), taken in the order of their names. kept_only: of a run, only what it kept. again: begin
  again when all were proposed, which makes sense where programs differ; else there is nothing
  more to propose then.
  """

  source: str = ''
  kept_only: bool = False
  again: bool = False
  recorded: tuple[Recorded, ...] = dataclasses.field(init=False, repr=False, compare=False)

  def __post_init__(self) -> None:
    found = _read(self.source, self.kept_only)
    if not found:
      which = 'that was kept' if self.kept_only else 'to propose again'
      raise ValueError(f'{self.source} has no edit {which}.')
    object.__setattr__(self, 'recorded', found)

  @property
  def title(self) -> str:
    """What is proposed again, for the first line of the run."""
    count = len(self.recorded)
    return f'replay: {count} edit{"s" if count > 1 else ""} of {self.source}'

  def propose(self, proposal: Proposal, context: ProposalContext, rng: np.random.Generator) -> Edit:
    """The first recorded edit that is not in this run and fits. Raises NothingToPropose."""
    del proposal, rng
    reasons = []
    wanted = self._wanted(context)
    baseline = context.history.get(BASELINE)
    start = baseline.edit.program if baseline else context.parents[0]
    for recorded in wanted:
      program = recorded.change.onto(context.parents[0], start)
      why = _why_not(program, context)
      if program is not None and not why:
        return recorded.words.edit(program)
      reasons.append(f'{recorded.name}, {one_line(recorded.words.description, 60)!r}: {why}')
    if not wanted:
      raise NothingToPropose(
        f'All {len(self.recorded)} recorded edits of {self.source} were proposed.'
      )
    more = f' And {len(reasons) - SHOWN} more.' if len(reasons) > SHOWN else ''
    raise NothingToPropose(
      f'None of the {len(wanted)} recorded edits of {self.source} that are left fits '
      f'{", ".join(context.editable)}. {" ".join(reasons[:SHOWN])}{more}'
    )

  def _wanted(self, context: ProposalContext) -> list[Recorded]:
    """Recorded edits in the order they are tried in: as recorded, those proposed less often first.

    Several with the same words are taken to have been proposed in their order.
    """
    proposed = collections.Counter(
      Words.of(trial.edit)
      for number, trial in context.history.items()
      if number != BASELINE and trial.proposal.operation not in RERUNS
    )
    proposed.update(map(Words.of, context.pending.values()))
    alike = collections.Counter(recorded.words for recorded in self.recorded)
    before: collections.Counter[Words] = collections.Counter()
    times = []
    for recorded in self.recorded:
      words = recorded.words
      times.append(-((before[words] - proposed[words]) // alike[words]))
      before[words] += 1
    order = sorted(range(len(times)), key=lambda at: times[at])
    return [self.recorded[at] for at in order if self.again or not times[at]]


def _why_not(program: Program | None, context: ProposalContext) -> str:
  """Why the program of a recorded edit is not proposed; '' when it is."""
  parent = context.parents[0]
  if program is None:
    return 'what it changes is not there, or is something else by now.'
  if program == parent:
    return 'the program has it already.'
  before, after = dict(parent.files), dict(program.files)
  changed = [n for n in sorted({*before, *after}) if before.get(n) != after.get(n)]
  if foreign := [name for name in changed if name not in context.editable]:
    return f'it changes {foreign[0]}, which may not be changed.'
  if program.entry != parent.entry:
    return f'it makes {program.entry} the entry.'
  if program.digest in context.tried:
    return 'its program was tried before.'
  return context.check_duplicate(program)


def _read(source: str, kept_only: bool) -> tuple[Recorded, ...]:
  """The edits of a run or a folder. Raises ValueError with a sentence."""
  if not source:
    raise ValueError(
      'The proposer replay has no source: set config.proposer_options.source to the --workdir of '
      'another run or to a folder of patches.'
    )
  path = pathlib.Path(source).expanduser()
  if path.is_file() or (path / LEDGER).is_file():
    return tuple(_of_run(path if path.is_file() else path / LEDGER, kept_only))
  if not path.is_dir():
    raise ValueError(f'The source of the proposer replay, {source}, is no ledger and no folder.')
  files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
  if not files:
    raise ValueError(f'{source} has no {LEDGER} and no file that ends in {" or ".join(SUFFIXES)}.')
  if kept_only:
    raise ValueError(f'kept_only is about runs, and {source} is a folder of patches.')
  return tuple(_of_patch(file) for file in files)


def _of_run(path: pathlib.Path, kept_only: bool) -> Iterator[Recorded]:
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
    base = history.edits[parent].program
    yield Recorded(f'trial {number}', Words.of(edit), Merge(base, edit.program))


def _of_patch(path: pathlib.Path) -> Recorded:
  try:
    patch = patches.parse(path.read_bytes().decode())
  except UnicodeDecodeError:
    raise ValueError(f'{path} is not text in UTF-8.') from None
  except OSError as error:
    raise ValueError(f'{path} cannot be read: {error.strerror}.') from None
  except patches.PatchError as error:
    raise ValueError(f'{path} cannot be proposed. {error}') from None
  description = patch.description or one_line(path.stem)
  hypothesis = patch.hypothesis
  if not hypothesis.claim:
    hypothesis = dataclasses.replace(hypothesis, claim=f'{description}.')
  return Recorded(path.name, Words(description, hypothesis), Patching(patch))
