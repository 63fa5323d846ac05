"""Evaluates a trained state on data that only the runner reads, and checks that it did not cheat.

Bits per byte: the sum of the losses of all targets in nats, over ln 2 times their UTF-8 bytes.
Targets that are special tokens (zero bytes) count in neither sum.

Leakage check: rescores rows in reshuffled batches (batch independence) and with the tokens after a
random position replaced (causality). It uses the executable that computed the score, and the losses
must stay the same.

A construction has no inputs, so there is nothing to leak: the problem's verifier, in float64 and
without jax, scores what `predict` returns. `predict` runs after the clock, so its time is bounded.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from autoresearch_jax.config import Limits
from autoresearch_jax.data import loader
from autoresearch_jax.problems import metrics as supervised
from autoresearch_jax.problems.verifiers import VERIFIERS, InvalidConstruction, Verifier
from autoresearch_jax.runner.compile import CompiledProgram
from autoresearch_jax.runner.own_metrics import OwnMetrics
from autoresearch_jax.types import TARGET_METRIC, Dataset, test_metric

# Relative tolerance of a loss or an output. Equal inputs give equal bits in one executable, so this
# only forgives a -0.0 or a reordered reduction. Below the standard deviation of the targets of a
# regression, or else below 1, it is a fraction of that.
TOLERANCE = 1e-4
MAX_EXPONENT = 700.0  # of exp in float64
PREFIXES_PER_FULL_ROW = 4  # of the rows that are rescored, one in five keeps all of its tokens
MIN_BATCHES = 3  # so that most rows have other neighbours in the reshuffled batches
# Time limit of `predict` for a construction: a fraction of the training time, or so many seconds.
# The fastest of some calls counts, so that a busy machine does not fail a program.
CONSTRUCTION_TIME_FRACTION, MIN_PREDICT_SECONDS, PREDICT_CALLS = 0.05, 0.005, 5
# Elsewhere `predict` may take limits.predict_seconds, or this many times what training took for as
# many tokens (examples); a forward pass takes a third of that. Otherwise a program could store its
# batches and train in `predict`. The fastest of all validation batches counts, or of PREDICT_CALLS.
MAX_PREDICT_TIME_RATIO = 8.0

_NOT_BATCH_INDEPENDENT = (
  'The output of one row depends on the other rows of its batch. In `predict`, normalise '
  'and mix over the features or the time of a row, never over the batch.'
)
_NOT_CAUSAL = (
  'The output at a position depends on inputs after it: the model looks ahead. Mask '
  'attention, convolutions and normalisations over time so that each position sees only itself '
  'and the past.'
)


class EvaluationError(Exception):
  """`predict` leaks, is too slow, or returns an invalid construction; the message says which."""


@dataclasses.dataclass(frozen=True)
class ScoredBatch:
  """An evaluation batch and its losses, on the host.

  Attributes:
    inputs: Inputs, as the loader yields them.
    targets: [batch, time] for language models, [batch, ...] for supervised problems.
    losses: Losses as `CompiledProgram.score` returns them: [batch, time] or [batch].
    correct: Whether the target was the likeliest class, bool [batch]; classification only.
    outputs: What `predict` returned, [batch, ...]; a scalar for language models.
  """

  inputs: np.ndarray
  targets: np.ndarray
  losses: np.ndarray
  correct: np.ndarray
  outputs: np.ndarray


def evaluate(
  compiled: CompiledProgram,
  leaves: Any,
  dataset: Dataset,
  rng: np.random.Generator,
  heartbeat: Callable[[], None],
  training_seconds: float,
  training_tokens: int,
  on_test: bool = False,
  predict_seconds: float = Limits.predict_seconds,
  own: OwnMetrics | None = None,
) -> dict[str, float]:
  """The metrics of a trained state.

  Language models: val_bpb (bits per byte) and val_loss (nats per token). Supervised problems:
  val_loss (nats per example) and val_accuracy, or those that the dataset names. Constructions:
  those of the problem's verifier. A state whose outputs are NaN has NaN metrics.

  Args:
    compiled: The program, with its constants bound.
    leaves: Leaves of the state.
    dataset: The data; the validation split is used.
    rng: Source of the leakage check's randomness, which the program must not be able to predict. It
      does not affect the metrics.
    heartbeat: Called after each batch, to distinguish a slow evaluation from one that hangs.
    training_seconds: Training time of the state, which bounds the time of `predict`.
    training_tokens: Tokens (examples) that it was trained on.
    on_test: Use the test split, with the same checks. The metrics are renamed (`test_metric`), so
      that they are never mistaken for validation metrics.
    predict_seconds: Time of `predict` for a batch that is always allowed.
    own: Metrics of the user's own.

  Raises:
    EvaluationError: `predict` leaks, is too slow, or returns an invalid construction.
    OwnMetricError: Metrics of the user's own cannot be read.
  """
  if dataset.kind == 'construction':
    limit = max(MIN_PREDICT_SECONDS, CONSTRUCTION_TIME_FRACTION * training_seconds)
    return _verify(_predict_construction(compiled, leaves, limit), dataset)
  seconds: list[float] = []

  def score(batch: dict[str, np.ndarray]) -> ScoredBatch:
    start = time.monotonic()
    scored = _score(compiled, leaves, batch)
    seconds.append(time.monotonic() - start)
    heartbeat()
    return scored

  batches = [score(batch) for batch in loader.validation(dataset, on_test)]
  ratio = batches[0].losses.size / max(1, training_tokens)
  limit = max(predict_seconds, MAX_PREDICT_TIME_RATIO * ratio * training_seconds)
  while min(seconds) > limit and len(seconds) < PREDICT_CALLS:
    score({'inputs': batches[0].inputs, 'targets': batches[0].targets})
  _check_predict_time(min(seconds), limit)
  _check_leakage(compiled, leaves, batches, rng, heartbeat)
  examples = loader.held_out_examples(dataset, on_test)
  metrics = _metrics(batches, dataset, examples)
  if own is not None:
    outputs, targets = (_joined(batches, name, examples) for name in ('outputs', 'targets'))
    metrics |= own.measure(outputs, targets, on_test)
  return {test_metric(name): value for name, value in metrics.items()} if on_test else metrics


def first_batch_loss(compiled: CompiledProgram, leaves: Any, dataset: Dataset) -> float:
  """Mean loss on the first validation batch, per target or example, of a state in training.

  For pruning; not a score, since leakage is not checked.
  """
  batch = _score(compiled, leaves, next(loader.validation(dataset)))
  return float(batch.losses.astype(np.float64).mean())


def validation_loss(
  compiled: CompiledProgram, leaves: Any, dataset: Dataset, heartbeat: Callable[[], None]
) -> float:
  """The metric `val_loss` of a state in training. Not a score, since leakage is not checked.

  Args:
    compiled: The program, with its constants bound.
    leaves: Leaves of the state.
    dataset: The data; the validation split is used.
    heartbeat: Called after each batch.
  """
  batches = []
  for batch in loader.validation(dataset):
    batches.append(_score(compiled, leaves, batch))
    heartbeat()
  return _metrics(batches, dataset, loader.held_out_examples(dataset))[TARGET_METRIC]


def bits_per_byte(batches: list[ScoredBatch], token_bytes: np.ndarray) -> dict[str, float]:
  """val_bpb and val_loss over all batches.

  Args:
    batches: Batches of a language model.
    token_bytes: UTF-8 bytes of each token, int32 [vocab]; 0 for special tokens.
  """
  nats = total_bytes = tokens = 0.0
  for batch in batches:
    lengths = token_bytes[batch.targets]
    counted = lengths > 0
    nats += float(batch.losses[counted].astype(np.float64).sum())
    total_bytes += float(lengths.sum())
    tokens += float(counted.sum())
  return {'val_bpb': nats / (math.log(2) * total_bytes), 'val_loss': nats / tokens}


def _metrics(batches: list[ScoredBatch], dataset: Dataset, examples: int) -> dict[str, float]:
  """The metrics of a dataset, over its first `examples`: later ones pad the last batch."""
  if dataset.kind == 'language_model' and not dataset.token_bytes:
    losses = np.concatenate([batch.losses for batch in batches])
    return {'val_loss': float(losses.astype(np.float64).mean())}
  if dataset.kind == 'language_model':
    found = bits_per_byte(batches, np.load(dataset.token_bytes))
    if 'val_perplexity' in dataset.metrics:
      found['val_perplexity'] = math.exp(min(found['val_loss'], MAX_EXPONENT))
    return found
  if not dataset.metrics:
    losses = _joined(batches, 'losses', examples).astype(np.float64)
    correct = _joined(batches, 'correct', examples)
    return {'val_loss': float(losses.mean()), 'val_accuracy': float(correct.mean())}
  outputs, targets = (_joined(batches, name, examples) for name in ('outputs', 'targets'))
  return supervised.measure(dataset, outputs, targets)


def _joined(batches: list[ScoredBatch], name: str, examples: int) -> np.ndarray:
  """A field of all batches, of the first `examples`."""
  return np.concatenate([getattr(batch, name) for batch in batches])[:examples]


def _check_predict_time(seconds: float, limit: float) -> None:
  """Raises EvaluationError when `predict` takes longer than `limit` for a batch."""
  if seconds > limit:
    raise EvaluationError(
      f'`predict` takes {seconds:.3f} s for a batch; the limit is {limit:.3f} s, the larger of '
      f'limits.predict_seconds and {MAX_PREDICT_TIME_RATIO:g} times what training took for as many '
      'targets. It runs outside of the budget, so move the work to `train_step`, or raise '
      'limits.predict_seconds.'
    )


def _predict_construction(compiled: CompiledProgram, leaves: Any, max_seconds: float) -> np.ndarray:
  """The construction that `predict` returns, float32. Raises EvaluationError if that is slow."""
  empty, fastest = compiled.device_put(np.zeros(0, np.float32)), math.inf
  for _ in range(PREDICT_CALLS):
    start = time.monotonic()
    construction = np.asarray(compiled.score(leaves, empty))
    fastest = min(fastest, time.monotonic() - start)
    if fastest <= max_seconds:
      return construction
  raise EvaluationError(
    f'`predict` takes {fastest:.3f} s to return the construction; the limit is {max_seconds:.3f} '
    's. It runs outside of the budget, so improve the construction in `train_step`.'
  )


def _verify(construction: np.ndarray, dataset: Dataset) -> dict[str, float]:
  """The metrics of the problem's verifier. Raises EvaluationError for an invalid construction."""
  verifier: Verifier = VERIFIERS.make(dataset.verifier)
  try:
    return verifier.verify(construction.astype(np.float64))
  except InvalidConstruction as error:
    raise EvaluationError(str(error)) from None


