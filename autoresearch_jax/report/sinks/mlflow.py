"""MLflow: metrics of trials by number, loss curves per seed, diffs and the plot as artifacts."""

import dataclasses
import importlib
import logging
from typing import Any

from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.report import plot
from autoresearch_jax.report.sinks.events import RunInfo, SinkEvent
from autoresearch_jax.report.sinks.trackers import (
  TRACKERS,
  Tracker,
  curves_of,
  diff_of,
  metrics_of,
  require_package,
)
from autoresearch_jax.types import Trial

# Tags of MLflow's run: by the first one a later session finds it.
KEY_TAG, FOLDER_TAG = 'autoresearch.key', 'autoresearch.workdir'
MAX_BATCH = 1000  # metrics that a server takes at once
MAX_PARAMETER = 500  # characters that every store accepts


@TRACKERS.register('mlflow')
@dataclasses.dataclass(frozen=True)
class MLflow(Tracker):
  """Logs to an MLflow server, or to a store in the run's folder.

  Attributes:
    uri: The server, or a store such as sqlite:///FILE; '' for `mlflow.db` in the run's folder.
    experiment: Name of the experiment.
  """

  uri: str = ''
  experiment: str = 'autoresearch_jax'
  name = 'mlflow'
  _client: Any = dataclasses.field(init=False, repr=False, compare=False)
  _id: str = dataclasses.field(init=False, repr=False, compare=False)

  def __post_init__(self) -> None:
    require_package('mlflow', self.name)

  def begin(self, run: RunInfo) -> None:
    tracking = importlib.import_module('mlflow.tracking')  # an extra
    logging.getLogger('mlflow').setLevel(logging.WARNING)
    client = tracking.MlflowClient(self.uri or f'sqlite:///{run.directory / "mlflow.db"}')
    found = client.get_experiment_by_name(self.experiment)
    place = None if self.uri else (run.directory / 'mlflow_artifacts').as_uri()
    experiment = found.experiment_id if found else client.create_experiment(
      self.experiment, artifact_location=place)  # fmt: skip
    runs = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{run.key}'", max_results=1)
    made = runs[0] if runs else client.create_run(
      experiment, tags={KEY_TAG: run.key, FOLDER_TAG: str(run.directory)}, run_name=run.name
    )  # fmt: skip
    self._set(_client=client, _id=made.info.run_id)
    client.update_run(self._id, 'RUNNING')
    if not runs:
      for name, value in _flat(run.config):
        client.log_param(self._id, name, value)

  def log_trial(self, trial: Trial, event: SinkEvent) -> None:
    new_metric = importlib.import_module('mlflow.entities').Metric
    stamp, metric = round(event.time * 1000), self._run.objective.metric
    numbers = [
      new_metric(n, v, stamp, trial.id) for n, v in metrics_of(trial, event, metric).items()
    ]
    for seed, points in curves_of(trial).items():
      tag = f'loss/trial_{trial.id}_seed_{seed}'
      numbers += [new_metric(tag, loss, stamp, round(1000 * fraction)) for fraction, loss in points]
    for first in range(0, len(numbers), MAX_BATCH):
      self._client.log_batch(self._id, numbers[first : first + MAX_BATCH])
    if diff := diff_of(trial, event):
      self._client.log_text(self._id, diff + '\n', f'diffs/trial_{trial.id}.diff')

  def end(self, event: SinkEvent | None) -> None:
    if event is not None:
      figure = plot.progress_figure(read_history(self._run.directory))
      self._client.log_figure(self._id, figure, 'progress.png')
    self._client.set_terminated(self._id)


def _flat(value: Any, path: str = '') -> list[tuple[str, str]]:
  """Returns (name, value) of the config's fields, nested ones with dots."""
  if isinstance(value, dict) and value:
    return [pair for key, v in value.items() for pair in _flat(v, f'{path}.{key}' if path else key)]
  return [(path, str(value)[:MAX_PARAMETER])]
