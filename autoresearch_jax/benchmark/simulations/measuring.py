"""From a program's true value to a trial's result: seed noise, fidelity, cost, duplicates.

Every simulation computes the noiseless outcome of a program, an `Evaluation`; a `MeasurementModel`
turns it into a `Result`. No generator is involved: normal deviates come from a hash of the
instance, the program, the training seed and the budget, so that the order of the trials and the
process do not matter.

A trial at fidelity f < 1 (f: the share of the full budget), in units of the instance's `scale`
(roughly the distance from the start to the optimum), has

- a metric that is worse by SHIFT·(1 - f), like a learning curve that was cut short;
- a bias of its own, normal with standard deviation BIAS·(f^-½ - 1) and equal for all its seeds:
  what looks best early need not be best in the end. It grows without bound as f goes to 0, even
  where there is no seed noise; otherwise a thousand tiny trials would cost as much as one and be
  as informative;
- seed noise larger by f^-½;
- f times the training seconds.

These effects are chosen to have the size that learning curves show; they are not fitted.
"""

import dataclasses
import hashlib
import statistics
import struct

from autoresearch_jax.types import Cost, Measurement, Objective, Result, Status, TrialRequest

SHIFT = 0.3
BIAS = 0.1
_NORMAL = statistics.NormalDist()


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """The outcome of a program at the full budget, without noise.

  Attributes:
    value: The metric.
    parts: Summands of the metric; () where it has none.
    deviation: Standard deviation of the metric between training seeds.
    training_seconds: Training time, which shrinks with the budget.
    other_seconds: The rest of a trial's time, which does not.
    peak_bytes: Device memory.
    status: How the trial ends.
    reason: Why it failed, as a sentence; '' when it did not.
  """

  value: float = 0.0
  parts: tuple[float, ...] = ()
  deviation: float = 0.0
  training_seconds: float = 1.0
  other_seconds: float = 0.0
  peak_bytes: int = 0
  status: Status = Status.OK
  reason: str = ''

  @property
  def value_if_ok(self) -> float | None:
    """The value; None of a failure."""
    return self.value if self.status is Status.OK else None


@dataclasses.dataclass(frozen=True)
class MeasurementModel:
  """Measures the programs of one instance.

  Attributes:
    key: Name and seed of the instance; keys the noise.
    objective: The metric and its direction.
    scale: Unit of the fidelity effects, in units of the metric.
  """

  key: str
  objective: Objective
  scale: float

  def result(self, request: TrialRequest, evaluation: Evaluation, fingerprint: str) -> Result:
    """Returns the result of a trial.

    Args:
      request: The trial; its budget's amount is the fidelity.
      evaluation: The noiseless outcome of its program.
      fingerprint: Equal for programs that compute the same.
    """
    if fingerprint in request.known:
      return duplicate(request, fingerprint)
    fidelity = min(1.0, request.budget.amount)
    training = evaluation.training_seconds * fidelity
    seconds = training + evaluation.other_seconds
    if evaluation.status is not Status.OK:
      facts = {'seconds': seconds}
      return Result(request.trial, evaluation.status, evaluation.reason, fingerprint, facts=facts)
    shift = self._shift(fingerprint, fidelity)
    measurements = tuple(
      Measurement(
        seed,
        self._metrics(evaluation, shift, fidelity, fingerprint, seed),
        Cost(training_seconds=training, total_seconds=seconds, peak_bytes=evaluation.peak_bytes),
      )
      for seed in request.seeds
    )
    facts = {'seconds': seconds * len(measurements)}
    return Result(
      request.trial, Status.OK, fingerprint=fingerprint, measurements=measurements, facts=facts
    )

  def _shift(self, fingerprint: str, fidelity: float) -> float:
    """Returns what a low fidelity adds to the metric of every seed."""
    if fidelity == 1.0:
      return 0.0
    (bias,) = deviates(f'{self.key}/{fingerprint}/misled', 1)
    worse = self.scale * (SHIFT * (1 - fidelity) + BIAS * (fidelity**-0.5 - 1) * bias)
    return worse if self.objective.direction == 'minimize' else -worse

  def _metrics(
    self, evaluation: Evaluation, shift: float, fidelity: float, fingerprint: str, seed: int
  ) -> dict[str, float]:
    """Returns the metric and its parts, which have independent noise and add up to the metric."""
    parts = evaluation.parts or (evaluation.value,)
    count = len(parts)
    if evaluation.deviation:
      noise = evaluation.deviation / (fidelity * count) ** 0.5
      drawn = deviates(f'{self.key}/{fingerprint}/{seed}/{fidelity!r}', count)
      parts = [p + shift / count + noise * z for p, z in zip(parts, drawn, strict=True)]
    elif shift:
      parts = [p + shift / count for p in parts]
    metrics = {self.objective.metric: sum(parts)}
    if evaluation.parts:
      metrics |= {f'part_{i}': part for i, part in enumerate(parts)}
    return metrics


def deviates(key: str, count: int) -> list[float]:
  """Returns `count` (1 to 8) standard normal numbers, a hash of `key`."""
  words = struct.unpack(f'<{count}Q', hashlib.blake2b(key.encode(), digest_size=8 * count).digest())
  return [_NORMAL.inv_cdf(((word >> 12) + 0.5) / 2**52) for word in words]


def duplicate(request: TrialRequest, fingerprint: str) -> Result:
  """Returns the result of a trial whose program computes the same as a known one."""
  first = request.known[fingerprint]
  return Result(
    request.trial,
    Status.DUPLICATE,
    f'It computes the same as the program of trial {first}.',
    fingerprint,
    duplicate_of=first,
    facts={'seconds': 0.0},
  )
