"""What a run's user would have at each moment, as a staircase, and the areas under it."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class RegretCurve:
  """A staircase: from (runs, seconds, calls) on, the incumbent has this regret.

  runs: training runs at the full budget, each seed at fidelity f counting f, failed ones and
  duplicates too. seconds: of the device. calls: of the proposer, those that gave nothing too.
  regret: (optimum - value) / (optimum - value of the start); 1 at first. All of equal length.
  """

  runs: tuple[float, ...] = (0.0,)
  seconds: tuple[float, ...] = (0.0,)
  calls: tuple[int, ...] = (0,)
  regret: tuple[float, ...] = (1.0,)


@dataclasses.dataclass(frozen=True)
class Areas:
  """Mean regret over the budget: by training runs, by device seconds, by proposer calls."""

  runs: float
  seconds: float
  calls: float


def areas(curve: RegretCurve, trials: float, run_seconds: float) -> Areas:
  """The areas under a run's staircase, divided by their budgets.

  trials: the budget in training runs. The budget in seconds is that of `trials` runs of the start,
  and in calls it is one a training run; a run that needs less keeps what it has until the end. A
  price that each call costs alike divides out.
  """
  return Areas(
    area(curve.runs, curve.regret, trials),
    area(curve.seconds, curve.regret, trials * run_seconds),
    area(curve.calls, curve.regret, trials),
  )


def area(steps: tuple[float, ...], regret: tuple[float, ...], budget: float) -> float:
  """∫₀ᴮ regret(x) dx / B of the staircase that has `regret[i]` from `steps[i]` on."""
  if budget <= 0:
    return regret[-1]
  ends = np.minimum([*steps[1:], np.inf], budget)
  widths = np.maximum(ends - np.minimum(steps, budget), 0.0)
  return float(widths @ np.array(regret) / budget)


def at(steps: tuple[float, ...], regret: tuple[float, ...], grid: np.ndarray) -> np.ndarray:
  """The staircase's height at each point of `grid`."""
  return np.array(regret)[np.searchsorted(steps, grid, side='right') - 1]
