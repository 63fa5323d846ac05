"""The figures of a leaderboard, as PNG: anytime curves, performance profiles, who beats whom.

The profiles and the matrix follow Agarwal et al., 2021, arXiv 2108.13264.
"""

import io
import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from autoresearch_jax.benchmark import curves, statistics
from autoresearch_jax.benchmark.comparison import Comparison
from autoresearch_jax.benchmark.standings import Standings

INK, FAINT, GRID = '#24292f', '#6e7781', '#e6e8eb'
POINTS = 101  # of a curve
COLUMNS = 3  # panels side by side
STYLES = ('-', '--', ':')  # a second and third round through the colours
REFERENCE_WIDTH, WIDTH = 2.4, 1.2


def anytime(comparison: Comparison, problems: tuple[str, ...]) -> bytes:
  """A panel a problem: interquartile mean of the regret by training runs, with its 95 % band."""
  rows = math.ceil(len(problems) / COLUMNS)
  columns = min(COLUMNS, len(problems))
  figure = _figure(4.4 * columns + 2.2, 3.1 * rows + 0.3)
  panels = figure.subplots(rows, columns, squeeze=False)
  for axes in panels.flat[len(problems) :]:
    axes.set_axis_off()
  looks = _looks(list(comparison.runnable), comparison.study.references)
  drawn = {}
  for axes, problem in zip(panels.flat, problems, strict=False):
    drawn |= _curves(axes, comparison, problem, looks)
  figure.legend(
    [drawn[e] for e in looks if e in drawn], [e for e in looks if e in drawn],
    loc='outside right center', frameon=False, fontsize=9,
  )  # fmt: skip
  return _png(figure)


def profiles(standings: Standings) -> bytes:
  """The share of runs whose final regret is at most τ, with pointwise 95 % bands."""
  figure = _figure(8.6, 4.4)
  axes = figure.subplots()
  thresholds = np.linspace(0.0, 1.0, POINTS)
  looks = _looks(standings.entrants, standings.references)
  for entrant in standings.entrants:
    scores = standings.comparison.scores('final', entrant, standings.problems)
    middle, low, high = statistics.performance_profile_interval(scores, thresholds)
    axes.plot(thresholds, middle, label=entrant, **looks[entrant])
    axes.fill_between(thresholds, low, high, color=looks[entrant]['color'], alpha=0.08, lw=0)
  _frame(axes, 'normalised regret τ at the end', 'share of runs with at most τ')
  axes.set_ylim(0, 1)
  figure.legend(loc='outside right center', frameon=False, fontsize=9)
  return _png(figure)


def improvements(standings: Standings) -> bytes:
  """The matrix: how probably the row's entrant beats the column's, those that tests tell apart."""
  entrants, values = standings.entrants, standings.matrix()
  side = 0.52 * len(entrants) + 2.2
  figure = _figure(side + 1.0, side)
  axes = figure.subplots()
  image = axes.imshow(values, cmap='RdBu', vmin=0, vmax=1)
  for i, one in enumerate(entrants):
    for j, other in enumerate(entrants):
      if i != j:
        apart = standings.apart(one, other)
        strong = 'white' if abs(values[i, j] - 0.5) > 0.35 else INK
        axes.text(
          j, i, f'{values[i, j]:.2f}'.lstrip('0'), ha='center', va='center', fontsize=7.5,
          color=strong, fontweight='bold' if apart else 'normal',
        )  # fmt: skip
  places = range(len(entrants))
  axes.set_xticks(places, entrants, rotation=55, ha='right', rotation_mode='anchor', fontsize=9)
  axes.set_yticks(places, entrants, fontsize=9)
  axes.tick_params(length=0)
  for spine in axes.spines.values():
    spine.set_visible(False)
  figure.colorbar(image, ax=axes, shrink=0.7, label='P(row better than column)')
  return _png(figure)


def _curves(
  axes: Axes, comparison: Comparison, problem: str, looks: dict[str, dict]
) -> dict[str, object]:
  """Draws every entrant of one problem; returns the lines by entrant."""
  trials = comparison.study.trials
  grid = np.linspace(0.0, trials, POINTS)
  lines = {}
  for entrant, able in comparison.runnable.items():
    if problem not in able:
      continue
    stairs = [run.curve for run in comparison.of(entrant, problem)]
    heights = np.array([curves.at(c.runs, c.regret, grid) for c in stairs])
    middle, low, high = statistics.curve_interval(heights)
    (lines[entrant],) = axes.plot(grid, middle, **looks[entrant])
    axes.fill_between(grid, low, high, color=looks[entrant]['color'], alpha=0.08, lw=0)
  axes.set_title(problem, loc='left', color=INK, fontsize=10, parse_math=False)
  _frame(axes, 'training runs', 'normalised regret')
  axes.set_xlim(0, trials)
  return lines


def _looks(entrants: list[str], references: tuple[str, ...]) -> dict[str, dict]:
  """A line's colour, dashes and width by entrant; references are thick and dark."""
  colours = matplotlib.colormaps['tab10'](range(10))
  dark = dict(zip(references, (INK, '#8c959f'), strict=False))
  looks, count = {}, 0
  for entrant in sorted(entrants):
    if entrant in dark:
      looks[entrant] = {'color': dark[entrant], 'lw': REFERENCE_WIDTH, 'ls': '-', 'zorder': 3}
      continue
    style = STYLES[count // len(colours) % len(STYLES)]
    looks[entrant] = {'color': colours[count % len(colours)], 'lw': WIDTH, 'ls': style}
    count += 1
  return looks


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
