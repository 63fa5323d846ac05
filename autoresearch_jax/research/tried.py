"""The programs that a run has tried, so that duplicates are found before they are trained.

Three kinds of programs count as the same: *exact* duplicates have the same syntax trees, *near*
duplicates differ only in floats and by little, *semantic* duplicates have the same fingerprint once
they are traced. The first two are found here from the text; the third one by the executor, from
`TrialRequest.known`.
"""

from collections.abc import Callable

from autoresearch_jax.knowledge import Memory, duplicates
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.types import INCONCLUSIVE, RERUNS, Program, Proposal


class TriedPrograms:
  """Programs by fidelity, and which of the running trials are duplicates.

  Attributes:
    duplicates: Running trials that need not be trained: the earlier trial of their program, and a
      sentence that says so.
  """

  def __init__(self, history: History, tolerance: float, memory: Callable[[], Memory]):
    """Starts without any program.

    Args:
      history: The run, which grows.
      tolerance: Relative difference of floats up to which programs are near duplicates.
      memory: Returns what is known of the earlier trial, for the sentence.
    """
    self.duplicates: dict[int, tuple[int, str]] = {}
    self._history = history
    self._tolerance = tolerance
    self._memory = memory
    self._programs: dict[float, duplicates.DuplicateIndex] = {}

  def begin(self, trial: int) -> None:
    """Takes in a trial that begins: it is a duplicate, or its program is one more to remember."""
    proposal, program = self._history.proposals[trial], self._history.edits[trial].program
    if proposal.operation in RERUNS:
      return
    found = None if trial == BASELINE else self.find(program, proposal)
    if found is None:
      self._index(proposal.fidelity).add(trial, program)
    else:
      self.duplicates[trial] = found

  def finish(self, trial: int) -> None:
    """Takes in that a trial has a result."""
    self.duplicates.pop(trial, None)

  def find(self, program: Program, proposal: Proposal) -> tuple[int, str] | None:
    """Returns the earlier trial of a program and a sentence about it; None for a new program.

    A strategy that sets constants itself may take small steps; proposers may not.
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
