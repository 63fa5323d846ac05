"""The metrics by which a trial is compared in several ways, each turned so that larger is better.

By default they are the objective's metric and every metric named `part_*`, which a problem
measures where its score is made of parts: an instance, a domain, a slice of the validation data.
Parts have the objective's direction.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Literal

from autoresearch_jax.types import Objective, Trial

PREFIX = 'part_'
Directions = Mapping[str, Literal['minimize', 'maximize']]


def parts_of(
  objective: Objective, trial: Trial, metrics: Directions | None = None
) -> dict[str, float]:
  """Name -> score, the mean over seeds; what is not measured or not finite is left out.

  metrics: names and directions instead of the default.
  """
  named = metrics or _default(objective, trial)
  scores = {name: Objective(name, to).score(trial) for name, to in named.items()}
  return {name: score for name, score in scores.items() if score is not None and isfinite(score)}


def _default(objective: Objective, trial: Trial) -> Directions:
  measured = {name for m in trial.result.measurements for name in m.metrics}
  parts = sorted(name for name in measured if name.startswith(PREFIX))
  return dict.fromkeys([objective.metric, *parts], objective.direction)
