"""`RunProjection`: follows the events of a run, and computes what a page shows of it."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any, Self

from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.ledger import ends
from autoresearch_jax.ledger.events import (
  Ablated,
  Consulted,
  Edited,
  FinalScored,
  Finished,
  Record,
  Released,
  Resumed,
  Retold,
  Started,
  Stopped,
)
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.steering import TakenRequest, described
from autoresearch_jax.programs import protection
from autoresearch_jax.report.final_comparison import conclusion, critical_value, final_comparison
from autoresearch_jax.report.near_misses import near_misses, undecided_programs
from autoresearch_jax.report.page.diffs import program_diff
from autoresearch_jax.report.page.view import (
  SCHEMA,
  Headline,
  LessonView,
  ModelSpend,
  Phases,
  RequestView,
  RunOfTrial,
  RunView,
  TrialView,
)
from autoresearch_jax.report.remeasured import remeasured, request_outcome
from autoresearch_jax.report.story import StoryParagraph, story
from autoresearch_jax.report.summary import (
  format_speed,
  format_spend,
  num_slots,
  run_statistics,
  scores_by_trial,
)
from autoresearch_jax.types import Exchange, Measurement, Status, Trial

MAX_ANSWER = 20_000  # characters of a prompt or an answer


class RunProjection:
  """The state of a run as a page shows it. Events are added one by one.

  Attributes:
    history: The run so far.
  """

  def __init__(self) -> None:
    self.history = History()
    self._times = _Times()

  @classmethod
  def of(cls, records: Iterable[Record]) -> Self:
    """Returns the projection of a sequence of events."""
    projection = cls()
    for record in records:
      projection.apply(record)
    return projection

  @property
  def stopped(self) -> str:
    """Why the last session ended; '' while one runs or after a kill."""
    return self._times.stopped

  def apply(self, record: Record) -> None:
    """Adds the next event."""
    self.history.apply(record)
    self._times.apply(record)

  def view(self, details: bool = True) -> RunView:
    """Returns the run as plain data.

    Args:
      details: Whether trials have their diffs, learning curves and calls of models.

    Raises:
      LedgerError: The run's config was written by a version with other fields.
    """
    history, times, config = self.history, self._times, self.history.config
    degrees = self._memory.degrees_of_freedom
    budget = config.budget.describe()
    applying = ends.effective(history, config.search.ends)
    settings = {
      'problem': config.problem,
      'strategy': config.search.strategy,
      'proposer': config.proposer,
      'acceptance': config.acceptance,
      'budget': f'{budget} per training run',
      'platform': config.platform,
    }
    return RunView(
      schema=SCHEMA,
      name=config.name,
      metric=config.metric,
      direction=history.objective.direction,
      settings=tuple(settings.items()),
      started=times.first,
      updated=history.last_time,
      stopped=self.stopped,
      noise=self._memory.noise,
      headline=_headline(history),
      kept=tuple(history.kept),
      trials=self._trials(sorted(history.edits), details),
      lessons=tuple(
        LessonView(x.text, x.trials, x.tags, x.effect, x.uncertainty, x.author)
        for x in self._memory.lessons()
      ),
      slots=num_slots(history),
      sessions=times.sessions(),
      spend=times.spend(),
      test_gains=final_comparison(history).gains,
      story=self.story(),
      requests=tuple(_request(taken, history) for taken in history.steering.taken.values()),
      paused='' if (pause := history.steering.paused) is None else pause.request.author,
      left=tuple(ends.left(history, applying, config.search.dollars_per_hour)),
      critical_value=critical_value(degrees) if degrees else None,
      ends=applying,
      protected=tuple(history.steering.protected),
      protectable=_protectable(history),
      reads_text=history.reads_text,
      near_misses=tuple(near_misses(history)),
    )

  def story(self) -> tuple[StoryParagraph, ...]:
    """Returns the run in prose."""
    return story(self.history, self._memory)

  def trial(self, number: int) -> TrialView:
    """Returns one trial with all details. Raises KeyError if it does not exist."""
    return self._trials([number], details=True)[0]

  @functools.cached_property
  def _memory(self) -> Memory:
    history = self.history  # the memory follows it
    return Memory(history.trials, history.objective, history.kept_programs, history.lessons)

  def _trials(self, numbers: list[int], details: bool) -> tuple[TrialView, ...]:
    scored = [number for number in numbers if number in self.history.results]
    scores = scores_by_trial(self.history, scored)
    undecided = undecided_programs(self.history)
    return tuple(self._trial(n, scores.get(n, []), n in undecided, details) for n in numbers)

  def _trial(self, number: int, scores: list[float], undecided: bool, details: bool) -> TrialView:
    history = self.history
    edit, proposal = history.edits[number], history.proposals[number]
    result, trial = history.results.get(number), history.trials.get(number)
    verdict = trial.verdict if trial is not None else None
    runs = result.measurements if result is not None else ()
    facts: Mapping[str, Any] = result.facts if result is not None and details else {}
    metric, parent = history.objective.metric, history.parent(number)
    outcome = self._memory.hypotheses.get(number)
    costs = [run.cost for run in runs]
    isolation = result.isolation if result is not None else None
    exchanges = self._times.exchanges.get(number, {}).values() if details else ()
    return TrialView(
      id=number,
      parent=parent,
      original=history.original(number),
      operation=proposal.operation.value,
      description=edit.description,
      status=result.status.value if result is not None else 'running',
      decision=verdict.decision.value if verdict is not None else '',
      reason=_reason(trial, result.reason if result is not None else ''),
      began=self._times.began.get(number, 0.0),
      ended=self._times.ended.get(number),
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
      undecided=undecided,
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
      diff=self._diff(parent, number) if details else '',
      baseline_diff=self._diff(BASELINE, number) if details else '',
      exchanges=tuple(_shortened(exchange) for exchange in exchanges),
    )

  def _diff(self, before: int | None, after: int) -> str:
    if before is None:
      return ''
    edits = self.history.edits
    return program_diff(edits[before].program, edits[after].program)


class _Times:
  """When things happened, and the calls of models.

  Attributes:
    first: Time of the first event.
    began: When each trial began.
    ended: When each trial's result came.
    stopped: Reason of the last stop, if the search has not gone on since.
    exchanges: The latest record of each call, by trial and id.
  """

  def __init__(self) -> None:
    self.first = 0.0
    self.began: dict[int, float] = {}
    self.ended: dict[int, float] = {}
    self.stopped = ''
    self.exchanges: dict[int, dict[str, Exchange]] = {}
    self._retold: dict[str, Exchange] = {}  # calls for the story
    self._last = 0.0
    self._sessions: list[tuple[float, float]] = []  # that have ended
    self._session = 0.0  # when the present one began

  def apply(self, record: Record) -> None:
    self.first = self.first or record.time
    if isinstance(record.event, Ablated):  # `autoresearch finalize`, perhaps days later
      return
    if isinstance(record.event, Retold):  # the same of `report --rewrite`
      self._retold[record.event.exchange.id] = record.event.exchange
      return
    if not isinstance(record.event, FinalScored):  # which follows the end of the search
      self.stopped = ''
    match record.event:
      case Edited() | Released():
        self.began[record.event.trial] = record.time
      case Finished():
        self.ended[record.event.trial] = record.time
      case Started() | Resumed():
        if self._session:
          self._sessions.append((self._session, self._last))
        self._session = record.time
      case Stopped():
        self.stopped = record.event.reason
      case Consulted(trial=trial, exchange=exchange):
        self.exchanges.setdefault(trial, {})[exchange.id] = exchange
      case _:
        pass
    self._last = record.time

  def sessions(self) -> tuple[tuple[float, float], ...]:
    """Returns (begin, end) of each session."""
    return (*self._sessions, (self._session, self._last))

  def spend(self) -> tuple[ModelSpend, ...]:
    """Returns what each model has cost, the dearest first."""
    by_model: dict[str, list[Exchange]] = {}
    for exchanges in (*self.exchanges.values(), self._retold):
      for exchange in exchanges.values():
        by_model.setdefault(exchange.model, []).append(exchange)
    found = (
      ModelSpend(
        model,
        len(calls),
        sum(call.state == 'failed' for call in calls),
        sum(call.input_tokens for call in calls),
        sum(call.output_tokens for call in calls),
        sum(call.dollars for call in calls),
      )
      for model, calls in by_model.items()
    )
    return tuple(sorted(found, key=lambda spend: -spend.dollars))


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
    doubts=tuple(r.describe(history.objective.metric) for r in remeasured(history) if r.in_doubt),
  )


def _request(taken: TakenRequest, history: History) -> RequestView:
  request, steering = taken.request, history.steering
  return RequestView(
    taken.number,
    request.author,
    request.time,
    described(request),
    request_outcome(history, taken),
    taken in steering.hints or taken in steering.queue,
  )


def _protectable(history: History) -> tuple[str, ...]:
  best = history.incumbent.edit if history.incumbent is not None else history.edits.get(BASELINE)
  return () if best is None else protection.names(best.program, history.config.editable)


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


def _shortened(exchange: Exchange) -> Exchange:
  return dataclasses.replace(
    exchange, request=exchange.request[:MAX_ANSWER], response=exchange.response[:MAX_ANSWER]
  )
