"""How well predictions of effects agree with what was measured: whose, how far off, how sure.

A prediction is a normal distribution with the hypothesis' mean and standard deviation. What is
measured differs from the true effect by the noise of the seeds, so that an interval that should
hold a share of the measured effects is predicted ± z·√(predicted_sd² + effect_sd²). How many it
held comes with Wilson's interval (Journal of the American Statistical Association 22, 1927).
Failures have no effect and are left out: predictions are about what a program gives that trains.
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

from autoresearch_jax.knowledge.memory import Entry
from autoresearch_jax.messages import one_line

LEVELS = (0.5, 0.8, 0.95)
FEWEST = 5  # predictions below which nothing is said about how good they are
EVERYBODY, NOBODY = 'all', 'no model'
INK, FAINT = '#24292f', '#6e7781'
COLOURS = ('#1a7f4b', '#0969da', '#c8553d', '#8250df', '#9a6700', '#57606a')


@dataclasses.dataclass(frozen=True)
class Coverage:
  """How many of the intervals that should hold a share `level` of outcomes did. low, high: 95 %."""

  level: float
  inside: int
  of: int
  low: float
  high: float

  @property
  def share(self) -> float:
    return self.inside / self.of

  @property
  def verdict(self) -> str:
    """What the intervals are, as far as that many outcomes can tell."""
    if self.high < self.level:
      return 'too narrow'
    return 'too wide' if self.low > self.level else 'fair'


@dataclasses.dataclass(frozen=True)
class Calibration:
  """One author's predictions against outcomes, or everybody's.

  error: mean of measured minus predicted, below 0 for the hopeful; rmse: root of its mean square;
  both in the metric's unit. correlation (Pearson), rank (Spearman): None where one of the two does
  not vary, or there are fewer than three. signs: share of effects whose sign was predicted, of
  those where one was. coverage: of predictions with an uncertainty; empty without any.
  """

  author: str
  count: int
  error: float
  rmse: float
  correlation: float | None
  rank: float | None
  signs: float | None
  coverage: tuple[Coverage, ...]


def measured(entries: Iterable[Entry]) -> list[Entry]:
  """Those that have both a prediction and an outcome."""
  return [e for e in entries if e.predicted is not None and e.effect is not None]


def calibrations(entries: Iterable[Entry]) -> list[Calibration]:
  """Everybody's first, then each author's where there are several; none without predictions."""
  found = measured(entries)
  authors = sorted({e.author for e in found})
  groups = {EVERYBODY: found} if found else {}
  if len(authors) > 1:
    groups |= {a or NOBODY: [e for e in found if e.author == a] for a in authors}
  return [_calibration(author, group) for author, group in groups.items()]


def summary(found: Sequence[Calibration]) -> str:
  """What everybody's predictions were worth, in a few sentences."""
  if not found or found[0].count < FEWEST:
    count = found[0].count if found else 0
    some = f'Only {count} predictions were'
    number = {0: 'No prediction was', 1: 'Only one prediction was'}.get(count, some)
    return f'{number} measured so far; how good they are can be said from {FEWEST} on.'
  whole = found[0]
  spread = f'{whole.count} predictions were off by {whole.rmse:.3g} (root mean square)'
  hope = f'on average outcomes were {abs(whole.error):.3g} '
  text = f'{spread}; {hope}{"below" if whole.error < 0 else "above"} what was predicted.'
  if whole.signs is not None:
    text += f' Whether an edit helps was right {whole.signs:.0%} of the time.'
  for c in whole.coverage:
    text += (
      f' Intervals of {c.level:.0%} held {c.inside} of {c.of} ({c.share:.0%}, {c.low:.0%} to '
      f'{c.high:.0%}): {c.verdict}.'
    )
  return text


def _calibration(author: str, entries: Sequence[Entry]) -> Calibration:
  predicted, effects, _ = _arrays(entries)
  errors = effects - predicted
  stated = predicted != 0
  return Calibration(
    author=author,
    count=len(entries),
    error=float(np.mean(errors)),
    rmse=float(np.sqrt(np.mean(errors**2))),
    correlation=_correlation(predicted, effects),
    rank=_correlation(scipy.stats.rankdata(predicted), scipy.stats.rankdata(effects)),
    signs=float(np.mean((np.sign(predicted) == np.sign(effects))[stated])) if any(stated) else None,
    coverage=coverage(entries, LEVELS),
  )


def coverage(entries: Iterable[Entry], levels: Sequence[float]) -> tuple[Coverage, ...]:
  """For each level, how many of the entries with an uncertainty lie in their intervals."""
  found = [e for e in measured(entries) if e.predicted_sd is not None]
  if not found:
    return ()
  predicted, effects, spreads = _arrays(found)
  counts = []
  for level in levels:
    reach = float(scipy.stats.norm.ppf((1 + level) / 2))
    inside = int(np.sum(np.abs(effects - predicted) <= reach * spreads))
    interval = scipy.stats.binomtest(inside, len(found)).proportion_ci(0.95, 'wilson')
    counts.append(Coverage(level, inside, len(found), float(interval.low), float(interval.high)))
  return tuple(counts)


