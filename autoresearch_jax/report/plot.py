"""The progress plot, as in the original autoresearch.

Each trial is a dot, kept trials are labelled, and the best score so far is a step function. A
program that was kept after replications has the label of its first trial. Works for either
direction of the metric, and while the run is in progress.
"""

import dataclasses
import itertools
import math
import pathlib
import statistics
import warnings

import matplotlib.patheffects
import matplotlib.transforms
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import one_line
from autoresearch_jax.report.summary import run_statistics, scores_by_trial
from autoresearch_jax.types import Decision, Status

KEPT, TRIED, FAILED, INK, FAINT = '#1a7f4b', '#aeb4bb', '#c8553d', '#24292f', '#6e7781'
LABEL_WIDTH = 42  # characters
LABEL_ANGLE = 32  # degrees
SPREAD = 1.6  # a score outside the kept ones by more than this times their range is clipped


@dataclasses.dataclass(frozen=True)
class Dots:
  """The trials to draw."""

  kept: list[tuple[int, float]]  # (trial id, metric)
  tried: list[tuple[int, float]]  # other trials with a score: (trial id, metric)
  failed: list[int]  # ids of trials without a score


def progress_figure(history: History) -> Figure:
  """Plots all decided trials."""
  figure = Figure(figsize=(13, 6.5), dpi=120, layout='constrained')
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  dots = _dots(history)
  _frame(axes, history)
  if dots.kept:
    _place(axes, history, dots)
  else:
    axes.text(0.5, 0.5, 'no trial has a score yet', transform=axes.transAxes, ha='center')
  return figure


def draw(history: History, path: pathlib.Path) -> None:
  """Writes the plot of all decided trials to `path` (PNG), atomically."""
  figure = progress_figure(history)
  new = path.with_name(f'.{path.name}.new')
  with warnings.catch_warnings():  # a description may have characters that the font lacks
    warnings.filterwarnings('ignore', message='Glyph .* missing')
    figure.savefig(new, format='png')
  new.replace(path)


def _dots(history: History) -> Dots:
  """Sorts trials; kept ones are drawn at the mean of all runs of their program."""
  dots, known = Dots([], [], []), scores_by_trial(history, history.kept)
  for trial in history.trials.values():
    assert trial.verdict is not None
    value = trial.metric(history.objective.metric)
    if trial.verdict.decision == Decision.CRASH or value is None:
      if trial.result.status not in (Status.DUPLICATE, Status.CANCELLED, Status.PRUNED):
        dots.failed.append(trial.id)
    elif trial.verdict.decision == Decision.KEEP:
      dots.kept.append((trial.id, statistics.fmean(known[trial.id] or [value])))
    else:
      dots.tried.append((trial.id, value))
  return dots


def _frame(axes: Axes, history: History) -> None:
  f, config = run_statistics(history), history.config
  better = 'lower' if config.direction == 'minimize' else 'higher'
  axes.set_title(
    f'{one_line(config.name)}: {f.trials} trials, {f.kept} kept', loc='left', color=INK,
    fontsize=14, fontweight='bold', parse_math=False,
  )  # fmt: skip
  if f.gain is not None and f.best is not None and f.best.id != BASELINE:
    noise = '' if f.standard_errors is None else f' ({f.standard_errors:.1f} standard errors)'
    text = f'{config.metric} {f.baseline:.4f} → {f.value:.4f}{noise}'
    axes.set_title(text, loc='right', color=KEPT, fontsize=12)
  axes.set_xlabel('trial', color=INK)
  axes.set_ylabel(f'{config.metric} ({better} is better)', color=INK)
  axes.xaxis.set_major_locator(MaxNLocator(integer=True))
  axes.grid(axis='y', color='#e6e8eb', linewidth=0.8)
  axes.set_axisbelow(True)
  axes.tick_params(colors=FAINT)
  for side in ('top', 'right'):
    axes.spines[side].set_visible(False)


def _place(axes: Axes, history: History, dots: Dots) -> None:
  last = max(history.trials)
  axes.set_xlim(-0.02 * last - 0.6, last * 1.13 + 1.4)
  low, high = _limits(history, dots)
  axes.set_ylim(low, high)
  _scored(axes, dots, low, high)
  _staircase(axes, dots, last)
  if dots.failed:
    axes.plot(
      dots.failed, [0.015] * len(dots.failed), 'x', color=FAILED, markersize=6, alpha=0.8,
      transform=axes.get_xaxis_transform(), label=f'no score ({len(dots.failed)})', zorder=3,
    )  # fmt: skip
  minimize = history.config.direction == 'minimize'
  axes.legend(
    loc='upper right' if minimize else 'lower right', frameon=True, framealpha=0.9,
    edgecolor='none', fontsize=9, labelcolor=INK,
  )  # fmt: skip
  _labels(axes, history, dots, up=minimize)


