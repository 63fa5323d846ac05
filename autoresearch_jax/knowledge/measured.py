"""Trials gathered by program: all that was measured of each, and the noise between seeds.

A program is known by the first trial that had it; what repeats it (REPLICATE, PROMOTE) adds runs.
Runs count on the whole budget, a seed once, for the first trial that had it: as the report counts.
"""

import dataclasses
import functools
import math
from typing import Any

from autoresearch_jax.knowledge import changes
from autoresearch_jax.types import REPEATS, Decision, Objective, Status, Trial


@dataclasses.dataclass
class Measured:
  """What is known of one program. first: the trial that had it first. parent: first trial of the
  program that was edited, None for the baseline.

  shown: the trial whose status and verdict tell best what became of it: one that was kept, else of
  the largest budget, else with a score, else the last. mean, squares: of the scores (larger is
  better) over runs, and the sum of their squared distances from it. version: grows with the runs.
  """

  first: Trial
  parent: int | None
  shown: Trial
  runs: int = 0
  mean: float = 0.0
  squares: float = 0.0
  seeds: set[int] = dataclasses.field(default_factory=set)
  version: int = 0

  @property
  def score(self) -> float | None:
    return self.mean if self.runs else None

  @functools.cached_property
  def constants(self) -> dict[str, Any]:
    """Read when first asked for: parsing a program takes milliseconds."""
    return changes.values(self.first.edit.program)

  @functools.cached_property
  def rest(self) -> str:
    return changes.rest(self.first.edit.program)

  def take(self, trial: Trial, objective: Objective) -> float:
    """Adds the trial's runs; returns how much `squares` grew. (Welford, Technometrics 1962.)"""
    self.version += 1
    if _rank(trial) >= _rank(self.shown):
      self.shown = trial
    before = self.squares
    for seed, score in _scores(trial, objective):
      if seed not in self.seeds:
        self.seeds.add(seed)
        self.runs += 1
        step = score - self.mean
        self.mean += step / self.runs
        self.squares += step * (score - self.mean)
    return self.squares - before


class Programs:
  """All programs by their first trial, in the order in which these came."""

  def __init__(self, objective: Objective):
    self.objective = objective
    self.known: dict[int, Measured] = {}
    self._first: dict[int, int] = {}
    self._waiting: dict[int, list[Trial]] = {}  # repeats of a trial that has not come yet
    self._squares = 0.0
    self._degrees = 0

  def take(self, trial: Trial) -> list[int]:
    """Adds a trial; returns the first trials of the programs that are new or have news."""
    repeats = trial.proposal.operation in REPEATS and trial.proposal.parents
    if repeats:
      first = self._first.get(trial.proposal.parents[0])
      if first is None:
        self._waiting.setdefault(trial.proposal.parents[0], []).append(trial)
        return []
    else:
      first = trial.id
      self.known[first] = Measured(trial, _edited(trial), trial)
    self._first[trial.id] = first
    self._measure(self.known[first], trial)
    touched = [first]
    for repeat in self._waiting.pop(trial.id, ()):
      touched += self.take(repeat)
    return touched

  def parent(self, program: Measured) -> Measured | None:
    """What was edited; None for the baseline, and for what has not come yet."""
    if program.parent is None:
      return None
    return self.known.get(self._first.get(program.parent, program.parent))

  @property
  def noise(self) -> float | None:
    """Standard deviation between seeds, s² = Σ squares / Σ (runs - 1) over all programs; None
    while no program has two runs.
    """
    return math.sqrt(self._squares / self._degrees) if self._degrees else None

  @property
  def degrees(self) -> int:
    """Degrees of freedom that the noise rests on."""
    return self._degrees

  def _measure(self, program: Measured, trial: Trial) -> None:
    before = max(program.runs, 1)
    self._squares += program.take(trial, self.objective)
    self._degrees += max(program.runs, 1) - before


def _edited(trial: Trial) -> int | None:
  """The trial whose program was edited; a draft's is the baseline, which itself has none."""
  if trial.proposal.parents:
    return trial.proposal.parents[0]
  return 0 if trial.id else None


def _scores(trial: Trial, objective: Objective) -> list[tuple[int, float]]:
  """(seed, score) of the runs that count; none of a trial that failed or had a smaller budget."""
  scored = trial.verdict is not None and trial.verdict.decision is not Decision.CRASH
  if not scored or trial.result.status is not Status.OK or trial.proposal.fidelity < 1:
    return []
  sign = -1.0 if objective.direction == 'minimize' else 1.0
  pairs = [(m.seed, m.metrics.get(objective.metric)) for m in trial.result.measurements]
  return [(s, sign * v) for s, v in pairs if v is not None and math.isfinite(v)]


def _rank(trial: Trial) -> tuple[bool, float, bool]:
  decision = trial.verdict.decision if trial.verdict else None
  return decision is Decision.KEEP, trial.proposal.fidelity, trial.result.status is Status.OK
