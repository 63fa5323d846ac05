"""Describes a recorded landscape in Markdown: failures, noise, effects, interactions, ruggedness.

  python describe_edits.py --landscape=digits

- Noise: the deviation between seeds, its share of the variance between programs, and the rank
  correlation of one seed with the mean of the others. No strategy can tell programs apart better.
- Effects: for each level, the median change of the metric from the factor's first level, all else
  equal, over the programs of which both train; in seed deviations, and its quartiles.
- Interactions: shares of the variance of the metric's logarithm (functional ANOVA over the complete
  factorial; failures count as the worst metric).
- Ruggedness: local optima under edits of one factor, and what share of the programs leads by best
  single edits to the global one.
"""

import argparse
import itertools
import sys

import numpy as np
from scipy import stats

from autoresearch_jax.benchmark.simulations.landscape_table import Landscape, LandscapeError


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--landscape', default='digits')
  try:
    landscape = Landscape.load(parser.parse_args().landscape)
  except LandscapeError as error:
    print(error, file=sys.stderr)
    return 2
  for section in (failures, noise, budgets, effects, interactions, ruggedness):
    print('\n'.join(section(landscape)), end='\n\n')
  return 0


def scores(landscape: Landscape) -> np.ndarray:
  """The metric of each cell, smaller is better; NaN for cells that fail."""
  sign = 1 if landscape.direction == 'minimize' else -1
  return np.where(landscape.fails, np.nan, sign * landscape.mean[:, -1])


