"""The figures of a leaderboard, as PNG: anytime curves, performance profiles, who beats whom.

The profiles and the matrix follow Agarwal et al., 2021, arXiv 2108.13264.
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
POINTS = 201  # of a curve, at most: one a training run up to 200 of them
COLUMNS = 3  # panels side by side
STYLES = ('-', '--', ':')  # a second and third round through the colours
REFERENCE_WIDTH, WIDTH = 2.4, 1.4
FEW = 8  # lines that can be told apart; with more of them, those not in front are grey
FRONT = 5  # of a table's best, in front
Look = dict[str, Any]


def anytime(tables: Sequence[Standings], problems: tuple[str, ...]) -> bytes:
  """A panel a problem: interquartile mean of the regret by training runs, with its 95 % band."""
  comparison, front = tables[0].comparison, in_front(tables)
  rows = math.ceil(len(problems) / COLUMNS)
  columns = min(COLUMNS, len(problems))
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
  """The share of runs whose final regret is at most τ, with pointwise 95 % bands."""
  figure = _figure(8.6, 4.4)
  axes = figure.subplots()
  thresholds = np.linspace(0.0, 1.0, POINTS)
  looks, front, drawn = looks_of(table.comparison), in_front([table]), {}
  for method in table.methods:
    scores = table.comparison.scores('final', method, table.problems)
    if method not in front:
      _line(axes, thresholds, statistics.performance_profile(scores, thresholds))
      continue
    middle, low, high = statistics.performance_profile_interval(scores, thresholds)
    drawn[method] = _line(axes, thresholds, middle, looks[method], (low, high))
  _frame(axes, 'normalised regret τ at the end', 'share of runs with at most τ')
  axes.set_ylim(0, 1)
  _legend(figure, drawn)
  return _png(figure)


def in_front(tables: Sequence[Standings]) -> list[str]:
  """Whose lines have a colour and a band: all of few methods, else references and the best."""
  methods = dict.fromkeys(method for table in tables for method in table.methods)
  if len(methods) <= FEW:
    return list(methods)
  chosen = {e for table in tables for e in (*table.references, *table.methods[:FRONT])}
  return [method for method in methods if method in chosen]


def improvements(table: Standings) -> bytes:
  """The matrix: how probably the row's method beats the column's, those that tests tell apart."""
  methods, values = table.methods, table.matrix()
  side = 0.52 * len(methods) + 2.2
  figure = _figure(side + 1.0, side)
  axes = figure.subplots()
  image = axes.imshow(values, cmap='RdBu', vmin=0, vmax=1)
  for i, one in enumerate(methods):
    for j, other in enumerate(methods):
      if i != j:
        apart = table.apart(one, other)
        strong = 'white' if abs(values[i, j] - 0.5) > 0.35 else INK
        axes.text(
          j, i, f'{values[i, j]:.2f}'.lstrip('0'), ha='center', va='center', fontsize=7.5,
          color=strong, fontweight='bold' if apart else 'normal',
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
  trials, looks = comparison.suite.trials, looks_of(comparison)
  grid = np.linspace(0.0, trials, min(POINTS, math.ceil(trials) + 1))
  lines = {}
  for method, able in comparison.runnable.items():
    if problem not in able:
      continue
    stairs = [run.curve for run in comparison.of(method, problem)]
    heights = np.array([regret.at(c.runs, c.regret, grid) for c in stairs])
    if method not in front:
      _line(axes, grid, scipy.stats.trim_mean(heights, 0.25, axis=0))
      continue
    middle, low, high = statistics.curve_interval(heights)
    lines[method] = _line(axes, grid, middle, looks[method], (low, high))
  axes.set_title(problem, loc='left', color=INK, fontsize=10, parse_math=False)
  _frame(axes, 'training runs', 'normalised regret')
  axes.set_xlim(0, trials)
  return lines


def _line(
  axes: Axes,
  x: np.ndarray,
  y: np.ndarray,
  look: Look | None = None,
  band: tuple[np.ndarray, np.ndarray] | None = None,
) -> object:
  """Draws a staircase, with its band; grey and thin without a look."""
  look = look or {'color': GREY, 'lw': 0.7, 'zorder': 1}
  (line,) = axes.plot(x, y, drawstyle='steps-post', **look)
  if band is not None:
    axes.fill_between(x, *band, step='post', color=look['color'], alpha=0.1, lw=0)
  return line


def looks_of(comparison: Comparison) -> dict[str, Look]:
  """A line's colour, dashes and width by method, in all figures; references are thick and dark.

  The best of any table get their colours first, so that few in front of one figure share one.
  """
  colours = matplotlib.colormaps['tab10']([0, 1, 2, 3, 4, 5, 6, 8, 9])  # 7 is grey
  dark = dict(zip(comparison.suite.held_against(), (INK, '#8c959f'), strict=False))
  looks, count = {}, 0
  for method in _by_best_place(comparison):
    if method in dark:
      looks[method] = {'color': dark[method], 'lw': REFERENCE_WIDTH, 'ls': '-', 'zorder': 3}
      continue
    style = STYLES[count // len(colours) % len(STYLES)]
    looks[method] = {'color': colours[count % len(colours)], 'lw': WIDTH, 'ls': style}
    count += 1
  return looks


def _by_best_place(comparison: Comparison) -> list[str]:
  """Entrants, those first that are high up in some table of the page."""
  best = dict.fromkeys(sorted(comparison.runnable), len(comparison.runnable))
  everything = tuple(problem.label for problem in comparison.suite.problems)
  for problems in (everything, *comparison.suite.groups().values()):
    for table in standings(comparison, problems):
      for place, method in enumerate(table.methods):
        best[method] = min(best[method], place)
  return sorted(best, key=best.__getitem__)


def _legend(figure: Figure, lines: dict[str, Any]) -> None:
  """Labels are text: none is left out for its first letter, or set as a formula."""
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
