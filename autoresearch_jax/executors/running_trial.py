"""A trial that a slot runs, with what its runners have reported so far."""

import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

from autoresearch_jax.runner.client import RunnerError
from autoresearch_jax.types import (
  Constraint,
  Dataset,
  Hardware,
  Measurement,
  Program,
  ReferenceStep,
  Result,
  SeedResult,
  Status,
  TrialRequest,
  from_builtins,
  to_json,
)

REFERENCE = 'reference_step_seconds'
CHECKPOINTS = 'checkpoints'  # folder in the executor's scratch folder


@dataclasses.dataclass
class RunningTrial:
  """A traced trial and its result so far. It survives a killed runner.

  Attributes:
    request: The trial.
    artifact: Path of its artifact.
    result: The result so far, without measurements.
    began: Monotonic time from which the next measurement's total time counts.
    trace_seconds: Trace time that the next measurement's cost includes.
    done: The training runs that have finished, by seed.
  """

  request: TrialRequest
  artifact: pathlib.Path
  result: Result
  began: float
  trace_seconds: float
  done: dict[int, SeedResult] = dataclasses.field(init=False)

  def __post_init__(self) -> None:
    self.done = {run.measurement.seed: run for run in self.request.done}

  @property
  def missing_seeds(self) -> list[int]:
    """Seeds without a measurement, in the order of the request."""
    return [seed for seed in self.request.seeds if seed not in self.done]

  def reference(self, reference: ReferenceStep) -> ReferenceStep:
    """Returns the reference with the step's duration that the finished runs were calibrated by."""
    known = [run.facts[REFERENCE] for run in self.done.values() if REFERENCE in run.facts]
    known += [self.result.facts[REFERENCE]] if REFERENCE in self.result.facts else []
    return dataclasses.replace(reference, step_seconds=known[0]) if known else reference

  def record_load(self, fingerprint: str, facts: dict[str, Any]) -> None:
    """Adds what the runner knows of the artifact. Runs of another artifact do not count."""
    facts = {**self.result.facts, **facts}
    self.result = dataclasses.replace(
      self.result, status=Status.OK, reason='', fingerprint=fingerprint, facts=facts
    )
    self.done = {seed: run for seed, run in self.done.items() if run.fingerprint == fingerprint}

  def record_run(self, run: dict[str, Any], compile_seconds: float) -> SeedResult:
    """Adds the runner's report of a training run, and returns what to report of it."""
    measurement = from_builtins(run['measurement'], Measurement)
    seed, now = measurement.seed, time.monotonic()
    facts = {'curves': {str(seed): run['curve']}, 'looks': {str(seed): run['rungs']}}
    if REFERENCE in self.result.facts:
      facts[REFERENCE] = self.result.facts[REFERENCE]
    if run.get('saved'):
      facts['states'] = {str(seed): state_name(self.request.program, seed)}
    cost = dataclasses.replace(
      measurement.cost,
      trace_seconds=self.trace_seconds,
      compile_seconds=compile_seconds,
      total_seconds=now - self.began,
    )
    self.done[seed] = SeedResult(
      self.request.trial,
      self.result.fingerprint,
      dataclasses.replace(measurement, cost=cost),
      facts,
    )
    self.began, self.trace_seconds = now, 0.0  # further seeds trace nothing
    return self.done[seed]

  def with_saved(self, request: TrialRequest, finished: SeedResult) -> TrialRequest:
    """Returns the request for the next training runs, which must exceed one that was saved."""
    if request.save is None or 'states' not in finished.facts:
      return request
    plan = request.save.raised_to(finished.measurement.metrics)
    return dataclasses.replace(request, save=plan)

  def record_error(self, error: RunnerError) -> None:
    """Adds why a run failed."""
    facts = {**self.result.facts, **error.facts}
    self.result = dataclasses.replace(
      self.result, status=error.status, reason=str(error), facts=facts
    )

  def finished(self) -> Result:
    """Returns the result with the measurements, in the order of the seeds, and their facts."""
    runs = [self.done[seed] for seed in self.request.seeds if seed in self.done]
    facts = dict(self.result.facts)
    for run in runs:
      for name, value in run.facts.items():
        facts[name] = {**facts.get(name, {}), **value} if isinstance(value, dict) else value
    measurements = tuple(run.measurement for run in runs)
    return dataclasses.replace(self.result, measurements=measurements, facts=facts)


def run_name(request: TrialRequest, seed: int, dataset: Dataset, hardware: Hardware | None) -> str:
  """Names a training run by all that decides its result, for the folder of its checkpoints."""
  parts: list[Any] = [request.program.digest, seed, request.budget.identity(), request.on_test]
  parts.append(dataset.fingerprint)
  if request.budget.unit == 'seconds':  # which mean another number of steps elsewhere
    parts.append(str(hardware))
  return hashlib.sha256(to_json(parts)).hexdigest()[:24]


def state_name(program: Program, seed: int) -> str:
  """Names the folder with the parameters of a finished training run at full budget."""
  return f'{program.digest[:24]}-{seed}'


def broken_constraint(constraints: Iterable[Constraint], facts: Mapping[str, Any]) -> str:
  """How a program breaks a constraint by what is known before it trains; '' if it does not."""
  known = {'parameters': facts.get('parameters'), 'analysis_bytes': facts.get('analysis_bytes')}
  known['peak_bytes'] = known['analysis_bytes']  # the peak is at least that
  for constraint in constraints:
    value = known.get(constraint.quantity)
    is_lower_limit = constraint.quantity == 'peak_bytes' and constraint.relation in ('>', '>=')
    if value is not None and not is_lower_limit and (broken := constraint.violation(value)):
      return broken
  return ''


def duplicate(result: Result, request: TrialRequest) -> Result:
  """The result of a trial whose fingerprint is that of an earlier trial."""
  earlier = request.known[result.fingerprint]
  if earlier in request.parents:
    reason = (
      'This change has no effect: the program traces to the same operations as its parent, trial '
      f'{earlier}.'
    )
  else:
    reason = f'Trial {earlier} already ran a program that traces to the same operations.'
  return dataclasses.replace(result, status=Status.DUPLICATE, reason=reason, duplicate_of=earlier)
