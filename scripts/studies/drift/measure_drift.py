"""False keeps and power of acceptance rules on machines whose speed changes, by simulation.

  python measure_drift.py [--nights=250] [--curve=gpt_cpu.csv] [--rule=NAME:CLOCK]
  python measure_drift.py --worst --nights=500 --rule=paired:calibrated --bias=-0.05,0,0.05 \
    --busy_residual=0.03,0.05,0.1

A run trains for the mean number of steps of the curve, times a factor. By the wall clock it is the
machine's speed: 1 while it is free and 0.6 beside a hog. By the calibrated clock it is
`(1 + bias * busy) * exp(residual * z)`: z is normal, busy is 1 beside a hog and 0 without,
`--bias` is the clock's error beside a hog that all runs share, and the residual is the error that
each run has of its own, `--residual` while the machine is free and `--busy_residual` beside a hog.
`autoresearch measure drift` measures both on a machine.

The score is that of so many steps on a recorded curve of steps to scores
(`record_step_scores.py`), plus seed noise of the recorded standard deviation, minus the program's
true gain. The machine changes with the number of training runs so far:

- quiet: free;
- before: busy while the baseline runs, and free afterwards;
- after: free while the baseline runs, and busy afterwards;
- comes and goes: free and busy in turns of 15 runs;
- slow: from free to three quarters busy over a night.

Nights of 100 trials are of edits without effect: whatever is kept is a false keep. Power is the
share of single edits with a true gain of 2 and 3 seed standard deviations, the tenth trial of a
night, that are kept. Runs per edit are those of such nights without the baseline's. Printed as a
Markdown table, with Wilson's 95 % intervals. `--worst` prints one row per pair of bias and residual
instead, with each figure of the machine where it is worst.
"""

import ast
import csv
import dataclasses
import itertools
import math
import pathlib
from collections.abc import Callable, Iterator

import numpy as np
import scipy.stats
from absl import app, flags

from autoresearch_jax import types
from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.testing.acceptance import Measure, TrialStream

NIGHTS = flags.DEFINE_integer('nights', 300, 'Simulated nights of each row.', 1)
CURVE = flags.DEFINE_string(
  'curve', str(pathlib.Path(__file__).parent / 'gpt_cpu.csv'), 'CSV of steps, seed, score.'
)
RULES = flags.DEFINE_list(
  'rule',
  ['paired:calibrated', 'sequential:calibrated', 'paired:wall', 'sequential:wall'],
  'Acceptance rules, each with its clock (calibrated or wall).',
)
RESIDUAL = flags.DEFINE_float('residual', 0.03, 'Error of a run on a free machine.', 0.0)
BUSY_RESIDUAL = flags.DEFINE_list('busy_residual', ['0.03'], 'The same beside a hog.')
BIAS = flags.DEFINE_list('bias', ['0'], 'Error beside a hog that all runs share.')
WORST = flags.DEFINE_boolean('worst', False, 'Only print the worst machine of each figure.')
MACHINES = flags.DEFINE_list('machine', [], 'Only these machines; by default all.')
BASELINE_SEEDS = flags.DEFINE_integer('baseline_seeds', 5, 'Training runs of the baseline.', 2)
OPTIONS = flags.DEFINE_string('options', '{}', "Options of the rules: {'min_gain': 1.2}.")
SEED = flags.DEFINE_integer('seed', 0, 'Root seed of all randomness.')

NIGHT = 100  # trials
IMPROVEMENT = 10  # number of the trial with a true gain
GAINS = (2.0, 3.0)  # of that trial, in seed standard deviations
SLOW = 0.6  # speed beside a hog

