"""The events of a run, as frozen dataclasses: what the ledger stores.

The research loop makes them, `store` writes and reads them, `history` folds them into a state. They
hold plain data only. A renamed event or field needs a step in `upgrade.py`.
"""

import dataclasses
from typing import Any, get_args

from autoresearch_jax.types import (
  Edit,
  Exchange,
  Hardware,
  ImportedClaim,
  Lesson,
  Proposal,
  Result,
  SeedResult,
  Spend,
  SteeringRequest,
  Verdict,
)


class LedgerError(RuntimeError):
  """The ledger cannot be used; the message says which file, why, and what to do."""


class Damaged(LedgerError):
  """The ledger file is damaged. `repair` resumes from the events before the damage."""


@dataclasses.dataclass(frozen=True)
class Started:
  """The run began.

  Normally event 0. If earlier starts failed, the last Started before the first proposal counts.

  Attributes:
    config: The run's `Config` as plain data.
    tag: Suffix of the branch `autoresearch/<tag>`.
    dataset: Fingerprint of the data that metrics refer to.
    versions: Versions of Python and of the packages that can change a result.
    hardware: What the trials run on; None if the executor does not say.
    lineage: Checksums of the first events of this run's ledgers on earlier hardware.
    carried: The best program on the earlier hardware, which is tried first.
    spent: What calls of models have cost on earlier hardware.
    reads_text: Whether the proposer reads hints and ideas in words; None where it is not known.
    digests: SHA-256 of the code that decides scores, by name; see `research/code_digests.py`.
  """

  config: dict[str, Any]
  tag: str
  dataset: str = ''
  versions: dict[str, str] = dataclasses.field(default_factory=dict)
  hardware: Hardware | None = None
  lineage: tuple[str, ...] = ()
  carried: Edit | None = None
  spent: Spend = dataclasses.field(default_factory=Spend)
  reads_text: bool | None = None
  digests: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Resumed:
  """The run was started again, after a stop or a kill.

  Attributes:
    versions: As in Started.
    hardware: As in Started.
    config: The config from here on, as in Started; None if it has not changed.
    reads_text: As in Started.
  """

  versions: dict[str, str] = dataclasses.field(default_factory=dict)
  hardware: Hardware | None = None
  config: dict[str, Any] | None = None
  reads_text: bool | None = None


@dataclasses.dataclass(frozen=True)
class Stopped:
  """A session ended in an orderly way. A killed session leaves no such event.

  Attributes:
    reason: Why, a sentence.
  """

  reason: str


@dataclasses.dataclass(frozen=True)
class Proposed:
  """The strategy asked for a trial. One Edited or Declined follows.

  Attributes:
    trial: The trial's id.
    proposal: The strategy's request.
    request: Id of the steering request that it carries out instead; '' for none.
  """

  trial: int
  proposal: Proposal
  request: str = ''


@dataclasses.dataclass(frozen=True)
class Edited:
  """The proposal has become a program. The trial exists from this event on, and gets a result.

  Attributes:
    trial: The trial's id.
    edit: The program and its hypothesis.
    prefetched: Whether it was prepared while other trials ran; it then waits for its Released.
  """

  trial: int
  edit: Edit
  prefetched: bool = False


@dataclasses.dataclass(frozen=True)
class Released:
  """A prefetched trial begins, possibly revised by the strategy since it was prepared.

  Attributes:
    trial: The trial's id.
    proposal: The revised proposal; None if unchanged.
    edit: The revised edit; None if unchanged.
  """

  trial: int
  proposal: Proposal | None = None
  edit: Edit | None = None


@dataclasses.dataclass(frozen=True)
class Consulted:
  """A language model or an agent was called for this trial, or has answered.

  Attributes:
    trial: The trial's id.
    exchange: The call.
  """

  trial: int
  exchange: Exchange


@dataclasses.dataclass(frozen=True)
class Learned:
  """A language model summarised the trials so far as lessons, which replace its earlier ones.

  Attributes:
    lessons: All current lessons.
  """

  lessons: tuple[Lesson, ...]


@dataclasses.dataclass(frozen=True)
class Declined:
  """The proposal did not become a program. It is dropped, and its trial id is reused.

  Attributes:
    trial: The trial's id.
    reason: Why, a sentence.
    failed: Whether the proposer raised an error, as opposed to having nothing to propose.
  """

  trial: int
  reason: str
  failed: bool = False


@dataclasses.dataclass(frozen=True)
class SeedFinished:
  """The executor finished one of the trial's training runs. A restarted trial does not repeat it.

  Executors need not report single runs, and the trial's Finished has the measurements of all.

  Attributes:
    trial: The trial's id.
    result: The run's measurement. Of several with the same seed, the last one counts.
  """

  trial: int
  result: SeedResult


