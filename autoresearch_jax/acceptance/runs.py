"""All that was measured of one program, over the trials that trained it. Used by `sequential`.

A program is known by the first trial that had it; a REPLICATE trial belongs to its first parent.
A seed counts once: the same program on the same seed again tells nothing new.
"""

import dataclasses
from collections.abc import Sequence
from typing import Self

from autoresearch_jax.types import Objective, Operation, Status, Trial


@dataclasses.dataclass(frozen=True)
class Runs:
  """trial: the first trial of the program. values: its metric on each of `seeds`.

  tried: seeds that were measured or handed out to be, also where nothing came back. waiting: a
  replication was handed out and has not come back yet.
  """

  trial: int
  seeds: tuple[int, ...] = ()
  values: tuple[float, ...] = ()
  tried: tuple[int, ...] = ()
  waiting: bool = False

  @property
  def mean(self) -> float:
    return sum(self.values) / len(self.values)

  def asked(self, seeds: tuple[int, ...]) -> Self:
    return dataclasses.replace(self, tried=_union(self.tried, seeds), waiting=True)

  def failed(self) -> Self:
    return dataclasses.replace(self, waiting=False)

  def joined(self, pairs: Sequence[tuple[int, float]]) -> Self:
    """With (seed, value) pairs that came back; the caller has left out known seeds (`news`)."""
    seeds, values = zip(*pairs, strict=True) if pairs else ((), ())
    return dataclasses.replace(
      self,
      seeds=self.seeds + seeds,
      values=self.values + values,
      tried=_union(self.tried, seeds),
      waiting=False,
    )

  def news(self, objective: Objective, trial: Trial) -> list[tuple[int, float]]:
    """(seed, metric) of a trial's measurements on seeds that are not known yet."""
    if trial.result.status is not Status.OK:
      return []
    found = {
      m.seed: m.metrics[objective.metric]
      for m in trial.result.measurements
      if objective.metric in m.metrics
    }
    return [pair for pair in found.items() if pair[0] not in self.seeds]

  def wanted(self, size: int, other: 'Runs') -> tuple[int, ...]:
    """Seeds that bring the program to `size` runs: those of `other` first, so that they pair."""
    count, found = size - len(self.seeds), list[int]()
    fresh = range(size + len(self.tried) + 1)
    for seed in (*sorted(other.seeds), *fresh):
      if len(found) < count and seed not in self.tried and seed not in found:
        found.append(seed)
    return tuple(found)


def original(trial: Trial) -> int:
  """The trial whose program this one trained: itself, or what it replicates."""
  replicates = trial.proposal.operation is Operation.REPLICATE and trial.proposal.parents
  return trial.proposal.parents[0] if replicates else trial.id


def counted(number: int) -> str:
  return f'{number} run{"" if number == 1 else "s"}'


def _union(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
  return (*one, *(seed for seed in other if seed not in one))
