"""How well a surrogate fits its table: cross-validated predictions of trials it has not seen.

Rows with equal constants are in the same fold. Every part of the fit is repeated without the fold,
except for the scaling, which only knows the ranges, and above EXACT_ROWS rows for the few length
scales, variances and the bandwidth, which a fifth of so many rows hardly changes.
"""

import numpy as np

from autoresearch_jax.benchmark.simulations.surrogate import (
  EXACT_ROWS,
  MIN_SUCCESSES,
  MIN_WHITE_NOISE,
  MetricModel,
  Scaling,
  fit_failures,
  fit_metric,
)
from autoresearch_jax.benchmark.simulations.table import TableError, TrialTable
from autoresearch_jax.benchmark.simulations.table_surrogate import TableSurrogate
from autoresearch_jax.messages import one_line

FOLDS = 5


def describe(source: str, surrogate: TableSurrogate) -> str:
  """Returns lines of text: rows, ranges, R², error, rank correlation, calibration, failures.

  Args:
    source: The table's name, for the text.
    surrogate: The table with the models fitted to it.

  Raises:
    TableError: There are too few successes for the folds.
  """
  from scipy import stats  # noqa: PLC0415 - the registry imports all modules of this package

  table, model, metric = surrogate.table, surrogate.metric, surrogate.objective.metric
  ok = table.ok
  predicted, share = _out_of_fold(source, surrogate)
  log = model.log and predicted[ok].min() > 0  # a fold's fit may not model the logarithm
  error = predicted[ok] - table.metric[ok]
  rmse = float(np.sqrt((error**2).mean()))
  relative = f'{model.noise:.2%} of the metric' if model.log else f'{model.noise:.4g}'
  typical = model.noise * float(np.median(table.metric[ok])) if model.log else model.noise
  lines = [
    f'Table {source}: {len(ok)} rows, {ok.sum()} succeeded, {(~ok).sum()} failed.',
    *table.notes,
    *_ranges(table),
    f'Noise between seeds: {relative} (white noise of the fit: {model.white:.4g}).',
    *_doubted_noise(model),
    f'Cross-validated in {FOLDS} folds, on successful trials:',
    f'  R² of {metric}: {1 - (error**2).mean() / table.metric[ok].var():.3f}'
    + (f'; of its logarithm: {_log_r2(predicted[ok], table.metric[ok]):.3f}' if log else ''),
    f'  root mean squared error: {rmse:.4g}, {rmse / typical:.1f} times the noise at the median'
    if typical
    else f'  root mean squared error: {rmse:.4g}',
    f'  Spearman rank correlation: {stats.spearmanr(predicted[ok], table.metric[ok])[0]:.3f}',
    _calibration(model, predicted[ok], table.metric[ok]),
  ]
  return '\n'.join([*lines, _failures(share, ok), *_optimum(surrogate, rmse)])


def _calibration(model: MetricModel, predicted: np.ndarray, metric: np.ndarray) -> str:
  """Compares the errors with the fit's white noise, as a normal distribution."""
  if model.log:
    predicted, metric = np.log(np.maximum(predicted, 1e-300)), np.log(metric)
  within = (np.abs(predicted - metric) <= 1.96 * model.white).mean()
  return (
    f'  within 1.96 deviations of the white noise: {within:.1%} (95 % if the fit is calibrated; '
    'fewer if it misses structure)'
  )


def _doubted_noise(model: MetricModel) -> list[str]:
  if model.noise != model.white or model.level > MIN_WHITE_NOISE:
    return []
  return [
    'That is the lowest value of the fit: no program was trained on several seeds, and the fit '
    'cannot tell noise from what it models. Trials on this problem are nearly free of noise.'
  ]


def _out_of_fold(source: str, surrogate: TableSurrogate) -> tuple[np.ndarray, np.ndarray]:
  """Returns each row's predicted metric and share of failures, by fits that did not see it."""
  table = surrogate.table
  unit = surrogate.scaling.features(table.points)
  fold = _folds(source, unit, table)
  predicted, share = np.zeros(len(unit)), np.zeros(len(unit))
  large = len(unit) > EXACT_ROWS
  metric, failures = (surrogate.metric, surrogate.failures) if large else (None, None)
  for k in np.unique(fold):
    train, test = fold != k, fold == k
    good = train & table.ok
    predicted[test] = fit_metric(unit[good], table.metric[good], metric).mean(unit[test])
    model = fit_failures(unit[train], table.ok[train], table.seconds[train], failures)
    share[test] = model.at(unit[test])[0]
  return predicted, share


def _folds(source: str, unit: np.ndarray, table: TrialTable) -> np.ndarray:
  """Returns the fold of each row, [n]."""
  _, group = np.unique(unit, axis=0, return_inverse=True)
  group = group.reshape(-1)
  fold = np.random.default_rng(0).permutation(group.max() + 1)[group] % FOLDS
  fewest = min(int((table.ok & (fold != k)).sum()) for k in range(FOLDS))
  if fewest < MIN_SUCCESSES:
    raise TableError(
      f'{table.ok.sum()} trials of the table {source} succeeded: enough for a problem, too few for '
      f'cross-validation. Without one of the {FOLDS} folds only {fewest} remain, and a fit needs '
      f'{MIN_SUCCESSES}.'
    )
  return fold


def _ranges(table: TrialTable) -> list[str]:
  scaling = Scaling.of(table.points, table.level_counts)
  return [
    f'  {name}: {_levels(table.levels[name])}'
    if name in table.levels
    else f'  {name}: {low:g} to {high:g}{", on a logarithmic scale" if log else ""}'
    for name, low, high, log in zip(
      table.names, scaling.low, scaling.high, scaling.log, strict=True
    )
  ]


def _levels(values: tuple[str, ...]) -> str:
  named = ', '.join(f'{i} = {one_line(v, 40) or "(empty)"}' for i, v in enumerate(values))
  return f'a category, {named}'


def _optimum(surrogate: TableSurrogate, rmse: float) -> list[str]:
  """Compares the surrogate's optimum with the best recorded trial, and doubts one far beyond it."""
  recorded = surrogate.table.metric[surrogate.table.ok]
  minimize = surrogate.objective.direction == 'minimize'
  best = float(recorded.min() if minimize else recorded.max())
  optimum = float(surrogate.metric.mean(surrogate.scaling.features(surrogate.best[None]))[0])
  lines = [f'Optimum of the surrogate: {optimum:.6g}; best recorded: {best:.6g}.']
  if (best - optimum if minimize else optimum - best) > 2 * rmse:
    lines.append(
      'The optimum is doubtful: it is better than any recorded trial by more than twice the '
      'cross-validated error.'
    )
  return lines


def _log_r2(predicted: np.ndarray, metric: np.ndarray) -> float:
  error = np.log(predicted) - np.log(metric)
  return float(1 - (error**2).mean() / np.log(metric).var())


def _failures(share: np.ndarray, ok: np.ndarray) -> str:
  if ok.all():
    return 'No trial failed, so the surrogate predicts no failures.'
  failed = ~ok
  difference = share[failed][:, None] - share[ok]
  area = ((difference > 0) + 0.5 * (difference == 0)).mean()
  accuracy = ((share >= 0.5) == failed).mean()
  return f'  failures: area under the ROC curve {area:.3f}, accuracy {accuracy:.1%}'
