"""A trial's scores on several metrics, for strategies that compare programs instance by instance.

By default these are the objective's metric and every metric named `part_*`, which a problem
reports when its score has parts: test instances, domains, slices of the validation data. Parts
have the objective's direction.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Literal

from autoresearch_jax.types import Objective, Trial

PREFIX = 'part_'
Directions = Mapping[str, Literal['minimize', 'maximize']]


def instance_scores(
  objective: Objective, trial: Trial, metrics: Directions | None = None
) -> dict[str, float]:
  """Returns metric name -> score (larger is better), averaged over seeds.

  Metrics that the trial did not report, or whose value is not finite, are left out.

  Args:
    objective: The run's objective.
    trial: A finished trial.
    metrics: Names and directions to use instead of the default.
  """
  directions = metrics or _default(objective, trial)
  scores = {name: Objective(name, to).score(trial) for name, to in directions.items()}
  return {name: score for name, score in scores.items() if score is not None and isfinite(score)}


def _default(objective: Objective, trial: Trial) -> Directions:
  reported = {name for m in trial.result.measurements for name in m.metrics}
  parts = sorted(name for name in reported if name.startswith(PREFIX))
  return dict.fromkeys([objective.metric, *parts], objective.direction)
