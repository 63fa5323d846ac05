"""The regret of a run's incumbent over time, as a step function, and the area under it."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class RegretCurve:
  """A step function: the regret of the incumbent from each point of a run on.

  Attributes:
    runs: Training runs so far, in full budgets: a seed at fidelity f counts f. Includes failed
      trials and duplicates. [steps].
    seconds: Device seconds so far. [steps].
    calls: Calls of the proposer so far, including those without an edit. [steps].
    regret: (optimum - value) / (optimum - value of the start), so it begins at 1. [steps].
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
  """Returns the areas under a curve, divided by the budgets.

  The budget in seconds is the time of `trials` training runs of the start; the budget in calls is
  one per training run. A run that ends earlier keeps its last regret.

  Args:
    curve: The curve.
    trials: The budget in training runs.
    run_seconds: Device seconds of one training run of the start.
  """
  return Areas(
    area(curve.runs, curve.regret, trials),
    area(curve.seconds, curve.regret, trials * run_seconds),
    area(curve.calls, curve.regret, trials),
  )


def area(steps: tuple[float, ...], regret: tuple[float, ...], budget: float) -> float:
  """Returns ∫₀ᴮ regret(x) dx / B of the function that is `regret[i]` from `steps[i]` on."""
  if budget <= 0:
    return regret[-1]
  ends = np.minimum([*steps[1:], np.inf], budget)
  widths = np.maximum(ends - np.minimum(steps, budget), 0.0)
  return float(widths @ np.array(regret) / budget)


def regret_at(steps: tuple[float, ...], regret: tuple[float, ...], grid: np.ndarray) -> np.ndarray:
  """Returns the regret at each point of `grid`, [points]."""
  return np.array(regret)[np.searchsorted(steps, grid, side='right') - 1]