def _losses(
  compiled: CompiledProgram, leaves: Any, inputs: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Losses, correctness and outputs (see `CompiledProgram.score`), on the host."""
  losses, correct, outputs = compiled.score(
    leaves, compiled.device_put(inputs), compiled.device_put(targets)
  )
  return np.asarray(losses), np.asarray(correct), np.asarray(outputs)


def _score(compiled: CompiledProgram, leaves: Any, batch: dict[str, np.ndarray]) -> ScoredBatch:
  inputs, targets = batch['inputs'], batch['targets']
  return ScoredBatch(inputs, targets, *_losses(compiled, leaves, inputs, targets))


def _check_leakage(
  compiled: CompiledProgram,
  leaves: Any,
  batches: list[ScoredBatch],
  rng: np.random.Generator,
  heartbeat: Callable[[], None],
) -> None:
  """Rescores every row among rows of other batches, with its future replaced.

  A row stays at its index in the batch, where XLA gives it the same bits. Which batches the other
  rows come from, and where the futures begin, is random, so a program cannot group rows in a way
  that survives reshuffling.

  Raises:
    EvaluationError: a loss changed.
  """
  if len(batches) < MIN_BATCHES:  # as neighbours, add the same rows at other indices
    rolled = [
      {n: np.roll(getattr(b, n), 1, axis=0) for n in ('inputs', 'targets')} for b in batches
    ]
    batches = [*batches, *(_score(compiled, leaves, batch) for batch in rolled)]
  scale = _target_scale(batches)
  sources = _reshuffle(len(batches), len(batches[0].targets), rng)
  for rows, replacements in zip(sources, np.roll(sources, 1, axis=0), strict=True):
    batch = _gather(batches, rows)
    replacement = _shift_in_time(_gather(batches, replacements), rng)
    kept = _prefix_mask(batch.losses, rng)
    if _changes(compiled, leaves, batch, replacement, kept, scale):
      unmasked = np.ones_like(kept)
      rows_leak = _changes(compiled, leaves, batch, replacement, unmasked, scale)
      raise EvaluationError(_NOT_BATCH_INDEPENDENT if rows_leak else _NOT_CAUSAL)
    heartbeat()


def _target_scale(batches: list[ScoredBatch]) -> np.ndarray:
  """Standard deviation of each target element in a regression, [...]; 1 where it is 0, and else."""
  targets = np.concatenate([batch.targets for batch in batches])
  if targets.dtype.kind != 'f':
    return np.ones(())
  std = targets.astype(np.float64).std(axis=0)
  return np.where(std > 0, std, 1.0)


def _reshuffle(batches: int, rows: int, rng: np.random.Generator) -> np.ndarray:
  """Reshuffled batches: which batch each row comes from, [batches, rows].

  Each row index visits every batch once, in random order. In the first reshuffled batch, all
  batches contribute equally many rows, so that even two batches are mixed.
  """
  turns = np.zeros((rows, batches), np.int64)
  turns[:, 1:] = rng.permuted(np.tile(np.arange(1, batches), (rows, 1)), axis=1)
  return (rng.permutation(rows) + turns.T) % batches


def _gather(batches: list[ScoredBatch], sources: np.ndarray) -> ScoredBatch:
  """A batch whose row i is row i of the batch with index sources[i]."""

  def gather(name: str) -> np.ndarray:
    return np.stack([getattr(batches[source], name)[row] for row, source in enumerate(sources)])

  names = ['inputs', 'targets', 'losses', *(['outputs'] if batches[0].outputs.ndim else [])]
  return dataclasses.replace(batches[0], **{name: gather(name) for name in names})


def _shift_in_time(batch: ScoredBatch, rng: np.random.Generator) -> np.ndarray:
  """The inputs, rolled over time, so that they differ even where all rows are equal."""
  if batch.losses.ndim == 1:
    return batch.inputs
  return np.roll(batch.inputs, rng.integers(1, max(2, batch.targets.shape[1])), axis=1)


def _prefix_mask(losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Which positions of each row are kept: a prefix of random length, bool, shaped as `losses`.

  The lengths are spread over all of time. Some rows are kept as a whole, so that leakage between
  rows at the last positions is detected too. Without a time axis, everything is kept.
  """
  if losses.ndim == 1:
    return np.ones(losses.shape, bool)
  rows, time = losses.shape
  fractions = (rng.permutation(rows) + rng.random(rows)) / rows
  cuts = np.floor(fractions * time * (1 + 1 / PREFIXES_PER_FULL_ROW))
  return np.arange(time) <= cuts[:, None]


def _changes(
  compiled: CompiledProgram,
  leaves: Any,
  batch: ScoredBatch,
  replacement: np.ndarray,
  kept: np.ndarray,
  scale: np.ndarray,
) -> bool:
  """Whether a loss inside `kept`, or an output, changes when inputs outside of it are replaced.

  `scale` is that of the targets: the loss of a regression is the mean of their squared errors.
  """
  mask = kept.reshape(*kept.shape, *[1] * (batch.inputs.ndim - kept.ndim))
  inputs = np.where(mask, batch.inputs, replacement)
  losses, _, outputs = _losses(compiled, leaves, inputs, batch.targets)
  if batch.outputs.ndim and _differs(outputs, batch.outputs, scale).any():
    return True
  return bool((_differs(losses, batch.losses, np.square(scale).mean()) & kept).any())


def _differs(values: np.ndarray, before: np.ndarray, scale: np.ndarray) -> np.ndarray:
  """Where a finite value changed. Losses that are not finite make the trial diverge anyway."""
  with np.errstate(invalid='ignore'):  # inf - inf
    equal = np.abs(values - before) <= TOLERANCE * np.maximum(scale, np.abs(before))
  return ~equal & np.isfinite(before)
