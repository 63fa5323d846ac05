"""Trackers of experiments: what they log, and how often they are called for each trial.

A tracker is a frozen dataclass of options, registered under a name. It logs each decided trial
once: which are logged is kept in `trackers/NAME.json` in the run's folder, and a session begins
with those that an earlier one did not get to.
"""

import abc
import importlib.util
import pathlib

import msgspec

from autoresearch_jax.registry import Registry
from autoresearch_jax.report.page.diffs import program_diff
from autoresearch_jax.report.sinks.base import Sink
from autoresearch_jax.report.sinks.events import RunInfo, SinkEvent
from autoresearch_jax.report.trial_row import trial_row
from autoresearch_jax.types import Trial

TRACKERS = Registry('tracker', 'autoresearch_jax.report.sinks')
FOLDER = 'trackers'  # in the run's folder


def require_package(package: str, tracker: str) -> None:
  """Raises ValueError if a tracker's package is missing. Does not import it."""
  if importlib.util.find_spec(package) is None:
    raise ValueError(
      f'config.trackers has {tracker!r}, whose package is not installed: '
      f"pip install 'autoresearch_jax[{tracker}]'."
    )


class Tracker(Sink):
  """Logs trials; the base of all trackers.

  Attributes:
    name: Registered name.
    run: The run.
  """

  name: str = ''

  @property
  def title(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
    return f'The tracker {self.name}'

  @abc.abstractmethod
  def begin(self, run: RunInfo) -> None:
    """Opens the tracker's run, or goes on with it."""

  @abc.abstractmethod
  def log_trial(self, trial: Trial, event: SinkEvent) -> None:
    """Logs a decided trial."""

  @abc.abstractmethod
  def end(self, event: SinkEvent | None) -> None:
    """Closes the tracker's run; `event` is the last one of the run."""

  def open(self, run: RunInfo) -> None:
    self._set(_run=run, _last=None, _logged=_read_logged(self._path(run)))
    self.begin(run)
    for event in run.earlier:
      if event.trial is not None and event.trial.id not in self._logged:
        self.take(event)

  def take(self, event: SinkEvent) -> None:
    self._set(_last=event)
    if event.trial is not None:
      self.log_trial(event.trial, event)
      self._logged.append(event.trial.id)
      path = self._path(self._run)
      path.parent.mkdir(exist_ok=True)
      new = path.with_suffix('.new')
      new.write_bytes(msgspec.json.encode({'trials': self._logged}))
      new.replace(path)

  def close(self) -> None:
    self.end(self._last)

  def _path(self, run: RunInfo) -> pathlib.Path:
    return run.directory / FOLDER / f'{self.name}.json'

  def _set(self, **values: object) -> None:
    for name, value in values.items():  # trackers are frozen dataclasses of options
      object.__setattr__(self, name, value)

  _run: RunInfo
  _last: SinkEvent | None
  _logged: list[int]


def _read_logged(path: pathlib.Path) -> list[int]:
  """Returns the trials that earlier sessions have logged."""
  try:
    return msgspec.json.decode(path.read_bytes(), type=dict[str, list[int]])['trials']
  except (OSError, KeyError, msgspec.MsgspecError):
    return []


def metrics_of(trial: Trial, event: SinkEvent, metric: str) -> dict[str, float]:
  """Returns the numbers of a trial, and the best value so far."""
  row = trial_row(trial, metric)
  found = {name: float(value) for name, value in row.items() if isinstance(value, int | float)}
  for name in ('id', 'parent', 'value'):
    found.pop(name, None)
  found['kept'] = float(event.event == 'kept')
  if event.best_value is not None:
    found['best'] = event.best_value
  return found


def curves_of(trial: Trial) -> dict[int, list[tuple[float, float]]]:
  """Returns seed -> (fraction of the budget, training loss) points."""
  curves = trial.result.facts.get('curves', {})
  return {int(seed): [(p[0], p[1]) for p in points] for seed, points in curves.items()}


def diff_of(trial: Trial, event: SinkEvent) -> str:
  """Returns the diff of a trial's edit; '' for the baseline and reruns."""
  return '' if event.parent is None else program_diff(event.parent, trial.edit.program)


def words_of(trial: Trial) -> str:
  """Returns a trial in words: its edit, its hypothesis and its verdict."""
  verdict = trial.verdict.reason if trial.verdict else ''
  return f'{trial.edit.description}\n\n{trial.edit.hypothesis.claim}\n\n{verdict}'
