"""Records the losses of a training run row by row, for `autoresearch measure yardstick`.

A row is an example of a supervised problem, or a block of consecutive tokens of a language model.
The validation split is scored at every rung and at the end, the test split at the end only.

The file is an .npz, with B rows in the validation split, T in the test split and S states:

    progress           float64 [S]     fraction of the budget
    seconds            float64 [S]     training time until then, by the trial's clock
    validation         float32 [S, B]  sum of the losses of a row, in nats
    validation_targets float64 [B]     how many losses that is the sum of
    validation_bytes   float64 [B]     UTF-8 bytes of those targets; 0 unless they have bytes
    test, test_targets, test_bytes     the same of the test split, without a state axis
"""

import math
import pathlib
from typing import Any

import numpy as np

from autoresearch_jax.data import loader
from autoresearch_jax.runner.compile import CompiledProgram
from autoresearch_jax.runner.pruning import RungMonitor
from autoresearch_jax.types import Dataset, PruningRung

BLOCK_TOKENS = 32


class RowRecorder(RungMonitor):
  """Scores states of a training run row by row, while its clock is paused, and prunes none.

  Args:
    compiled: The program that trains.
    dataset: Data of a language model or a supervised problem.
    path: The file; it appears once it is complete.
  """

  def __init__(self, compiled: CompiledProgram, dataset: Dataset, path: pathlib.Path):
    super().__init__(lambda leaves: math.nan)
    self._compiled, self._dataset, self._path = compiled, dataset, path
    self._bytes = np.load(dataset.token_bytes) if dataset.token_bytes else None
    self._progress: list[float] = []
    self._seconds: list[float] = []
    self._losses: list[np.ndarray] = []

  def evaluate(self, rung: PruningRung, train_loss: float, leaves: Any, seconds: float) -> None:
    """Records the validation split at a rung."""
    del train_loss
    self._add(rung.progress, seconds, self._score(leaves, False)['losses'])

  def finish(self, leaves: Any, seconds: float) -> None:
    """Records both splits of the trained state, and writes the file."""
    validation, test = self._score(leaves, False), self._score(leaves, True)
    self._add(1.0, seconds, validation['losses'])
    part = self._path.with_name(f'{self._path.name}.part')
    with part.open('wb') as file:
      np.savez(
        file,
        progress=np.array(self._progress),
        seconds=np.array(self._seconds),
        validation=np.stack(self._losses).astype(np.float32),
        validation_targets=validation['targets'],
        validation_bytes=validation['bytes'],
        test=test['losses'].astype(np.float32),
        test_targets=test['targets'],
        test_bytes=test['bytes'],
      )
    part.rename(self._path)

  def _add(self, progress: float, seconds: float, losses: np.ndarray) -> None:
    self._progress.append(progress)
    self._seconds.append(seconds)
    self._losses.append(losses)

  def _score(self, leaves: Any, on_test: bool) -> dict[str, np.ndarray]:
    """Returns the sums of `losses`, `targets` and `bytes` of each row, float64 `[rows]`."""
    losses, lengths = [], []
    for batch in loader.validation(self._dataset, on_test):
      inputs, targets = (self._compiled.device_put(batch[n]) for n in ('inputs', 'targets'))
      losses.append(np.asarray(self._compiled.score(leaves, inputs, targets)[0], np.float64))
      if self._bytes is not None:
        lengths.append(self._bytes[batch['targets']].astype(np.float64))
    count = loader.held_out_examples(self._dataset, on_test)
    nats = np.concatenate(losses)[:count]
    width = np.concatenate(lengths)[:count] if lengths else np.zeros_like(nats)
    counted = width > 0 if lengths else np.ones(nats.shape, bool)  # special tokens have no bytes
    sums = {'losses': np.where(counted, nats, 0.0), 'targets': counted.astype(float),
            'bytes': width}  # fmt: skip
    return {name: _in_blocks(values) for name, values in sums.items()}


def _in_blocks(values: np.ndarray) -> np.ndarray:
  """Sums `[rows, time]` over blocks of time, `[rows * blocks]`; leaves `[examples]` as it is."""
  if values.ndim == 1:
    return values
  starts = np.arange(0, values.shape[1], BLOCK_TOKENS)
  return np.add.reduceat(values, starts, axis=1).ravel()
