"""What requests and ends of the search mean for the controller's next decisions.

Pure functions of the run so far, which `controller.py` calls in a live run and in a replay.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from autoresearch_jax.ledger import ends
from autoresearch_jax.ledger.events import HandedOver, Proposed
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import STRATEGY, ComponentCall
from autoresearch_jax.programs import protection
from autoresearch_jax.proposers import NothingToPropose
from autoresearch_jax.research import edits
from autoresearch_jax.research.actions import STOP, Settings
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.types import (
  RERUNS,
  Edit,
  Objective,
  Operation,
  Program,
  Proposal,
  Trial,
  Verb,
)

# Of remeasured trials: unlike those of strategies, rules and the final evaluation.
FIRST_SEED = 10**9


def why_spent(history: History, settings: Settings) -> str:
  """Returns why no further trial may begin, also none that is prepared; '' if one may."""
  applying = ends.effective(history, settings.ends)
  if _may_hand_over(history, settings):
    applying = dataclasses.replace(applying, patience=0)
  return ends.why_spent(history, applying, settings.capabilities.dollars_per_hour)


def hand_over(history: History, settings: Settings) -> HandedOver | None:
  """Returns the hand-over to another strategy that is due, if any. A proposal must not be open."""
  if history.open_proposal is not None or not _may_hand_over(history, settings):
    return None
  reason = ends.why_stale(history, ends.effective(history, settings.ends))
  return HandedOver(settings.after_patience, reason) if reason else None


def _may_hand_over(history: History, settings: Settings) -> bool:
  return settings.after_patience != STOP and history.handed_over is None


def taken_over(
  event: HandedOver, objective: Objective, trials: Mapping[int, Trial]
) -> tuple[Strategy, Any]:
  """Returns the strategy that takes over, and its state after it was told of all trials.

  Raises:
    ComponentError: It cannot be made, or raised.
  """
  with ComponentCall(STRATEGY, STRATEGIES, f'when {event.strategy} was to take over'):
    strategy = STRATEGIES.make(event.strategy)
  with ComponentCall(STRATEGY, strategy, 'when it took the search over'):
    state = strategy.init(objective)
    for trial in trials.values():
      state = strategy.tell(state, trial)
  return strategy, state


def may_begin(history: History, settings: Settings) -> bool:
  """Returns whether trials may begin: the run is not paused, and no end is reached."""
  return history.steering.paused is None and not why_spent(history, settings)


def next_wanted(history: History) -> Proposed | None:
  """Returns the next proposal that neither the strategy nor the acceptance rule makes, if any.

  The best program of earlier hardware comes first, and then what users have asked for.
  """
  carried = history.started.carried if history.started else None
  if carried is not None and history.next_trial == BASELINE + 1:
    return Proposed(history.next_trial, Proposal(Operation.IMPROVE, (BASELINE,), edit=carried))
  if not history.steering.queue:
    return None
  taken = history.steering.queue[0]
  request = taken.request
  if request.verb is Verb.REMEASURE:
    assert request.trial is not None
    first = FIRST_SEED + history.steering.remeasured
    parents, seeds = (history.original(request.trial),), tuple(range(first, first + request.seeds))
    proposal = Proposal(Operation.REPLICATE, parents, seeds=seeds)
  elif taken.event.edit is not None:
    parent = BASELINE if taken.event.parent is None else taken.event.parent
    proposal = Proposal(Operation.IMPROVE, (parent,), edit=taken.event.edit)
  else:
    best = BASELINE if history.best is None else history.best
    proposal = Proposal(Operation.IMPROVE, (best,))
  return Proposed(history.next_trial, proposal, request.id)


def _is_carried(history: History, trial: int) -> bool:
  """Whether a trial has the best program of earlier hardware, older than what is protected."""
  return trial == BASELINE + 1 and history.started is not None and bool(history.started.carried)


def idea(history: History) -> str:
  """Returns the idea in words that the open proposal is to carry out; '' if it is no such one."""
  opened = history.open_proposal
  if opened is None or not opened.request:
    return ''
  return history.steering.taken[opened.request].request.text


def hints(history: History) -> tuple[str, ...]:
  """Returns the hints that proposers see, oldest first."""
  return tuple(taken.request.text for taken in history.steering.hints)


def why_protected(history: History, before: Program, after: Program) -> str:
  """Returns why an edit is refused since it changes what is protected, a sentence; or ''."""
  protected = dict(history.steering.protected)  # which changes while a proposer's thread is here
  name = protection.changed(protected, before, after)
  if not name:
    return ''
  author = protected[name].request.author
  return f'The edit changes {name}, which {author} has protected.'


def require_unprotected(history: History, edit: Edit) -> None:
  """Raises NothingToPropose if an edit for the open proposal changes what is protected."""
  if not history.steering.protected or history.open_proposal is None or not history.edits:
    return
  if _is_carried(history, history.open_proposal.trial):
    return
  parent = edits.parents(history, history.open_proposal.proposal)[0]
  if why := why_protected(history, parent, edit.program):
    raise NothingToPropose(why)


def why_barred(history: History, trial: int) -> str:
  """Returns why a prepared trial is not trained: a name was protected meanwhile; or ''."""
  proposal = history.proposals[trial]
  if trial == BASELINE or proposal.operation in RERUNS or not history.steering.protected:
    return ''
  if _is_carried(history, trial):
    return ''
  parent = edits.parents(history, proposal)[0]
  return why_protected(history, parent, history.edits[trial].program)
