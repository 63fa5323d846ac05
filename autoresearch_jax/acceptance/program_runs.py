"""All training runs of one program, over the trials that trained it.

A program is identified by the first trial that trained it; a REPLICATE trial belongs to its first
parent. Each seed counts once, because the same program on the same seed tells nothing new.
"""

import dataclasses
from collections.abc import Sequence
from typing import Self

from autoresearch_jax.types import Objective, Operation, Status, Trial


@dataclasses.dataclass(frozen=True)
class ProgramRuns:
  """The metric of one program on each of its seeds.

  Attributes:
    trial: Id of the program's first trial.
    seeds: Seeds with a result.
    values: The metric on each of them.
    requested_seeds: Seeds with a result or requested for a replication, even if it failed.
    is_pending: Whether a requested replication has not finished.
  """

  trial: int
  seeds: tuple[int, ...] = ()
  values: tuple[float, ...] = ()
  requested_seeds: tuple[int, ...] = ()
  is_pending: bool = False

  @property
  def mean(self) -> float:
    return sum(self.values) / len(self.values)

  def request(self, seeds: tuple[int, ...]) -> Self:
    """Returns the runs with a replication requested."""
    return dataclasses.replace(
      self, requested_seeds=_union(self.requested_seeds, seeds), is_pending=True
    )

  def fail(self) -> Self:
    """Returns the runs after the requested replication has failed."""
    return dataclasses.replace(self, is_pending=False)

  def add(self, pairs: Sequence[tuple[int, float]]) -> Self:
    """Returns the runs with new (seed, value) pairs, as returned by `new_values`."""
    seeds, values = zip(*pairs, strict=True) if pairs else ((), ())
    return dataclasses.replace(
      self,
      seeds=self.seeds + seeds,
      values=self.values + values,
      requested_seeds=_union(self.requested_seeds, seeds),
      is_pending=False,
    )

  def new_values(self, objective: Objective, trial: Trial) -> list[tuple[int, float]]:
    """Returns the (seed, metric) pairs of a trial on seeds without a result so far."""
    if trial.result.status is not Status.OK:
      return []
    measured = {
      m.seed: m.metrics[objective.metric]
      for m in trial.result.measurements
      if objective.metric in m.metrics
    }
    return [pair for pair in measured.items() if pair[0] not in self.seeds]

  def next_seeds(self, size: int, other: 'ProgramRuns') -> tuple[int, ...]:
    """Returns the seeds that bring the program to `size` runs.

    Those of `other` come first, so that the two programs are compared on the same seeds.
    """
    count, chosen = size - len(self.seeds), list[int]()
    fresh = range(size + len(self.requested_seeds) + 1)
    for seed in (*sorted(other.seeds), *fresh):
      if len(chosen) < count and seed not in self.requested_seeds and seed not in chosen:
        chosen.append(seed)
    return tuple(chosen)


def original_of(trial: Trial) -> int:
  """Returns the id of the first trial of this trial's program: itself, or what it replicates."""
  is_replicate = trial.proposal.operation is Operation.REPLICATE and trial.proposal.parents
  return trial.proposal.parents[0] if is_replicate else trial.id


def format_runs(count: int) -> str:
  """Returns '1 run', '2 runs', and so on."""
  return f'{count} run{"" if count == 1 else "s"}'


def _union(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
  return (*one, *(seed for seed in other if seed not in one))
