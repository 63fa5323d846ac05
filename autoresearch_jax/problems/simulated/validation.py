"""How well a surrogate fits its table, by cross-validation: what it says of trials it never saw.

Rows with the same constants are in the same fold, and every part of the fit (scaling apart, which
only knows the ranges) is made anew without the fold.
"""

import numpy as np

from autoresearch_jax.problems.simulated.surrogate import Scaling, fit_surface, fit_vote
from autoresearch_jax.problems.simulated.table import Table

FOLDS = 5


def describe(source: str, table: Table, metric: str) -> str:
  """Lines of text: rows, ranges, R², root mean squared error against noise, ranks, failures."""
  from scipy import stats  # noqa: PLC0415 - the registry imports this room whole, and quickly

  unit = Scaling.of(table.points).unit(table.points)
  predicted, share = _out_of_fold(unit, table)
  ok = table.ok
  whole = fit_surface(unit[ok], table.metric[ok])
  error = predicted[ok] - table.metric[ok]
  rmse = float(np.sqrt((error**2).mean()))
  relative = f'{whole.noise:.2%} of the metric' if whole.log else f'{whole.noise:.4g}'
  typical = whole.noise * float(np.median(table.metric[ok])) if whole.log else whole.noise
  lines = [
    f'Table {source}: {len(ok)} rows, {ok.sum()} succeeded, {(~ok).sum()} failed.',
    *table.notes,
    *_ranges(table),
    f'Noise between seeds: {relative} (the fit itself leaves {whole.white:.4g} unexplained).',
    f'Cross-validated in {FOLDS} folds, on successes:',
    f'  R² of {metric}: {1 - (error**2).mean() / table.metric[ok].var():.3f}'
    + (f'; of its logarithm: {_log_r2(predicted[ok], table.metric[ok]):.3f}' if whole.log else ''),
    f'  root mean squared error: {rmse:.4g}, {rmse / typical:.1f} times the noise at the median'
    if typical
    else f'  root mean squared error: {rmse:.4g}',
    f'  Spearman rank correlation: {stats.spearmanr(predicted[ok], table.metric[ok])[0]:.3f}',
  ]
  return '\n'.join([*lines, _failures(share, ok)])


def _out_of_fold(unit: np.ndarray, table: Table) -> tuple[np.ndarray, np.ndarray]:
  """The predicted metric and share of failures of each row, by fits that did not see it."""
  _, group = np.unique(unit, axis=0, return_inverse=True)
  group = group.reshape(-1)
  fold = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
  predicted, share = np.zeros(len(unit)), np.zeros(len(unit))
  for k in range(FOLDS):
    seen, left = fold != k, fold == k
    good = seen & table.ok
    predicted[left] = fit_surface(unit[good], table.metric[good]).mean(unit[left])
    share[left] = fit_vote(unit[seen], table.ok[seen], table.seconds[seen]).at(unit[left])[0]
  return predicted, share


def _ranges(table: Table) -> list[str]:
  low, high = table.points.min(axis=0), table.points.max(axis=0)
  log = Scaling.of(table.points).log
  return [
    f'  {name}: {a:g} to {b:g}{", by its logarithm" if by_log else ""}'
    for name, a, b, by_log in zip(table.names, low, high, log, strict=True)
  ]


def _log_r2(predicted: np.ndarray, metric: np.ndarray) -> float:
  error = np.log(predicted) - np.log(metric)
  return float(1 - (error**2).mean() / np.log(metric).var())


def _failures(share: np.ndarray, ok: np.ndarray) -> str:
  if ok.all():
    return 'No trial failed, so no program does.'
  bad = ~ok
  apart = share[bad][:, None] - share[ok]
  area = ((apart > 0) + 0.5 * (apart == 0)).mean()
  right = ((share >= 0.5) == bad).mean()
  return f'  failures: area under the ROC curve {area:.3f}, {right:.1%} of rows on the right side'
