"""A trial as one row of a table: what `dataframe()`, hooks and trackers have of it."""

from typing import Any

from autoresearch_jax.types import Trial


def trial_row(trial: Trial) -> dict[str, Any]:
  """Returns name -> value: status, decision, the mean of each metric, cost, and words."""
  measurements = trial.result.measurements
  names = sorted({name for m in measurements for name in m.metrics})
  return {
    'trial': trial.id,
    'operation': trial.proposal.operation.value,
    'parent': trial.proposal.parents[0] if trial.proposal.parents else None,
    'status': trial.result.status.value,
    'decision': trial.verdict.decision.value if trial.verdict else None,
    **{name: trial.metric(name) for name in names},
    'runs': len(measurements),
    'training_seconds': sum(m.cost.training_seconds for m in measurements),
    'total_seconds': sum(m.cost.total_seconds for m in measurements),
    'description': trial.edit.description,
    'reason': trial.verdict.reason if trial.verdict else '',
  }
