"""What requests have made of a run: hints, queued trials, protected names, a pause, other ends.

A projection of the ledger's events, like `History`, which holds it as `history.steering`.
"""

import dataclasses
from collections.abc import Set

from autoresearch_jax.ledger.events import Steered
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Ends, SteeringRequest, Verb


@dataclasses.dataclass
class TakenRequest:
  """A request that the run has taken up.

  Attributes:
    number: Its number, from 1 in the order of taking up; refused ones count.
    event: Its event.
    trial: The trial that carries it out, once that has begun to be prepared.
    outcome: Why nothing more comes of it: it was withdrawn, or no program was made; else ''.
  """

  number: int
  event: Steered
  trial: int | None = None
  outcome: str = ''

  @property
  def request(self) -> SteeringRequest:
    return self.event.request


@dataclasses.dataclass
class Steering:
  """The state of a run's steering.

  Attributes:
    taken: All requests so far, by id, in the order of taking up.
    paused: The request that paused the run; None while it goes on.
    hints: Requests whose text proposers see, oldest first.
    queue: Requests that are to become the next trials, oldest first.
    protected: Name that no edit may change -> the request.
    ends: Ends of the search that replace those of the config.
    trials: Trials that carry out requests.
    remeasured: Number of seeds that were given to remeasured trials.
  """

  taken: dict[str, TakenRequest] = dataclasses.field(default_factory=dict)
  paused: TakenRequest | None = None
  hints: list[TakenRequest] = dataclasses.field(default_factory=list)
  queue: list[TakenRequest] = dataclasses.field(default_factory=list)
  protected: dict[str, TakenRequest] = dataclasses.field(default_factory=dict)
  ends: Ends = dataclasses.field(default_factory=Ends)
  trials: set[int] = dataclasses.field(default_factory=set)
  remeasured: int = 0

  def apply(self, event: Steered) -> None:
    """Adds a request."""
    request = event.request
    taken = self.taken[request.id] = TakenRequest(len(self.taken) + 1, event)
    if event.refused:
      return
    match request.verb:
      case Verb.HINT:
        self.hints.append(taken)
      case Verb.TRY | Verb.REMEASURE:
        self.queue.append(taken)
      case Verb.PAUSE:
        self.paused = taken
      case Verb.RESUME:
        self.paused = None
      case Verb.PROTECT:
        self.protected[request.text] = taken
      case Verb.UNPROTECT:
        self.protected.pop(request.text, None)
      case Verb.END:
        self.ends = dataclasses.replace(self.ends, **request.ends.given())
      case Verb.WITHDRAW:
        self._withdraw(request)

  def begin(self, request: str, trial: int) -> None:
    """Takes a request off the queue, since a trial carries it out; nothing for ''."""
    if not request:
      return
    taken = self.taken[request]
    taken.trial = trial
    self.trials.add(trial)
    self.queue.remove(taken)
    if taken.request.verb is Verb.REMEASURE:
      self.remeasured += taken.request.seeds

  def decline(self, request: str, reason: str) -> None:
    """Notes that no program was made for a request."""
    taken = self.taken[request]
    self.trials.discard(taken.trial if taken.trial is not None else -1)
    taken.trial, taken.outcome = None, reason

  def drop_ends(self, names: set[str]) -> None:
    """Forgets ends, by name, since the config has set others."""
    self.ends = dataclasses.replace(self.ends, **dict.fromkeys(names & {*self.ends.given()}))

  def numbered(self, number: int | None) -> TakenRequest | None:
    """Returns the request with a number."""
    return next((taken for taken in self.taken.values() if taken.number == number), None)

  def in_force(self, decided: Set[int]) -> list[SteeringRequest]:
    """Returns the requests that still apply, in the order of taking up.

    Those to measure a trial again are left out: they are about runs of these trials. A request for
    a program has it again, which its event keeps in the edit alone.

    Args:
      decided: Trials with a verdict. What others carry out is still to be tried.
    """
    accepted = [taken for taken in self.taken.values() if not taken.event.refused]
    setter = {n: taken for taken in accepted for n in taken.request.ends.given()}
    found = []
    for taken in accepted:
      request = taken.request
      ends = {n: v for n, v in self.ends.given().items() if setter.get(n) is taken}
      match request.verb:
        case Verb.HINT:
          applies = any(hint is taken for hint in self.hints)
        case Verb.TRY:
          applies = not taken.outcome and taken.trial not in decided
        case Verb.PAUSE:
          applies = self.paused is taken
        case Verb.PROTECT:
          applies = self.protected.get(request.text) is taken
        case Verb.END:
          applies, request = (
            bool(ends),
            dataclasses.replace(request, ends=dataclasses.replace(Ends(), **ends)),
          )
        case _:
          applies = False
      if applies and taken.event.edit is not None and not request.patch:
        request = dataclasses.replace(request, program=taken.event.edit.program)
      if applies:
        found.append(request)
    return found

  def _withdraw(self, request: SteeringRequest) -> None:
    withdrawn = self.numbered(request.request)
    for place in (self.hints, self.queue):
      if withdrawn in place:
        place.remove(withdrawn)
        withdrawn.outcome = f'Withdrawn by {request.author}.'


def described(request: SteeringRequest) -> str:
  """Describes a request in words: 'hint "Wider is better.", by ada@box'."""
  what = request.verb.value
  match request.verb:
    case Verb.TRY if request.patch:
      what += f' a patch, {request.text}' if request.text else ' a patch'
    case Verb.HINT | Verb.TRY:
      what += f' {one_line(request.text, 160)!r}'
    case Verb.PROTECT | Verb.UNPROTECT:
      what += f' {request.text}'
    case Verb.REMEASURE:
      what += f' trial {request.trial}'
    case Verb.WITHDRAW:
      what += f' request {request.request}'
    case Verb.END:
      what += (
        f' at {", ".join(f"{name} {value:g}" for name, value in request.ends.given().items())}'
      )
  return f'{what}, by {request.author}'
