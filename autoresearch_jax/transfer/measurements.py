"""Training runs of a transfer: programs by settings by seeds, recorded as they end.

The record is a file of lines of JSON, one for each training run, so a transfer that is killed
resumes where it was.
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Literal, Self

import msgspec

from autoresearch_jax.executors import Executor, outside_trials
from autoresearch_jax.types import (
  INCONCLUSIVE,
  Budget,
  Objective,
  Program,
  Result,
  Status,
  TrialRequest,
)

FIRST_SEED = 2**42  # of the unused seeds; far from those of trials and of other evaluations
MAX_FAILURES = 3  # of the machine in a row
FILE = 'transfer.jsonl'

Setting = Literal['source', 'target']
Scores = dict[int, float]  # by seed; larger is better


class TransferError(RuntimeError):
  """The transfer cannot be made; the message says why, and what to do."""


class TransferHeading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """First line of the record: what its training runs belong to.

  Attributes:
    source: Digest of the config and the data of the run.
    target: The same of the other setting.
  """

  source: str
  target: str


class TransferRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """Another line of the record: one training run.

  Attributes:
    setting: Where it was trained.
    program: Digest of the program, without the constants that the target sets.
    seed: Its seed.
    score: Value of the metric; None if it has none.
    reason: Why it has none, a sentence.
    training_seconds: Time that it trained.
  """

  setting: Setting
  program: str
  seed: int
  score: float | None
  reason: str = ''
  training_seconds: float = 0.0


@dataclasses.dataclass
class Recorded:
  """The record of a transfer, in a folder.

  Attributes:
    file: Its file, open for appending.
    path: The path of that.
    runs: The training runs so far.
  """

  file: BinaryIO
  path: pathlib.Path
  runs: list[TransferRun]

  @classmethod
  @contextlib.contextmanager
  def opened(cls, folder: pathlib.Path, heading: TransferHeading) -> Iterator[Self]:
    """Opens the record in a folder, or begins one, and locks it meanwhile.

    Raises:
      TransferError: The folder has the record of another transfer, or one is in progress there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with path.open('ab') as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        raise TransferError(
          f'Another transfer is in progress in {folder}. Wait for it, or name another folder by '
          '--to.'
        ) from None
      runs = _read(path, heading)
      if runs is None:
        file.write(msgspec.json.encode(heading) + b'\n')
        file.flush()
      yield cls(file, path, runs or [])

  def add(self, run: TransferRun) -> None:
    self.file.write(msgspec.json.encode(run) + b'\n')
    self.file.flush()
    self.runs.append(run)

  def has(self, setting: Setting, program: Program, seed: int) -> bool:
    return any(
      (run.setting, run.program, run.seed) == (setting, program.digest, seed) for run in self.runs
    )

  def scores(self, setting: Setting, program: Program, objective: Objective) -> Scores:
    """Returns the scores of a program in a setting."""
    return {
      run.seed: objective.score_of(run.score)
      for run in self.runs
      if (run.setting, run.program) == (setting, program.digest) and run.score is not None
    }

  def failure(self, setting: Setting, program: Program) -> str:
    """Returns why a program has no score in a setting; '' if none of its runs failed."""
    reasons = [
      run.reason
      for run in self.runs
      if (run.setting, run.program) == (setting, program.digest) and run.score is None
    ]
    return reasons[0] if reasons else ''


def _read(path: pathlib.Path, heading: TransferHeading) -> list[TransferRun] | None:
  """Reads a record, without a line that was cut off; None if empty. Raises TransferError."""
  lines = path.read_bytes().splitlines(keepends=True)
  if lines and not lines[-1].endswith(b'\n'):
    os.truncate(path, sum(map(len, lines[:-1])))
    lines.pop()
  if not lines:
    return None
  try:
    found = msgspec.json.decode(lines[0], type=TransferHeading)
    runs = [msgspec.json.decode(line, type=TransferRun) for line in lines[1:]]
  except msgspec.DecodeError as error:
    raise TransferError(f'{path} is damaged ({error}). Name another folder by --to.') from None
  if found != heading:
    raise TransferError(
      f'{path} belongs to a transfer between other settings, or to another run or other data. '
      'Name another folder by --to.'
    )
  return runs


