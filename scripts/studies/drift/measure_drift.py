"""False keeps and power of acceptance rules on machines whose speed changes, by simulation.

  python measure_drift.py [--nights=300] [--curve=gpt_cpu.csv] [--residual=0.03]

A run of a program does `budget x speed` of its steps by the wall clock, and by the calibrated clock
`budget x (1 + e)`, where e is normal with standard deviation `--residual`, the error that
`autoresearch measure drift` measures. Its score is that of so many steps on a recorded curve of
steps to scores (`record_step_scores.py`), plus seed noise of the recorded standard deviation, minus
the program's true gain. Speed is a function of time, in trials:

- quiet: 1;
- before: 0.6 while the baseline runs, and 1 afterwards (a hog that ends);
- after: 1 while the baseline runs, and 0.6 afterwards (one that begins);
- comes and goes: 1 and 0.6 in turns of 15 runs;
- slow: from 1 to 0.7 over a night.

Nights of 100 trials are of edits without effect: whatever is kept is a false keep. Power is the
share of single edits with a true gain of 2 and 3 seed standard deviations, the tenth trial of a
night, that are kept. Printed as a Markdown table, with Wilson's 95 % intervals.
"""

import csv
import math
import pathlib
from collections.abc import Callable

import numpy as np
from absl import app, flags

from autoresearch_jax import types
from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.testing.acceptance import Measure, TrialStream

NIGHTS = flags.DEFINE_integer('nights', 300, 'Simulated nights of each row.', 1)
CURVE = flags.DEFINE_string(
  'curve', str(pathlib.Path(__file__).parent / 'gpt_cpu.csv'), 'CSV of steps, seed, score.'
)
RESIDUAL = flags.DEFINE_float('residual', 0.03, 'Relative error of the calibrated clock.', 0.0)
BASELINE_SEEDS = flags.DEFINE_integer('baseline_seeds', 5, 'Training runs of the baseline.', 2)
SEED = flags.DEFINE_integer('seed', 0, 'Root seed of all randomness.')

NIGHT = 100  # trials
IMPROVEMENT = 10  # number of the trial with a true gain
SLOW = 0.6  # speed beside a hog

Speed = Callable[[int], float]  # number of the training run -> speed
SPEEDS: dict[str, Callable[[int], Speed]] = {
  'quiet': lambda seeds: lambda run: 1.0,
  'before': lambda seeds: lambda run: SLOW if run <= seeds else 1.0,
  'after': lambda seeds: lambda run: 1.0 if run <= seeds else SLOW,
  'comes and goes': lambda seeds: lambda run: SLOW if (run // 15) % 2 else 1.0,
  'slow': lambda seeds: lambda run: max(0.7, 1.0 - 0.3 * run / NIGHT),
}
ROWS = [('paired', 'calibrated'), ('sequential', 'calibrated'), ('paired', 'wall'),
        ('sequential', 'wall')]  # fmt: skip


class Curve:
  """Score by the logarithm of steps, and the seed noise around it, from recorded trainings."""

  def __init__(self, path: str):
    with pathlib.Path(path).open(encoding='utf-8') as file:
      rows = [(float(r[0]), float(r[2])) for r in list(csv.reader(file))[1:]]
    steps = sorted({step for step, _ in rows})
    scores = [[score for step, score in rows if step == s] for s in steps]
    self.nominal = steps[len(steps) // 2]
    self.log_steps, self.means = np.log(steps), np.array([np.mean(s) for s in scores])
    squares = sum(float(np.sum((np.array(s) - np.mean(s)) ** 2)) for s in scores)
    self.seed_std = math.sqrt(squares / sum(len(s) - 1 for s in scores))

  def score(self, work: float) -> float:
    """Mean score after `work` times the nominal steps, by interpolation, linear beyond the ends."""
    at = math.log(self.nominal * work)
    low, high = self.log_steps[0], self.log_steps[-1]
    inside = float(np.interp(at, self.log_steps, self.means))
    if at < low:
      slope = (self.means[1] - self.means[0]) / (self.log_steps[1] - low)
      return inside + float(slope) * (at - low)
    if at > high:
      slope = (self.means[-1] - self.means[-2]) / (high - self.log_steps[-2])
      return inside + float(slope) * (at - high)
    return inside


def machine(
  curve: Curve, speed: Speed, clock: str, rng: np.random.Generator, gains: dict[int, float]
) -> Measure:
  """Returns what measures a program on a seed, as time passes."""
  runs = 0

  def measure(program: int, seed: int) -> float:
    nonlocal runs
    runs += 1
    work = speed(runs) if clock == 'wall' else math.exp(RESIDUAL.value * float(rng.normal()))
    noise = curve.seed_std * float(rng.normal())
    return curve.score(work) + noise - curve.seed_std * gains.get(program, 0.0)

  return measure


def falsely_kept(rule: AcceptanceRule, measure: Measure) -> bool:
  stream = TrialStream.start(rule, measure)
  while len(stream.trials) < NIGHT:
    stream = stream.step(measure)
  return any(t.verdict and t.verdict.decision is types.Decision.KEEP for t in stream.trials[1:])


def found(rule: AcceptanceRule, curve: Curve, speed: Speed, clock: str, gain: float, rng) -> bool:
  """Whether a single true improvement is kept in the end."""
  gains: dict[int, float] = {}
  measure = machine(curve, speed, clock, rng, gains)
  stream = TrialStream.start(rule, measure)
  while len(stream.trials) < IMPROVEMENT:
    stream = stream.step(measure)
  stream = stream.run_replications(measure)
  number = len(stream.edits)
  gains[number] = gain
  stream = stream.run(stream.new_challenger(), measure).run_replications(measure)
  kept = stream.incumbent
  return kept is not None and number in (kept.id, *kept.proposal.parents)


def wilson(count: int, total: int, z: float = 1.96) -> str:
  """A share with its 95 % interval (Wilson, JASA 1927)."""
  share, weight = count / total, z * z / total
  middle = (share + weight / 2) / (1 + weight)
  half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
  return f'{share:.1%} ({max(0.0, middle - half):.1%} to {min(1.0, middle + half):.1%})'


def main(arguments: list[str]) -> None:
  if len(arguments) > 1:
    raise app.UsageError(f'{arguments[1]!r} is not understood; there are flags alone.')
  curve, nights = Curve(CURVE.value), NIGHTS.value
  print(
    f'{nights} nights, {curve.nominal:.0f} steps, seed standard deviation {curve.seed_std:.4g},'
  )
  shift = (curve.score(SLOW) - curve.score(1.0)) / curve.seed_std
  print(f'{SLOW:g} of the steps cost {shift:.1f} of them.\n')
  print('| rule | clock | machine | nights with a false keep | power at 2 | power at 3 |')
  print('|---|---|---|---|---|---|')
  for number, (name, clock) in enumerate(ROWS):
    rule = ACCEPTANCE.make(name, {'baseline_seeds': BASELINE_SEEDS.value})
    for label, make in SPEEDS.items():
      speed = make(BASELINE_SEEDS.value)
      rng = np.random.default_rng([SEED.value, number])
      false = sum(falsely_kept(rule, machine(curve, speed, clock, rng, {})) for _ in range(nights))
      power = [
        sum(found(rule, curve, speed, clock, gain, rng) for _ in range(nights))
        for gain in (2.0, 3.0)
      ]
      shares = ' | '.join(wilson(count, nights) for count in (false, *power))
      print(f'| `{name}` | {clock} | {label} | {shares} |', flush=True)


if __name__ == '__main__':
  app.run(main)
