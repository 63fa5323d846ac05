"""`RunResult`: the trials and the best program of a run, read from its ledger."""

import dataclasses
import html
import pathlib
from typing import TYPE_CHECKING

from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.report import plot, story
from autoresearch_jax.report.final_comparison import conclusion
from autoresearch_jax.report.summary import summary
from autoresearch_jax.report.trial_row import trial_row
from autoresearch_jax.types import Objective, Program, Trial

if TYPE_CHECKING:
  import pandas
  from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True, repr=False)
class RunResult:
  """The result of a run, finished or in progress. `ar.run` and `ar.load_run` return it.

  Attributes:
    workdir: The run's folder.
    history: The state of the run, computed from its ledger.

  Example:
    >>> import autoresearch_jax as ar
    >>> run = ar.run('digits', 'runs/digits', max_trials=2, final_seeds=0)
    >>> run.baseline.edit.description
    'baseline'
    >>> run.best_trial.metric('val_loss') <= run.baseline.metric('val_loss')
    True
  """

  workdir: pathlib.Path
  history: History

  @classmethod
  def read(cls, workdir: pathlib.Path) -> 'RunResult':
    """Reads the ledger of a run, finished or in progress. Raises LedgerError."""
    return cls(workdir, read_history(workdir))

  @property
  def trials(self) -> tuple[Trial, ...]:
    """All decided trials, ordered by id."""
    return tuple(self.history.trials[trial] for trial in sorted(self.history.trials))

  @property
  def baseline(self) -> Trial | None:
    """The trial of the unmodified program; None until it is decided."""
    return self.history.trials.get(BASELINE)

  @property
  def best_trial(self) -> Trial | None:
    """The trial kept last, called the incumbent; None until the baseline is decided."""
    return self.history.incumbent

  @property
  def objective(self) -> Objective:
    """The metric and its direction."""
    return self.history.objective

  def incumbent_program(self) -> Program | None:
    """The program of `best_trial`: its files, ready for `Program.write`."""
    return self.best_trial.edit.program if self.best_trial else None

  def dataframe(self) -> 'pandas.DataFrame':
    """One row per decided trial: status, decision, the mean of each metric, cost.

    Columns have the names of `autoresearch report --json`.

    Raises:
      ImportError: pandas is not installed.
    """
    try:
      import pandas  # noqa: PLC0415 - optional
    except ImportError as error:
      raise ImportError('dataframe() needs pandas: pip install pandas.') from error
    return pandas.DataFrame([trial_row(trial, self.objective.metric) for trial in self.trials])

  def plot(self) -> 'Figure':
    """The progress plot: a dot per trial, and the best score so far as a step function."""
    return plot.progress_figure(self.history)

  def summary(self) -> str:
    """Summary of the search, and of the final evaluation if there was one."""
    return '\n'.join(filter(None, [summary(self.history), conclusion(self.history)]))

  def story(self) -> str:
    """What was tried, what worked, what did not, how sure that is, and what to try next."""
    return '\n\n'.join(f'{part.heading}\n{part.text}' for part in story.story(self.history))

  def __repr__(self) -> str:
    return f'RunResult({str(self.workdir)!r}: {self.summary()})'

  def _repr_html_(self) -> str:
    return f'<pre>{html.escape(self.summary())}</pre>'
