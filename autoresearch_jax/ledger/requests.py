"""Reviews requests to a run: which can be carried out, and why the others cannot.

`reviewed` is a pure function of the run so far. It is called where a request is posted, so that
its author learns at once what is wrong, and again when the run takes it up, since the run has gone
on in between.
"""

import dataclasses
import math
from collections.abc import Set

from autoresearch_jax.ledger import ends
from autoresearch_jax.ledger.events import Steered
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.steering import TakenRequest
from autoresearch_jax.messages import one_line
from autoresearch_jax.programs import patches, protection, rebase
from autoresearch_jax.types import Edit, Ends, Hypothesis, Program, SteeringRequest, Verb

MAX_AUTHOR = 100  # characters
MAX_TEXT = 2000  # characters of a hint or an idea
MAX_HINTS = 20  # at the same time
MAX_QUEUED = 100
DEFAULT_SEEDS, MAX_SEEDS = 3, 100  # of a trial that is measured again


class SteeringError(ValueError):
  """A request that cannot be carried out; the message is a sentence for its author."""


@dataclasses.dataclass(frozen=True)
class Capabilities:
  """What the parts of a run can do with requests.

  Attributes:
    proposer: Registered name of the proposer.
    reads_text: Whether it reads ideas in words.
    strategy: Registered name of the strategy.
    sampled: Constants that the strategy sets itself.
    dollars_per_hour: Price of the machine.
  """

  proposer: str = ''
  reads_text: bool = True
  strategy: str = ''
  sampled: Set[str] = frozenset()
  dollars_per_hour: float = 0.0


def reviewed(
  history: History,
  request: SteeringRequest,
  start: Program | None = None,
  capabilities: Capabilities | None = None,
) -> Steered:
  """Returns the event of a request: as it will be carried out, or refused with the reason.

  Args:
    history: The run so far.
    request: The request.
    start: The starting program, if it is known before the baseline has begun.
    capabilities: What the parts of the run can do; None where that is not known.
  """
  author, text = one_line(request.author, MAX_AUTHOR), one_line(request.text)
  request = dataclasses.replace(request, author=author, text=text)
  try:
    return _Review(history, start, capabilities or _recorded(history)).accepted(request)
  except SteeringError as error:
    return Steered(request, str(error))


def unread(history: History, request: SteeringRequest) -> str:
  """Returns that a hint waits since the run's proposer cannot read, a sentence; else ''."""
  if request.verb is not Verb.HINT or history.reads_text is not False:
    return ''
  name = history.config.proposer
  return f'The proposer {name} cannot read words, so the hint waits for another one.'


def outcome(history: History, taken: TakenRequest) -> str:
  """Returns what became of a request that was taken up; '' if it simply waits or applies."""
  if taken.event.refused:
    return f'refused: {taken.event.refused}'
  if taken.trial is not None:
    return f'trial {taken.trial}'
  return taken.outcome or unread(history, taken.request)


def _recorded(history: History) -> Capabilities:
  """Returns what the ledger has of the run's parts."""
  if history.started is None:
    return Capabilities()
  config = history.config
  return Capabilities(
    config.proposer,
    history.reads_text is not False,
    config.search.strategy,
    dollars_per_hour=config.search.dollars_per_hour,
  )


