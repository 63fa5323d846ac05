"""What strategy and acceptance rule decide, and the fold of their states over the ledger's events.

Each function is pure: states and events in, an answer and new states out. `replay` folds a whole
ledger, so that a resumed run stands where the killed one stood, byte for byte.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Self

import msgspec
import numpy as np

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.config import Config
from autoresearch_jax.ledger.events import (
  Decided,
  Declined,
  LedgerError,
  Proposed,
  Record,
  Released,
  Started,
)
from autoresearch_jax.ledger.history import BASELINE, History, repeated
from autoresearch_jax.messages import ADVICE, RULE, STRATEGY, PartError, blaming
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import (
  REPEATS,
  Decision,
  Objective,
  Operation,
  Proposal,
  Result,
  Status,
  Trial,
  Verdict,
  from_builtins,
  from_json,
  to_json,
)


@dataclasses.dataclass(frozen=True)
class States:
  """What strategy and acceptance remember. Immutable values, so keeping an old one is free.

  unasked: both states before the last `ask`, to which a declined proposal goes back; None once a
  trial was told of since, which must not be forgotten with it.
  """

  strategy: Any
  acceptance: Any
  unasked: tuple[Any, Any] | None = None

  @classmethod
  def first(cls, objective: Objective, strategy: Strategy, acceptance: AcceptanceRule) -> Self:
    with blaming(STRATEGY, strategy, 'at its start'):
      searching = strategy.init(objective)
    with blaming(RULE, acceptance, 'at its start'):
      return cls(searching, acceptance.init(objective))

  def asked(self, strategy: Any, acceptance: Any) -> Self:
    return dataclasses.replace(
      self, strategy=strategy, acceptance=acceptance, unasked=(self.strategy, self.acceptance)
    )

  def declined(self) -> Self:
    return self if self.unasked is None else type(self)(*self.unasked)

  def told(self, strategy: Any, acceptance: Any) -> Self:
    return dataclasses.replace(self, strategy=strategy, acceptance=acceptance, unasked=None)

  def encoded(self) -> bytes:
    return msgspec.json.encode(self)


def generator(seed: int, turn: int) -> np.random.Generator:
  """Random numbers of the decision that becomes event number `turn`, session events left out."""
  return np.random.default_rng([seed, turn])


def next_proposal(
  strategy: Strategy,
  acceptance: AcceptanceRule,
  states: States,
  rng: np.random.Generator,
  proposals: Mapping[int, Proposal],
) -> tuple[Proposal, States]:
  """What is tried next: a replication that acceptance waits for, else the strategy's wish.

  proposals: those of all trials so far; what repeats a replicate is made to repeat its original.
  Raises PartError, also for a proposal that no loop can run; see `require_runnable`.
  """
  when = f'when it was asked for trial {len(proposals)}'
  with blaming(RULE, acceptance, when):
    wanted, judging = acceptance.ask(states.acceptance)
    if wanted is not None:
      return _of_original(_sound(wanted), proposals), states.asked(states.strategy, judging)
  with blaming(STRATEGY, strategy, when):
    proposal, searching = strategy.ask(states.strategy, rng)
    return _of_original(_sound(proposal), proposals), states.asked(searching, judging)


def _sound(proposal: Proposal) -> Proposal:
  """The proposal as the ledger will give it back. Raises ValueError, TypeError."""
  return from_json(to_json(require_runnable(proposal)), Proposal)


def require_runnable(proposal: Proposal) -> Proposal:
  """Raises ValueError when it trains for no share of the budget, or on no list of seeds."""
  if not 0 < proposal.fidelity <= 1:
    raise ValueError(
      f'The proposal has the fidelity {proposal.fidelity}; it is a share of the budget, above 0 '
      'and at most 1.'
    )
  if not proposal.seeds or len(set(proposal.seeds)) < len(proposal.seeds):
    raise ValueError(
      f'The proposal has the seeds {proposal.seeds}; a trial needs one or more, all different.'
    )
  return proposal


def _of_original(proposal: Proposal, proposals: Mapping[int, Proposal]) -> Proposal:
  """A repeat of a replicate as one of the trial that was replicated, to which its runs belong.

  Ledger, archives and acceptance rules all look at the first parent alone. A promotion stays what
  it is: it has a score of its own, at another budget than the trial it promotes.
  """
  if proposal.operation not in REPEATS or not proposal.parents:
    return proposal
  first, *others = proposal.parents
  original = repeated(first, proposals, (Operation.REPLICATE,))
  if original == first:
    return proposal
  return dataclasses.replace(proposal, parents=(original, *others))


def judge(
  acceptance: AcceptanceRule,
  state: Any,
  trial: Trial,
  objective: Objective,
  incumbent: Trial | None,
) -> tuple[Verdict, Any]:
  """The verdict on a finished trial.

  The rule decides about trials that have a metric and trained for the whole budget: what trained
  for less does not compare with the incumbent. It sees failures too, since they may be
  replications that it waits for, but their verdicts are not its own. Raises PartError.
  """
  failure = _failure(trial, objective)
  if trial.proposal.fidelity < 1:
    share = f'{trial.proposal.fidelity:.2%} of the budget'
    early = Verdict(Decision.DISCARD, f'Trained for {share}, so it is not kept yet.')
    return failure or early, state
  if failure is not None:
    status = Status.CRASH if trial.result.status == Status.OK else trial.result.status
    broken = Result(trial.id, status, failure.reason)
    trial = dataclasses.replace(trial, result=broken)
  with blaming(RULE, acceptance, f'when it judged trial {trial.id}'):
    verdict, state = acceptance.decide(state, trial, incumbent)
    verdict = from_json(to_json(verdict), Verdict)
  return failure or verdict, state


def tell(strategy: Strategy, state: Any, trial: Trial) -> Any:
  """The strategy's state after it was told of a decided trial. Raises PartError."""
  with blaming(STRATEGY, strategy, f'when it was told of trial {trial.id}'):
    return strategy.tell(state, trial)


