"""Edits that need no proposer: baseline, reruns, a strategy's own edits, and rebased edits.

Pure functions of the history, called by the controller.
"""

import dataclasses

from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.programs import rebase
from autoresearch_jax.types import RERUNS, Edit, Hypothesis, Program, Proposal


def parents(history: History, proposal: Proposal) -> tuple[Program, ...]:
  """Returns the programs of a proposal's parents; the starting program if it has none.

  Raises:
    ValueError: A parent does not exist, or a rerun has none.
  """
  edits = history.edits
  missing = proposal.operation in RERUNS and not proposal.parents
  if missing or not all(trial in edits for trial in proposal.parents):
    raise ValueError(f'The strategy named parents {proposal.parents}; no such trial exists.')
  return tuple(edits[t].program for t in proposal.parents) or (edits[BASELINE].program,)


def without_proposer(
  history: History, proposal: Proposal, program: Program, editable: tuple[str, ...]
) -> Edit | None:
  """Returns the edit of a proposal that needs no proposer; None if it needs one.

  Args:
    history: The run so far.
    proposal: The open proposal.
    program: The starting program, which is the baseline's.
    editable: Files that an edit may change.

  Raises:
    ValueError: A parent does not exist, or the strategy's own edit changes other files.
  """
  if history.next_trial == BASELINE:
    claim = 'The unmodified program, which all others are compared with.'
    return Edit(program, 'baseline', Hypothesis(claim))
  if proposal.operation in RERUNS:
    return rerun(history, proposal)
  first = parents(history, proposal)[0]
  if proposal.edit is not None:
    require_editable(proposal.edit, first, editable)
  return proposal.edit


def rerun(history: History, proposal: Proposal) -> Edit:
  """Returns the edit of a replication or promotion, which changes nothing. Raises ValueError."""
  program, first = parents(history, proposal)[0], history.original(proposal.parents[0])
  text = f'{proposal.operation} trial {first}: {history.edits[first].description}'
  return Edit(program, text, Hypothesis('The same program again, for a more precise score.'))


def rebased(history: History, edit: Edit, before: Proposal, after: Proposal) -> Edit | None:
  """Applies a prepared edit to the parent of a revised proposal.

  Args:
    history: The run so far.
    edit: An edit of the first parent of `before`.
    before: The proposal that it was written for.
    after: The revised proposal.

  Returns:
    The edit of the first parent of `after`; None if it does not apply there.

  Raises:
    ValueError: A parent does not exist.
  """
  old, new = parents(history, before)[0], parents(history, after)[0]
  if after.operation in RERUNS:
    return rerun(history, after)
  program = edit.program if old == new else rebase.rebased(edit.program, old, new)
  return None if program is None else dataclasses.replace(edit, program=program)


def require_editable(edit: Edit, parent: Program, editable: tuple[str, ...]) -> None:
  """Raises ValueError if an edit changes a file that is not editable, or the entry."""
  before, after = dict(parent.files), dict(edit.program.files)
  for name in sorted({*before, *after}):
    if before.get(name) != after.get(name) and name not in editable:
      raise ValueError(f'The edit changes {name}; only {", ".join(editable)} may be changed.')
  if edit.program.entry != parent.entry:
    raise ValueError(f'The edit makes {edit.program.entry} the entry; it is {parent.entry}.')
