"""The score, and the proof that it was earned. Called by the runner, on its own data alone.

Bits per byte is the original's: the nats of all targets over ln 2 times their UTF-8 bytes, with
targets that are special tokens (zero bytes) left out of both sums. The proof runs the very
executable that scores, on inputs whose later positions and other rows were exchanged for other
validation text: what was scored before must come out the same.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from autoresearch_jax.data import loader
from autoresearch_jax.trial.compiled import Compiled
from autoresearch_jax.types import Dataset

# Nats by which a target's score may move when what must not matter is changed: XLA gives equal
# bits for equal inputs to one executable, so this only forgives a -0.0 or a reordered reduction.
TOLERANCE = 1e-4
MOST_PROOFS = 4  # evaluation batches that are proven, each on every one of its rows


class NotAllowed(Exception):
  """The outputs depend on what they must not see; the sentence says on what."""


@dataclasses.dataclass(frozen=True)
class _Batch:
  """inputs, targets: host arrays. nats, correct: of each target, on the host."""

  inputs: np.ndarray
  targets: np.ndarray
  nats: np.ndarray
  correct: np.ndarray


def evaluate(compiled: Compiled, leaves: Any, dataset: Dataset, seed: int) -> dict[str, float]:
  """The metrics of a trained state on the validation slice. Raises NotAllowed.

  Language models: val_bpb (bits a byte), val_loss (nats a token). Supervised problems: val_loss
  (nats an example), val_accuracy. A state that gives NaN has NaN metrics. seed: picks where the
  proof cuts.
  """
  batches = [_score(compiled, leaves, batch) for batch in _validation(dataset)]
  rng = np.random.default_rng([seed, len(batches)])
  language = dataset.kind == 'language_model'
  for index in range(min(MOST_PROOFS, len(batches))):
    other = batches[(index + 1) % len(batches)]
    _prove_rows(compiled, leaves, batches[index], other)
    if language:
      _prove_causal(compiled, leaves, batches[index], other, rng)
  if language:
    return bits_per_byte(batches, np.load(dataset.token_bytes))
  nats = np.concatenate([batch.nats for batch in batches]).astype(np.float64)
  return {
    'val_loss': float(nats.mean()),
    'val_accuracy': float(np.concatenate([batch.correct for batch in batches]).mean()),
  }


def bits_per_byte(batches: list[_Batch], token_bytes: np.ndarray) -> dict[str, float]:
  """Sums over all batches. token_bytes: int32 [vocab], 0 for special tokens."""
  nats = total_bytes = tokens = 0.0
  for batch in batches:
    lengths = token_bytes[batch.targets]
    counted = lengths > 0
    nats += float(batch.nats[counted].astype(np.float64).sum())
    total_bytes += float(lengths.sum())
    tokens += float(counted.sum())
  return {'val_bpb': nats / (math.log(2) * total_bytes), 'val_loss': nats / tokens}


def _validation(dataset: Dataset) -> Iterator[dict[str, np.ndarray]]:
  if not pathlib.Path(dataset.validation).exists():
    raise FileNotFoundError(f'The validation data are missing: {dataset.validation}.')
  return loader.validation(dataset)


def _nats(
  compiled: Compiled, leaves: Any, inputs: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  nats, correct = compiled.nats(leaves, compiled.place(inputs), compiled.place(targets))
  return np.asarray(nats), np.asarray(correct)


def _score(compiled: Compiled, leaves: Any, batch: dict[str, np.ndarray]) -> _Batch:
  inputs, targets = batch['inputs'], batch['targets']
  return _Batch(inputs, targets, *_nats(compiled, leaves, inputs, targets))


def _prove_rows(compiled: Compiled, leaves: Any, batch: _Batch, other: _Batch) -> None:
  """Exchanges every second row, once the odd and once the even ones; the rest must not move."""
  for first in (0, 1):
    inputs = batch.inputs.copy()
    inputs[first::2] = np.roll(other.inputs, 1, axis=0)[first::2]
    nats, _ = _nats(compiled, leaves, inputs, batch.targets)
    if _moved(nats[1 - first :: 2], batch.nats[1 - first :: 2]).any():
      raise NotAllowed(
        'The output of one row depends on the other rows of its batch. Normalise and mix over '
        'the features or the time of a row, never over the batch, in `predict`.'
      )


def _prove_causal(
  compiled: Compiled, leaves: Any, batch: _Batch, other: _Batch, rng: np.random.Generator
) -> None:
  """Exchanges what comes after a cut, one for each row; scores up to the cut must not move."""
  rows, time = batch.inputs.shape
  cuts = (np.arange(rows) + rng.random(rows)) * (time - 1) / rows
  seen = np.arange(time) <= rng.permutation(cuts).astype(int)[:, None]
  inputs = np.where(seen, batch.inputs, np.roll(other.inputs, 1, axis=0))
  nats, _ = _nats(compiled, leaves, inputs, batch.targets)
  moved = _moved(nats, batch.nats) & seen
  if moved.any():
    row = int(np.argmax(moved.any(axis=1)))
    position = int(np.argmax(moved[row]))
    raise NotAllowed(
      f'The output at position {position} depends on inputs after position '
      f'{int(seen[row].sum()) - 1}: the model looks ahead. Mask attention, convolutions and '
      'normalisations over time so that each position sees itself and the past alone.'
    )


def _moved(now: np.ndarray, before: np.ndarray) -> np.ndarray:
  """Where a finite score changed; one that is not finite makes the whole trial diverge anyway."""
  still = np.abs(now - before) <= TOLERANCE * np.maximum(1.0, np.abs(before))
  return ~still & np.isfinite(before)
