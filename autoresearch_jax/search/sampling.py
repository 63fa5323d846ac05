"""What the strategies that sample constants through Optuna share: `tpe`, `cma_es`, `gp`.

Source: Optuna (Akiba et al., 2019, arXiv 1907.10902), used as it is. No parent is chosen: every
proposal carries an edit, the start's program with other constants (see `space`).

The state is a log of what was asked and told. The Optuna study is a pure function of it: each ask
is answered by a sampler seeded with the number that this ask drew, so a study rebuilt from the log
is the one that lived, CMA-ES's optimizer (which Optuna keeps in the trials) included. The last few
studies are remembered, so that a run pays for its newest entries only.

What is told of which trial:
- Trial 0 is the first completed trial of the study, with the program's own constants, and so is
  every trial that nobody asked here for (replications, edits of others), if its program differs
  from the start in constants of the space alone and it had the whole budget.
- A failure counts as the worst score so far. A trial marked as failed would be forgotten, and
  these samplers would ask again for what does not fit in memory. TPE and CMA-ES go by ranks, for
  which any worst value is the same, and a Gaussian process bears it better than an invented one.
  Measured on a 5-d sphere whose optimum lies at the edge of a failing region, 20 seeds of 100
  trials: TPE fails 26 times instead of 47 and ends at 0.014 instead of 0.026 from the optimum.
- A duplicate has the score of the trial that it repeats; what was cancelled has none.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator
from typing import ClassVar

import msgspec
import numpy as np
import optuna
from optuna.distributions import (
  BaseDistribution,
  CategoricalDistribution,
  FloatDistribution,
  IntDistribution,
)
from optuna.trial import TrialState

from autoresearch_jax.search.archive import NONE, score_of
from autoresearch_jax.search.space import (
  Dimension,
  Range,
  Value,
  constants,
  skeleton,
  space_of,
  with_values,
)
from autoresearch_jax.types import (
  Edit,
  Hypothesis,
  Objective,
  Operation,
  Program,
  Proposal,
  Status,
  Trial,
)

REMEMBERED = 8  # studies: as many runs can take turns in one process without replaying
SHOWN = 6  # constants in the line that describes an edit


class Ask(msgspec.Struct, frozen=True, tag='ask'):
  """The study's trial `number`, answered with the sampler's `seed` by these values."""

  number: int
  seed: int
  values: tuple[Value, ...]


class Tell(msgspec.Struct, frozen=True, tag='tell'):
  """The result of ask `number`: this run's trial id and score; None: it says nothing."""

  number: int
  trial: int
  score: float | None


class Add(msgspec.Struct, frozen=True, tag='add'):
  """A completed trial that was never asked for; it becomes the study's trial `number`."""

  number: int
  trial: int
  score: float
  values: tuple[Value, ...]


Log = tuple[Ask | Tell | Add, ...]


@dataclasses.dataclass(frozen=True)
class SamplingState:
  """root: id of the trial whose program, `start`, the constants are changed in; NONE before it."""

  objective: Objective
  root: int = NONE
  start: Program | None = None
  log: Log = ()


@dataclasses.dataclass(frozen=True)
class Sampling:
  """space: a Range for each constant to search over; empty: all numbers, with derived ranges.

  file: the one whose constants they are; empty: the program's entry.
  """

  space: dict[str, Range] = dataclasses.field(default_factory=dict)
  file: str = ''
  title: ClassVar[str] = ''

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    """The Optuna sampler that answers one ask."""
    raise NotImplementedError

  def dimensions(self, program: Program) -> tuple[Dimension, ...]:
    """The space in this program. Raises ValueError when the options do not fit it."""
    file = self.file or program.entry
    names = [name for name, _ in program.files]
    if file not in names:
      raise ValueError(f'Option file is {file!r}; the program has: {", ".join(names)}.')
    return space_of(program.text(file), self.space, file)

  def init(self, objective: Objective) -> SamplingState:
    return SamplingState(objective)

  def ask(self, state: SamplingState, rng: np.random.Generator) -> tuple[Proposal, SamplingState]:
    """Before a program is known, an edit of the start's constants by the proposer."""
    if state.start is None:
      return Proposal(Operation.DRAFT, guidance='tuning'), state
    seed = int(rng.integers(2**31 - 1))
    study = _replayed(self, state.start, state.log)
    entry = study.ask(seed)
    _remember(study)
    edit = self._edit(state.start, entry.values)
    proposal = Proposal(Operation.IMPROVE, parents=(state.root,), edit=edit)
    return proposal, dataclasses.replace(state, log=(*state.log, entry))

  def tell(self, state: SamplingState, trial: Trial) -> SamplingState:
    """Raises ValueError when trial 0 has no constants that the options fit."""
    if state.start is None:
      state = self._begun(state, trial)
    values = self._values(state.start, trial.edit.program) if state.start else None
    if values is None:
      return state
    entry = _entry(state, trial, values)
    return state if entry is None else dataclasses.replace(state, log=(*state.log, entry))

  def _begun(self, state: SamplingState, trial: Trial) -> SamplingState:
    """With the trial's program as the start; a program without constants is passed over."""
    try:
      self.dimensions(trial.edit.program)
    except ValueError:
      if trial.id == 0:
        raise
      return state
    return dataclasses.replace(state, root=trial.id, start=trial.edit.program)

  def _values(self, start: Program, program: Program) -> tuple[Value, ...] | None:
    """The program's constants, in the order of the space; None unless only they are new."""
    file = self.file or start.entry
    texts, space = dict(program.files), self.dimensions(start)
    known = {c.name: c.value for c in constants(texts.get(file, ''))}
    if not all(d.name in known and d.holds(known[d.name]) for d in space):
      return None
    names = [d.name for d in space]
    before, after = (
      {**dict(p.files), file: skeleton(p.text(file), names)} for p in (start, program)
    )
    return tuple(known[name] for name in names) if before == after else None

  def _edit(self, start: Program, values: tuple[Value, ...]) -> Edit:
    file, space = self.file or start.entry, self.dimensions(start)
    new = dict(zip((d.name for d in space), values, strict=True))
    pairs = zip(space, values, strict=True)
    moved = [f'{d.name} {_short(d.value)} -> {_short(v)}' for d, v in pairs if d.value != v]
    more = f' and {len(moved) - SHOWN} more' if len(moved) > SHOWN else ''
    words = ', '.join(moved[:SHOWN]) + more if moved else 'the constants of the start'
    return Edit(
      start.with_text(with_values(start.text(file), new), file),
      f'{self.title}: {words}',
      Hypothesis(f'{self.title} expects most of these constants.', ('constants', self.title)),
    )


