"""The programs that a run has tried, to find duplicates before they are trained.

There are three kinds: *exact* duplicates have the same syntax trees, *near* duplicates differ
slightly in float literals only, *semantic* duplicates have the same fingerprint once traced. The
first two are found here from the source; the third by the executor, from `TrialRequest.known`.
"""

from collections.abc import Callable

from autoresearch_jax.knowledge import Memory, duplicates
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.types import INCONCLUSIVE, RERUNS, Program, Proposal


class TriedPrograms:
  """Programs by fidelity, and which of the running trials are duplicates.

  Attributes:
    duplicates: Running trials that are duplicates -> the earlier trial, and a sentence about it.
  """

  def __init__(self, history: History, tolerance: float, memory: Callable[[], Memory]):
    """Makes an empty index.

    Args:
      history: The live history of the run.
      tolerance: Relative difference of floats up to which programs are near-duplicates.
      memory: Returns the outcomes of earlier hypotheses, to describe a duplicate.
    """
    self.duplicates: dict[int, tuple[int, str]] = {}
    self._history = history
    self._tolerance = tolerance
    self._memory = memory
    self._programs: dict[float, duplicates.DuplicateIndex] = {}

  def begin(self, trial: int) -> None:
    """Adds a trial that begins, to `duplicates` or to the known programs."""
    proposal, program = self._history.proposals[trial], self._history.edits[trial].program
    if proposal.operation in RERUNS:
      return
    found = None if trial == BASELINE else self.find(program, proposal)
    if found is None:
      self._index(proposal.fidelity).add(trial, program)
    else:
      self.duplicates[trial] = found

  def finish(self, trial: int) -> None:
    """Removes a trial that has a result from `duplicates`."""
    self.duplicates.pop(trial, None)

  def find(self, program: Program, proposal: Proposal) -> tuple[int, str] | None:
    """Returns the earlier trial of a duplicate and a sentence about it; None for a new program.

    A strategy that sets constants itself may propose near-duplicates; proposers may not.
    """
    found = self._index(proposal.fidelity).find(program)
    if found is None:
      return None
    result = self._history.results.get(found.trial)
    if (result and result.status in INCONCLUSIVE) or not (found.exact or proposal.edit is None):
      return None
    return found.trial, duplicates.explain(found, self._memory().hypotheses.get(found.trial))

  def _index(self, fidelity: float) -> duplicates.DuplicateIndex:
    if fidelity not in self._programs:
      self._programs[fidelity] = duplicates.DuplicateIndex(self._tolerance)
    return self._programs[fidelity]
