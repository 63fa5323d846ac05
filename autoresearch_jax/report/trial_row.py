"""A trial as one row of a table: for `dataframe()`, hooks and trackers."""

from typing import Any

from autoresearch_jax.ledger.history import BASELINE
from autoresearch_jax.types import Trial


def trial_row(trial: Trial, metric: str) -> dict[str, Any]:
  """Returns name -> value of a decided trial, with the names of `autoresearch report --json`.

  Besides those, it has the mean of each metric under the metric's own name, and totals.

  Args:
    trial: The trial.
    metric: The metric that the run optimises, which is the `value`.
  """
  runs, hypothesis = trial.result.measurements, trial.edit.hypothesis
  parents, costs = trial.proposal.parents, [run.cost for run in runs]
  return {
    'id': trial.id,
    'parent': parents[0] if parents else None if trial.id == BASELINE else BASELINE,
    'operation': trial.proposal.operation.value,
    'description': trial.edit.description,
    'status': trial.result.status.value,
    'decision': trial.verdict.decision.value if trial.verdict else '',
    'reason': trial.verdict.reason if trial.verdict else '',
    'value': trial.metric(metric),
    **{name: trial.metric(name) for name in sorted({n for run in runs for n in run.metrics})},
    'claim': hypothesis.claim,
    'predicted': hypothesis.predicted_effect,
    'predicted_sd': hypothesis.uncertainty,
    'author': trial.edit.author,
    'parameters': max((cost.parameters for cost in costs), default=0),
    'peak_bytes': max((cost.peak_bytes for cost in costs), default=0),
    'mfu': max((cost.mfu_percent for cost in costs), default=0.0),
    'num_runs': len(runs),
    'training_seconds': sum(cost.training_seconds for cost in costs),
    'total_seconds': sum(cost.total_seconds for cost in costs),
  }
