"""What acceptance rules do to streams of trials without effect, and to a single true improvement.

  python measure_acceptance.py [--nights=2000] [--out=FILE]
  python measure_acceptance.py --rule="sequential:{'baseline_seeds': 4}" --effects=3,5,10

A training run gives the program's true value plus seed noise of deviation 1 that no rule is told.
Nights are of edits without effect (A/A): whatever is kept is a false keep. Rules are driven
through `ask` and `decide` as the research loop drives them. Printed as Markdown tables:

- false keeps in a night of 100 trials, and of 100 training runs (a replication is one trial with
  several runs, the baseline is one too), with Wilson's 95 % intervals;
- power: the share of single edits with a true gain of 1, 2 and 3 deviations that end up kept, as
  the night's first edit and after 50 trials without effect, and the runs that one such edit takes
  in all, those that measure the incumbent again included;
- the same with Student's t noise of 5 degrees of freedom, scaled to deviation 1, or with scores
  that `record_seed_scores.py` recorded (--scores=digits=FILE), drawn again and scaled likewise;
  with --smooth each draw is moved a little, since few scores have gaps between them and nothing
  beyond their extremes (smoothed bootstrap: Silverman and Young, Biometrika 1987);
- with --shared=0.28: that part of the noise's variance belongs to the seed, whatever the program,
  as real trials share the order of the data, and each edit's first run has seed 0.

Edits come at equal program size, except in the last table, which is for `simplicity`: how often it
keeps a smaller program that is as good, or truly worse by half a deviation or one. About two
minutes on one core by default.
"""

import ast
import dataclasses
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import scipy.stats
from absl import app, flags

from autoresearch_jax import types
from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.testing.acceptance import EDIT, Measure, TrialStream

NIGHTS = flags.DEFINE_integer('nights', 2000, 'Simulated nights (and true improvements) a row.', 1)
SEED = flags.DEFINE_integer('seed', 0, 'Root of all random numbers.')
RULE = flags.DEFINE_multi_string(
  'rule', [], "Instead of the usual ones, a rule: NAME, or NAME:{'option': value}; repeatable."
)
EFFECTS = flags.DEFINE_list('effects', ['1', '2', '3'], 'True gains, in noise deviations.')
OUT = flags.DEFINE_string('out', '', 'Also write the tables to this file.')
SCORES = flags.DEFINE_multi_string(
  'scores', [], 'Recorded scores of one program as the noise instead: NAME=FILE; repeatable.'
)
SMOOTH = flags.DEFINE_boolean('smooth', False, 'Draw from a smooth density around --scores.')
SHARED = flags.DEFINE_float('shared', 0.0, 'Part of the variance that a seed gives to all.', 0, 1)

RULES = [
  ('strict', 'strict', {}),
  ('noise', 'noise', {}),
  ('sequential', 'sequential', {}),
  ('paired', 'paired', {}),
  ('simplicity (sequential)', 'simplicity', {'inner': 'sequential'}),
]
NIGHT = 100  # trials, or training runs
LATE = 50  # trials without effect before a late improvement
LARGE = dataclasses.replace(EDIT, program=types.Program((('model.py', 'x = 1 + 2\n'),), 'model.py'))
SMALL = dataclasses.replace(EDIT, program=types.Program((('model.py', 'x = 3\n'),), 'model.py'))

Noise = Callable[[np.random.Generator], float]
NOISES: dict[str, Noise] = {
  'normal': lambda rng: float(rng.normal()),
  't, 5 degrees': lambda rng: float(rng.standard_t(5) * math.sqrt(3 / 5)),
}


def noises() -> dict[str, Noise]:
  """Those of --scores, else the usual ones."""
  return dict(recorded(*pair.split('=', 1)) for pair in SCORES.value) or NOISES


def recorded(name: str, file: str) -> tuple[str, Noise]:
  scores = np.loadtxt(file)
  scaled = (scores - scores.mean()) / scores.std()
  if not SMOOTH.value:
    return f'{name}, {len(scores)} seeds', lambda rng: float(rng.choice(scaled))
  width = bandwidth(scaled)
  deviation = math.sqrt(1 + width**2)
  return (
    f'{name}, {len(scores)} seeds smoothed by {width:.2f} deviations',
    lambda rng: float(rng.choice(scaled) + width * rng.normal()) / deviation,
  )


def bandwidth(scaled: np.ndarray) -> float:
  """Silverman's rule of thumb, in deviations (Density Estimation, 1986, equation 3.31)."""
  low, high = np.quantile(scaled, [0.25, 0.75])
  return 0.9 * min(1.0, (high - low) / 1.34) * len(scaled) ** -0.2