def _limits(history: History, dots: Dots) -> tuple[float, float]:
  """Returns the range of the y axis: all kept trials, and others unless they are far away."""
  values = [value for _, value in dots.kept]
  noise = history.noise() or 0.0
  span = max(max(values) - min(values), 4 * noise, abs(values[0]) * 1e-3, 1e-9)
  low, high = min(values), max(values)
  for _, value in dots.tried:
    if low - SPREAD * span <= value <= high + SPREAD * span:
      low, high = min(low, value), max(high, value)
  margin = 0.08 * (high - low) + 0.1 * span
  return low - margin, high + margin


def _scored(axes: Axes, dots: Dots, low: float, high: float) -> None:
  """Draws scored trials as grey dots, and those outside the axes as triangles at the edge."""
  inside = [(x, y) for x, y in dots.tried if low <= y <= high]
  if inside:
    axes.plot(*zip(*inside, strict=True), 'o', color=TRIED, markersize=4.5, alpha=0.75,
              markeredgewidth=0, label=f'tried ({len(inside)})', zorder=2)  # fmt: skip
  page = axes.get_xaxis_transform()
  for marker, edge, off in (
    ('^', 0.985, [x for x, y in dots.tried if y > high]),
    ('v', 0.045, [x for x, y in dots.tried if y < low]),
  ):
    if off:
      axes.plot(off, [edge] * len(off), marker, color=TRIED, markersize=5, markeredgewidth=0,
                transform=page, label=f'outside the axes ({len(off)})')  # fmt: skip


def _staircase(axes: Axes, dots: Dots, last: int) -> None:
  xs, ys = zip(*sorted(dots.kept), strict=True)
  axes.step([*xs, last + 0.5], [*ys, ys[-1]], where='post', color=KEPT, linewidth=1.8, alpha=0.85,
            label='best so far', zorder=3)  # fmt: skip
  axes.plot(xs, ys, 'o', color=KEPT, markersize=7.5, markeredgecolor='white', markeredgewidth=1,
            label=f'kept ({len(xs)})', zorder=4)  # fmt: skip
  axes.axhline(ys[0], color=FAINT, linewidth=0.8, linestyle=(0, (4, 4)), zorder=1)


def _labels(axes: Axes, history: History, dots: Dots, up: bool) -> None:
  """Labels kept trials, on the side of worse scores, as far as labels do not overlap."""
  halo = [matplotlib.patheffects.withStroke(linewidth=2.5, foreground='white')]
  side = 1 if up else -1
  for trial, value in _without_overlap(axes, sorted(dots.kept), side * LABEL_ANGLE):
    text = one_line(history.edits[history.original(trial)].description, LABEL_WIDTH)
    axes.annotate(
      text, (trial, value), xytext=(4, 5 * side), textcoords='offset points',
      rotation=side * LABEL_ANGLE, rotation_mode='anchor', ha='left', va='center', fontsize=8.5,
      parse_math=False, color=INK, path_effects=halo, zorder=5, annotation_clip=False,
    )  # fmt: skip


def _without_overlap(
  axes: Axes, kept: list[tuple[int, float]], angle: float
) -> list[tuple[int, float]]:
  """Returns kept trials whose slanted labels do not overlap: first, best, then by gain.

  In coordinates rotated by `angle`, labels are rows of text. Two overlap if they are less than a
  line height apart in one direction and less than a label's length in the other.
  """
  gains = [math.inf, *(abs(b - a) for (_, a), (_, b) in itertools.pairwise(kept))]
  gains[-1] = math.inf
  turned = matplotlib.transforms.Affine2D().rotate_deg(-angle)
  line, length = (points * axes.figure.dpi / 72 for points in (11, 4.6 * LABEL_WIDTH))
  places: list[tuple[float, float]] = []
  chosen: list[tuple[int, float]] = []
  for _, dot in sorted(zip(gains, kept, strict=True), key=lambda pair: -pair[0]):
    along, across = turned.transform(axes.transData.transform(dot))
    if all(abs(across - b) > line or abs(along - a) > length for a, b in places):
      places.append((along, across))
      chosen.append(dot)
  return chosen
