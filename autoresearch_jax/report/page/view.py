"""What a page shows of a run, as plain data: the model behind the page and `report --json`.

All of it follows from the ledger (`projection.py`). Times are in Unix seconds, durations in
seconds. Gains are on the score: above 0 is better for either direction of the metric.
"""

import dataclasses

from autoresearch_jax.report.near_misses import NearMiss
from autoresearch_jax.report.samples import TextSample
from autoresearch_jax.report.story_text import StoryParagraph
from autoresearch_jax.types import Ends, Exchange

SCHEMA = 1  # of this data; grows when a field changes its meaning or goes


@dataclasses.dataclass(frozen=True)
class Headline:
  """The figures at the top.

  Attributes:
    trials: Decided trials.
    kept: Kept trials, the baseline included.
    failed: Trials without a score.
    hours: Wall-clock time of the search.
    trials_per_hour: In wall-clock time.
    utilization: Fraction of that time in which a device trained.
    best: First trial of the best program; None before there is one.
    best_value: Mean of the metric over all runs of that program.
    best_runs: Number of these runs.
    baseline_value: The same of the baseline.
    baseline_runs: Number of these runs.
    gain: Improvement over the baseline on the validation split.
    standard_errors: That gain in standard errors.
    test_gain: Improvement over the baseline on the test split; None if not compared.
    test_half_width: Half width of its 95 % confidence interval.
    conclusion: The final comparison in a sentence.
    speed: How the machine's speed varied, in a sentence.
    spend: What models and agents have cost, in words.
    doubts: Keeps that a later measurement has put in doubt, in words.
  """

  trials: int
  kept: int
  failed: int
  hours: float
  trials_per_hour: float
  utilization: float
  best: int | None
  best_value: float | None
  best_runs: int
  baseline_value: float | None
  baseline_runs: int
  gain: float | None
  standard_errors: float | None
  test_gain: float | None
  test_half_width: float | None
  conclusion: str
  speed: str
  spend: str
  doubts: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class RunOfTrial:
  """One training run.

  Attributes:
    seed: Its seed.
    value: The metric.
    steps: Train steps.
    seconds: Training time.
    speed: Of the machine meanwhile.
    curve: (progress, training loss) points.
  """

  seed: int
  value: float | None
  steps: int
  seconds: float
  speed: float
  curve: list[list[float]]


@dataclasses.dataclass(frozen=True)
class Phases:
  """How a trial's time was spent, in seconds."""

  trace: float
  compile: float
  train: float
  calibrate: float
  evaluate: float


@dataclasses.dataclass(frozen=True)
class TrialView:
  """One trial.

  Attributes:
    id: Its number; 0 is the baseline.
    parent: The trial whose program was edited.
    original: The first trial of its program; itself, unless it repeats one.
    operation: The kind of the proposal.
    description: The edit in one line.
    status: How it ended; 'running' before that.
    decision: keep, discard or crash; '' before there is a verdict.
    reason: The verdict in words, or why it has no score.
    began: When it began.
    ended: When its result came; None before.
    value: Mean of the metric over its runs.
    program_value: Mean of the metric over all runs of its program.
    program_runs: Number of these runs.
    effect: Mean score of its program minus its parent's.
    effect_sd: Standard error of that.
    claim: Its hypothesis.
    tags: Mechanisms and moves.
    predicted: Effect that was predicted.
    predicted_sd: Standard deviation of the prediction.
    author: Model or agent that wrote the edit.
    role: Role in which it did.
    undecided: Whether the test of its program has not ended.
    runs: Training runs.
    phases: How its time was spent.
    parameters: Of the program.
    peak_bytes: Memory of a device.
    mfu: Model FLOPs utilisation in percent.
    isolation: Protections of the tracer's sandbox.
    diff: Unified diff against its parent.
    baseline_diff: Unified diff against the baseline.
    exchanges: Calls of models and agents for it.
  """

  id: int
  parent: int | None
  original: int
  operation: str
  description: str
  status: str
  decision: str
  reason: str
  began: float
  ended: float | None
  value: float | None
  program_value: float | None
  program_runs: int
  effect: float | None
  effect_sd: float | None
  claim: str
  tags: tuple[str, ...]
  predicted: float | None
  predicted_sd: float | None
  author: str
  role: str
  undecided: bool
  runs: tuple[RunOfTrial, ...]
  phases: Phases
  parameters: int
  peak_bytes: int
  mfu: float
  isolation: str
  diff: str
  baseline_diff: str
  exchanges: tuple[Exchange, ...]


