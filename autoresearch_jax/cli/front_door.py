"""`run` and `load_run`: the run command for scripts and notebooks."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import ml_collections

from autoresearch_jax import config as configs
from autoresearch_jax import messages
from autoresearch_jax.cli.signals import StopSignals
from autoresearch_jax.config import Config, ConfigError, from_config_dict
from autoresearch_jax.ledger.history import History
from autoresearch_jax.report import View, live
from autoresearch_jax.report.run_result import RunResult
from autoresearch_jax.report.shared_progress import SharedProgress
from autoresearch_jax.research.session import run_session

# Short names of frequently changed settings.
SHORT = {
  'max_trials': 'search.max_trials',
  'strategy': 'search.strategy',
  'strategy_options': 'search.options',
}


def run(
  config: str | os.PathLike[str] | ml_collections.ConfigDict | Config,
  workdir: str | os.PathLike[str] | None = None,
  *,
  say: Callable[[str], None] = messages.say,
  **settings: Any,
) -> RunResult:
  """Starts or resumes a run, and returns its result when it ends.

  Like `autoresearch run`, it shows its progress, and Ctrl-C (in a notebook, interrupting the
  kernel) stops it gracefully and returns the run so far. The same call resumes the run.

  Args:
    config: A shipped config, such as 'digits' or 'gpt_small:cpu', the path of a config file, a
      ConfigDict, or a Config.
    workdir: The run's folder; by default runs/NAME, with the config's name.
    say: Receives the lines of text that the command prints.
    **settings: Fields of the config to change. `max_trials`, `strategy` and `strategy_options` are
      those of `search`. Nested fields are written with two underscores, `budget__amount=30`, or as
      `**{'budget.amount': 30}`.

  Returns:
    The run so far, also if it was stopped.

  Raises:
    ConfigError: A name, field or option does not exist, or differs from that of the run in
      `workdir`.
    WorkspaceError: The folder cannot be used, for instance since another process uses it.
    LedgerError: The ledger cannot be read or replayed.

  Example:
    >>> import autoresearch_jax as ar
    >>> run = ar.run('digits', 'runs/digits', max_trials=2, final_seeds=0)
    >>> len(run.trials)
    2
  """
  made = _config(config, settings)
  directory = pathlib.Path(workdir if workdir is not None else f'runs/{made.name}')

  def view(history: History) -> View:
    return SharedProgress(live.view(history), directory)

  run_session(made, directory, say=say, make_view=view, stop=StopSignals(interactive=True))
  return RunResult.read(directory)


def load_run(workdir: str | os.PathLike[str]) -> RunResult:
  """Reads a run from its folder, also while another process continues it.

  Args:
    workdir: The run's folder.

  Raises:
    LedgerError: There is no run in the folder, or its ledger cannot be read.

  Example:
    >>> import autoresearch_jax as ar
    >>> run = ar.run('digits', 'runs/digits', max_trials=2, final_seeds=0)
    >>> ar.load_run('runs/digits').trials == run.trials
    True
  """
  return RunResult.read(pathlib.Path(workdir))


def _config(config: Any, settings: dict[str, Any]) -> Config:
  """Returns the config with the settings applied. Raises ConfigError."""
  if isinstance(config, Config):
    if settings:
      raise ConfigError('Settings cannot change a Config; pass a name or a ConfigDict instead.')
    return config
  if not isinstance(config, ml_collections.ConfigDict):
    config = configs.load(os.fspath(config))
  values: Any = config.copy_and_resolve_references().unlock()
  for name, value in settings.items():
    *above, field = SHORT.get(name, name.replace('__', '.')).split('.')
    place: Any = values
    for part in above:
      if part not in place:
        place[part] = ml_collections.ConfigDict()
      place = place[part]
    place[field] = value
  return from_config_dict(values)
