"""Trains a program as one would by hand: a loop over a jitted step, with JAX's own settings.

`measure.plain_sides` starts it as a process of its own, since XLA's settings are read once. It
reads PlainRequests from stdin, one JSON object a line, and answers each with a PlainRun. It imports
the program, so nothing isolates that from this machine.
"""

import dataclasses
import itertools
import os
import pathlib
import sys
import time
from typing import Any

import jax
import msgspec
import numpy as np

from autoresearch_jax.data import loader
from autoresearch_jax.tracer.flat_program import FlatProgram
from autoresearch_jax.tracer.importing import import_entry
from autoresearch_jax.types import Dataset, Spec


@dataclasses.dataclass(frozen=True)
class PlainRequest:
  """A training.

  Attributes:
    steps: How many.
    folder: Folder with the program's files.
    entry: Name of the entry file.
    spec: The problem.
    dataset: Its data.
    seed: Seed of the initial state and of the order of the data.
  """

  steps: int
  folder: str
  entry: str
  spec: Spec
  dataset: Dataset
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class PlainRun:
  """What a training took.

  Attributes:
    seconds: From `init` until the last step is done.
    init_seconds: The part of `init`.
    loss: At the last step.
  """

  seconds: float
  init_seconds: float
  loss: float


class PlainLoop:
  """A program's first phase, trained on the batches that a trial would draw, from memory."""

  def __init__(self, setup: PlainRequest):
    module = import_entry(pathlib.Path(setup.folder), setup.entry)
    phase = FlatProgram(module, setup.entry, setup.spec).phases()[0]
    self._key = jax.random.key(setup.seed)
    self._init = jax.jit(lambda key: module.init(key, setup.spec))
    self._step = jax.jit(module.train_step, donate_argnums=0)
    self._feed = loader.batches(setup.dataset, phase.batch_size, phase.sequence_length, setup.seed)
    next(self._feed)  # the runner's warm-up
    self._batches: list[dict[str, np.ndarray]] = []

  def run(self, steps: int) -> PlainRun:
    """Trains a new state."""
    self._batches += itertools.islice(self._feed, max(0, steps - len(self._batches)))
    metrics: dict[str, Any] = {}
    start = time.perf_counter()
    state = jax.block_until_ready(self._init(self._key))
    init_seconds = time.perf_counter() - start
    for i in range(steps):
      state, metrics = self._step(state, self._batches[i], np.float32(i / steps))
    jax.block_until_ready((state, metrics))
    return PlainRun(time.perf_counter() - start, init_seconds, float(metrics['loss']))


def main() -> None:
  """Serves requests."""
  replies = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what the program prints
  folder, loop = '', None
  for line in sys.stdin:
    request = msgspec.json.decode(line, type=PlainRequest)
    try:
      if loop is None or request.folder != folder:
        folder, loop = request.folder, PlainLoop(request)
      reply = loop.run(request.steps)
    except Exception as error:
      loop, reply = None, {'error': f'{type(error).__name__}: {error}'}
    print(msgspec.json.encode(reply).decode(), file=replies, flush=True)


if __name__ == '__main__':
  main()
