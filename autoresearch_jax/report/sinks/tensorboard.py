"""TensorBoard: metrics of trials by number, loss curves per seed, diffs as text, the plot."""

import dataclasses
import uuid
from typing import TYPE_CHECKING

import msgspec

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
  words_of,
)
from autoresearch_jax.types import Trial

if TYPE_CHECKING:
  from tensorboardX import SummaryWriter


@TRACKERS.register('tensorboard')
@dataclasses.dataclass(frozen=True)
class TensorBoard(Tracker):
  """Writes event files with tensorboardX: `tensorboard --logdir WORKDIR/tensorboard`.

  Attributes:
    folder: Folder of the event files; '' for `tensorboard` in the run's folder.
  """

  folder: str = ''
  name = 'tensorboard'
  _writer: 'SummaryWriter' = dataclasses.field(init=False, repr=False, compare=False)

  def __post_init__(self) -> None:
    require_package('tensorboardX', self.name)

  def begin(self, run: RunInfo) -> None:
    from tensorboardX import SummaryWriter  # noqa: PLC0415 - an extra

    # Names of event files have a resolution of a second, and an existing file is overwritten.
    suffix = f'.{uuid.uuid4().hex}'
    folder = self.folder or str(run.directory / 'tensorboard')
    self._set(_writer=SummaryWriter(folder, filename_suffix=suffix))
    config = msgspec.json.format(msgspec.json.encode(run.config), indent=2).decode()
    self._writer.add_text('config', f'```\n{config}\n```', 0)

  def log_trial(self, trial: Trial, event: SinkEvent) -> None:
    for name, value in metrics_of(trial, event, self._run.objective.metric).items():
      self._writer.add_scalar(f'trials/{name}', value, trial.id, walltime=event.time)
    for seed, points in curves_of(trial).items():
      for fraction, loss in points:
        tag = f'loss/trial_{trial.id}_seed_{seed}'
        self._writer.add_scalar(tag, loss, round(1000 * fraction), walltime=event.time)
    text = words_of(trial)
    if diff := diff_of(trial, event):
      text += f'\n\n```diff\n{diff}\n```'
    self._writer.add_text(f'trial {trial.id}', text, trial.id, walltime=event.time)
    self._writer.flush()

  def end(self, event: SinkEvent | None) -> None:
    if event is not None:
      figure = plot.progress_figure(read_history(self._run.directory))
      self._writer.add_figure('progress', figure, event.trials)
    self._writer.close()
