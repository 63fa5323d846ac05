"""What sinks get of a run: plain data that another thread may keep."""

import dataclasses
import hashlib
import pathlib
from typing import Any

from autoresearch_jax.ledger.events import Decided, HandedOver, Record, Steered, Stopped
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.results import SLOW
from autoresearch_jax.ledger.steering import described
from autoresearch_jax.messages import one_line
from autoresearch_jax.report.trial_row import trial_row
from autoresearch_jax.types import Decision, Objective, Program, Trial

SCHEMA = 1  # of a payload; grows when a field changes its meaning or goes
RECOVERED = 0.95  # of the speed at the start, after which a slow machine counts as fast again
DECISIONS = {Decision.KEEP: 'kept', Decision.DISCARD: 'discarded', Decision.CRASH: 'failed'}


@dataclasses.dataclass(frozen=True)
class SinkEvent:
  """One thing that happened.

  Attributes:
    event: One of `config.HOOK_EVENTS`.
    time: Unix seconds.
    trial: The trial, for kept, discarded and failed.
    parent: The program that it edits.
    text: Why the run ended, what was steered, or how the machine has changed.
    trials: Decided trials so far.
    best: First trial of the best program; None before there is one.
    best_value: Its metric.
  """

  event: str
  time: float
  trial: Trial | None = None
  parent: Program | None = None
  text: str = ''
  trials: int = 0
  best: int | None = None
  best_value: float | None = None

  @classmethod
  def of(cls, record: Record, history: History) -> 'tuple[SinkEvent, ...]':
    """Returns the events of a record that `history` includes; none if sinks do not get it."""
    match record.event:
      case Decided(trial=number):
        event = cls.of_trial(history.trials[number], record.time, history)
        drift = drift_of(history, number)
        return (event, cls._made('drift', record.time, history, text=drift)) if drift else (event,)
      case Steered(request=request, refused=refused):
        text = described(request) + (f': refused. {refused}' if refused else '')
        return (cls._made('steered', record.time, history, text=text),)
      case HandedOver(strategy=strategy, reason=reason):
        text = f'{strategy} takes the search over: {reason}'
        return (cls._made('steered', record.time, history, text=text),)
      case Stopped(reason=reason):
        return (cls._made('ended', record.time, history, text=reason),)
    return ()

  @classmethod
  def of_trial(cls, trial: Trial, time: float, history: History) -> 'SinkEvent':
    """Returns the event of a decided trial."""
    assert trial.verdict is not None
    parent = history.parent(trial.id)
    program = None if parent is None else history.edits[parent].program
    kind = DECISIONS[trial.verdict.decision]
    return cls._made(kind, time, history, trial=trial, parent=program)

  @classmethod
  def earlier(cls, history: History) -> tuple['SinkEvent', ...]:
    """Returns the events of the trials so far, each with the best program of that time."""
    found: list[SinkEvent] = []
    best: Trial | None = None
    for trial in history.trials.values():
      if trial.verdict is not None and trial.verdict.decision is Decision.KEEP:
        best = trial
      event = cls.of_trial(trial, history.edited_at[trial.id], history)
      found.append(dataclasses.replace(event, trials=len(found) + 1, **_best(best, history)))
    return tuple(found)

  @classmethod
  def started(cls, history: History) -> 'SinkEvent':
    """Returns the event of a session that begins."""
    return cls._made('started', history.last_time, history)

  @classmethod
  def _made(cls, event: str, time: float, history: History, **fields: Any) -> 'SinkEvent':
    best = _best(history.incumbent, history)
    return cls(event, time, trials=len(history.trials), **best, **fields)


def drift_of(history: History, number: int) -> str:
  """Returns how the machine was found to have changed with the last decided trial; or ''.

  It has if the acceptance rule says so, or if the speed that the calibrated clock measures has
  fallen below `SLOW`, or has come back to `RECOVERED`.
  """
  trial = history.trials[number]
  if trial.verdict is not None and trial.verdict.drift:
    return f'Trial {number}: {one_line(trial.verdict.reason, 300)}'
  if trial.result.speed is None:
    return ''
  was = slow = False
  for speed in (t.result.speed for t in history.trials.values()):
    was = slow
    if speed is not None:
      slow = speed < (RECOVERED if slow else SLOW)
  if slow == was:
    return ''
  change = 'slower than at the start' if slow else 'about as fast as at the start again'
  return (
    f'The machine is {change}: trial {number} trained at {trial.result.speed:.0%} of that speed.'
  )


def _best(trial: Trial | None, history: History) -> dict[str, Any]:
  """Returns the fields of the best program, that of a trial which was kept."""
  if trial is None:
    return {'best': None, 'best_value': None}
  metric = history.objective.metric
  return {'best': history.original(trial.id), 'best_value': trial.metric(metric)}


@dataclasses.dataclass(frozen=True)
class RunInfo:
  """The run that events are of.

  Attributes:
    name: Its name.
    directory: Its folder.
    config: Its config as plain data, as far as it may be passed on.
    objective: The metric and its direction.
    started: When it began, in Unix seconds.
    earlier: Events of the trials that were decided before this session.
  """

  name: str
  directory: pathlib.Path
  config: dict[str, Any]
  objective: Objective
  started: float
  earlier: tuple[SinkEvent, ...] = ()

  @property
  def key(self) -> str:
    """Identifies the run, by its folder and its beginning, in all sessions."""
    return hashlib.sha256(f'{self.directory} {self.started}'.encode()).hexdigest()[:16]

  def payload(self, event: SinkEvent) -> dict[str, Any]:
    """Returns an event as JSON data, as hooks get it."""
    return {
      'schema': SCHEMA,
      'event': event.event,
      'time': event.time,
      'run': self.name,
      'workdir': str(self.directory),
      'metric': self.objective.metric,
      'direction': self.objective.direction,
      'trials': event.trials,
      'best': event.best,
      'best_value': event.best_value,
      'text': event.text,
      'trial': None if event.trial is None else trial_row(event.trial, self.objective.metric),
    }
