"""An Optuna study as a pure function of a log of asks and tells; `sampling` writes the log.

Each ask is answered by a sampler of its own, seeded with the number in the log, so a study that is
rebuilt from the log is the one that lived: what samplers keep is in the study's trials (CMA-ES's
optimizer, pickled) or follows from them. The last few studies are remembered, so that a run pays
for its newest entries only; an older state that is asked again pays for all of its log.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import ClassVar, Protocol

import msgspec
import optuna
from optuna.distributions import (
  BaseDistribution,
  CategoricalDistribution,
  FloatDistribution,
  IntDistribution,
)
from optuna.trial import TrialState

from autoresearch_jax.search.samplers.space import Dimension, Value

REMEMBERED = 8  # studies: as many runs can take turns in one process without replaying


class Samplers(Protocol):
  """What answers asks; equal ones give the same answers. title: for sentences."""

  title: ClassVar[str]

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler: ...


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


class Add(msgspec.Struct, frozen=True, tag='add', omit_defaults=True):
  """A completed trial that was never asked for; it becomes the study's trial `number`.

  instead: it takes the place of what the sampler would have drawn, so that a sampler that goes by
  its own draws alone, as CMA-ES does, learns from it.
  """

  number: int
  trial: int
  score: float
  values: tuple[Value, ...]
  instead: bool = False


class Drop(msgspec.Struct, frozen=True, tag='drop'):
  """Ask `number` is not tried, since it would not fit in memory; score: what the study is told.

  None: nothing, so that what comes next is another draw of the same kind.
  """

  number: int
  score: float | None


Entry = Ask | Tell | Add | Drop
Log = tuple[Entry, ...]
Space = tuple[Dimension, ...]


class Study:
  """An Optuna study that went through `log`. Mutable, so only `replayed` hands it out."""

  def __init__(self, samplers: Samplers, space: Space):
    self.samplers, self.space = samplers, space
    self.form = repr(space)  # tells 1 from 1.0 and from True, which are equal
    self.log: Log = ()
    self.distributions = {d.name: _distribution(d) for d in space}
    with _quiet():
      self.study = optuna.create_study(direction='maximize', study_name='search')

  def ask(self, seed: int) -> Ask:
    with _quiet():
      self.study.sampler = self.samplers.sampler(seed)
      trial = self.study.ask(self.distributions)
    values = tuple(_value(d, trial.params[d.name]) for d in self.space)
    entry = Ask(trial.number, seed, values)
    self.log = (*self.log, entry)
    return entry

  def take(self, entry: Entry) -> None:
    """Raises RuntimeError when the sampler does not answer as it did."""
    if isinstance(entry, Ask):
      if self.ask(entry.seed) != entry:
        raise RuntimeError(
          f'Optuna {optuna.__version__} answers ask {entry.number} of {self.samplers.title} '
          f'otherwise than the log says; use the version that wrote it.'
        )
      return
    if isinstance(entry, Add):
      self._add(entry)
    elif entry.score is None:
      self.study.tell(entry.number, state=TrialState.FAIL)
    else:
      self.study.tell(entry.number, entry.score)
    self.log = (*self.log, entry)

  def _add(self, entry: Add) -> None:
    pairs = zip(self.space, entry.values, strict=True)
    params = {d.name: _parameter(d, value) for d, value in pairs}
    if not entry.instead:
      self.study.add_trial(
        optuna.trial.create_trial(
          params=params, distributions=self.distributions, value=entry.score
        )
      )
      return
    with _quiet():
      self.study.sampler = self.samplers.sampler(entry.number)
      self.study.enqueue_trial(params)
      trial = self.study.ask(self.distributions)
      _ = trial.relative_params  # lazy: now the sampler draws, and marks the trial as its own
      self.study.tell(trial, entry.score)

  def draws(self, seed: int, count: int) -> list[tuple[Value, ...]]:
    """What so many asks would be answered, were nothing told in between; they leave no trace."""
    with _quiet():
      copy = optuna.create_study(direction='maximize', study_name='draws')
      copy.add_trials(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
      copy.sampler = self.samplers.sampler(seed)
      params = [copy.ask(self.distributions).params for _ in range(count)]
    return [tuple(_value(d, row[d.name]) for d in self.space) for row in params]


_remembered: list[Study] = []  # a memo of a pure function: it changes the time, never the answer


def replayed(samplers: Samplers, space: Space, log: Log) -> Study:
  """A study that went through `log`, from the longest part of it that is remembered."""
  fitting = [
    s
    for s in _remembered
    if s.log == log[: len(s.log)] and s.samplers == samplers and s.form == repr(space)
  ]
  study = max(fitting, key=lambda s: len(s.log), default=None)
  if study is None:
    study = Study(samplers, space)
  else:
    _remembered.remove(study)  # it goes on from here, and is no longer what it was
  for entry in log[len(study.log) :]:
    study.take(entry)
  return study


def remember(study: Study) -> None:
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
