"""Everything that can happen in a run, as frozen dataclasses: what the ledger stores.

The research loop makes events, `store` writes and reads them, `history` folds them. They hold
plain data only.
"""

import dataclasses
from typing import Any, get_args

from autoresearch_jax.types import Edit, Exchange, Lesson, Proposal, Result, Verdict


class LedgerError(RuntimeError):
  """The ledger cannot be read or does not hold together; the sentence says where."""


class Damaged(LedgerError):
  """The file is not what was written; `repair` goes on from the events that are."""


@dataclasses.dataclass(frozen=True)
class Started:
  """The run began; event 0, or the last one before the first proposal (a false start came before).

  dataset: fingerprint of the data that metrics refer to.
  config: a Config as plain data. tag: names the branch `autoresearch/<tag>`. versions: of
  packages that can change a result.
  """

  config: dict[str, Any]
  tag: str
  dataset: str = ''
  versions: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Resumed:
  """The same command was started again, after a stop or a kill."""

  versions: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Stopped:
  """A run ended in good order (a killed one leaves no such event)."""

  reason: str


@dataclasses.dataclass(frozen=True)
class Proposed:
  """The strategy asked for a trial. Exactly one Edited or Declined follows."""

  trial: int
  proposal: Proposal


@dataclasses.dataclass(frozen=True)
class Edited:
  """The proposal has its program; from now on the trial exists and will get a result.

  ahead: it was prepared while others run, and waits for its Released.
  """

  trial: int
  edit: Edit
  ahead: bool = False


@dataclasses.dataclass(frozen=True)
class Released:
  """A trial that was prepared ahead begins, as the strategy wants it by now.

  proposal, edit: what is run; None where it is what was asked for and prepared.
  """

  trial: int
  proposal: Proposal | None = None
  edit: Edit | None = None


@dataclasses.dataclass(frozen=True)
class Consulted:
  """A language model or an agent was called for this trial, or has answered."""

  trial: int
  exchange: Exchange


@dataclasses.dataclass(frozen=True)
class Learned:
  """Lessons that a language model drew from the trials so far; they replace its earlier ones."""

  lessons: tuple[Lesson, ...]


@dataclasses.dataclass(frozen=True)
class Declined:
  """No program came of the proposal, which counts as never asked; its trial id is used again.

  failed: the proposer broke, as opposed to having nothing to propose.
  """

  trial: int
  reason: str
  failed: bool = False


@dataclasses.dataclass(frozen=True)
class Finished:
  """The executor returned the trial's result."""

  trial: int
  result: Result


@dataclasses.dataclass(frozen=True)
class Decided:
  """Acceptance judged the trial."""

  trial: int
  verdict: Verdict


@dataclasses.dataclass(frozen=True)
class Confirmed:
  """A program was trained at the end of a run, and scored on the test split.

  trial: the first one that had the program. seed: one that no trial trained on. result: with one
  measurement, or with why there is none. The search is never told of it.
  """

  trial: int
  seed: int
  result: Result


Event = (
  Started
  | Resumed
  | Stopped
  | Proposed
  | Consulted
  | Edited
  | Declined
  | Released
  | Finished
  | Decided
  | Learned
  | Confirmed
)

CONSULTED = 'consulted'
SIDES = ('request', 'response')  # of an exchange
KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Event)}


@dataclasses.dataclass(frozen=True)
class Record:
  """An event with its place in the ledger. time: Unix seconds."""

  index: int
  time: float
  event: Event
