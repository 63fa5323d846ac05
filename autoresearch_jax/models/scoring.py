"""Scores an exported model in a runner process, as a trial is scored. No jax here.

The same compiler options, checks and data give the same bits on the same machine.
"""

import pathlib
import tempfile
from collections.abc import Callable

from autoresearch_jax.config import Config
from autoresearch_jax.data import cache, own_metrics
from autoresearch_jax.models.exported import ARTIFACT, ModelError, ModelInfo, read_info
from autoresearch_jax.problems import PROBLEMS
from autoresearch_jax.runner.client import RunnerClient, RunnerError, RunnerSetup
from autoresearch_jax.types import Dataset, from_builtins


def score(
  folder: pathlib.Path, split: str = 'validation', say: Callable[[str], None] = lambda line: None
) -> dict[str, float]:
  """Returns the metrics of an exported model.

  Args:
    folder: The model's folder.
    split: `validation` or `test`.
    say: Receives progress of the data's preparation.

  Raises:
    ModelError: It cannot be scored here, or there is no such split.
  """
  if split not in ('validation', 'test'):
    raise ModelError(f'There is no split {split!r}; there are: validation, test.')
  info = read_info(folder)
  config = from_builtins(info.config, Config)
  dataset = _dataset(info, config, say)
  if split == 'test' and not dataset.test:
    raise ModelError(f'The problem {config.problem!r} of {folder} has no test split.')
  with tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as scratch:
    setup = RunnerSetup(config.platform, dataset, config.limits, str(cache.directory()))
    runner = RunnerClient(setup, pathlib.Path(scratch) / 'runner.log')
    try:
      runner.start()
      runner.wait_until_ready()
      seconds = config.limits.compile_seconds
      runner.request('load', seconds, artifact=str(folder / ARTIFACT), any_devices=True)
      runner.request('compile', seconds)
      return runner.request(
        'score', config.limits.step_seconds, state=str(folder), on_test=split == 'test'
      )
    except RunnerError as error:
      raise ModelError(f'{folder} cannot be scored: {error}') from None
    finally:
      runner.close()


def _dataset(info: ModelInfo, config: Config, say: Callable[[str], None]) -> Dataset:
  """Prepares the model's data. Raises ModelError if they differ from those of its run."""
  try:
    dataset = PROBLEMS.make(config.problem, config.data).prepare(cache.directory(), say)
  except ValueError as error:
    raise ModelError(f'The data of {config.problem!r} cannot be prepared: {error}') from None
  if dataset.fingerprint != info.dataset:
    raise ModelError(
      f'The data of {config.problem!r} differ from those of the run (fingerprint '
      f'{dataset.fingerprint[:12]}, then {info.dataset[:12]}), so scores do not compare.'
    )
  return own_metrics.exported(dataset, config.platform)
