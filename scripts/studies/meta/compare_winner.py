"""Compares strategies that a search over strategies found with all hand-written ones.

  python scripts/studies/meta/compare_winner.py --out=FOLDER winner.py [another.py ...]

The problems are the landscapes that the problem `meta` holds out, on 40 public seeds that no
search has used; each strategy plays the same instances. For the first file, the table has the mean
difference of the anytime regret to each other strategy, over seeds, with an interval that holds for
all of them together (Bonferroni), and the p-value of a paired t-test after Holm's correction.
The same command resumes.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import app, flags
from scipy import stats

from autoresearch_jax.benchmark import Comparison, compare
from autoresearch_jax.benchmark.analysis.statistics import holm
from autoresearch_jax.problems.meta import LANDSCAPES, MetaSearch
from configs.benchmark import STRATEGIES, WRAPPERS

SEEDS = range(1000, 1040)
LEVEL = 0.95
MEASURE = 'area_runs'
OUT = flags.DEFINE_string('out', None, 'Folder for the runs, from which it resumes.', required=True)
TRIALS = flags.DEFINE_float('trials', 60, 'Training runs of a game.')
MINUTES = flags.DEFINE_float('minutes', 0, 'When to stop; 0 for never.')


@dataclasses.dataclass(frozen=True)
class Row:
  """One strategy against the first file.

  Attributes:
    label: Its name.
    regret: Its mean anytime regret.
    gain: How much lower that of the file is, on average over seeds.
    half: Half of the width of the simultaneous interval of `gain`.
    p: Holm-corrected p-value.
  """

  label: str
  regret: float
  gain: float = 0.0
  half: float = 0.0
  p: float = 1.0


def main(arguments: Sequence[str]) -> None:
  strategies = {name: name for name in (*STRATEGIES, *WRAPPERS)}
  files = {pathlib.Path(f).stem + '.py': ('from_file', {'path': f}) for f in arguments[1:]}
  problems = {label: LANDSCAPES[label] for label in MetaSearch().held_out}
  found = compare(
    {**files, **strategies}, problems, seeds=SEEDS, trials=TRIALS.value, workers=1,
    out=OUT.value, minutes=MINUTES.value,
  )  # fmt: skip
  print(table(found, next(iter(files))))
  print(by_problem(found, [*files, 'greedy', 'tree']))


def table(found: Comparison, first: str) -> str:
  """Returns the table of all strategies against the first file, the best first."""
  labels = [problem.label for problem in found.suite.problems]
  means = {name: found.scores(MEASURE, name, labels).mean(axis=0) for name in found.runnable}
  others = [name for name in means if name != first]
  gains = {name: means[name] - means[first] for name in others}
  tests = [_paired_p(gain) for gain in gains.values()]
  adjusted = dict(zip(others, holm(tests), strict=True))
  level = 1 - (1 - LEVEL) / len(others) / 2
  rows = [Row(first, float(means[first].mean()))]
  for name, gain in gains.items():
    half = stats.t.ppf(level, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    mean = float(means[name].mean())
    rows.append(Row(name, mean, float(gain.mean()), float(half), float(adjusted[name])))
  lines = [f'| strategy | regret | gain of {first} | p |', '|---|---:|---:|---:|']
  for row in sorted(rows, key=lambda row: row.regret):
    low, high = row.gain - row.half, row.gain + row.half
    gain = '' if row.label == first else f'{row.gain:+.4f} [{low:+.4f}, {high:+.4f}]'
    p = '' if row.label == first else f'{row.p:.2g}'
    lines.append(f'| {row.label} | {row.regret:.4f} | {gain} | {p} |')
  seeds = len(found.suite.seeds)
  return f'{seeds} seeds, {len(labels)} landscapes, {found.suite.trials:g} training runs\n\n' + (
    '\n'.join(lines)
  )


def _paired_p(differences: np.ndarray) -> float:
  """Returns the p-value of a two-sided t-test that the mean is 0; 1 if all are 0."""
  if not differences.any():
    return 1.0
  count = len(differences)
  t = differences.mean() / (differences.std(ddof=1) / np.sqrt(count))
  return float(2 * stats.t.sf(abs(t), count - 1))


def by_problem(found: Comparison, names: list[str]) -> str:
  """Returns the mean regret of some strategies on each landscape."""
  labels = [problem.label for problem in found.suite.problems]
  lines = [f'\n| strategy | {" | ".join(labels)} |', f'|---|{"---:|" * len(labels)}']
  for name in names:
    scores = found.scores(MEASURE, name, labels).mean(axis=1)
    lines.append(f'| {name} | {" | ".join(f"{score:.3f}" for score in scores)} |')
  return '\n'.join(lines)


if __name__ == '__main__':
  app.run(main)
