"""Executors: where trials run. Asynchronous: submit some, wait for news.

An executor is registered by name in `EXECUTORS`; it is made with its options and with the
collaborators `spec`, `dataset`, `limits`, `cache_directory` (see `executors/local.py`).
"""

from collections.abc import Callable
from typing import Protocol

from autoresearch_jax.registry import Registry
from autoresearch_jax.types import Budget, Program, Progress, Result, TrialRequest

EXECUTORS = Registry('executor', __name__)
PATIENCE_SECONDS = 60.0  # of one wait; what happens meanwhile ends it at once


class Unavailable(RuntimeError):
  """The machine failed, not a candidate: its trial has no result and is run again later."""


class Executor(Protocol):
  """The contract of an executor; `tests/executors/contract.py` checks every registered one."""

  @property
  def slots(self) -> int:
    """How many trials may be under way at once."""
    ...

  def submit(self, request: TrialRequest) -> None:
    """Starts a trial, or queues it. Returns at once."""
    ...

  def check(self, program: Program, budget: Budget) -> str:
    """Traces a program for a trial to come, whose own trace is saved by that; blocks.

    Returns what is wrong with it, in a sentence; '' when nothing is, or when that is not known.
    May be called from any thread while trials run, which it must not slow down; what it does to
    have the program ready must not change what they come to, nor be blamed on them.
    """
    ...

  def wait(self, timeout: float) -> list[Progress | Result]:
    """News since the last call; blocks up to `timeout` seconds for the first. One Result a trial.

    Never raises for what a candidate did: that is a Result with a status and a reason. Raises
    Unavailable when no trial can be run here: no runner comes up, the disk is full.
    """
    ...

  def cancel(self, trial: int) -> None:
    """Ends a trial early; its Result has status `cancelled`."""
    ...

  def close(self) -> None:
    """Ends all processes the executor started. Idempotent."""
    ...


def finished(
  executor: Executor,
  *requests: TrialRequest,
  each: Callable[[Progress], object] = lambda news: None,
) -> tuple[Result, ...]:
  """Runs trials where no others are under way, and waits; results in the order of the requests.

  each: is told of their progress. Raises Unavailable.
  """
  for request in requests:
    executor.submit(request)
  results: dict[int, Result] = {}
  while len(results) < len(requests):
    for news in executor.wait(PATIENCE_SECONDS):
      if isinstance(news, Result):
        results[news.trial] = news
      else:
        each(news)
  return tuple(results[request.trial] for request in requests)
