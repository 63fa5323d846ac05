"""All runs of each program, pooled over the trials that ran it, and the noise between seeds.

A replication or a promotion runs the program of an earlier trial again. Its runs are added to that
program, which is known by the first trial that had it. A run counts if it trained for the whole
budget; of several runs with one seed the first counts. The report counts in the same way.
"""

import dataclasses
import functools
import math
from typing import Any

from autoresearch_jax.knowledge.constant_changes import constant_values, structure_digest
from autoresearch_jax.types import RERUNS, Decision, Objective, Status, Trial


@dataclasses.dataclass
class ProgramResult:
  """The results of one program so far.

  Attributes:
    first: The first trial that ran the program.
    parent: First trial of the program that was edited; None for the baseline.
    representative: The trial that shows best what became of the program: a kept one, else the one
      with the largest budget, else one with a score, else the latest.
    runs: Number of runs that count.
    mean: Mean score over the runs; larger is better.
    squares: Sum of the squared deviations of the runs from `mean`.
    seeds: Seeds of the runs.
    version: Grows with every trial that is added.
  """

  first: Trial
  parent: int | None
  representative: Trial
  runs: int = 0
  mean: float = 0.0
  squares: float = 0.0
  seeds: set[int] = dataclasses.field(default_factory=set)
  version: int = 0

  @property
  def score(self) -> float | None:
    """The mean score; None without a run."""
    return self.mean if self.runs else None

  @functools.cached_property
  def constants(self) -> dict[str, Any]:
    """The program's constants by name. Computed on first use: parsing takes milliseconds."""
    return constant_values(self.first.edit.program)

  @functools.cached_property
  def structure(self) -> str:
    """Digest of the program without its constants' values."""
    return structure_digest(self.first.edit.program)

  def add(self, trial: Trial, objective: Objective) -> float:
    """Adds a trial's runs (Welford, Technometrics 1962). Returns the increase of `squares`."""
    self.version += 1
    if _rank(trial) >= _rank(self.representative):
      self.representative = trial
    before = self.squares
    for seed, score in _scores(trial, objective):
      if seed not in self.seeds:
        self.seeds.add(seed)
        self.runs += 1
        step = score - self.mean
        self.mean += step / self.runs
        self.squares += step * (score - self.mean)
    return self.squares - before


class ProgramResults:
  """The results of all programs.

  Attributes:
    objective: The metric and its direction.
    by_trial: Results by the first trial of each program, in the order of arrival.
  """

  def __init__(self, objective: Objective):
    self.objective = objective
    self.by_trial: dict[int, ProgramResult] = {}
    self._first: dict[int, int] = {}
    self._waiting: dict[int, list[Trial]] = {}  # reruns of a trial that has not arrived yet
    self._squares = 0.0
    self._degrees = 0

  def add(self, trial: Trial) -> list[int]:
    """Adds a finished trial.

    Returns:
      First trials of the programs that are new or whose results changed.
    """
    reruns = trial.proposal.operation in RERUNS and trial.proposal.parents
    if reruns:
      first = self._first.get(trial.proposal.parents[0])
      if first is None:
        self._waiting.setdefault(trial.proposal.parents[0], []).append(trial)
        return []
    else:
      first = trial.id
      self.by_trial[first] = ProgramResult(trial, _edited_trial(trial), trial)
    self._first[trial.id] = first
    self._add_runs(self.by_trial[first], trial)
    changed = [first]
    for rerun in self._waiting.pop(trial.id, ()):
      changed += self.add(rerun)
    return changed

  def parent(self, program: ProgramResult) -> ProgramResult | None:
    """Returns the program that was edited; None for the baseline or if it has not arrived yet."""
    if program.parent is None:
      return None
    return self.by_trial.get(self._first.get(program.parent, program.parent))

  @property
  def noise(self) -> float | None:
    """Standard deviation of the score between seeds, pooled over all programs.

    s² = Σ squares / Σ (runs - 1). None until some program has two runs.
    """
    return math.sqrt(self._squares / self._degrees) if self._degrees else None

  @property
  def degrees_of_freedom(self) -> int:
    """Degrees of freedom of `noise`."""
    return self._degrees

  def _add_runs(self, program: ProgramResult, trial: Trial) -> None:
    before = max(program.runs, 1)
    self._squares += program.add(trial, self.objective)
    self._degrees += max(program.runs, 1) - before


def _edited_trial(trial: Trial) -> int | None:
  """Returns the trial whose program was edited; drafts edit the baseline, which edits none."""
  if trial.proposal.parents:
    return trial.proposal.parents[0]
  return 0 if trial.id else None


def _scores(trial: Trial, objective: Objective) -> list[tuple[int, float]]:
  """Returns (seed, score) of the runs that count: none if the trial failed or was shortened."""
  scored = trial.verdict is not None and trial.verdict.decision is not Decision.CRASH
  if not scored or trial.result.status is not Status.OK or trial.proposal.fidelity < 1:
    return []
  sign = -1.0 if objective.direction == 'minimize' else 1.0
  pairs = [(m.seed, m.metrics.get(objective.metric)) for m in trial.result.measurements]
  return [(s, sign * v) for s, v in pairs if v is not None and math.isfinite(v)]


def _rank(trial: Trial) -> tuple[bool, float, bool]:
  """Sort key: how much a trial says about what became of its program."""
  decision = trial.verdict.decision if trial.verdict else None
  return decision is Decision.KEEP, trial.proposal.fidelity, trial.result.status is Status.OK