@dataclasses.dataclass(frozen=True)
class _Review:
  """What a review looks at; see `reviewed`."""

  history: History
  start: Program | None
  capabilities: Capabilities

  def accepted(self, request: SteeringRequest) -> Steered:
    """Returns the event of a request. Raises SteeringError."""
    match request.verb:
      case Verb.HINT:
        self._require_text(request, 'hint')
        if len(self.history.steering.hints) >= MAX_HINTS:
          raise SteeringError(f'There are {MAX_HINTS} hints already; withdraw one first.')
      case Verb.TRY:
        return self._queued(request)
      case Verb.PAUSE if self.history.steering.paused is not None:
        author = self.history.steering.paused.request.author
        raise SteeringError(f'The run is paused already, by {author}.')
      case Verb.RESUME if self.history.steering.paused is None:
        raise SteeringError('The run is not paused.')
      case Verb.PROTECT:
        self._require_protectable(request.text)
      case Verb.UNPROTECT if request.text not in self.history.steering.protected:
        names = ', '.join(self.history.steering.protected) or 'nothing'
        raise SteeringError(f'{request.text!r:.100} is not protected; protected: {names}.')
      case Verb.END:
        self._require_future(request.ends)
      case Verb.REMEASURE:
        return Steered(self._remeasurable(request))
      case Verb.WITHDRAW:
        self._require_withdrawable(request.request)
    return Steered(request)

  def _require_text(self, request: SteeringRequest, what: str) -> None:
    if not request.text:
      raise SteeringError(f'The {what} is empty.')
    if len(request.text) > MAX_TEXT:
      raise SteeringError(
        f'The {what} has {len(request.text)} characters; at most {MAX_TEXT} are allowed.'
      )

  def _require_place(self) -> None:
    if len(self.history.steering.queue) >= MAX_QUEUED:
      raise SteeringError(f'{MAX_QUEUED} trials are queued already; withdraw one first.')

  def _queued(self, request: SteeringRequest) -> Steered:
    self._require_place()
    if request.program is not None:
      return self._queued_program(request, request.program)
    if not request.patch:
      self._require_text(request, 'idea')
      if not self.capabilities.reads_text:
        raise SteeringError(
          f'The proposer {self.capabilities.proposer} cannot read ideas in words. Give the idea as '
          'a patch, or resume the run with another config.proposer.'
        )
      return Steered(request)
    try:
      patch = patches.parse(request.patch)
    except patches.PatchError as error:
      raise SteeringError(f'The patch cannot be read. {error}') from None
    parent, program = self._incumbent
    if program is None:
      return Steered(request)
    edited = rebase.patched(patch, program, self._baseline or program)
    if edited is None:
      raise SteeringError(
        f'The patch does not apply to the best program, that of trial {parent}: lines that it '
        'changes are missing or differ there.'
      )
    self._require_tryable(program, edited)
    description = request.text or patch.description or f'patch of {request.author}'
    edit = _edit(edited, description, request, patch.hypothesis)
    return Steered(request, parent=parent, edit=edit)

  def _queued_program(self, request: SteeringRequest, program: Program) -> Steered:
    parent, best = self._incumbent
    if best is None:
      return Steered(request)
    self._require_tryable(best, program)
    edit = _edit(program, request.text or f'program of {request.author}', request)
    request = dataclasses.replace(request, text=edit.description, program=None)  # it is in the edit
    return Steered(request, parent=parent, edit=edit)

  def _require_tryable(self, before: Program, after: Program) -> None:
    """Raises SteeringError for a program that must not or need not be tried."""
    history, editable = self.history, self.history.config.editable
    old, new = dict(before.files), dict(after.files)
    for name in sorted({*old, *new}):
      if old.get(name) != new.get(name) and name not in editable:
        raise SteeringError(f'The edit changes {name}; only {", ".join(editable)} may be changed.')
    if name := protection.changed(history.steering.protected, before, after):
      raise SteeringError(f'The edit changes {name}, which is protected; unprotect it first.')
    if after == before:
      raise SteeringError('The best program has this change already.')
    if (tried := history.trial_of(after)) is not None:
      raise SteeringError(f'Exactly this program was tried before, in trial {tried}.')

  def _require_protectable(self, name: str) -> None:
    if taken := self.history.steering.protected.get(name):
      raise SteeringError(f'{name} is protected already, by {taken.request.author}.')
    if name in self.capabilities.sampled:
      raise SteeringError(
        f'The strategy {self.capabilities.strategy} sets {name} itself, so that it cannot be '
        'protected. Leave it out of config.search.options, in another --workdir.'
      )
    _, program = self._incumbent
    editable = self.history.config.editable
    if program is not None and (why := protection.unknown(name, program, editable)):
      raise SteeringError(why)

  def _require_future(self, wanted: Ends) -> None:
    """Raises SteeringError for ends that are missing, impossible, or reached already."""
    history, given = self.history, wanted.given()
    if not given:
      raise SteeringError('Name an end: hours, trials, dollars, a target or patience.')
    for name, value in given.items():
      if not _is_finite(value) or (value < 0 and name != 'target'):
        raise SteeringError(f'{name} is {value!s:.30}; it must be finite and at least 0.')
    if 0 < (wanted.max_trials or 0) <= history.next_trial:
      raise SteeringError(
        f'{history.next_trial} trials have begun already, so the run cannot end with '
        f'{wanted.max_trials}.'
      )
    if why := ends.why_spent(history, wanted, self.capabilities.dollars_per_hour):
      raise SteeringError(f'That end is in the past. {why}')

  def _remeasurable(self, request: SteeringRequest) -> SteeringRequest:
    self._require_place()
    history, trial = self.history, request.trial
    if trial is None or trial not in history.trials or not self._is_kept(trial):
      kept = ', '.join(str(number) for number in history.kept[-10:]) or 'none'
      named = 'No trial is named' if trial is None else f'Trial {trial} was not kept'
      raise SteeringError(f'{named}; the last kept trials are {kept}.')
    seeds = request.seeds or DEFAULT_SEEDS
    if not 1 <= seeds <= MAX_SEEDS:
      raise SteeringError(f'seeds is {seeds}; it must be 1 to {MAX_SEEDS}.')
    return dataclasses.replace(request, seeds=seeds)

  def _is_kept(self, trial: int) -> bool:
    return self.history.original(trial) in self.history.kept_programs

  def _require_withdrawable(self, number: int | None) -> None:
    steering = self.history.steering
    active = [*steering.hints, *steering.queue]
    if number is None or steering.numbered(number) not in active:
      numbers = ', '.join(str(taken.number) for taken in active) or 'none'
      named = 'No request is named' if number is None else f'Request {number} cannot be withdrawn'
      raise SteeringError(f'{named}; hints and queued trials that can be: {numbers}.')

  @property
  def _incumbent(self) -> tuple[int, Program | None]:
    """The best program and its first trial.

    Before there is one, that of earlier hardware, which is tried first, or the starting program.
    """
    history = self.history
    if history.incumbent is None or history.best is None:
      carried = history.started.carried if history.started is not None else None
      return (BASELINE, self._baseline) if carried is None else (BASELINE + 1, carried.program)
    return history.best, history.incumbent.edit.program

  @property
  def _baseline(self) -> Program | None:
    edits = self.history.edits
    return edits[BASELINE].program if BASELINE in edits else self.start


def _edit(
  program: Program, description: str, request: SteeringRequest, hypothesis: Hypothesis | None = None
) -> Edit:
  """Returns the edit that a request asks for; without a hypothesis its description is the claim."""
  description = one_line(description, 200)
  hypothesis = hypothesis or Hypothesis('')
  if not hypothesis.claim:
    hypothesis = dataclasses.replace(hypothesis, claim=f'{description.rstrip(".")}.')
  return Edit(program, description, hypothesis, author=request.author)


def _is_finite(value: float) -> bool:
  """Whether a float can hold a number; an integer may be too large."""
  try:
    return math.isfinite(value)
  except OverflowError:
    return False