@dataclasses.dataclass(frozen=True)
class SeedFailed:
  """A training run failed, and ended its trial, while a proposer works.

  The Finished with the same result follows when the proposer is done. A run that is killed in
  between does not train the trial again.

  Attributes:
    trial: The trial's id.
    result: Its status, the reason, and the measurements before the failure.
  """

  trial: int
  result: Result


@dataclasses.dataclass(frozen=True)
class Finished:
  """The executor returned the trial's result.

  Attributes:
    trial: The trial's id.
    result: Its status and measurements.
  """

  trial: int
  result: Result


@dataclasses.dataclass(frozen=True)
class Decided:
  """The acceptance rule judged the trial.

  Attributes:
    trial: The trial's id.
    verdict: The decision and its reason.
  """

  trial: int
  verdict: Verdict


@dataclasses.dataclass(frozen=True)
class FinalScored:
  """The final evaluation trained a program and scored it on the test split.

  The search is never told about it.

  Attributes:
    trial: The first trial with that program.
    seed: A training seed that no trial had.
    result: One measurement, or the reason for its absence.
  """

  trial: int
  seed: int
  result: Result


@dataclasses.dataclass(frozen=True)
class Ablated:
  """`autoresearch finalize` trained the best program, or one without some of its edits.

  The search is never told about it.

  Attributes:
    program: Digest of the program.
    seed: A training seed that no trial had.
    on_test: Whether it was scored on the test split.
    result: One measurement, or the reason for its absence.
  """

  program: str
  seed: int
  on_test: bool
  result: Result


@dataclasses.dataclass(frozen=True)
class Retold:
  """A language model was called to rewrite the story of the run (`autoresearch report --rewrite`).

  Attributes:
    exchange: The call, before it is sent and again when it has ended.
  """

  exchange: Exchange


@dataclasses.dataclass(frozen=True)
class Steered:
  """Somebody asked something of the run while it went on (`autoresearch steer`).

  Attributes:
    request: What was asked, by whom and when.
    refused: Why it has no effect, a sentence; '' if it has one.
    parent: The trial whose program `edit` edits.
    edit: The edit of a request with a patch.
  """

  request: SteeringRequest
  refused: str = ''
  parent: int | None = None
  edit: Edit | None = None


@dataclasses.dataclass(frozen=True)
class HandedOver:
  """Another strategy took over the search. It was told of all trials so far.

  Attributes:
    strategy: Its registered name.
    reason: Why, a sentence.
  """

  strategy: str
  reason: str


@dataclasses.dataclass(frozen=True)
class Planted:
  """A canary begins: a program is judged whose right verdict is known (`research/canaries.py`).

  Strategy, proposer and the state of the acceptance rule are never told about it.

  Attributes:
    canary: Its number, from 0.
    kind: `placebo` (no effect), `improvement` or `exploit`.
    edit: The program to be judged.
    incumbent: The trial that it is compared with.
    gain: Added to its scores (larger is better) before the rule sees them, in the metric's unit.
  """

  canary: int
  kind: str
  edit: Edit
  incumbent: int
  gain: float = 0.0


@dataclasses.dataclass(frozen=True)
class CanaryJudged:
  """A trial of a canary was trained and judged.

  Attributes:
    canary: The canary's number.
    trial: Its id, which is above those of all other trials.
    proposal: What was trained: the canary's program, or that of the incumbent.
    result: Its status and measurements.
    verdict: As the acceptance rule would judge it.
    outcome: How the canary ended: `kept`, `discarded`, `caught` or `failed`; '' if it goes on.
  """

  canary: int
  trial: int
  proposal: Proposal
  result: Result
  verdict: Verdict
  outcome: str = ''


@dataclasses.dataclass(frozen=True)
class StoreRead:
  """A store of findings was read, or could not be.

  Attributes:
    address: The store.
    findings: Number of its findings.
    comparable: How many of them are about this run's metric.
    problem: Why it could not be read, a sentence; '' if it was.
  """

  address: str
  findings: int = 0
  comparable: int = 0
  problem: str = ''


@dataclasses.dataclass(frozen=True)
class ImportRefused:
  """The edit of a finding was to be tried and cannot be. It is not tried again in this run.

  Attributes:
    trial: The trial that it was considered for, which got another edit.
    claim: The claim of the finding.
    reason: Why, a sentence.
  """

  trial: int
  claim: ImportedClaim
  reason: str


Event = (
  Started
  | Resumed
  | Stopped
  | Proposed
  | Consulted
  | Edited
  | Declined
  | Released
  | SeedFinished
  | SeedFailed
  | Finished
  | Decided
  | Learned
  | FinalScored
  | Ablated
  | Steered
  | HandedOver
  | Retold
  | Planted
  | CanaryJudged
  | StoreRead
  | ImportRefused
)

CONSULTED = 'consulted'
KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Event)}


@dataclasses.dataclass(frozen=True)
class Record:
  """An event with its place in the ledger.

  Attributes:
    index: Number of events before it.
    time: Unix seconds.
    event: The event.
  """

  index: int
  time: float
  event: Event
