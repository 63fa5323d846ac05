"""Figures of a leaderboard as PNG: anytime curves, performance profiles, improvement matrix.

Profiles and matrix follow Agarwal et al., 2021, arXiv 2108.13264.
"""

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from autoresearch_jax.benchmark import regret
from autoresearch_jax.benchmark.analysis import statistics
from autoresearch_jax.benchmark.analysis.standings import Standings, standings
from autoresearch_jax.benchmark.comparison import Comparison

INK, FAINT, GRID, GREY = '#24292f', '#6e7781', '#e6e8eb', '#c4c9cf'
MAX_POINTS = 201  # of a curve: one per training run for budgets up to 200
MAX_COLUMNS = 3  # panels side by side
STYLES = ('-', '--', ':')  # used in turn when the colors are exhausted
REFERENCE_WIDTH, WIDTH = 2.4, 1.4
MAX_COLORED = 8  # lines; with more, only highlighted ones have colors
NUM_BEST = 5  # methods of a table that are highlighted besides the references
LineStyle = dict[str, Any]


def anytime(tables: Sequence[Standings], problems: tuple[str, ...]) -> bytes:
  """Draws a panel per problem: interquartile mean regret over training runs, with 95 % bands."""
  comparison, front = tables[0].comparison, highlighted(tables)
  rows = math.ceil(len(problems) / MAX_COLUMNS)
  columns = min(MAX_COLUMNS, len(problems))
  figure = _figure(4.4 * columns + 2.2, 3.1 * rows + 0.3)
  panels = figure.subplots(rows, columns, squeeze=False)
  for axes in panels.flat[len(problems) :]:
    axes.set_axis_off()
  drawn = {}
  for axes, problem in zip(panels.flat, problems, strict=False):
    drawn |= _curves(axes, comparison, problem, front)
  _legend(figure, {method: drawn[method] for method in front if method in drawn})
  return _png(figure)


def profiles(table: Standings) -> bytes:
  """Draws the fraction of runs whose final regret is at most τ, with pointwise 95 % bands."""
  figure = _figure(8.6, 4.4)
  axes = figure.subplots()
  thresholds = np.linspace(0.0, 1.0, MAX_POINTS)
  styles, front, drawn = line_styles(table.comparison), highlighted([table]), {}
  for method in table.methods:
    scores = table.comparison.scores('final', method, table.problems)
    if method not in front:
      _line(axes, thresholds, statistics.performance_profile(scores, thresholds))
      continue
    middle, low, high = statistics.performance_profile_interval(scores, thresholds)
    drawn[method] = _line(axes, thresholds, middle, styles[method], (low, high))
  _frame(axes, 'normalised regret τ at the end', 'share of runs with at most τ')
  axes.set_ylim(0, 1)
  _legend(figure, drawn)
  return _png(figure)


def highlighted(tables: Sequence[Standings]) -> list[str]:
  """Returns the methods to draw with a color and a band: all if few, else references and best."""
  methods = dict.fromkeys(method for table in tables for method in table.methods)
  if len(methods) <= MAX_COLORED:
    return list(methods)
  chosen = {e for table in tables for e in (*table.references, *table.methods[:NUM_BEST])}
  return [method for method in methods if method in chosen]


def improvements(table: Standings) -> bytes:
  """Draws the probability that the row's method beats the column's; significant ones are bold."""
  methods, values = table.methods, table.matrix()
  side = 0.52 * len(methods) + 2.2
  figure = _figure(side + 1.0, side)
  axes = figure.subplots()
  image = axes.imshow(values, cmap='RdBu', vmin=0, vmax=1)
  for i, one in enumerate(methods):
    for j, other in enumerate(methods):
      if i != j:
        text_color = 'white' if abs(values[i, j] - 0.5) > 0.35 else INK
        axes.text(
          j, i, f'{values[i, j]:.2f}'.lstrip('0'), ha='center', va='center', fontsize=7.5,
          color=text_color,
          fontweight='bold' if table.is_significant(one, other) else 'normal',
        )  # fmt: skip
  places = range(len(methods))
  axes.set_xticks(places, methods, rotation=55, ha='right', rotation_mode='anchor', fontsize=9)
  axes.set_yticks(places, methods, fontsize=9)
  axes.tick_params(length=0)
  for spine in axes.spines.values():
    spine.set_visible(False)
  figure.colorbar(image, ax=axes, shrink=0.7, label='P(row better than column)')
  return _png(figure)


