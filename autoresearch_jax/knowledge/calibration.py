"""Calibration of predictions: bias, error, correlation and coverage, by author, and a plot.

A prediction is a normal distribution with the hypothesis' mean and standard deviation. A measured
effect differs from the true one by the noise between seeds, so the prediction interval is
predicted ± z·√(predicted_sd² + effect_sd²). Its coverage comes with Wilson's confidence interval
(Journal of the American Statistical Association 22, 1927). Failures have no effect and are left
out: predictions are about programs that train.
"""

import dataclasses
import math
import pathlib
import warnings
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome
from autoresearch_jax.messages import one_line

LEVELS = (0.5, 0.8, 0.95)
MIN_PREDICTIONS = 5  # that a summary needs
ALL_AUTHORS, NO_AUTHOR = 'all', 'no model'
DARK, GRAY = '#24292f', '#6e7781'
COLORS = ('#1a7f4b', '#0969da', '#c8553d', '#8250df', '#9a6700', '#57606a')


@dataclasses.dataclass(frozen=True)
class Coverage:
  """How often prediction intervals of one level contained the outcome.

  Attributes:
    level: Nominal coverage, between 0 and 1.
    inside: Number of outcomes inside their intervals.
    count: Number of outcomes.
    low: Lower end of the 95 % confidence interval of the coverage.
    high: Upper end of it.
  """

  level: float
  inside: int
  count: int
  low: float
  high: float

  @property
  def share(self) -> float:
    """Empirical coverage."""
    return self.inside / self.count

  @property
  def verdict(self) -> str:
    """Whether the intervals are too narrow, too wide, or fair as far as the data can tell."""
    if self.high < self.level:
      return 'too narrow'
    return 'too wide' if self.low > self.level else 'fair'


@dataclasses.dataclass(frozen=True)
class Calibration:
  """Predictions of one author, or of all, compared with outcomes.

  Attributes:
    author: The author; ALL_AUTHORS for all together, NO_AUTHOR for edits that no model wrote.
    count: Number of predictions with an outcome.
    bias: Mean of measured minus predicted, in the metric's unit; below 0 for optimists.
    rmse: Root mean square error, in the metric's unit.
    correlation: Pearson's; None with fewer than three pairs or without variation.
    rank_correlation: Spearman's; None as above.
    sign_accuracy: Fraction of effects whose sign was predicted, among nonzero predictions.
    coverage: Coverage at each of LEVELS; empty if no prediction has an uncertainty.
  """

  author: str
  count: int
  bias: float
  rmse: float
  correlation: float | None
  rank_correlation: float | None
  sign_accuracy: float | None
  coverage: tuple[Coverage, ...]


def with_prediction(hypotheses: Iterable[HypothesisOutcome]) -> list[HypothesisOutcome]:
  """Returns the hypotheses that have both a prediction and a measured effect."""
  return [h for h in hypotheses if h.predicted is not None and h.effect is not None]


def calibrations(hypotheses: Iterable[HypothesisOutcome]) -> list[Calibration]:
  """Returns the calibration of all authors together, then of each if there are several."""
  found = with_prediction(hypotheses)
  authors = sorted({h.author for h in found})
  groups = {ALL_AUTHORS: found} if found else {}
  if len(authors) > 1:
    groups |= {a or NO_AUTHOR: [h for h in found if h.author == a] for a in authors}
  return [_calibration(author, group) for author, group in groups.items()]


def summary(found: Sequence[Calibration]) -> str:
  """Returns how good the predictions of all authors together were, in a few sentences."""
  if not found or found[0].count < MIN_PREDICTIONS:
    count = found[0].count if found else 0
    many = f'Only {count} predictions have'
    number = {0: 'No prediction has', 1: 'Only one prediction has'}.get(count, many)
    return f'{number} a measured outcome so far; calibration needs {MIN_PREDICTIONS}.'
  overall = found[0]
  text = (
    f'{overall.count} predictions with a root mean square error of {overall.rmse:.3g}; on average '
    f'outcomes were {abs(overall.bias):.3g} {"below" if overall.bias < 0 else "above"} the '
    'prediction.'
  )
  if overall.sign_accuracy is not None:
    text += f' The sign of the effect was right {overall.sign_accuracy:.0%} of the time.'
  for c in overall.coverage:
    text += (
      f' Intervals of {c.level:.0%} held {c.inside} of {c.count} ({c.share:.0%}, {c.low:.0%} to '
      f'{c.high:.0%}): {c.verdict}.'
    )
  return text


def _calibration(author: str, hypotheses: Sequence[HypothesisOutcome]) -> Calibration:
  predicted, effects, _ = _arrays(hypotheses)
  errors = effects - predicted
  signed = predicted != 0
  right = np.sign(predicted) == np.sign(effects)
  return Calibration(
    author=author,
    count=len(hypotheses),
    bias=float(np.mean(errors)),
    rmse=float(np.sqrt(np.mean(errors**2))),
    correlation=_correlation(predicted, effects),
    rank_correlation=_correlation(scipy.stats.rankdata(predicted), scipy.stats.rankdata(effects)),
    sign_accuracy=float(np.mean(right[signed])) if any(signed) else None,
    coverage=coverage(hypotheses, LEVELS),
  )


def coverage(
  hypotheses: Iterable[HypothesisOutcome], levels: Sequence[float]
) -> tuple[Coverage, ...]:
  """Returns the coverage at each level, over predictions that have an uncertainty."""
  found = [h for h in with_prediction(hypotheses) if h.predicted_sd is not None]
  if not found:
    return ()
  predicted, effects, sds = _arrays(found)
  counts = []
  for level in levels:
    z = float(scipy.stats.norm.ppf((1 + level) / 2))
    inside = int(np.sum(np.abs(effects - predicted) <= z * sds))
    interval = scipy.stats.binomtest(inside, len(found)).proportion_ci(0.95, 'wilson')
    counts.append(Coverage(level, inside, len(found), float(interval.low), float(interval.high)))
  return tuple(counts)