def _arrays(entries: Iterable[Entry]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(predicted, effect, standard deviation of their difference), [entries] each."""
  rows = [
    (e.predicted, e.effect, math.hypot(e.predicted_sd or 0.0, e.effect_sd or 0.0)) for e in entries
  ]
  predicted, effects, spreads = np.array(rows, float).T
  return predicted, effects, spreads


def _correlation(one: np.ndarray, other: np.ndarray) -> float | None:
  if len(one) < 3 or not (np.ptp(one) and np.ptp(other)):
    return None
  return float(np.corrcoef(one, other)[0, 1])


def draw(entries: Iterable[Entry], metric: str, path: pathlib.Path) -> None:
  """Writes a plot (PNG) in one step: predicted against measured, and the share that intervals hold.

  Raises OSError.
  """
  figure = Figure(figsize=(12, 5.5), dpi=120, layout='constrained')
  FigureCanvasAgg(figure)
  left, right = figure.subplots(1, 2)
  found = measured(entries)
  for axes in (left, right):
    axes.spines[['top', 'right']].set_visible(False)
    axes.tick_params(colors=FAINT)
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


def _draw_effects(axes: Axes, entries: Sequence[Entry], metric: str) -> None:
  """A dot an edit, with one standard deviation each way; what is far off stands at the edge."""
  axes.set_xlabel(f'predicted gain of {one_line(metric, 40)}', color=INK, parse_math=False)
  axes.set_ylabel('measured gain', color=INK)
  axes.axhline(0, color=FAINT, linewidth=0.6)
  axes.axvline(0, color=FAINT, linewidth=0.6)
  if not entries:
    axes.set_title('0 predictions', loc='left', color=INK)
    axes.text(0.5, 0.5, 'nothing to compare yet', transform=axes.transAxes, ha='center')
    return
  predicted, effects, _ = _arrays(entries)
  low, high = _limits(predicted, effects)
  off = int(np.sum((effects < low) | (effects > high)))
  edge = f', {off} farther off than the edge where they stand' if off else ''
  axes.set_title(f'{len(entries)} predictions{edge}', loc='left', color=INK)
  for colour, author in zip(_colours(entries), sorted({e.author for e in entries}), strict=True):
    own = [e for e in entries if e.author == author]
    x, y, _ = _arrays(own)
    axes.errorbar(
      x, np.clip(y, low, high), [e.effect_sd or 0.0 for e in own],
      [e.predicted_sd or 0.0 for e in own], 'o', color=colour, markersize=4, elinewidth=0.5,
      alpha=0.6, label=one_line(author, 30).replace('$', r'\$') or NOBODY,
    )  # fmt: skip
  axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
  margin = 0.06 * (high - low)
  axes.set_ylim(low - margin, high + margin)
  reach = 1.5 * max(float(np.max(np.abs(predicted))), 1e-12)
  axes.set_xlim(-reach, reach)
  axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _limits(predicted: np.ndarray, effects: np.ndarray) -> tuple[float, float]:
  """Of the page: the middle of the effects and half of that again, and all that was predicted."""
  low, high = (float(q) for q in np.quantile(effects, (0.1, 0.9)))
  room = 0.5 * (high - low)
  low = min(low - room, 0.0, float(np.min(predicted)))
  high = max(high + room, 0.0, float(np.max(predicted)))
  return (low, high) if high > low else (-1.0, 1.0)


def _draw_coverage(axes: Axes, entries: Sequence[Entry]) -> None:
  """The share of outcomes within intervals of each level; on the diagonal it is as stated."""
  axes.set_title('share of outcomes inside', loc='left', color=INK)
  axes.set_xlabel('interval', color=INK)
  axes.set(xlim=(0, 1), ylim=(0, 1))
  axes.xaxis.set_major_formatter('{x:.0%}')
  axes.yaxis.set_major_formatter('{x:.0%}')
  axes.plot((0, 1), (0, 1), color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
  levels = [float(level) for level in np.linspace(0.05, 0.99, 48)]
  curve = coverage(entries, levels)
  if curve:
    bounds = [c.low for c in curve], [c.high for c in curve]
    axes.fill_between(levels, *bounds, color=COLOURS[0], alpha=0.15, linewidth=0)
    axes.plot(levels, [c.share for c in curve], color=COLOURS[0], linewidth=1.8)


def _colours(entries: Sequence[Entry]) -> list[str]:
  return [COLOURS[i % len(COLOURS)] for i in range(len({e.author for e in entries}))]