def revised(strategy: Strategy, states: States, proposal: Proposal) -> tuple[Proposal, States]:
  """What the strategy wants by now in place of a proposal that was prepared. Raises PartError."""
  with blaming(STRATEGY, strategy, 'when it was asked whether a prepared trial still fits'):
    wanted, searching = strategy.revise(states.strategy, proposal)
    return _sound(wanted), States(searching, states.acceptance)


def undecided(
  acceptance: AcceptanceRule, state: Any, trials: Mapping[int, Trial], shown: Iterable[int]
) -> frozenset[int]:
  """Those of the trials that are shown to a proposer whose discard replications may yet change."""
  found = [trials[number] for number in shown if number in trials]
  with blaming(RULE, acceptance, 'when it was asked what is undecided'):
    return frozenset(trial.id for trial in found if acceptance.undecided(state, trial))


def _failure(trial: Trial, objective: Objective) -> Verdict | None:
  """The verdict on a trial without a finite score; None for one that has it."""
  status, reason = trial.result.status, trial.result.reason
  score = objective.score(trial)
  if status == Status.OK and score is not None and math.isfinite(score):
    return None
  if status == Status.OK:
    reason = f'The executor measured no finite {objective.metric}.'
  if status in (Status.DUPLICATE, Status.CANCELLED, Status.PRUNED):
    return Verdict(Decision.DISCARD, reason or f'The trial is {status}.')
  return Verdict(Decision.CRASH, reason or f'The trial ended as {status}.')


def replay(
  records: Iterable[Record], strategy: Strategy, acceptance: AcceptanceRule
) -> tuple[History, States]:
  """Folds all events. The states equal those of the process that wrote them, byte for byte.

  Raises LedgerError when strategy or acceptance answer otherwise than they did then: their code
  or options are not the ones that wrote the ledger. Raises PartError when one of them raises.
  """
  history, states = History(), States(None, None)
  for record in records:
    try:
      states = _after(record, history, states, strategy, acceptance)
    except PartError as error:
      raise PartError(f'Event {record.index} cannot be replayed. {error} {ADVICE}') from error
    history.apply(record)
  return history, states


def _after(
  record: Record, history: History, states: States, strategy: Strategy, acceptance: AcceptanceRule
) -> States:
  """The states after an event that comes next in `history`."""
  match record.event:
    case Started(config=config):
      objective = from_builtins(config, Config).objective
      states = States.first(objective, strategy, acceptance)
    case Proposed(trial=trial, proposal=proposal) if trial != BASELINE:
      rng = generator(history.config.seed, history.turn)
      asked, states = next_proposal(strategy, acceptance, states, rng, history.proposals)
      _require_same(record, STRATEGY, proposal, asked)
    case Declined(trial=trial) if trial != BASELINE:
      states = states.declined()
    case Released(trial=trial, proposal=proposal) if proposal is not None:
      wanted, states = revised(strategy, states, history.proposals[trial])
      _require_same(record, STRATEGY, proposal, wanted)
    case Decided(trial=trial, verdict=verdict):
      finished = history.finished(trial)
      made, judged = judge(
        acceptance, states.acceptance, finished, history.objective, history.incumbent
      )
      _require_same(record, RULE, verdict.decision, made.decision)  # reasons may be reworded
      decided = dataclasses.replace(finished, verdict=verdict)
      states = states.told(tell(strategy, states.strategy, decided), judged)
  return states


def _require_same(record: Record, who: str, recorded: Any, now: Any) -> None:
  if recorded != now:
    raise LedgerError(
      f'Event {record.index} cannot be replayed: the {who} now answers {now!r:.200} where it '
      f'answered {recorded!r:.200}. Use the version of autoresearch_jax that wrote this ledger, '
      f'or start again with a new --workdir.'
    )