def _arrays(
  hypotheses: Iterable[HypothesisOutcome],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns predictions, effects, and standard deviations of their differences, [hypotheses]."""
  rows = [
    (h.predicted, h.effect, math.hypot(h.predicted_sd or 0.0, h.effect_sd or 0.0))
    for h in hypotheses
  ]
  predicted, effects, sds = np.array(rows, float).T
  return predicted, effects, sds


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
  if len(one) < 3 or not (np.ptp(one) and np.ptp(other)):
    return None
  return float(np.corrcoef(one, other)[0, 1])


def draw(hypotheses: Iterable[HypothesisOutcome], metric: str, path: pathlib.Path) -> None:
  """Writes a PNG: predicted against measured effects, and the coverage of intervals.

  The file is replaced atomically.

  Raises:
    OSError: The file cannot be written.
  """
  figure = Figure(figsize=(12, 5.5), dpi=120, layout='constrained')
  FigureCanvasAgg(figure)
  left, right = figure.subplots(1, 2)
  found = with_prediction(hypotheses)
  for axes in (left, right):
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(colors=GRAY)
  _draw_effects(left, found, metric)
  _draw_coverage(right, found)
  new = path.with_name(f'.{path.name}.new')
  try:
    with warnings.catch_warnings():  # an author's name may use letters that the font lacks
      warnings.filterwarnings('ignore', message='Glyph .* missing')
      figure.savefig(new, format='png')
    new.replace(path)
  finally:
    new.unlink(missing_ok=True)


def _draw_effects(axes: Axes, hypotheses: Sequence[HypothesisOutcome], metric: str) -> None:
  """Draws one dot per edit with error bars of one standard deviation.

  Outliers are drawn at the edge, so that they do not squeeze the other dots together.
  """
  axes.set_xlabel(f'predicted gain of {one_line(metric, 40)}', color=DARK, parse_math=False)
  axes.set_ylabel('measured gain', color=DARK)
  axes.axhline(0, color=GRAY, linewidth=0.6)
  axes.axvline(0, color=GRAY, linewidth=0.6)
  if not hypotheses:
    axes.set_title('0 predictions', loc='left', color=DARK)
    axes.text(0.5, 0.5, 'nothing to compare yet', transform=axes.transAxes, ha='center')
    return
  predicted, effects, _ = _arrays(hypotheses)
  low, high = _limits(predicted, effects)
  outside = int(np.sum((effects < low) | (effects > high)))
  note = f', {outside} of them outside and drawn at the edge' if outside else ''
  axes.set_title(f'{len(hypotheses)} predictions{note}', loc='left', color=DARK)
  authors = sorted({h.author for h in hypotheses})
  for color, author in zip(_colors(hypotheses), authors, strict=True):
    own = [h for h in hypotheses if h.author == author]
    x, y, _ = _arrays(own)
    axes.errorbar(
      x, np.clip(y, low, high), [h.effect_sd or 0.0 for h in own],
      [h.predicted_sd or 0.0 for h in own], 'o', color=color, markersize=4, elinewidth=0.5,
      alpha=0.6, label=one_line(author, 30).replace('$', r'\$') or NO_AUTHOR,
    )  # fmt: skip
  axes.axline((0, 0), slope=1, color=DARK, linewidth=0.8, linestyle=(0, (4, 4)))
  margin = 0.06 * (high - low)
  axes.set_ylim(low - margin, high + margin)
  reach = 1.5 * max(float(np.max(np.abs(predicted))), 1e-12)
  axes.set_xlim(-reach, reach)
  axes.legend(frameon=False, fontsize=9, labelcolor=DARK)


def _limits(predicted: np.ndarray, effects: np.ndarray) -> tuple[float, float]:
  """Returns limits of the y axis: 80 % of the effects with a margin, and all predictions."""
  low, high = (float(q) for q in np.quantile(effects, (0.1, 0.9)))
  margin = 0.5 * (high - low)
  low = min(low - margin, 0.0, float(np.min(predicted)))
  high = max(high + margin, 0.0, float(np.max(predicted)))
  return (low, high) if high > low else (-1.0, 1.0)


def _draw_coverage(axes: Axes, hypotheses: Sequence[HypothesisOutcome]) -> None:
  """Draws empirical against nominal coverage; calibrated predictions lie on the diagonal."""
  axes.set_title('coverage', loc='left', color=DARK)
  axes.set_xlabel('prediction interval', color=DARK)
  axes.set(xlim=(0, 1), ylim=(0, 1))
  axes.xaxis.set_major_formatter('{x:.0%}')
  axes.yaxis.set_major_formatter('{x:.0%}')
  axes.plot((0, 1), (0, 1), color=DARK, linewidth=0.8, linestyle=(0, (4, 4)))
  levels = [float(level) for level in np.linspace(0.05, 0.99, 48)]
  curve = coverage(hypotheses, levels)
  if curve:
    bounds = [c.low for c in curve], [c.high for c in curve]
    axes.fill_between(levels, *bounds, color=COLORS[0], alpha=0.15, linewidth=0)
    axes.plot(levels, [c.share for c in curve], color=COLORS[0], linewidth=1.8)


def _colors(hypotheses: Sequence[HypothesisOutcome]) -> list[str]:
  return [COLORS[i % len(COLORS)] for i in range(len({h.author for h in hypotheses}))]
