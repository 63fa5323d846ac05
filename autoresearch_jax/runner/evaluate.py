"""The score, and the proof that it was earned. Called by the runner, on its own data alone.

Bits per byte is the original's: the nats of all targets over ln 2 times their UTF-8 bytes, with
targets that are special tokens (zero bytes) left out of both sums. The proof runs the very
executable that scores once more for each batch: every row again, in other company, and with other
validation text after a cut. What was scored before must come out the same. A construction has no
inputs to cheat with: a verifier of the problem's, in float64 and without jax, scores what was
built. `predict` runs after the clock, so what it may take there is bounded.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from autoresearch_jax.data import loader
from autoresearch_jax.problems.verifiers import VERIFIERS, Refused, Verifier
from autoresearch_jax.runner.compile import Compiled
from autoresearch_jax.types import Dataset, test_metric

# Nats by which a target's score may move when what must not matter is changed: XLA gives equal
# bits for equal inputs to one executable, so this only forgives a -0.0 or a reordered reduction.
TOLERANCE = 1e-4
WHOLE = 4  # one row is proved to its end for so many that are up to a cut
ENOUGH = 3  # batches, so that most rows have other company when they are dealt anew
# What `predict` may take to show a construction: this share of the training time, or so many
# seconds, by the fastest of some calls, so that a busy machine is not held against a program.
SHOW_SHARE, SHOW_SECONDS, SHOW_CALLS = 0.05, 0.005, 5
# Elsewhere `predict` may take this many times what training took for as many tokens (examples); a
# forward pass takes a third of it. Else a program could keep its batches and train in `predict`.
# Here too the fastest counts: of the validation slice's batches, or of SHOW_CALLS calls.
PREDICT_STEPS = 8.0


_MIXES = (
  'The output of one row depends on the other rows of its batch. In `predict`, normalise '
  'and mix over the features or the time of a row, never over the batch.'
)
_AHEAD = (
  'The output at a position depends on inputs after it: the model looks ahead. Mask '
  'attention, convolutions and normalisations over time so that each position sees itself '
  'and the past alone.'
)


class NotAllowed(Exception):
  """The outputs depend on what they must not see, or build what is none; the sentence says it."""


@dataclasses.dataclass(frozen=True)
class Scored:
  """An evaluation batch and its score, on the host.

  inputs: as the loader gives them. targets, nats, correct: [batch, time] for language models,
  [batch] for supervised problems.
  """

  inputs: np.ndarray
  targets: np.ndarray
  nats: np.ndarray
  correct: np.ndarray


def evaluate(
  compiled: Compiled,
  leaves: Any,
  dataset: Dataset,
  rng: np.random.Generator,
  alive: Callable[[], None],
  training_seconds: float,
  training_tokens: int,
  on_test: bool = False,
) -> dict[str, float]:
  """The metrics of a trained state on the validation slice, or of its construction.

  on_test: on the test split instead, with the same proof, under other names (`test_metric`), so
  that no number of one is ever taken for one of the other.

  Language models: val_bpb (bits a byte), val_loss (nats a token). Supervised problems: val_loss
  (nats an example), val_accuracy. A state that gives NaN has NaN metrics. Constructions: what the
  verifier measures. Raises NotAllowed. rng: decides where the proof cuts, and nothing else; the
  program must not be able to know. alive: called after each batch, so that slow is told from stuck.
  training_seconds, training_tokens (examples): what the state took, by which the time of `predict`
  is judged.
  """
  if dataset.kind == 'construction':
    built = _shown(compiled, leaves, max(SHOW_SECONDS, SHOW_SHARE * training_seconds))
    return _verified(built, dataset)
  seconds: list[float] = []

  def score(batch: dict[str, np.ndarray]) -> Scored:
    start = time.monotonic()
    scored = _score(compiled, leaves, batch)
    seconds.append(time.monotonic() - start)
    alive()
    return scored

  batches = [score(batch) for batch in loader.validation(dataset, on_test)]
  share = batches[0].targets.size / max(1, training_tokens)
  most = max(SHOW_SECONDS, PREDICT_STEPS * share * training_seconds)
  while min(seconds) > most and len(seconds) < SHOW_CALLS:
    score({'inputs': batches[0].inputs, 'targets': batches[0].targets})
  _check_time(min(seconds), most)
  _prove(compiled, leaves, batches, rng, alive)
  metrics = _metrics(batches, dataset)
  return {test_metric(name): value for name, value in metrics.items()} if on_test else metrics


def glance(compiled: Compiled, leaves: Any, dataset: Dataset) -> float:
  """Nats a target of a state in training, on the first batch of the validation slice alone.

  For whoever decides whether to go on with it; no score, since nothing is proved here.
  """
  batch = _score(compiled, leaves, next(loader.validation(dataset)))
  return float(batch.nats.astype(np.float64).mean())


def _metrics(batches: list[Scored], dataset: Dataset) -> dict[str, float]:
  if dataset.kind == 'language_model':
    return bits_per_byte(batches, np.load(dataset.token_bytes))
  nats = np.concatenate([batch.nats for batch in batches]).astype(np.float64)
  return {
    'val_loss': float(nats.mean()),
    'val_accuracy': float(np.concatenate([batch.correct for batch in batches]).mean()),
  }


def _check_time(seconds: float, most: float) -> None:
  """Raises NotAllowed when `predict` takes too long for a batch."""
  if seconds > most:
    raise NotAllowed(
      f'`predict` takes {seconds:.3f} s for a batch, and {most:.3f} s are allowed, '
      f'{PREDICT_STEPS:g} times what training took for as much. It runs outside of the budget, so '
      'let `train_step` do the work.'
    )


def _shown(compiled: Compiled, leaves: Any, max_seconds: float) -> np.ndarray:
  """What `predict` builds, float32 on the host. Raises NotAllowed when it goes on training."""
  empty, fastest = compiled.place(np.zeros(0, np.float32)), math.inf
  for _ in range(SHOW_CALLS):
    start = time.monotonic()
    built = np.asarray(compiled.score(leaves, empty))
    fastest = min(fastest, time.monotonic() - start)
    if fastest <= max_seconds:
      return built
  raise NotAllowed(
    f'`predict` takes {fastest:.3f} s to show the construction, and {max_seconds:.3f} s are '
    'allowed. It runs outside of the budget, so let `train_step` improve the construction.'
  )


def _verified(built: np.ndarray, dataset: Dataset) -> dict[str, float]:
  """What the problem's verifier makes of the construction. Raises NotAllowed."""
  verifier: Verifier = VERIFIERS.make(dataset.verifier)
  try:
    return verifier.verify(built.astype(np.float64))
  except Refused as error:
    raise NotAllowed(str(error)) from None