def _curves(
  axes: Axes, comparison: Comparison, problem: str, front: Sequence[str]
) -> dict[str, object]:
  """Draws every method of one problem; returns the lines by method."""
  trials, styles = comparison.suite.trials, line_styles(comparison)
  grid = np.linspace(0.0, trials, min(MAX_POINTS, math.ceil(trials) + 1))
  lines = {}
  for method, problems in comparison.runnable.items():
    if problem not in problems:
      continue
    curves = [run.curve for run in comparison.runs_of(method, problem)]
    heights = np.array([regret.regret_at(c.runs, c.regret, grid) for c in curves])
    if method not in front:
      _line(axes, grid, scipy.stats.trim_mean(heights, 0.25, axis=0))
      continue
    middle, low, high = statistics.curve_interval(heights)
    lines[method] = _line(axes, grid, middle, styles[method], (low, high))
  axes.set_title(problem, loc='left', color=INK, fontsize=10, parse_math=False)
  _frame(axes, 'training runs', 'normalised regret')
  axes.set_xlim(0, trials)
  return lines


def _line(
  axes: Axes,
  x: np.ndarray,
  y: np.ndarray,
  style: LineStyle | None = None,
  band: tuple[np.ndarray, np.ndarray] | None = None,
) -> object:
  """Draws a step function with its band; gray and thin without a style."""
  style = style or {'color': GREY, 'lw': 0.7, 'zorder': 1}
  (line,) = axes.plot(x, y, drawstyle='steps-post', **style)
  if band is not None:
    axes.fill_between(x, *band, step='post', color=style['color'], alpha=0.1, lw=0)
  return line


def line_styles(comparison: Comparison) -> dict[str, LineStyle]:
  """Returns the line style of each method, the same in all figures.

  References are thick and dark. Colors are assigned by best rank in any table, so that few
  highlighted methods of a figure share one.
  """
  colors = matplotlib.colormaps['tab10']([0, 1, 2, 3, 4, 5, 6, 8, 9])  # 7 is gray
  dark = dict(zip(comparison.suite.reference_methods(), (INK, '#8c959f'), strict=False))
  styles, count = {}, 0
  for method in _by_best_rank(comparison):
    if method in dark:
      styles[method] = {'color': dark[method], 'lw': REFERENCE_WIDTH, 'ls': '-', 'zorder': 3}
      continue
    dashes = STYLES[count // len(colors) % len(STYLES)]
    styles[method] = {'color': colors[count % len(colors)], 'lw': WIDTH, 'ls': dashes}
    count += 1
  return styles


def _by_best_rank(comparison: Comparison) -> list[str]:
  """Returns all methods, ordered by their best rank in any table of the page."""
  best = dict.fromkeys(sorted(comparison.runnable), len(comparison.runnable))
  everything = tuple(problem.label for problem in comparison.suite.problems)
  for problems in (everything, *comparison.suite.groups().values()):
    for table in standings(comparison, problems):
      for rank, method in enumerate(table.methods):
        best[method] = min(best[method], rank)
  return sorted(best, key=best.__getitem__)


def _legend(figure: Figure, lines: dict[str, Any]) -> None:
  """Adds a legend whose labels are not interpreted, neither a leading `_` nor `$`."""
  legend = figure.legend(
    list(lines.values()), list(lines), loc='outside right center', frameon=False, fontsize=9
  )
  for text in legend.get_texts():
    text.set_parse_math(False)


def _frame(axes: Axes, x: str, y: str) -> None:
  axes.set_xlabel(x, color=INK, fontsize=9)
  axes.set_ylabel(y, color=INK, fontsize=9)
  axes.grid(color=GRID, linewidth=0.7)
  axes.set_axisbelow(True)
  axes.tick_params(colors=FAINT, labelsize=8)
  for side in ('top', 'right'):
    axes.spines[side].set_visible(False)


def _figure(width: float, height: float) -> Figure:
  figure = Figure(figsize=(width, height), dpi=100, layout='constrained')
  FigureCanvasAgg(figure)
  return figure


def _png(figure: Figure) -> bytes:
  data = io.BytesIO()
  figure.savefig(data, format='png', metadata={'Software': None})
  return data.getvalue()
