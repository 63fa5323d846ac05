"""Arguments and results of the tools that coding agents get through MCP. Quick to import.

Arguments are structs that refuse unknown fields; results are dataclasses. The JSON schemas that
clients see are made from both.
"""

import dataclasses
from typing import Annotated, Any, Literal

import msgspec

from autoresearch_jax.types import Lesson

MAX_ROWS = 200  # of the history
MAX_WAITING = 16  # calls of `trial` whose programs are waited for

Path = Annotated[str, msgspec.Meta(description='Folder of the program, below the allowed one.')]
TrialNumber = Annotated[int, msgspec.Meta(ge=0, lt=2**31, description='Number of a trial.')]


class NoArguments(msgspec.Struct, forbid_unknown_fields=True):
  """A tool without arguments."""


class CheckArguments(msgspec.Struct, forbid_unknown_fields=True):
  """Arguments of `check`."""

  program: Path


class TrialArguments(msgspec.Struct, forbid_unknown_fields=True):
  """Arguments of `trial`."""

  program: Path
  description: Annotated[
    str, msgspec.Meta(description='One line: what you changed, and why. It goes into the log.')
  ]


class VerdictArguments(msgspec.Struct, forbid_unknown_fields=True):
  """Arguments of `verdict`; one of them is needed."""

  program: Path | None = None
  trial: TrialNumber | None = None


class HistoryArguments(msgspec.Struct, forbid_unknown_fields=True):
  """Arguments of `history`."""

  limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS, description='Most rows to return.')] = 50
  offset: Annotated[int, msgspec.Meta(ge=0, lt=2**31, description='Rows to skip.')] = 0
  newest_first: Annotated[bool, msgspec.Meta(description='Begin with the last trial.')] = True


class DiffArguments(msgspec.Struct, forbid_unknown_fields=True):
  """Arguments of `diff`."""

  trial: Annotated[
    TrialNumber | None, msgspec.Meta(description='The trial; by default the best one so far.')
  ] = None
  against: Annotated[
    Literal['parent', 'baseline'] | None,
    msgspec.Meta(description='By default the parent for a trial, the baseline for the best one.'),
  ] = None


class ReportArguments(msgspec.Struct, forbid_unknown_fields=True):
  """Arguments of `report`."""

  complete: Annotated[
    bool, msgspec.Meta(description='Add the JSON of `autoresearch report --json`; it is long.')
  ] = False


@dataclasses.dataclass(frozen=True)
class TrialVerdict:
  """What the run has found out about a program.

  Attributes:
    decision: keep, discard or crash; `pending` while there is none.
    reason: Why, a sentence.
    trial: Number of its first trial; None while it waits to get one.
    status: How that trial ended, such as ok, invalid or diverged; '' while it goes on.
    status_reason: Why the status is not ok.
    undecided: Whether runs that are still due may change the decision.
    metric: Name of the metric.
    values: The metric in the program's runs.
    best_trial: First trial of the best program so far.
    description: The line in the log.
    peak_memory_gb: Largest memory of its first run, in GiB.
    steps: Training steps of its first run.
    parameters: Number of parameters.
  """

  decision: Literal['keep', 'discard', 'crash', 'pending']
  reason: str
  trial: int | None
  status: str
  status_reason: str
  undecided: bool
  metric: str
  values: tuple[float, ...]
  best_trial: int | None
  description: str
  peak_memory_gb: float
  steps: int
  parameters: int


@dataclasses.dataclass(frozen=True)
class HistoryRow:
  """A row of results.tsv; `value` is None, and memory 0, if the trial has no score."""

  trial: int
  value: float | None
  memory_gb: float
  status: Literal['keep', 'discard', 'crash']
  description: str
  parent: int | None


@dataclasses.dataclass(frozen=True)
class HistoryPage:
  """Rows of a run's history.

  Attributes:
    metric: Name of the metric.
    direction: minimize or maximize.
    best_trial: First trial of the best program so far.
    total: Number of decided trials.
    offset: Rows that were skipped.
    rows: The rows.
  """

  metric: str
  direction: str
  best_trial: int | None
  total: int
  offset: int
  rows: tuple[HistoryRow, ...]


@dataclasses.dataclass(frozen=True)
class LearnedLessons:
  """What a run has learned.

  Attributes:
    text: What `autoresearch knowledge` prints.
    lessons: Lessons, most certain first; effects are on the score, of which more is better.
    noise: Standard deviation of the score between seeds; None if it is not known.
  """

  text: str
  lessons: tuple[Lesson, ...]
  noise: float | None


@dataclasses.dataclass(frozen=True)
class ProgramDiff:
  """The unified diff of two programs; `before` and `after` are trials."""

  before: int
  after: int
  text: str
  is_truncated: bool


@dataclasses.dataclass(frozen=True)
class RunReport:
  """The report of a run.

  Attributes:
    text: What `autoresearch report` prints.
    run: What `autoresearch report --json` prints, if it was asked for; docs/reference/report.md.
  """

  text: str
  run: dict[str, Any] | None = None