def bits_per_byte(batches: list[Scored], token_bytes: np.ndarray) -> dict[str, float]:
  """Sums over all batches. token_bytes: int32 [vocab], 0 for special tokens."""
  nats = total_bytes = tokens = 0.0
  for batch in batches:
    lengths = token_bytes[batch.targets]
    counted = lengths > 0
    nats += float(batch.nats[counted].astype(np.float64).sum())
    total_bytes += float(lengths.sum())
    tokens += float(counted.sum())
  return {'val_bpb': nats / (math.log(2) * total_bytes), 'val_loss': nats / tokens}


def _nats(
  compiled: Compiled, leaves: Any, inputs: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  nats, correct = compiled.score(leaves, compiled.place(inputs), compiled.place(targets))
  return np.asarray(nats), np.asarray(correct)


def _score(compiled: Compiled, leaves: Any, batch: dict[str, np.ndarray]) -> Scored:
  inputs, targets = batch['inputs'], batch['targets']
  return Scored(inputs, targets, *_nats(compiled, leaves, inputs, targets))


def _prove(
  compiled: Compiled,
  leaves: Any,
  batches: list[Scored],
  rng: np.random.Generator,
  alive: Callable[[], None],
) -> None:
  """Scores every row again among rows of other batches, its future exchanged; nothing may move.

  A row stays at its place in the batch, where XLA gives it the same bits. From which batches the
  others come and where the cuts are is drawn, so that no program can mix what is kept together.
  """
  if len(batches) < ENOUGH:  # for company, the same rows at other places
    turned = [
      {n: np.roll(getattr(b, n), 1, axis=0) for n in ('inputs', 'targets')} for b in batches
    ]
    batches = [*batches, *(_score(compiled, leaves, batch) for batch in turned)]
  places = _places(len(batches), len(batches[0].targets), rng)
  for here, there in zip(places, np.roll(places, 1, axis=0), strict=True):
    mixed = _dealt(batches, here)
    strange = _moved_in_time(_dealt(batches, there), rng)
    kept = _pasts(mixed.targets, rng)
    if _moves(compiled, leaves, mixed, strange, kept):
      whole = np.ones_like(kept)
      raise NotAllowed(_MIXES if _moves(compiled, leaves, mixed, strange, whole) else _AHEAD)
    alive()


def _places(batches: int, rows: int, rng: np.random.Generator) -> np.ndarray:
  """From which batch each row is dealt, [times, rows]: from each once, in an order of its own.

  The first time at least, rows come from all batches equally, so that even two are told apart.
  """
  turns = np.zeros((rows, batches), np.int64)
  turns[:, 1:] = rng.permuted(np.tile(np.arange(1, batches), (rows, 1)), axis=1)
  return (rng.permutation(rows) + turns.T) % batches


def _dealt(batches: list[Scored], places: np.ndarray) -> Scored:
  """A batch whose row i is that of the batch at places[i]."""

  def deal(name: str) -> np.ndarray:
    return np.stack([getattr(batches[place], name)[row] for row, place in enumerate(places)])

  return dataclasses.replace(batches[0], **{n: deal(n) for n in ('inputs', 'targets', 'nats')})


def _moved_in_time(batch: Scored, rng: np.random.Generator) -> np.ndarray:
  """The inputs, each row begun elsewhere: text of its own even where all rows are the same."""
  if batch.targets.ndim == 1:
    return batch.inputs
  return np.roll(batch.inputs, rng.integers(1, max(2, batch.targets.shape[1])), axis=1)


def _pasts(targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """What of each row is kept: all up to a cut of its own, the cuts spread over all time.

  Some rows are kept to their ends, so that what only the last positions mix is seen too. Where
  there is no time, all are.
  """
  if targets.ndim == 1:
    return np.ones(targets.shape, bool)
  rows, time = targets.shape
  cuts = np.floor((rng.permutation(rows) + rng.random(rows)) / rows * time * (1 + 1 / WHOLE))
  return np.arange(time) <= cuts[:, None]


def _moves(
  compiled: Compiled, leaves: Any, batch: Scored, strange: np.ndarray, kept: np.ndarray
) -> bool:
  """Whether a score inside `kept` changes when all inputs outside it are exchanged."""
  mask = kept.reshape(*kept.shape, *[1] * (batch.inputs.ndim - kept.ndim))
  nats, _ = _nats(compiled, leaves, np.where(mask, batch.inputs, strange), batch.targets)
  return bool((_moved(nats, batch.nats) & kept).any())


def _moved(now: np.ndarray, before: np.ndarray) -> np.ndarray:
  """Where a finite score changed; one that is not finite makes the whole trial diverge anyway."""
  still = np.abs(now - before) <= TOLERANCE * np.maximum(1.0, np.abs(before))
  return ~still & np.isfinite(before)