def deviation(landscape: Landscape) -> float:
  """The pooled standard deviation between seeds, of cells in the better half."""
  best = np.argsort(np.where(landscape.fails, np.inf, scores(landscape)))
  best = best[: int((~landscape.fails).sum()) // 2]
  return float(np.sqrt(np.nanmean(np.nanvar(landscape.metric[best, -1], axis=1, ddof=1))))


def failures(landscape: Landscape) -> list[str]:
  metric = landscape.metric[:, -1]
  lines = [
    f'{len(metric)} programs, {metric.shape[1]} seeds and {len(landscape.steps)} budgets '
    f'({", ".join(map(str, landscape.steps))} steps). {int(landscape.invalid.sum())} combine edits '
    f'that exclude each other; {int((landscape.fails & ~landscape.invalid).sum())} diverge on half '
    f'of the seeds or more, {int(np.isnan(metric).any(axis=1).sum())} on one or more.',
  ]
  for index, factor in enumerate(landscape.factors):
    by_level = by_factor(landscape.fails, landscape, index).mean(axis=1)
    if np.ptp(by_level) > 0.02:
      rates = ', '.join(f'{level or "start"} {rate:.0%}'
                        for level, rate in zip(factor.levels, by_level, strict=True))  # fmt: skip
      lines.append(f'- {factor.name}: {rates}')
  return lines


def noise(landscape: Landscape) -> list[str]:
  metric = landscape.metric[~np.isnan(landscape.metric[:, -1]).any(axis=1), -1].astype(float)
  within = metric.var(axis=1, ddof=1).mean()
  between = metric.mean(axis=1).var(ddof=1) - within / metric.shape[1]
  rank = seed_rank(metric)
  order = np.argsort(metric.mean(axis=1) * (1 if landscape.direction == 'minimize' else -1))
  top = metric[order[: len(order) // 10]]
  top_rank = seed_rank(top)
  return [
    f'The deviation between seeds is {deviation(landscape):.4g} in the better half. Noise is '
    f'{within / (within + between):.1%} of the variance of a single training. One seed has a rank '
    f'correlation of {rank:.3f} with the mean of the others, and of {top_rank:.3f} among the best '
    'tenth of the programs.',
  ]


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
  return float(np.asarray(stats.spearmanr(one, other))[0])


def seed_rank(metric: np.ndarray) -> float:
  """The mean rank correlation of one seed with the mean of the others."""
  seeds = range(metric.shape[1])
  return sum(
    rank_correlation(metric[:, seed], np.delete(metric, seed, axis=1).mean(axis=1))
    for seed in seeds
  ) / len(seeds)


def budgets(landscape: Landscape) -> list[str]:
  full = landscape.mean[:, -1]
  lines = []
  for index, steps in enumerate(landscape.steps[:-1]):
    short = landscape.mean[:, index]
    both = np.isfinite(short) & np.isfinite(full)
    rank = rank_correlation(short[both], full[both])
    lines.append(
      f'A budget of {steps} steps has a rank correlation of {rank:.3f} with the full one.'
    )
  return lines


def effects(landscape: Landscape) -> list[str]:
  score, unit = scores(landscape), deviation(landscape)
  lines = ['| factor | level | median effect | quartiles | helps |', '|---|---|---|---|---|']
  for index, factor in enumerate(landscape.factors):
    values = by_factor(score, landscape, index)
    for level, name in enumerate(factor.levels[1:], start=1):
      gain = (values[0] - values[level]) / unit
      gain = gain[np.isfinite(gain)]
      low, middle, high = np.percentile(gain, (25, 50, 75)) if len(gain) else [np.nan] * 3
      shown = name if factor.kind == 'edit' else f'{factor.levels[0]} → {name}'
      helps = (gain > 0).mean() if len(gain) else np.nan
      lines.append(
        f'| {factor.name} | {shown} | {middle:+.1f} | {low:+.1f} to {high:+.1f} | {helps:.0%} |'
      )
  return [f'Effects in seed deviations ({unit:.4g}); positive is better.', '', *lines]


def interactions(landscape: Landscape) -> list[str]:
  score = scores(landscape)
  filled = np.where(np.isnan(score), np.nanmax(score), score)
  if filled.min() > 0:
    filled = np.log(filled)
  table = filled.reshape(landscape.shape) - filled.mean()
  total = (table**2).mean()
  size = len(landscape.shape)
  main, pairs = {}, {}
  for i in range(size):
    main[i] = table.mean(axis=tuple(a for a in range(size) if a != i), keepdims=True)
  for i, j in itertools.combinations(range(size), 2):
    mean = table.mean(axis=tuple(a for a in range(size) if a not in (i, j)), keepdims=True)
    pairs[i, j] = mean - main[i] - main[j]
  share = lambda part: float((part**2).mean() / total)  # noqa: E731
  names = [factor.name for factor in landscape.factors]
  first, second = sum(map(share, main.values())), sum(map(share, pairs.values()))
  largest = sorted(pairs, key=lambda pair: -share(pairs[pair]))[:4]
  return [
    f'Variance: {first:.0%} by single factors, {second:.0%} by pairs, {1 - first - second:.0%} by '
    'more of them together.',
    'Single: ' + ', '.join(f'{names[i]} {share(main[i]):.1%}'
                           for i in sorted(main, key=lambda i: -share(main[i]))) + '.',
    'Largest pairs: ' + ', '.join(f'{names[i]} and {names[j]} {share(pairs[i, j]):.1%}'
                                  for i, j in largest) + '.',
  ]  # fmt: skip


def ruggedness(landscape: Landscape) -> list[str]:
  score = scores(landscape)
  table = np.where(np.isnan(score), np.inf, score).reshape(landscape.shape)
  index = np.arange(table.size).reshape(table.shape)
  best, target = table.copy(), index.copy()
  for axis in range(table.ndim):
    lowest = table.min(axis=axis, keepdims=True)
    where = np.take_along_axis(index, table.argmin(axis=axis, keepdims=True), axis=axis)
    better = lowest < best
    best, target = np.where(better, lowest, best), np.where(better, where, target)
  target = target.ravel()
  optima = np.flatnonzero((target == np.arange(len(target))) & np.isfinite(score))
  for _ in range(64):
    target = target[target]
  reached = (target[np.isfinite(score)] == np.nanargmin(score)).mean()
  order = np.sort(score[np.isfinite(score)])
  start = score[0]
  return [
    f'{len(optima)} local optima under edits of one factor; steepest descent leads from '
    f'{reached:.0%} of the programs to the global one. The starting program has {abs(start):.4g} '
    f'(rank {int(np.searchsorted(order, start)) + 1}), the best {abs(order[0]):.4g}, the median '
    f'{abs(np.median(order)):.4g}.',
  ]


def by_factor(values: np.ndarray, landscape: Landscape, index: int) -> np.ndarray:
  """Values of the cells as [levels of the factor, other factors]."""
  table = np.moveaxis(values.reshape(landscape.shape), index, 0)
  return table.reshape(table.shape[0], -1)


if __name__ == '__main__':
  sys.exit(main())
