"""From what a program is worth to the result of a trial: seed noise, fidelity, time, duplicates.

Every family of simulations says what a program is worth without noise, an `Evaluation`; a `Meter`
makes a `Result` of it. Nothing is random: deviates come from a hash of the instance, the program,
the training seed and the budget, so that the order of trials and the process do not matter.

A trial at fidelity f < 1 (f: the share of the whole budget) has, in units of the instance's
`scale` (about the distance from the start to the optimum):
- its metric shifted for the worse by SHIFT·(1 - f), as a learning curve cut short is;
- a shift of its own, normal with deviation MISLED·(f^-½ - 1), the same for all its seeds: what
  looks best early need not be best in the end. It grows without bound as f goes to 0, without
  seed noise too: else a thousand tiny trials would cost one and say as much;
- seed noise larger by f^-½;
- f of the training time.
These are choices of this project, of the size that learning curves show; they are not fitted.
"""

import dataclasses
import hashlib
import statistics
import struct

from autoresearch_jax.types import Cost, Measurement, Objective, Result, Status, TrialRequest

SHIFT = 0.3
MISLED = 0.1
_NORMAL = statistics.NormalDist()


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """A program at the full budget and without noise.

  value: of the metric. parts: summands of the value, () where it has none. deviation: of the
  metric between seeds. training_seconds, other_seconds: of a trial; the first shrinks with the
  budget. A failure has a status, a reason and the seconds it took until then.
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
  def worth(self) -> float | None:
    """The value; None of a failure."""
    return self.value if self.status is Status.OK else None


@dataclasses.dataclass(frozen=True)
class Meter:
  """Measures programs of one instance. key: name and seed of the instance, for the deviates."""

  key: str
  objective: Objective
  scale: float

  def result(self, request: TrialRequest, made: Evaluation, fingerprint: str) -> Result:
    """fingerprint: equal for programs that mean the same."""
    if fingerprint in request.known:
      return _duplicate(request, fingerprint)
    fidelity = min(1.0, request.budget.amount)
    training = made.training_seconds * fidelity
    seconds = training + made.other_seconds
    if made.status is not Status.OK:
      facts = {'seconds': seconds}
      return Result(request.trial, made.status, made.reason, fingerprint, facts=facts)
    shift = self._shift(fingerprint, fidelity)
    measurements = tuple(
      Measurement(
        seed,
        self._metrics(made, shift, fidelity, fingerprint, seed),
        Cost(training_seconds=training, total_seconds=seconds, peak_bytes=made.peak_bytes),
      )
      for seed in request.seeds
    )
    facts = {'seconds': seconds * len(measurements)}
    return Result(
      request.trial,
      Status.OK,
      fingerprint=fingerprint,
      measurements=measurements,
      facts=facts,
    )

  def _shift(self, fingerprint: str, fidelity: float) -> float:
    """What a lower fidelity does to the metric of all seeds."""
    if fidelity == 1.0:
      return 0.0
    (own,) = deviates(f'{self.key}/{fingerprint}/misled', 1)
    worse = self.scale * (SHIFT * (1 - fidelity) + MISLED * (fidelity**-0.5 - 1) * own)
    return worse if self.objective.direction == 'minimize' else -worse

  def _metrics(
    self, made: Evaluation, shift: float, fidelity: float, fingerprint: str, seed: int
  ) -> dict[str, float]:
    """The parts have independent noise, and their sum is the metric."""
    parts = made.parts or (made.value,)
    count = len(parts)
    if made.deviation:
      noise = made.deviation / (fidelity * count) ** 0.5
      drawn = deviates(f'{self.key}/{fingerprint}/{seed}/{fidelity!r}', count)
      parts = [p + shift / count + noise * z for p, z in zip(parts, drawn, strict=True)]
    elif shift:
      parts = [p + shift / count for p in parts]
    metrics = {self.objective.metric: sum(parts)}
    if made.parts:
      metrics |= {f'part_{i}': part for i, part in enumerate(parts)}
    return metrics


def deviates(key: str, count: int) -> list[float]:
  """Standard normal numbers that `key` decides; count: 1 to 8."""
  words = struct.unpack(f'<{count}Q', hashlib.blake2b(key.encode(), digest_size=8 * count).digest())
  return [_NORMAL.inv_cdf(((word >> 12) + 0.5) / 2**52) for word in words]


def _duplicate(request: TrialRequest, fingerprint: str) -> Result:
  first = request.known[fingerprint]
  return Result(
    request.trial,
    Status.DUPLICATE,
    f'Trial {first} already ran a program that means the same.',
    fingerprint,
    duplicate_of=first,
    facts={'seconds': 0.0},
  )
