"""The interface of an executor, which runs trials and reports their progress and results.

A new one is one file in this package with one `EXECUTORS.register` line, or an entry point
`autoresearch_jax.executor` of another package. It is made with its options and the collaborators
`spec`, `dataset`, `hidden`, `limits`, `scratch` and `cache`, as `LocalExecutor` is; and with
`problem`, its name and options, if it has such a field.
"""

import abc
import dataclasses
import itertools
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from autoresearch_jax.registry import Registry
from autoresearch_jax.types import (
  Budget,
  Hardware,
  Platform,
  Program,
  Progress,
  Result,
  SeedResult,
  TrialRequest,
)

EXECUTORS = Registry('executor', __package__ or '')
COLLABORATORS = ('spec', 'dataset', 'hidden', 'limits', 'scratch', 'cache', 'problem')  # no options
ExecutorEvent = Progress | SeedResult | Result
MAX_WAIT_SECONDS = 60.0  # of one call of `Executor.wait`, which events end at once
POLL_SECONDS = 0.5  # the same, where a stop is looked for
FIRST_REQUEST = -1  # of requests that are no trials, which are numbered downwards


class Unavailable(RuntimeError):
  """The machine failed, not a program: the trials under way have no result and run again later."""


class EventQueue:
  """What an executor's threads report, in that order. Any thread may call the methods."""

  def __init__(self) -> None:
    self._events: queue.SimpleQueue[ExecutorEvent | Unavailable] = queue.SimpleQueue()

  def put(self, event: ExecutorEvent | Unavailable) -> None:
    """Adds an event, or an error, which `wait` raises after the events before it."""
    self._events.put(event)

  def wait(self, timeout: float) -> list[ExecutorEvent]:
    """Returns the events since the last call, as `Executor.wait` does. Raises Unavailable."""
    events: list[ExecutorEvent] = []
    try:
      event = self._events.get(timeout=timeout)
      while not isinstance(event, Unavailable):
        events.append(event)
        event = self._events.get_nowait()
    except queue.Empty:
      return events
    if events:
      self._events.put(event)
      return events
    raise event


class Executor(abc.ABC):
  """Runs trials. `tests/helpers/executor_contract.py` has the checks for a registered executor.

  Attributes:
    slots: Number of trials that may run at the same time. It may fall when a slot fails.

  Example: an executor that measures the length of a program.

    >>> from autoresearch_jax.types import Cost, Measurement, Status
    >>> class Length(Executor):
    ...   def __init__(self):
    ...     self.queue = []
    ...
    ...   def submit(self, request):
    ...     self.queue.append(request)
    ...
    ...   def wait(self, timeout):
    ...     requests, self.queue = self.queue, []
    ...     return [self.measured(request) for request in requests]
    ...
    ...   def measured(self, request):
    ...     length = {'length': float(len(request.program.text()))}
    ...     runs = tuple(Measurement(seed, length, Cost()) for seed in request.seeds)
    ...     return Result(request.trial, Status.OK, measurements=runs)
    >>> program = Program((('model.py', 'WIDTH = 64'),), entry='model.py')
    >>> (result,) = finished(Length(), TrialRequest(0, program, (0,), Budget(1.0, 'steps')))
    >>> result.measurements[0].metrics
    {'length': 10.0}
  """

  slots: int = 1

  @classmethod
  def require_options(cls, platform: Platform, options: Mapping[str, Any]) -> None:
    """Checks options before anything is started or written. By default their types suffice.

    Args:
      platform: The run's platform.
      options: Those that the config sets, with their types checked.

    Raises:
      ValueError: An option is out of range.
    """
    del platform, options

  @abc.abstractmethod
  def submit(self, request: TrialRequest) -> None:
    """Starts a trial, or queues it. Returns at once.

    `request.done` has the training runs that this or an earlier executor has reported for the
    trial. The result should include their measurements; an executor may also repeat them.
    """

  @abc.abstractmethod
  def wait(self, timeout: float) -> Sequence[ExecutorEvent]:
    """Returns the progress and results since the last call; each trial has one result.

    A failure of the program is a result with a status and a reason, never an exception. An executor
    may report each training run of a trial when it ends, as a `SeedResult` before the trial's
    result. They are logged, and a run that is killed resumes after them.

    Args:
      timeout: Seconds to wait for the first one.

    Raises:
      Unavailable: No trial can run here: no runner starts, or the disk is full.
    """

  def hardware(self) -> Hardware | None:
    """Returns what the trials run on, which may take until the devices are acquired.

    By default, and if the devices cannot be acquired, it is not known.
    """
    return None

  def check(self, program: Program, budget: Budget) -> str:
    """Traces a program before its trial, which then need not trace it; blocks meanwhile.

    May be called from any thread. It must not slow down running trials or affect their results.
    By default nothing is known in advance.

    Returns:
      What is wrong with the program, a sentence; '' if nothing is, or if that is not known.
    """
    del program, budget
    return ''

  def cancel(self, trial: int) -> None:  # noqa: B027 - not every executor can end a trial
    """Ends a trial early; its result has the status `cancelled`. By default it runs to its end."""

  def close(self) -> None:  # noqa: B027 - an executor without processes has nothing to end
    """Ends the processes that the executor started. Idempotent; by default there are none."""


def finished(
  executor: Executor,
  *requests: TrialRequest,
  each: Callable[[Progress], object] = lambda progress: None,
) -> tuple[Result, ...]:
  """Runs trials on an executor that runs no others, and returns their results in that order.

  Args:
    executor: Runs them.
    *requests: The trials.
    each: Receives their progress.

  Raises:
    Unavailable: The machine failed.
  """
  for request in requests:
    executor.submit(request)
  results: dict[int, Result] = {}
  while len(results) < len(requests):
    for event in executor.wait(MAX_WAIT_SECONDS):
      if isinstance(event, Result):
        results[event.trial] = event
      elif isinstance(event, Progress):
        each(event)
  return tuple(results[request.trial] for request in requests)


def outside_trials(
  executor: Executor, left: list[TrialRequest], stop: Callable[[], object] = lambda: False
) -> Iterator[tuple[TrialRequest, Result]]:
  """Runs requests that are no trials of the search; yields each with its result.

  They are submitted as slots become free, under numbers below 0, so that results of trials are not
  taken for theirs.

  Args:
    executor: Runs them.
    left: The requests, the first one last; it is emptied, and may grow meanwhile.
    stop: Returns whether to stop early.

  Raises:
    Unavailable: The machine failed.
  """
  underway: dict[int, TrialRequest] = {}
  while (left or underway) and not stop():
    while left and len(underway) < executor.slots:
      number = next(i for i in itertools.count(FIRST_REQUEST, -1) if i not in underway)
      underway[number] = request = left.pop()
      executor.submit(dataclasses.replace(request, trial=number))
    for event in executor.wait(POLL_SECONDS):
      if isinstance(event, Result) and event.trial in underway:
        yield underway.pop(event.trial), event