def _entry(state: SamplingState, trial: Trial, values: tuple[Value, ...]) -> Tell | Add | None:
  """What the trial adds to the log; None where it says nothing."""
  score = _score(state, trial)
  asks = [e for e in state.log if isinstance(e, Ask)]
  told = {e.number for e in state.log if isinstance(e, Tell)}
  waiting = [e.number for e in asks if e.values == values and e.number not in told]
  if waiting and trial.proposal.operation not in (Operation.REPLICATE, Operation.PROMOTE):
    return Tell(waiting[0], trial.id, score)
  if score is None or trial.proposal.fidelity < 1:
    return None
  return Add(sum(not isinstance(e, Tell) for e in state.log), trial.id, score, values)


def _score(state: SamplingState, trial: Trial) -> float | None:
  """What the study is told of the trial; see the module."""
  score = score_of(state.objective, trial)
  if score is not None:
    return float(score)  # plain, whatever kind of float was measured
  if trial.result.status is Status.CANCELLED:
    return None
  scores = {e.trial: e.score for e in state.log if not isinstance(e, Ask) and e.score is not None}
  if trial.result.status is Status.DUPLICATE:
    return scores.get(trial.result.duplicate_of if trial.result.duplicate_of is not None else NONE)
  return min(scores.values(), default=None)


class _Study:
  """An Optuna study that went through `log`. Mutable, so only `_replayed` hands it out."""

  def __init__(self, strategy: Sampling, start: Program):
    self.strategy, self.start, self.log = strategy, start, ()
    self.space = strategy.dimensions(start)
    self.distributions = {d.name: _distribution(d) for d in self.space}
    with _quiet():
      self.study = optuna.create_study(direction='maximize', study_name='search')

  def ask(self, seed: int) -> Ask:
    with _quiet():
      self.study.sampler = self.strategy.sampler(seed)
      trial = self.study.ask(self.distributions)
    values = tuple(_value(d, trial.params[d.name]) for d in self.space)
    entry = Ask(trial.number, seed, values)
    self.log = (*self.log, entry)
    return entry

  def take(self, entry: Ask | Tell | Add) -> None:
    """Raises RuntimeError when the sampler does not answer as it did."""
    if isinstance(entry, Ask):
      if self.ask(entry.seed) != entry:
        raise RuntimeError(
          f'Optuna {optuna.__version__} answers ask {entry.number} of {self.strategy.title} '
          f'otherwise than the log says; use the version that wrote it.'
        )
      return
    if isinstance(entry, Add):
      pairs = zip(self.space, entry.values, strict=True)
      params = {d.name: _parameter(d, value) for d, value in pairs}
      self.study.add_trial(
        optuna.trial.create_trial(
          params=params, distributions=self.distributions, value=entry.score
        )
      )
    elif entry.score is None:
      self.study.tell(entry.number, state=TrialState.FAIL)
    else:
      self.study.tell(entry.number, entry.score)
    self.log = (*self.log, entry)


_remembered: list[_Study] = []  # a memo of a pure function: it changes the time, never the answer


def _replayed(strategy: Sampling, start: Program, log: Log) -> _Study:
  """A study that went through `log`, from the longest part of it that is remembered."""
  fitting = [
    s
    for s in _remembered
    if s.log == log[: len(s.log)] and s.strategy == strategy and s.start == start
  ]
  study = max(fitting, key=lambda s: len(s.log), default=None)
  if study is None:
    study = _Study(strategy, start)
  else:
    _remembered.remove(study)
  for entry in log[len(study.log) :]:
    study.take(entry)
  return study


def _remember(study: _Study) -> None:
  _remembered.append(study)
  del _remembered[:-REMEMBERED]


def _distribution(dimension: Dimension) -> BaseDistribution:
  if dimension.choices:
    return CategoricalDistribution(dimension.choices)
  low, high = (_parameter(dimension, bound) for bound in (dimension.low, dimension.high))
  if isinstance(low, int) and isinstance(high, int):
    return IntDistribution(low, high, log=dimension.log)
  return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _parameter(dimension: Dimension, value: Value) -> Value:
  """What Optuna has for the value of a constant: the exponent of a power of two."""
  return int(value).bit_length() - 1 if dimension.powers else value


def _value(dimension: Dimension, parameter: Value) -> Value:
  return 2 ** int(parameter) if dimension.powers else parameter


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without Optuna's line for every new study and its warnings that a sampler is experimental."""
  verbosity = optuna.logging.get_verbosity()
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
      yield
  finally:
    optuna.logging.set_verbosity(verbosity)


def _short(value: Value) -> str:
  return f'{value:.4g}' if isinstance(value, float) else str(value)
