"""Weights & Biases: metrics of trials by number, loss curves per seed, diffs and plot as files."""

import dataclasses
import importlib
import os
from typing import TYPE_CHECKING, Any, Literal

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

if TYPE_CHECKING:
  import pathlib


@TRACKERS.register('wandb')
@dataclasses.dataclass(frozen=True)
class WeightsAndBiases(Tracker):
  """Logs to Weights & Biases, online or into a folder for `wandb sync`.

  Attributes:
    project: The project.
    mode: `offline` writes to `wandb` in the run's folder only; `online` needs `wandb login`.
  """

  project: str = 'autoresearch_jax'
  mode: Literal['offline', 'online'] = 'offline'
  name = 'wandb'
  _wandb: Any = dataclasses.field(init=False, repr=False, compare=False)
  _files: 'pathlib.Path' = dataclasses.field(init=False, repr=False, compare=False)

  def __post_init__(self) -> None:
    require_package('wandb', self.name)

  def begin(self, run: RunInfo) -> None:
    os.environ.setdefault('WANDB_SILENT', 'true')
    wandb = importlib.import_module('wandb')  # an extra
    files = run.directory / 'trackers' / 'wandb_files'
    files.mkdir(parents=True, exist_ok=True)
    made = wandb.init(
      project=self.project,
      name=run.name,
      id=run.key,
      resume='allow',
      mode=self.mode,
      dir=str(run.directory),
      config=run.config,
      settings=wandb.Settings(silent=True, console='off', x_disable_stats=True),
    )
    made.define_metric('trial')
    made.define_metric('*', step_metric='trial')
    self._set(_wandb=made, _files=files)

  def log_trial(self, trial: Trial, event: SinkEvent) -> None:
    self._wandb.log({'trial': trial.id, **metrics_of(trial, event, self._run.objective.metric)})
    for seed, points in curves_of(trial).items():
      for fraction, loss in points:
        tag = f'loss/trial_{trial.id}_seed_{seed}'
        self._wandb.log({tag: loss, 'progress': fraction, 'trial': trial.id})
    if diff := diff_of(trial, event):
      path = self._files / f'trial_{trial.id}.diff'
      path.write_text(diff + '\n', encoding='utf-8')
      self._wandb.save(str(path), base_path=str(self._files), policy='now')

  def end(self, event: SinkEvent | None) -> None:
    if event is not None:
      path = self._files / 'progress.png'
      plot.draw(read_history(self._run.directory), path)
      self._wandb.save(str(path), base_path=str(self._files), policy='now')
    self._wandb.finish()