def missing(
  record: Recorded, setting: Setting, programs: Sequence[tuple[Program, Program]], seeds: int
) -> list[tuple[Program, int]]:
  """Returns the training runs that the record lacks, as (program, seed), in turns: A B B A.

  Args:
    record: The training runs so far.
    setting: The setting.
    programs: Each as it is in the run, and as it is trained here.
    seeds: Training runs of each program.
  """
  same = _stands_for(programs)
  order = [
    (trained, FIRST_SEED + n)
    for n in range(seeds)
    for trained in (list(same) if n % 2 == 0 else list(same)[::-1])
  ]
  return [
    (trained, seed)
    for trained, seed in order
    if not all(record.has(setting, original, seed) for original in same[trained])
    and not any(record.failure(setting, original) for original in same[trained])
  ]


def _stands_for(programs: Sequence[tuple[Program, Program]]) -> dict[Program, list[Program]]:
  """Returns what is trained -> the programs of the run that it stands for."""
  same: dict[Program, list[Program]] = {}
  for original, trained in programs:
    same.setdefault(trained, []).append(original)
  return same


def train(
  executor: Executor,
  record: Recorded,
  setting: Setting,
  programs: Sequence[tuple[Program, Program]],
  objective: Objective,
  budget: Budget,
  seeds: int,
  say: Callable[[str], None],
) -> None:
  """Trains what the record lacks of some programs in a setting.

  Programs are trained in turns, in the order A B B A, so that a machine that slowly changes favours
  none. Those that are equal in this setting are trained once. A program that failed on one seed is
  not trained on others.

  Args:
    executor: Trains the programs.
    record: Receives the training runs.
    setting: The setting.
    programs: Each as it is in the run, and as it is trained here.
    objective: The metric.
    budget: Budget of a training run.
    seeds: Training runs of each program.
    say: Receives lines of text.

  Raises:
    TransferError: The machine failed again and again.
    Unavailable: It is not usable any more.
  """
  left, same = missing(record, setting, programs, seeds), _stands_for(programs)
  if not left:
    return
  say(f'{setting}: {len(left)} training runs of {budget.describe()}.')
  for done, (request, result) in enumerate(_results(executor, left, budget), 1):
    for original in same[request.program]:
      run = _run_of(setting, original, request.seeds[0], result, objective)
      if not record.has(setting, original, run.seed):
        record.add(run)
      score = f'{objective.metric} {run.score:.6f}' if run.score is not None else run.reason
      say(f'  {done} of {len(left)}: program {original.digest[:8]}, {score}')


def _results(
  executor: Executor, missing: Sequence[tuple[Program, int]], budget: Budget
) -> Iterator[tuple[TrialRequest, Result]]:
  left = [TrialRequest(0, program, (seed,), budget) for program, seed in missing[::-1]]
  failures = 0
  for request, result in outside_trials(executor, left):
    if result.status in INCONCLUSIVE:
      failures += 1
      if failures > MAX_FAILURES:
        raise TransferError(
          f'A training run failed again: {result.reason} The same command resumes.'
        )
      left.append(request)
      continue
    failures = 0
    yield request, result
    if result.status is not Status.OK:  # other seeds would fail as well
      left[:] = [other for other in left if other.program != request.program]


def _run_of(
  setting: Setting, program: Program, seed: int, result: Result, objective: Objective
) -> TransferRun:
  if result.status is not Status.OK:
    reason = result.reason or result.status.value
    return TransferRun(setting, program.digest, seed, None, reason)
  (run,) = result.measurements
  seconds = run.cost.training_seconds
  return TransferRun(setting, program.digest, seed, run.metrics[objective.metric], '', seconds)