Busy = Callable[[int], float]  # number of the training run -> share of a hog
BUSY: dict[str, Callable[[int], Busy]] = {
  'quiet': lambda seeds: lambda run: 0.0,
  'before': lambda seeds: lambda run: float(run <= seeds),
  'after': lambda seeds: lambda run: float(run > seeds),
  'comes and goes': lambda seeds: lambda run: float((run // 15) % 2),
  'slow': lambda seeds: lambda run: min(0.75, 0.75 * run / NIGHT),
}


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


@dataclasses.dataclass(frozen=True)
class Clock:
  """How many of its steps a run does.

  Attributes:
    name: calibrated or wall.
    bias: Relative error beside a hog that all runs share.
    residual: Standard deviation of a run's own relative error on a free machine.
    busy_residual: The same beside a hog.
  """

  name: str
  bias: float
  residual: float
  busy_residual: float

  def __post_init__(self) -> None:
    if self.name not in ('calibrated', 'wall'):
      raise ValueError(f'There is no clock {self.name!r}; there are: calibrated, wall.')

  def work(self, busy: float, rng: np.random.Generator) -> float:
    if self.name == 'wall':
      return 1 - (1 - SLOW) * busy
    residual = (1 - busy) * self.residual + busy * self.busy_residual
    return (1 + self.bias * busy) * math.exp(residual * float(rng.normal()))


@dataclasses.dataclass
class Setting:
  """A rule on a machine under a clock, and what is measured of it.

  Attributes:
    rule: The acceptance rule.
    curve: Scores by steps.
    busy: How busy the machine is, by the number of the run.
    clock: Counts a run's budget.
    rng: All luck.
  """

  rule: AcceptanceRule
  curve: Curve
  busy: Busy
  clock: Clock
  rng: np.random.Generator

  def machine(self, gains: dict[int, float]) -> Measure:
    """Returns what measures a program on a seed, as time passes. gains: by program."""
    runs, std = itertools.count(1), self.curve.seed_std

    def measure(program: int, seed: int) -> float:
      work = self.clock.work(self.busy(next(runs)), self.rng)
      return self.curve.score(work) + std * (float(self.rng.normal()) - gains.get(program, 0.0))

    return measure

  def night(self) -> tuple[bool, float]:
    """Returns whether a night without effects has a false keep, and its runs per edit."""
    measure = self.machine({})
    stream = TrialStream.start(self.rule, measure)
    while len(stream.trials) < NIGHT:
      stream = stream.step(measure)
    later = stream.trials[1:]
    edits = sum(t.proposal.operation is types.Operation.IMPROVE for t in later)
    false = any(t.verdict and t.verdict.decision is types.Decision.KEEP for t in later)
    return false, sum(len(t.proposal.seeds) for t in later) / edits

  def found(self, gain: float) -> bool:
    """Returns whether a single true improvement is kept in the end."""
    gains: dict[int, float] = {}
    measure = self.machine(gains)
    stream = TrialStream.start(self.rule, measure)
    while len(stream.trials) < IMPROVEMENT:
      stream = stream.step(measure)
    stream = stream.run_replications(measure)
    number = len(stream.edits)
    gains[number] = gain
    stream = stream.run(stream.new_challenger(), measure).run_replications(measure)
    kept = stream.incumbent
    return kept is not None and number in (kept.id, *kept.proposal.parents)

  def figures(self, nights: int) -> tuple[int, list[int], float]:
    """Returns the nights with a false keep, the gains found of each size, the runs per edit."""
    seen = [self.night() for _ in range(nights)]
    power = [sum(self.found(gain) for _ in range(nights)) for gain in GAINS]
    return sum(false for false, _ in seen), power, float(np.mean([runs for _, runs in seen]))


def share(count: int, total: int) -> str:
  """A share with its 95 % interval (Wilson, JASA 1927)."""
  interval = scipy.stats.binomtest(count, total).proportion_ci(method='wilson')
  return f'{count / total:.1%} ({interval.low:.1%} to {interval.high:.1%})'


def settings(curve: Curve) -> Iterator[tuple[str, Clock, str, Setting]]:
  """Yields (rule, clock, machine, setting) of all rows; each has random numbers of its own."""
  errors = list(itertools.product(map(float, BIAS.value), map(float, BUSY_RESIDUAL.value)))
  rules = [
    (name, clock or 'calibrated') for name, _, clock in (r.partition(':') for r in RULES.value)
  ]
  machines = MACHINES.value or list(BUSY)
  for numbers in np.ndindex(len(rules), len(errors), len(machines)):
    (name, clock), (bias, residual) = rules[numbers[0]], errors[numbers[1]]
    options = ast.literal_eval(OPTIONS.value)
    rule = ACCEPTANCE.make(name, {'baseline_seeds': BASELINE_SEEDS.value, **options})
    clock, machine = Clock(clock, bias, RESIDUAL.value, residual), machines[numbers[2]]
    busy = BUSY[machine](BASELINE_SEEDS.value)
    rng = np.random.default_rng([SEED.value, *numbers])
    yield name, clock, machine, Setting(rule, curve, busy, clock, rng)


def all_machines(curve: Curve, nights: int) -> Iterator[str]:
  """Yields the lines of a table with a row per rule, clock and machine."""
  yield '| rule | clock | machine | nights with a false keep | power at 2 | power at 3 | runs |'
  yield '|---|---|---|---|---|---|---|'
  for name, clock, machine, setting in settings(curve):
    false, power, runs = setting.figures(nights)
    shares = ' | '.join(share(count, nights) for count in (false, *power))
    yield f'| `{name}` | {clock.name} | {machine} | {shares} | {runs:.1f} |'


def worst_machines(curve: Curve, nights: int) -> Iterator[str]:
  """Yields the lines of a table with a row per rule and clock: the worst of all machines."""
  yield '| rule | bias | residual | nights with a false keep | power at 2 | power at 3 | runs |'
  yield '|---|---|---|---|---|---|---|'
  for (name, clock), rows in itertools.groupby(settings(curve), lambda row: row[:2]):
    found = {machine: setting.figures(nights) for _, _, machine, setting in rows}
    false = max(found, key=lambda machine: found[machine][0])
    worst = [f'{share(found[false][0], nights)}, {false}']
    for number in range(len(GAINS)):
      least = min(found, key=lambda machine: found[machine][1][number])
      worst.append(f'{share(found[least][1][number], nights)}, {least}')
    runs = max(runs for _, _, runs in found.values())
    yield (
      f'| `{name}` | {clock.bias:+.0%} | {clock.busy_residual:.0%} | {" | ".join(worst)} '
      f'| {runs:.1f} |'
    )


def main(arguments: list[str]) -> None:
  if len(arguments) > 1:
    raise app.UsageError(f'{arguments[1]!r} is not understood; there are flags alone.')
  try:
    curve, nights = Curve(CURVE.value), NIGHTS.value
    list(settings(curve))
  except (KeyError, OSError, TypeError, ValueError) as error:
    raise app.UsageError(f'The flags can not be read: {error}') from None
  print(
    f'{nights} nights, {curve.nominal:.0f} steps, seed standard deviation {curve.seed_std:.4g},'
  )
  shift = (curve.score(SLOW) - curve.score(1.0)) / curve.seed_std
  print(f'{SLOW:g} of the steps cost {shift:.1f} of them.\n')
  for line in (worst_machines if WORST.value else all_machines)(curve, nights):
    print(line, flush=True)


if __name__ == '__main__':
  app.run(main)