DETAILS = ('runs', 'diff', 'baseline_diff', 'exchanges')  # fields that grow with texts and curves


def without_details(trial: TrialView) -> TrialView:
  """Returns a trial without its diffs, learning curves and calls of models."""
  runs = tuple(dataclasses.replace(run, curve=[]) for run in trial.runs)
  return dataclasses.replace(trial, runs=runs, diff='', baseline_diff='', exchanges=())


@dataclasses.dataclass(frozen=True)
class LessonView:
  """What was learned from a group of trials; fields as in `types.Lesson`."""

  text: str
  trials: tuple[int, ...]
  tags: tuple[str, ...]
  effect: float | None
  uncertainty: float | None
  author: str


@dataclasses.dataclass(frozen=True)
class ModelSpend:
  """What calls of one model or agent have cost.

  Attributes:
    model: Its name.
    calls: Number of calls.
    failed: Those that failed.
    input_tokens: Tokens of all prompts.
    output_tokens: Tokens of all answers.
    dollars: Cost.
  """

  model: str
  calls: int
  failed: int
  input_tokens: int
  output_tokens: int
  dollars: float


@dataclasses.dataclass(frozen=True)
class RequestView:
  """What somebody asked of the run.

  Attributes:
    number: From 1, in the order of taking up.
    author: Who asked.
    time: When, in Unix seconds.
    text: What for, in words.
    outcome: What became of it: the trial, or why nothing did; '' while it waits or applies.
    withdrawable: Whether it is a hint or a queued trial that can be taken back.
  """

  number: int
  author: str
  time: float
  text: str
  outcome: str
  withdrawable: bool = False


@dataclasses.dataclass(frozen=True)
class RunView:
  """A run.

  Attributes:
    schema: Version of this data.
    name: Name of the run.
    metric: The metric.
    direction: minimize or maximize.
    settings: (name, value) pairs: problem, proposer, strategy, acceptance rule, budget, platform.
    started: When it began.
    updated: Time of the last event.
    stopped: Why the last session ended; '' while one runs or after a kill.
    noise: Standard deviation of the score between seeds.
    headline: The figures at the top.
    kept: Ids of kept trials in that order.
    trials: All trials.
    lessons: What was learned, most certain first.
    slots: Trials that run at once.
    sessions: (begin, end) of each session.
    spend: Cost by model, the dearest first.
    test_gains: Gain over the baseline on the test split, by seed.
    story: The run in prose, each sentence with the trials behind it.
    requests: What was asked of the run while it went on.
    paused: Who paused the run; '' if nobody did.
    left: What is left until each end of the search, in words.
    samples: Text that its language models have written, which is not in the ledger.
    critical_value: Half width of a 95 % interval in standard errors; None if `noise` is.
    ends: The ends of the search that apply.
    protected: Names that no edit may change.
    protectable: Constants, functions, classes and methods of the best program.
    reads_text: Whether the proposer reads hints and ideas in words; None where it is not known.
    near_misses: Programs that looked better than the best one and were not kept, undecided first.
  """

  schema: int
  name: str
  metric: str
  direction: str
  settings: tuple[tuple[str, str], ...]
  started: float
  updated: float
  stopped: str
  noise: float | None
  headline: Headline
  kept: tuple[int, ...]
  trials: tuple[TrialView, ...]
  lessons: tuple[LessonView, ...]
  slots: int
  sessions: tuple[tuple[float, float], ...]
  spend: tuple[ModelSpend, ...]
  test_gains: tuple[float, ...]
  story: tuple[StoryParagraph, ...]
  requests: tuple[RequestView, ...]
  paused: str
  left: tuple[str, ...]
  samples: tuple[TextSample, ...] = ()
  critical_value: float | None = None
  ends: Ends = dataclasses.field(default_factory=Ends)
  protected: tuple[str, ...] = ()
  protectable: tuple[str, ...] = ()
  reads_text: bool | None = None
  near_misses: tuple[NearMiss, ...] = ()