@dataclasses.dataclass
class Luck:
  """What the training runs of one night draw, each of deviation 1.

  shared: part of the variance that is the same for all programs on the same seed.
  """

  noise: Noise
  rng: np.random.Generator
  shared: float = 0.0
  seeds: dict[int, float] = dataclasses.field(default_factory=dict)

  def __call__(self, seed: int) -> float:
    if not self.shared:
      return self.noise(self.rng)
    if seed not in self.seeds:
      self.seeds[seed] = self.noise(self.rng)
    own = math.sqrt(1 - self.shared) * self.noise(self.rng)
    return own + math.sqrt(self.shared) * self.seeds[seed]


@dataclasses.dataclass
class Share:
  """How many of how many, and Wilson's interval (JASA 1927)."""

  count: int = 0
  total: int = 0

  def add(self, happened: bool) -> None:
    self.count, self.total = self.count + happened, self.total + 1

  def __str__(self) -> str:
    low, high = wilson(self.count, self.total)
    return f'{self.count / self.total:.1%} ({low:.1%} to {high:.1%})'


def wilson(count: int, total: int) -> tuple[float, float]:
  """The 95 % interval of a probability of which `count` in `total` were seen."""
  interval = scipy.stats.binomtest(count, total).proportion_ci(method='wilson')
  return interval.low, interval.high


@dataclasses.dataclass
class Power:
  """Of one effect: the share kept, and training runs an edit."""

  kept: Share = dataclasses.field(default_factory=Share)
  runs: int = 0

  def __str__(self) -> str:
    low, high = wilson(self.kept.count, self.kept.total)
    runs = self.runs / self.kept.total
    return f'{self.kept.count / self.kept.total:.1%} ({low:.1%} to {high:.1%}), {runs:.1f} runs'


@dataclasses.dataclass
class Night:
  """False keeps of nights. runs, challengers: sums over nights of 100 trials."""

  any_by_trials: Share = dataclasses.field(default_factory=Share)
  any_by_runs: Share = dataclasses.field(default_factory=Share)
  keeps: int = 0
  runs: int = 0
  challengers: int = 0

  def add(self, trials: tuple[types.Trial, ...]) -> None:
    """Takes in the night's trials, more of them than fit into 100 runs or 100 trials."""
    kept = [trial.verdict.decision is types.Decision.KEEP for trial in trials if trial.verdict]
    runs = np.cumsum([len(trial.result.measurements) for trial in trials])
    self.any_by_trials.add(any(kept[1:NIGHT]))
    self.any_by_runs.add(any(kept[1 : int(np.searchsorted(runs, NIGHT, 'right'))]))
    self.keeps += sum(kept[1:NIGHT])
    self.runs += int(runs[NIGHT - 1])
    self.challengers += sum(t.proposal.operation is types.Operation.IMPROVE for t in trials[:NIGHT])


@dataclasses.dataclass
class Row:
  """What was measured of one rule under one noise."""

  name: str
  baseline_seeds: int
  night: Night = dataclasses.field(default_factory=Night)
  first: dict[float, Power] = dataclasses.field(default_factory=dict)
  late: dict[float, Power] = dataclasses.field(default_factory=dict)


def measured(name: str, rule, noise: Noise, nights: int, rng: np.random.Generator) -> Row:
  row = Row(name, rule.baseline_seeds)
  for _ in range(nights):
    luck = Luck(noise, rng, SHARED.value)
    night = list(aa_night(rule, luck))
    for past, table in ((night[0], row.first), (night[LATE - 1], row.late)):
      for effect in effects():
        add_improvement(table.setdefault(effect, Power()), past, effect, luck)
    row.night.add(night[-1].trials)
  return row


def aa_night(rule, luck: Luck) -> Iterator[TrialStream]:
  """A night without effects, after each of its 100 trials; every program is worth 0."""
  measure = luck_alone(luck)
  stream = TrialStream.start(rule, measure)
  yield stream
  for _ in range(NIGHT - 1):
    stream = stream.step(measure)
    yield stream


def add_improvement(power: Power, past: TrialStream, effect: float, luck: Luck) -> None:
  """One edit with a true gain on top of a stream whose open questions were settled first."""
  stream = past.run_replications(luck_alone(luck))
  first = len(stream.trials)
  stream = tried(stream, effect, luck)
  new = stream.trials[first:]
  power.kept.add(any(t.verdict.decision is types.Decision.KEEP for t in new if t.verdict))
  power.runs += sum(len(t.result.measurements) for t in new)


