"""The results that have arrived and are not logged yet."""

import collections
from collections.abc import Collection, Iterable

from autoresearch_jax.ledger.events import Finished, SeedFailed, SeedFinished
from autoresearch_jax.research.decisions import failed_in_training, feasible
from autoresearch_jax.types import Constraint, Result, SeedResult, Status


class ResultQueue:
  """Results of trials, and those of single seeds, which are logged before them.

  Attributes:
    results: Results of trials, in the order of their arrival.
  """

  def __init__(self) -> None:
    self.results: collections.deque[Result] = collections.deque()
    self._seed_results: collections.deque[SeedResult | Result] = collections.deque()

  def add(self, results: Iterable[Result | SeedResult], log_failures: bool) -> None:
    """Adds results in the order in which they arrived.

    Args:
      results: The results.
      log_failures: Whether failures are logged at once, as single seeds are.
    """
    for result in results:
      if isinstance(result, SeedResult):
        self._seed_results.append(result)
      else:
        self.results.append(result)
        if log_failures and failed_in_training(result):
          self._seed_results.append(result)

  def seed_event(self, running: Collection[int]) -> SeedFinished | SeedFailed | None:
    """Returns the event of the next finished seed, or held-back failure, of a running trial."""
    while self._seed_results:
      result = self._seed_results.popleft()
      if result.trial not in running:
        continue
      if isinstance(result, SeedResult):
        return SeedFinished(result.trial, result)
      return SeedFailed(result.trial, result)
    return None

  def finished_event(
    self, running: Collection[int], constraints: Iterable[Constraint], stop_requested: bool
  ) -> Finished | None:
    """Returns the event of the next result of a running trial, that of the earliest trial first.

    So the order of results that wait for the proposer does not depend on which machine was faster.
    After a stop request, failures are ignored: Ctrl-C reaches all processes of the terminal, and
    may have caused them. Their trials run again in the next session.
    """
    while self.results:
      result = min(self.results, key=lambda result: result.trial)  # the first of equal ones
      self.results.remove(result)
      doubtful = stop_requested and result.status is not Status.OK
      if result.trial in running and not doubtful:
        return Finished(result.trial, feasible(result, constraints))
    return None
