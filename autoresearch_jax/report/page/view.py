"""What a page shows of a run, as plain data: the model behind `page.js` and `report --json`.

All of it follows from the ledger. Times are in Unix seconds, durations in seconds. Gains are on the
score: above 0 is better for either direction of the metric.
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome
from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.ledger.events import (
  Consulted,
  Edited,
  Finished,
  Record,
  Released,
  Stopped,
)
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.report.final_comparison import conclusion, final_comparison
from autoresearch_jax.report.near_misses import near_misses
from autoresearch_jax.report.summary import (
  format_speed,
  format_spend,
  run_statistics,
  scores_by_trial,
)
from autoresearch_jax.types import Exchange, Measurement, Program, Status, Trial

SCHEMA = 1  # of this data; grows when a field changes its meaning or goes
MAX_ANSWER = 20_000  # characters of a prompt or an answer
CONTEXT = 3  # lines around a change in a diff
_HUNK = re.compile(r'@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@')


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

  @classmethod
  def of(cls, records: Iterable[Record]) -> Self:
    """Computes the view of a run from its events. Raises LedgerError."""
    history, times = History(), _Times()
    for record in records:
      history.apply(record)
      times.apply(record)
    config = history.config
    memory = Memory(history.trials, history.objective, history.kept_programs, history.lessons)
    outcomes = memory.hypotheses
    scores = scores_by_trial(history, [t for t in history.trials if t in history.results])
    undecided = {miss.trial for miss in near_misses(history) if miss.undecided}

    @functools.cache
    def diffs(before: int, after: int) -> str:
      return _diff(history.edits[before].program, history.edits[after].program)

    trials = tuple(
      _trial(history, times, trial, outcomes.get(trial), scores.get(trial, []), undecided, diffs)
      for trial in sorted(history.edits)
    )
    budget = f'{config.budget.amount:g} {config.budget.unit}'
    settings = {
      'problem': config.problem,
      'strategy': config.search.strategy,
      'proposer': config.proposer,
      'acceptance': config.acceptance,
      'budget': f'{budget} per training run',
      'platform': config.platform,
    }
    return cls(
      schema=SCHEMA,
      name=config.name,
      metric=config.metric,
      direction=history.objective.direction,
      settings=tuple(settings.items()),
      started=times.first,
      updated=history.last_time,
      stopped=times.stopped,
      noise=memory.noise,
      headline=_headline(history),
      kept=tuple(history.kept),
      trials=trials,
      lessons=tuple(
        LessonView(x.text, x.trials, x.tags, x.effect, x.uncertainty, x.author)
        for x in memory.lessons()
      ),
    )


class _Times:
  """When things happened, and the calls of models.

  Attributes:
    first: Time of the first event.
    began: When each trial began.
    ended: When each trial's result came.
    stopped: Reason of the last stop, if nothing has happened since.
    exchanges: The latest record of each call, by trial and id.
  """

  def __init__(self) -> None:
    self.first = 0.0
    self.began: dict[int, float] = {}
    self.ended: dict[int, float] = {}
    self.stopped = ''
    self.exchanges: dict[int, dict[str, Exchange]] = {}

  def apply(self, record: Record) -> None:
    self.first = self.first or record.time
    self.stopped = ''
    match record.event:
      case Edited() | Released():
        self.began[record.event.trial] = record.time
      case Finished():
        self.ended[record.event.trial] = record.time
      case Stopped():
        self.stopped = record.event.reason
      case Consulted(trial=trial, exchange=exchange):
        self.exchanges.setdefault(trial, {})[exchange.id] = exchange
      case _:
        pass


def _headline(history: History) -> Headline:
  f, final = run_statistics(history), final_comparison(history)
  return Headline(
    trials=f.trials,
    kept=f.kept,
    failed=f.crashed,
    hours=f.wall_seconds / 3600,
    trials_per_hour=f.trials_per_hour,
    utilization=f.utilization,
    best=None if f.best is None else history.original(f.best.id),
    best_value=f.value,
    best_runs=f.runs,
    baseline_value=f.baseline,
    baseline_runs=f.baseline_runs,
    gain=f.gain,
    standard_errors=f.standard_errors,
    test_gain=final.gain if final.gains else None,
    test_half_width=final.half_width,
    conclusion=conclusion(history),
    speed=format_speed(history),
    spend=format_spend(history),
  )


def _trial(
  history: History,
  times: _Times,
  number: int,
  outcome: HypothesisOutcome | None,
  scores: list[float],
  undecided: set[int],
  diffs: Callable[[int, int], str],
) -> TrialView:
  edit, proposal = history.edits[number], history.proposals[number]
  result, trial = history.results.get(number), history.trials.get(number)
  verdict = trial.verdict if trial is not None else None
  runs = result.measurements if result is not None else ()
  facts: Mapping[str, Any] = result.facts if result is not None else {}
  metric, parent = history.objective.metric, history.parent(number)
  costs = [run.cost for run in runs]
  isolation = result.isolation if result is not None else None
  return TrialView(
    id=number,
    parent=parent,
    original=history.original(number),
    operation=proposal.operation.value,
    description=edit.description,
    status=result.status.value if result is not None else 'running',
    decision=verdict.decision.value if verdict is not None else '',
    reason=_reason(trial, result.reason if result is not None else ''),
    began=times.began.get(number, 0.0),
    ended=times.ended.get(number),
    value=trial.metric(metric) if trial is not None else None,
    program_value=sum(scores) / len(scores) if scores else None,
    program_runs=len(scores),
    effect=outcome.effect if outcome is not None else None,
    effect_sd=outcome.effect_sd if outcome is not None else None,
    claim=edit.hypothesis.claim,
    tags=edit.hypothesis.mechanisms,
    predicted=edit.hypothesis.predicted_effect,
    predicted_sd=edit.hypothesis.uncertainty,
    author=edit.author,
    role=edit.role,
    undecided=number in undecided,
    runs=tuple(_run(run, metric, facts) for run in runs),
    phases=Phases(
      trace=sum(cost.trace_seconds for cost in costs[:1]),
      compile=sum(cost.compile_seconds for cost in costs[:1]),
      train=sum(cost.training_seconds for cost in costs),
      calibrate=sum(cost.calibration_seconds for cost in costs),
      evaluate=sum(cost.evaluate_seconds for cost in costs),
    ),
    parameters=max((cost.parameters for cost in costs), default=0),
    peak_bytes=max((cost.peak_bytes for cost in costs), default=0),
    mfu=max((cost.mfu_percent for cost in costs), default=0.0),
    isolation=isolation.detail if isolation is not None else '',
    diff='' if parent is None else diffs(parent, number),
    baseline_diff=diffs(BASELINE, number),
    exchanges=tuple(_shortened(e) for e in times.exchanges.get(number, {}).values()),
  )


def _reason(trial: Trial | None, failure: str) -> str:
  """Returns the failure of a trial without a score, and else the verdict in words."""
  if trial is None or trial.verdict is None or trial.result.status is not Status.OK:
    return failure
  return trial.verdict.reason


def _run(run: Measurement, metric: str, facts: Mapping[str, Any]) -> RunOfTrial:
  curve = [list(point) for point in facts.get('curves', {}).get(str(run.seed), [])]
  cost = run.cost
  value = run.metrics.get(metric)
  return RunOfTrial(run.seed, value, cost.steps, cost.training_seconds, cost.speed, curve)


def _diff(before: Program, after: Program) -> str:
  """Returns the unified diff of all files; '' if they are equal."""
  old, new = dict(before.files), dict(after.files)
  lines: list[str] = []
  for name in sorted(old | new):
    if old.get(name) != new.get(name):
      lines += _file_diff(name, old.get(name, '').splitlines(), new.get(name, '').splitlines())
  return '\n'.join(lines)


def _file_diff(name: str, old: list[str], new: list[str]) -> Iterator[str]:
  """Yields the lines of a unified diff. Common lines at both ends are not searched."""
  start = _common(old, new)
  end = _common(old[:start:-1], new[:start:-1])
  start, end = max(0, start - CONTEXT), max(0, end - CONTEXT)
  olds, news = (lines[start : len(lines) - end] for lines in (old, new))
  for line in difflib.unified_diff(olds, news, name, name, lineterm=''):
    if found := _HUNK.fullmatch(line):
      first, count, second, size = found.groups(default='')
      line = f'@@ -{int(first) + start}{count} +{int(second) + start}{size} @@'
    yield line


def _common(old: Sequence[str], new: Sequence[str]) -> int:
  """Returns the number of equal lines at the beginning."""
  pairs = enumerate(zip(old, new, strict=False))
  return next((at for at, (a, b) in pairs if a != b), min(len(old), len(new)))


def _shortened(exchange: Exchange) -> Exchange:
  return dataclasses.replace(
    exchange, request=exchange.request[:MAX_ANSWER], response=exchange.response[:MAX_ANSWER]
  )
