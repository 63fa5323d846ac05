"""What became of the findings of others in a run: how far each claim has been checked here."""

import dataclasses
import enum
from collections.abc import Set

from autoresearch_jax.findings.trust import Trust, standard_error
from autoresearch_jax.knowledge.outcomes import ProgramOutcomes
from autoresearch_jax.ledger.history import History
from autoresearch_jax.types import INCONCLUSIVE, RERUNS, ImportedClaim, Status

DOUBT = 0.05  # of a claim that holds, or does not


class ImportState(enum.StrEnum):
  """How far the claim of a finding has been checked in a run."""

  CLAIMED = 'claimed'  # its trial has no result that says anything
  REFUSED = 'not applicable'  # its edit does not fit here, or changes nothing
  TRACED = 'traced here'  # its program runs, and whether it gains what is claimed is open
  NOT_REPEATED = 'not repeated here'  # its program failed, or the gain is not there
  REPLICATED = 'replicated here'  # its program was kept, or has the gain over its parent
  CONFIRMED = 'confirmed on the test split here'  # and is in the best one, which beats the baseline


@dataclasses.dataclass(frozen=True)
class ImportOutcome:
  """One finding of others in a run.

  Attributes:
    claim: What its source says.
    state: How far that has been checked.
    trial: Its trial; None if it got none.
    gain: Measured gain over the parent here; None without one.
    standard_error: Of `gain`; None while the noise between seeds is unknown.
    reason: The sentence that came with the state.
  """

  claim: ImportedClaim
  state: ImportState
  trial: int | None
  gain: float | None = None
  standard_error: float | None = None
  reason: str = ''


def import_outcomes(history: History, confirmed: Set[int] = frozenset()) -> list[ImportOutcome]:
  """Returns the findings that were tried or refused, in the order of their trials.

  Args:
    history: The run.
    confirmed: First trials of the programs in the lineage of the best one, if that one beats the
      baseline on the test split.
  """
  if not history.imports.refused and not any(e.imported for e in history.edits.values()):
    return []
  outcomes, trust = outcomes_of(history), trust_of(history)
  repeated = {t.claim.finding: trust.repeated(t) for t in trust.tried}
  found = [
    ImportOutcome(event.claim, ImportState.REFUSED, None, reason=event.reason)
    for event in history.imports.refused.values()
  ]
  for trial, edit in history.edits.items():
    if edit.imported is None or history.proposals[trial].operation in RERUNS:
      continue
    state, reason = _state(history, trial, repeated.get(edit.imported.finding), confirmed)
    known = trial in outcomes.by_trial
    gain = outcomes.gain(trial) if known else None
    error = standard_error(outcomes, trial) if known else None
    found.append(ImportOutcome(edit.imported, state, trial, gain, error, reason))
  return found


def trust_of(history: History) -> Trust:
  """Returns what the trials of a run say about the sources of its imports."""
  pending = [history.edits[trial] for trial in (*history.running, *history.prepared)]
  return Trust.of(outcomes_of(history), pending)


def outcomes_of(history: History) -> ProgramOutcomes:
  """Returns the outcomes of all programs of a run."""
  return ProgramOutcomes(
    history.trials, history.objective, history.kept_programs, history.under_test().keys()
  )


def _state(
  history: History, trial: int, repeated: float | None, confirmed: Set[int]
) -> tuple[ImportState, str]:
  """Returns a trial's state, and the sentence that came with it.

  Args:
    history: The run.
    trial: The first trial of the imported program.
    repeated: Probability that the claim holds here; None while that is open.
    confirmed: As in `import_outcomes`.
  """
  if trial in history.kept_programs:
    state = ImportState.CONFIRMED if trial in confirmed else ImportState.REPLICATED
    return state, ''
  result = history.results.get(trial)
  if result is None or result.status in INCONCLUSIVE:
    return ImportState.CLAIMED, result.reason if result else ''
  if result.status is Status.DUPLICATE:
    return ImportState.REFUSED, result.reason
  if result.status is not Status.OK:
    return ImportState.NOT_REPEATED, result.reason
  decided = history.program_trials.get(trial)
  verdict = history.trials[decided[-1]].verdict if decided else None
  state = ImportState.TRACED
  if repeated is not None and trial not in history.under_test():
    if repeated < DOUBT:
      state = ImportState.NOT_REPEATED
    elif repeated > 1 - DOUBT:
      state = ImportState.REPLICATED
  return state, verdict.reason if verdict else ''