def tried(stream: TrialStream, effect: float, luck: Luck, edit: types.Edit = EDIT) -> TrialStream:
  """One edit with this gain, replicated until it is settled."""
  new = len(stream.edits)

  def measure(program: int, seed: int) -> float:
    return luck(seed) - effect * (program == new)

  return stream.step(measure, edit).run_replications(measure)


def luck_alone(luck: Luck) -> Measure:
  return lambda program, seed: luck(seed)


def night_table(rows: list[Row]) -> Iterator[str]:
  yield (
    '| rule | nights of 100 trials with a false keep | false keeps a night '
    '| nights of 100 runs with one | runs in 100 trials | extra runs a challenger |'
  )
  yield '|---|---|---|---|---|---|'
  for row in rows:
    n, nights = row.night, row.night.any_by_trials.total
    extra = (n.runs - nights * row.baseline_seeds) / n.challengers - 1
    yield (
      f'| {row.name} | {n.any_by_trials} | {n.keeps / nights:.3f} | {n.any_by_runs} '
      f'| {n.runs / nights:.0f} | {extra:.2f} |'
    )


def power_table(rows: list[Row]) -> Iterator[str]:
  sizes = effects()
  yield '| rule | when | ' + ' | '.join(f'gain of {e:g} deviations' for e in sizes) + ' |'
  yield '|---|---|' + '---|' * len(sizes)
  for row in rows:
    for when, table in (('first edit', row.first), (f'after {LATE} trials', row.late)):
      yield f'| {row.name} | {when} | ' + ' | '.join(str(table[e]) for e in sizes) + ' |'


def simplification_table(nights: int, rng: np.random.Generator) -> Iterator[str]:
  """How often simplicity keeps a smaller program, by what it truly costs."""
  losses = (0.0, 0.5, 1.0, 2.0)
  yield '| rule | ' + ' | '.join(f'smaller, worse by {x:g} deviations' for x in losses) + ' |'
  yield '|---|' + '---|' * len(losses)
  for name, inner in (('simplicity (sequential)', 'sequential'), ('simplicity (noise)', 'noise')):
    rule = ACCEPTANCE.make('simplicity', {'inner': inner})
    shares = [Share() for _ in losses]
    for _ in range(nights):
      luck = Luck(NOISES['normal'], rng)
      start = TrialStream.start(rule, luck_alone(luck), LARGE)
      for loss, share in zip(losses, shares, strict=True):
        end = tried(start, -loss, luck, SMALL)
        share.add(end.incumbent is not None and end.incumbent.id != 0)
    yield f'| {name} | ' + ' | '.join(map(str, shares)) + ' |'


def report(nights: int, seed: int) -> Iterator[str]:
  """All tables as Markdown lines, each as soon as it is known."""
  for kind, (said, noise) in enumerate(noises().items()):
    rows = []
    for number, (name, rule, options) in enumerate(rules()):
      began, rng = time.monotonic(), np.random.default_rng([seed, kind, number])
      rows.append(measured(name, ACCEPTANCE.make(rule, options), noise, nights, rng))
      print(f'{said}, {name}: {time.monotonic() - began:.0f} s', file=sys.stderr, flush=True)
    shared = f", {SHARED.value:.0%} of its variance the seed's" if SHARED.value else ''
    yield f'### {said[0].upper()}{said[1:]} noise{shared}, {nights} nights\n'
    yield from night_table(rows)
    yield ''
    yield from power_table(rows)
    yield ''
  if RULE.value:
    return
  yield f'### Smaller programs, normal noise, {nights} edits\n'
  yield from simplification_table(nights, np.random.default_rng([seed, len(NOISES)]))


def effects() -> list[float]:
  return [float(effect) for effect in EFFECTS.value]


def rules() -> list[tuple[str, str, dict[str, object]]]:
  """(row's name, rule, options) of the usual rules, or of those that --rule names."""
  found = []
  for said in RULE.value:
    name, _, options = said.partition(':')
    found.append((said, name, ast.literal_eval(options or '{}')))
  return found or RULES


def main(arguments: list[str]) -> None:
  if len(arguments) > 1:
    raise app.UsageError(f'{arguments[1]!r} is not understood; there are flags alone.')
  try:
    noises()
    effects()
    for _, name, options in rules():
      ACCEPTANCE.make(name, options)
  except (OSError, SyntaxError, TypeError, ValueError) as error:
    raise app.UsageError(f'--scores, --effects or --rule can not be read: {error}') from None
  lines = []
  for line in report(NIGHTS.value, SEED.value):
    print(line, flush=True)
    lines.append(line)
  if OUT.value:
    pathlib.Path(OUT.value).write_text('\n'.join(lines) + '\n', encoding='utf-8')


if __name__ == '__main__':
  app.run(main)
