"""How well a surrogate fits its table, by cross-validation: what it says of trials it never saw.

Rows with the same constants are in the same fold, and every part of the fit (scaling apart, which
only knows the ranges) is made anew without the fold.
"""

import numpy as np

from autoresearch_jax.benchmark.simulations.fitted import Model
from autoresearch_jax.benchmark.simulations.surrogate import FEWEST, Scaling, fit_surface, fit_vote
from autoresearch_jax.benchmark.simulations.table import Table, TableError

FOLDS = 5


def describe(source: str, model: Model) -> str:
  """Lines of text: rows, ranges, R², root mean squared error against noise, ranks, failures.

  Raises TableError with too few successes for the folds.
  """
  from scipy import stats  # noqa: PLC0415 - the registry imports this room whole, and quickly

  table, whole, metric = model.table, model.surface, model.objective.metric
  ok = table.ok
  predicted, share = _out_of_fold(source, model)
  by_log = whole.log and predicted[ok].min() > 0  # a fold's fit may be a straight one
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
    + (f'; of its logarithm: {_log_r2(predicted[ok], table.metric[ok]):.3f}' if by_log else ''),
    f'  root mean squared error: {rmse:.4g}, {rmse / typical:.1f} times the noise at the median'
    if typical
    else f'  root mean squared error: {rmse:.4g}',
    f'  Spearman rank correlation: {stats.spearmanr(predicted[ok], table.metric[ok])[0]:.3f}',
  ]
  return '\n'.join([*lines, _failures(share, ok)])


def _out_of_fold(source: str, model: Model) -> tuple[np.ndarray, np.ndarray]:
  """The predicted metric and share of failures of each row, by fits that did not see it."""
  table = model.table
  unit = model.unit(table.points)
  fold = _folds(source, unit, table)
  predicted, share = np.zeros(len(unit)), np.zeros(len(unit))
  for k in np.unique(fold):
    seen, left = fold != k, fold == k
    good = seen & table.ok
    predicted[left] = fit_surface(unit[good], table.metric[good]).mean(unit[left])
    share[left] = fit_vote(unit[seen], table.ok[seen], table.seconds[seen]).at(unit[left])[0]
  return predicted, share


def _folds(source: str, unit: np.ndarray, table: Table) -> np.ndarray:
  """The fold of each row."""
  _, group = np.unique(unit, axis=0, return_inverse=True)
  group = group.reshape(-1)
  fold = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
  least = min(int((table.ok & (fold != k)).sum()) for k in range(FOLDS))
  if least < FEWEST:
    raise TableError(
      f'{table.ok.sum()} trials of the table {source} succeeded, enough for a problem but not to '
      f'cross-validate it: without one of {FOLDS} folds only {least} are left, and a fit needs '
      f'{FEWEST}.'
    )
  return fold


def _ranges(table: Table) -> list[str]:
  scaling = Scaling.of(table.points)
  return [
    f'  {name}: {a:g} to {b:g}{", by its logarithm" if by_log else ""}'
    for name, a, b, by_log in zip(table.names, scaling.low, scaling.high, scaling.log, strict=True)
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
