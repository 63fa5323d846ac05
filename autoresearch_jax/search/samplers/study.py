"""An Optuna study as a pure function of a log of asks and tells; `base.py` writes the log.

Each ask is answered by a new sampler, seeded with the number in the log, so a study rebuilt from
the log equals the original: what samplers keep is stored in the study's trials (CMA-ES's optimizer,
pickled) or follows from them. The last few studies are cached, so that a run pays only for its
newest entries; asking an older state again replays its whole log.
"""

import abc
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

MAX_CACHED = 8  # studies: this many runs can take turns in one process without replaying


class SamplerFactory(Protocol):
  """Makes the samplers that answer asks; equal factories give the same answers.

  Attributes:
    title: Its name in messages.
  """

  title: ClassVar[str]

  def sampler(self, seed: int) -> optuna.samplers.BaseSampler: ...

  def study(self, space: 'Space') -> 'Replayable': ...


class Ask(msgspec.Struct, frozen=True, tag='ask'):
  """An ask.

  Attributes:
    number: Number of the study's trial.
    seed: The sampler's seed.
    values: The answer.
  """

  number: int
  seed: int
  values: tuple[Value, ...]


class Tell(msgspec.Struct, frozen=True, tag='tell'):
  """The result of an ask.

  Attributes:
    number: Number of the ask.
    trial: Trial id of the run.
    score: Larger is better; None for a trial without any information.
  """

  number: int
  trial: int
  score: float | None


class Add(msgspec.Struct, frozen=True, tag='add', omit_defaults=True):
  """A completed trial that the study was not asked for.

  Attributes:
    number: The number it gets in the study.
    trial: Trial id of the run.
    score: Larger is better.
    values: Its constants.
    replaces_draw: Whether it takes the place of the sampler's next draw, so that a sampler that
      learns only from its own draws, such as CMA-ES, learns from it.
  """

  number: int
  trial: int
  score: float
  values: tuple[Value, ...]
  replaces_draw: bool = False


class Drop(msgspec.Struct, frozen=True, tag='drop'):
  """An ask that is not tried, because it would not fit in memory.

  Attributes:
    number: Number of the ask.
    score: What the study is told; None to tell it nothing, so that the next ask is another draw
      from the same distribution.
  """

  number: int
  score: float | None


Entry = Ask | Tell | Add | Drop
Log = tuple[Entry, ...]
Space = tuple[Dimension, ...]


class Replayable(abc.ABC):
  """A source of constants with the log that led to it. Mutable, so only `replayed` hands it out."""

  def __init__(self, samplers: SamplerFactory, space: Space):
    self.samplers, self.space = samplers, space
    self.space_repr = repr(space)  # distinguishes 1, 1.0 and True, which compare equal
    self.log: Log = ()

  @abc.abstractmethod
  def ask(self, seed: int) -> Ask:
    """Asks for a point, and logs it."""

  @abc.abstractmethod
  def take(self, entry: Entry) -> None:
    """Applies a log entry.

    Raises:
      RuntimeError: The answer to an ask differs from the logged one.
    """


class ReplayableStudy(Replayable):
  """An Optuna study with the log that led to it."""

  def __init__(self, samplers: SamplerFactory, space: Space):
    super().__init__(samplers, space)
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
    if isinstance(entry, Ask):
      if self.ask(entry.seed) != entry:
        raise RuntimeError(
          f'Optuna {optuna.__version__} answers ask {entry.number} of {self.samplers.title} '
          f'differently from the ledger; use the Optuna version that wrote it.'
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
    if not entry.replaces_draw:
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
      _ = trial.relative_params  # lazy: makes the sampler draw, and mark the trial as its own
      self.study.tell(trial, entry.score)

  def draws(self, seed: int, count: int) -> list[tuple[Value, ...]]:
    """Returns the answers to `count` asks without tells in between, from a copy of the study."""
    with _quiet():
      copy = optuna.create_study(direction='maximize', study_name='draws')
      copy.add_trials(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
      copy.sampler = self.samplers.sampler(seed)
      params = [copy.ask(self.distributions).params for _ in range(count)]
    return [tuple(_value(d, row[d.name]) for d in self.space) for row in params]


_cache: list[Replayable] = []  # memoises a pure function: changes the time, not the answer


def replayed(samplers: SamplerFactory, space: Space, log: Log) -> Replayable:
  """Returns a study after `log`, starting from the cached study with the longest prefix of it."""
  prefixes = [
    s
    for s in _cache
    if s.log == log[: len(s.log)] and s.samplers == samplers and s.space_repr == repr(space)
  ]
  study = max(prefixes, key=lambda s: len(s.log), default=None)
  if study is None:
    study = samplers.study(space)
  else:
    _cache.remove(study)  # it is about to change
  for entry in log[len(study.log) :]:
    study.take(entry)
  return study


def remember(study: Replayable) -> None:
  """Caches a study."""
  _cache.append(study)
  del _cache[:-MAX_CACHED]


def _distribution(dimension: Dimension) -> BaseDistribution:
  if dimension.choices:
    return CategoricalDistribution(dimension.choices)
  low, high = (_parameter(dimension, bound) for bound in (dimension.low, dimension.high))
  if isinstance(low, int) and isinstance(high, int):
    return IntDistribution(low, high, log=dimension.log)
  return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _parameter(dimension: Dimension, value: Value) -> Value:
  """Returns Optuna's parameter for a constant: for a power of two, its exponent."""
  return int(value).bit_length() - 1 if dimension.powers else value


def _value(dimension: Dimension, parameter: Value) -> Value:
  return 2 ** int(parameter) if dimension.powers else parameter


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Silences Optuna's message for each new study and its warnings about experimental samplers."""
  verbosity = optuna.logging.get_verbosity()
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
      yield
  finally:
    optuna.logging.set_verbosity(verbosity)
