"""Records the row losses of some programs, by seed and budget, in a folder that resumes.

    recording.json   `RecordingHeading`
    runs.jsonl       a `RecordedRun` for each training, as they end
    rows/*.npz       their losses; see `runner/row_losses.py`

Each training runs in a runner process, as that of a trial does: traced in the sandbox, with the
trial's clock, and on the same seeds for all programs, so that they share initial keys and the order
of the data.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import math
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.data import cache
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.results import program_values
from autoresearch_jax.measure.evaluators import RowLosses
from autoresearch_jax.programs import catalogue
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.proposers.base import NothingToPropose, ProposalContext
from autoresearch_jax.proposers.mutate.proposer import Mutate
from autoresearch_jax.research.build import Task, build_task
from autoresearch_jax.runner.client import RunnerClient, RunnerError, RunnerSetup
from autoresearch_jax.tracer.client import TracerClient
from autoresearch_jax.types import (
  INCONCLUSIVE,
  Budget,
  Dataset,
  Operation,
  Program,
  Proposal,
  PruningRung,
  Spec,
  Status,
  to_builtins,
)

FIRST_SEED = 2**43  # of the unused seeds; far from those of trials and of other evaluations
SEEDS_AT_ONCE = 4  # of a program, before the next program's turn
HEADING, RUNS, ROWS, ARTIFACTS = 'recording.json', 'runs.jsonl', 'rows', 'artifacts'
METRICS = ('val_bpb', 'val_loss')  # means of row losses


class RecordedProgram(msgspec.Struct, frozen=True):
  """A program of a recording: what changed, and its files."""

  description: str
  program: Program


class RecordingHeading(msgspec.Struct, frozen=True):
  """What the trainings of a recording belong to.

  Attributes:
    setting: Digest of the config and the data.
    metric: The metric.
    programs: The programs, the starting program first.
    schema: Version of the format.
  """

  setting: str
  metric: str
  programs: tuple[RecordedProgram, ...]
  schema: int = 1


class RecordedRun(msgspec.Struct, frozen=True):
  """One training.

  Attributes:
    program: Index of the program.
    budget: Fraction of the config's budget.
    seed: Number of the seed, from 0.
    train_seconds: Duration on the trial's clock.
    evaluate_seconds: Duration of the evaluation, with its checks.
    value: The metric; None without a score.
    steps: Train steps.
    reason: Why the program has no score, a sentence; '' if it has one.
  """

  program: int
  budget: float
  seed: int
  train_seconds: float = 0.0
  evaluate_seconds: float = 0.0
  value: float | None = None
  steps: int = 0
  reason: str = ''


class RecordingError(RuntimeError):
  """Row losses cannot be recorded or read; the message says why, and what to do."""


@dataclasses.dataclass
class RecordingFolder:
  """A recording on disk.

  Attributes:
    folder: Its folder.
    heading: What it belongs to.
    runs: The trainings so far.
  """

  folder: pathlib.Path
  heading: RecordingHeading
  runs: list[RecordedRun]

  @classmethod
  def opened(
    cls, folder: pathlib.Path, config: Config, dataset: Dataset, drawn: Callable[[], Any]
  ) -> 'RecordingFolder':
    """Opens a recording, or begins one.

    Args:
      folder: Its folder.
      config: The setting.
      dataset: Its data.
      drawn: Returns the programs of a new one.

    Raises:
      RecordingError: The folder has the recording of another setting, or is damaged.
    """
    path, setting = folder / HEADING, _setting(config, dataset)
    try:
      if path.exists():
        heading = msgspec.json.decode(path.read_bytes(), type=RecordingHeading)
      else:
        heading = RecordingHeading(setting, config.metric, tuple(drawn()))
        (folder / ROWS).mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(heading))
      runs = [msgspec.json.decode(line, type=RecordedRun) for line in _lines(folder / RUNS)]
    except msgspec.DecodeError as error:
      raise RecordingError(f'{folder} is damaged ({error}); name another one by --to.') from None
    if heading.setting != setting:
      raise RecordingError(
        f'{folder} has the recording of another config or of other data; name another folder by '
        '--to.'
      )
    return cls(folder, heading, runs)

  def add(self, run: RecordedRun) -> None:
    with (self.folder / RUNS).open('ab') as file:
      file.write(msgspec.json.encode(run) + b'\n')
    self.runs.append(run)

  @contextlib.contextmanager
  def locked(self) -> Iterator[None]:
    """Keeps other processes from recording here. Raises RecordingError if one does."""
    with (self.folder / RUNS).open('ab') as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError:
        raise RecordingError(
          f'Another process records in {self.folder}. Wait for it, or name another folder by --to.'
        ) from None
      yield

  def failures(self) -> dict[int, str]:
    """Returns why programs have no score, by index."""
    return {run.program: run.reason for run in self.runs if run.reason}

  def rows_file(self, program: int, budget: float, seed: int) -> pathlib.Path:
    return self.folder.absolute() / ROWS / f'{program}_{budget:g}_{seed}.npz'

  def missing(
    self, budgets: Sequence[float], seeds: int
  ) -> list[tuple[int, float, tuple[int, ...]]]:
    """Returns what is left to train: (program, budget, seeds), in the order A B B A."""
    done, failed = {(run.program, run.budget, run.seed) for run in self.runs}, self.failures()
    programs, left = [i for i in range(len(self.heading.programs)) if i not in failed], []
    for turn, begin in enumerate(range(0, seeds, SEEDS_AT_ONCE)):
      some = range(begin, min(begin + SEEDS_AT_ONCE, seeds))
      for budget in budgets:
        for program in programs if turn % 2 == 0 else programs[::-1]:
          if wanted := tuple(s for s in some if (program, budget, s) not in done):
            left.append((program, budget, wanted))
    return left

  def losses(self) -> tuple[list[int], dict[float, RowLosses]]:
    """Returns the programs that have all seeds, by index, and their losses by budget.

    Of each budget those seeds count that all programs without a failure have.

    Raises:
      RecordingError: Files are missing or damaged.
    """
    failed = self.failures()
    programs = [i for i in range(len(self.heading.programs)) if i not in failed]
    by_key = {(run.program, run.budget, run.seed): run for run in self.runs if not run.reason}
    found = {}
    for budget in sorted({run.budget for run in self.runs}, reverse=True):
      seeds = sorted({seed for _, b, seed in by_key if b == budget})
      seeds = [s for s in seeds if all((p, budget, s) in by_key for p in programs)]
      if seeds:
        found[budget] = self._losses(
          [[by_key[program, budget, seed] for seed in seeds] for program in programs]
        )
    return programs, found

  def _losses(self, runs: list[list[RecordedRun]]) -> RowLosses:
    """The losses of some trainings, `[programs, seeds]`, with one budget."""
    files: list[list[dict[str, np.ndarray]]] = []
    for row in runs:
      files.append([])
      for run in row:
        path = self.rows_file(run.program, run.budget, run.seed)
        try:
          with np.load(path) as stored:
            files[-1].append(dict(stored))
        except (OSError, ValueError) as error:
          raise RecordingError(f'{path} cannot be read ({error}); record it anew.') from None
    first, in_bytes = files[0][0], self.heading.metric == 'val_bpb'
    common = set.intersection(
      *({round(float(p), 6) for p in each['progress']} for row in files for each in row)
    )
    progress = tuple(sorted(common))
    units, test_units = (
      first[f'{split}_bytes'] * math.log(2) if in_bytes else first[f'{split}_targets']
      for split in ('validation', 'test')
    )

    def states(each: dict[str, np.ndarray]) -> np.ndarray:
      at = [round(float(p), 6) for p in each['progress']]
      losses = each['validation'][[at.index(p) for p in progress]].astype(np.float64)
      return np.divide(losses, units, out=np.zeros_like(losses), where=units > 0)

    return RowLosses(
      progress,
      np.array([[states(each) for each in row] for row in files]),
      units / units.sum(),
      np.array([[each['test'].sum(dtype=np.float64) / test_units.sum() for each in row]
                for row in files]),
      np.array([np.median([run.train_seconds for run in row]) for row in runs]),
      np.array([np.median([run.evaluate_seconds for run in row]) for row in runs]),
    )  # fmt: skip


def _lines(path: pathlib.Path) -> list[bytes]:
  """Returns the lines of a file, after cutting off one that a killed process left unfinished."""
  content = path.read_bytes() if path.exists() else b''
  complete = content[: content.rfind(b'\n') + 1]
  if len(complete) < len(content):
    path.write_bytes(complete)
  return complete.splitlines()


def record(
  recording: RecordingFolder,
  config: Config,
  task: Task,
  dataset: Dataset,
  budgets: Sequence[float],
  seeds: int,
  states: Sequence[float],
  seconds: float,
  say: Callable[[str], None],
) -> bool:
  """Trains what a recording lacks; returns whether it is complete.

  Args:
    recording: The recording.
    config: The setting.
    task: Its problem.
    dataset: Its data.
    budgets: Fractions of the config's budget, 1 among them.
    seeds: Seeds of each program and budget.
    states: Fractions of a training after which its rows are scored, beside its end.
    seconds: No training begins after so many.
    say: Receives lines of text.

  Raises:
    RecordingError: A training failed for a reason outside of the program, or another process
      records in the folder.
    SandboxError: The machine does not support the isolation that the config requires.
  """
  left = recording.missing(budgets, seeds)
  if not left:
    return True
  total = sum(len(wanted) for *_, wanted in left)
  say(f'{total} trainings are left.')
  with recording.locked(), _engine(config, task, dataset, recording.folder) as engine:
    began = time.monotonic()
    for program, budget, wanted in left:
      if time.monotonic() - began > seconds:
        return False
      if program in recording.failures():
        continue
      try:
        engine.load(recording.heading.programs[program].program, config.budget.scaled(budget))
        for seed in wanted:
          if time.monotonic() - began > seconds:
            return False
          path = recording.rows_file(program, budget, seed)
          cost, metrics = engine.train(FIRST_SEED + seed, states, path)
          recording.add(
            RecordedRun(
              program,
              budget,
              seed,
              cost['training_seconds'] * cost['speed'],
              cost['evaluate_seconds'],
              metrics[config.metric],
              cost['steps'],
            )
          )
      except RunnerError as error:
        if error.status in INCONCLUSIVE:
          raise RecordingError(f'{error} The same command resumes.') from None
        recording.add(RecordedRun(program, budget, wanted[0], reason=str(error)))
        say(f'program {program} is left out: {error}')
  return True


class _Engine:
  """A tracer and a runner that train one program after the other, as trials do."""

  def __init__(
    self, config: Config, spec: Spec, dataset: Dataset, tracer: TracerClient, runner: RunnerClient,
    artifacts: pathlib.Path, clock_file: pathlib.Path,
  ):  # fmt: skip
    self._config, self._spec, self._dataset = config, spec, dataset
    self._tracer, self._runner, self._artifacts = tracer, runner, artifacts
    self._clock_file = clock_file
    self._budget = config.budget

  def load(self, program: Program, budget: Budget) -> None:
    """Traces and compiles a program for a budget. Raises RunnerError."""
    seconds = self._config.limits.compile_seconds
    if budget.is_calibrated():
      self._calibrate()
    self._runner.request('load', seconds, artifact=str(self._traced(program, budget)))
    self._runner.request('compile', seconds)
    self._budget = budget

  def train(
    self, seed: int, states: Sequence[float], rows: pathlib.Path
  ) -> tuple[dict[str, Any], dict[str, float]]:
    """Trains the loaded program; returns its cost and metrics. Raises RunnerError."""
    limits = self._config.limits
    measurement = self._runner.request(
      'run', limits.step_seconds, timeout=limits.run_timeout(self._budget), seed=seed,
      budget=self._budget, rungs=tuple(map(PruningRung, states)), rows=str(rows),
    )['measurement']  # fmt: skip
    return measurement['cost'], measurement['metrics']

  def _calibrate(self) -> None:
    """Makes the starting program the reference of the clock, as it was when recording began."""
    path = self._traced(starting_program(self._config), self._config.budget)
    known = float(self._clock_file.read_text()) if self._clock_file.exists() else 0.0
    limit = self._config.limits.compile_seconds
    found = self._runner.request('calibrate', limit, artifact=str(path), step_seconds=known)
    if not known:
      self._clock_file.write_text(repr(found['step_seconds']))

  def _traced(self, program: Program, budget: Budget) -> pathlib.Path:
    out = self._artifacts / f'{program.digest[:16]}_{budget.amount:g}.artifact'
    if not out.exists():
      spec = dataclasses.replace(self._spec, budget=budget)
      traced = self._tracer.trace(program, spec, self._dataset.evaluation_batch, out)
      if traced.status is not Status.OK:
        raise RunnerError(traced.status, traced.reason)
    return out


@contextlib.contextmanager
def _engine(
  config: Config, task: Task, dataset: Dataset, folder: pathlib.Path
) -> Iterator[_Engine]:
  with tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as name, contextlib.ExitStack() as s:
    scratch = pathlib.Path(name)
    setup = RunnerSetup(config.platform, dataset, config.limits, str(cache.directory()))
    runner = RunnerClient(setup, folder / 'runner.log')
    s.callback(runner.close)
    hidden = task.hidden_paths(dataset)
    tracer = TracerClient(config.limits, hidden, scratch / 'traces')
    s.callback(tracer.close)
    runner.start()
    tracer.start()
    try:
      devices = runner.wait_until_ready()['num_devices']
    except RunnerError as error:
      raise RecordingError(f'No training can run here: {error}') from None
    spec = dataclasses.replace(task.spec, num_devices=devices)
    yield _Engine(config, spec, dataset, tracer, runner, scratch, folder / 'reference_step_seconds')


def drawn_programs(config: Config, count: int) -> list[RecordedProgram]:
  """Returns the starting program and random edits of it, every other one of several changes."""
  task, start = build_task(config), starting_program(config)
  found, rng = [RecordedProgram('starting program', start)], np.random.default_rng(0)
  for number in range(1, count):
    tried = {each.program.digest for each in found}
    context = ProposalContext(
      (start,), {}, tuple(config.editable), task.config.objective, task.spec, tried,
      structural_edits=catalogue.own(config.program),
    )  # fmt: skip
    guidance = 'rewrite' if number % 2 else ''
    try:
      edit = Mutate().propose(Proposal(Operation.IMPROVE, guidance=guidance), context, rng)
    except NothingToPropose as error:
      raise RecordingError(f'{error} Take the programs of a run by --run.') from None
    found.append(RecordedProgram(edit.description, edit.program))
  return found


def programs_of(history: History, count: int) -> list[RecordedProgram]:
  """Returns the starting program of a run and its best ones, kept or near misses."""
  values = {name: program_values(history, name) for name in history.program_trials}
  means = {name: sum(v) / len(v) for name, v in values.items() if v}
  if not means:
    raise RecordingError('The run has no program with a score yet. Let it go on.')
  baseline, *others = sorted(means)
  best = sorted(others, key=lambda name: -history.objective.score_of(means[name]))
  return [
    RecordedProgram(history.edits[name].description, history.edits[name].program)
    for name in (baseline, *best[: count - 1])
  ]


def require_rows(config: Config, dataset: Dataset) -> None:
  """Raises ConfigError for a problem whose metric is no mean over rows."""
  kinds = ('language_model', 'supervised')
  if dataset.kind not in kinds or config.metric not in METRICS or not dataset.test:
    raise ConfigError(
      f'The metric {config.metric!r} of {config.problem!r} is not a mean of losses of rows with a '
      f'test split; set config.metric to {" or ".join(METRICS)}, or choose another problem.'
    )


def _setting(config: Config, dataset: Dataset) -> str:
  """A digest of what decides a score, but for the program."""
  parts = [
    config.problem, config.metric, config.budget.identity(), config.constants, config.platform,
    dataset.fingerprint,
  ]  # fmt: skip
  return hashlib.sha256(msgspec.json.encode(to_builtins(parts))).hexdigest()
