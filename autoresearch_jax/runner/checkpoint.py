"""Checkpoints of a long training run, from which it continues after its process was lost.

Every few minutes, and when the process is asked to end, `train` drains its queue, stops the clock,
and hands the state over: the leaves, the clock, the meter of the budget, the curve, and the number
of batches consumed. Orbax writes them while training goes on. A continued run takes the same steps
on the same batches, so with a budget in steps its result is the same to the bit. The devices may be
others, or fewer.
"""

import dataclasses
import pathlib
import threading
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from autoresearch_jax.runner.process import before_end
from autoresearch_jax.types import CheckpointPlan

LONG = 3  # a run that is expected to take so many intervals is long enough to be saved
KEPT = 2  # checkpoints on disk
SAVE_SECONDS = 6.0  # for the last checkpoint of a process that ends


@dataclasses.dataclass
class TrainState:
  """What a training run is continued from.

  Attributes:
    leaves: Leaves of the state, on the devices or on the host.
    steps: Train steps.
    tokens: Tokens (examples).
    flops: FLOPs, all devices together.
    batches: Batches of each phase that were trained on.
    dispatched: Used part of a budget that is not in seconds, in its unit.
    progress: Progress at the last step.
    clock: `Clock.state`.
    rungs_left: Pruning rungs that were not reached yet.
    losses: Losses of all steps since the last rung.
    metrics: The program's metrics at the last step.
    curve: (progress, loss) so far.
    evaluations: (progress, training loss, validation loss) at the rungs that were reached.
  """

  leaves: Any
  steps: int
  tokens: int
  flops: float
  batches: list[int]
  dispatched: float
  progress: float
  clock: dict[str, float]
  rungs_left: int
  losses: list[float]
  metrics: dict[str, float]
  curve: list[tuple[float, float]]
  evaluations: list[tuple[float, float, float]] = dataclasses.field(default_factory=list)


class Checkpointer:
  """Saves one training run in a folder of its own, and finds its latest checkpoint.

  Orbax is imported only once a run turns out to be long, or has a checkpoint.

  Attributes:
    resumed: What the run continues from; None for its beginning.
    evaluations: Those at the run's rungs, as in TrainState.
  """

  def __init__(self, plan: CheckpointPlan):
    """Reads the latest checkpoint, if there is one."""
    self._folder, self._seconds = pathlib.Path(plan.folder), plan.seconds
    self._last = time.monotonic()
    self._manager: Any = None
    self._failed = False
    self._is_long = False
    self._ending = threading.Event()
    self._closed = threading.Event()
    before_end[:] = [self._save_before_end]
    self.resumed = self._latest()
    self.evaluations = self.resumed.evaluations if self.resumed else []

  def is_due(self, wall_seconds: float, fraction: float) -> bool:
    """Whether to save now.

    Args:
      wall_seconds: Training time so far.
      fraction: Fraction of the budget used so far.
    """
    self._is_long = 0 < fraction < 1 and wall_seconds / fraction >= LONG * self._seconds
    if self._failed or self._closed.is_set() or not self._is_long:
      return False
    return self._ending.is_set() or time.monotonic() - self._last >= self._seconds

  def save(self, state: TrainState) -> None:
    """Copies the state to the host, and writes it in the background. Failures end the saving."""
    try:
      import orbax.checkpoint as ocp  # noqa: PLC0415 - takes a second, and few runs need it

      # A copy, since the next step overwrites the buffers; orbax stores no empty arrays.
      leaves = [np.array(leaf) for leaf in jax.tree.leaves(state.leaves) if leaf.size]
      state = dataclasses.replace(state, leaves=None, evaluations=self.evaluations)
      numbers = dataclasses.asdict(state)
      self._opened(ocp).save(
        state.steps,
        args=ocp.args.Composite(
          leaves=ocp.args.StandardSave(leaves), numbers=ocp.args.JsonSave(numbers)
        ),
      )
    except Exception as error:  # a full disk must not end a trial
      print(f'No checkpoint can be written to {self._folder}: {error!r}')
      self._failed = True
    self._last = time.monotonic()
    if self._ending.is_set():
      self.close()

  def _save_before_end(self) -> None:
    """Waits until a long run is saved once more. Another thread than that of the run calls it."""
    if self._is_long and not self._failed:
      self._ending.set()
      self._closed.wait(SAVE_SECONDS)

  def _latest(self) -> TrainState | None:
    """Reads the latest whole checkpoint, with its leaves on the host; None if there is none."""
    if not self._folder.is_dir():
      return None
    import orbax.checkpoint as ocp  # noqa: PLC0415

    manager = self._opened(ocp)
    for step in sorted(manager.all_steps(), reverse=True):
      try:
        found = manager.restore(
          step,
          args=ocp.args.Composite(
            leaves=ocp.args.StandardRestore(), numbers=ocp.args.JsonRestore()
          ),
        )
        return TrainState(**{**found['numbers'], 'leaves': list(found['leaves'])})
      except Exception as error:  # cut off, or from another version
        print(f'The checkpoint {step} in {self._folder} cannot be read: {error!r}')
    return None

  def close(self) -> None:
    """Waits until the last checkpoint is written; there are no further ones."""
    if self._manager is not None:
      try:
        self._manager.wait_until_finished()
        self._manager.close()
      except Exception as error:
        print(f'The last checkpoint in {self._folder} was not written: {error!r}')
      self._manager = None
    self._closed.set()

  def _opened(self, ocp: Any) -> Any:
    if self._manager is None:
      self._folder.mkdir(parents=True, exist_ok=True)  # orbax would wait for minutes and fail
      options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=True)
      self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)
    return self._manager


def restored_leaves(initial: Any, saved: Sequence[np.ndarray]) -> Any:
  """Puts saved leaves on the devices where the leaves of `init` are.

  Args:
    initial: Leaves as `init` returns them.
    saved: Those that are not empty, in the same order.

  Raises:
    ValueError: Their shapes or types differ: the checkpoint is of another program.
  """
  leaves, tree = jax.tree.flatten(initial)
  waiting = list(saved)
  if len([leaf for leaf in leaves if leaf.size]) != len(waiting):
    raise ValueError(f'The checkpoint has {len(waiting)} leaves, which are not those of `init`.')
  made = []
  for leaf in leaves:
    array = waiting.pop(0) if leaf.size else None
    if array is not None and (array.shape, array.dtype) != (leaf.shape, leaf.dtype):
      raise ValueError(
        f'The checkpoint has {array.dtype} {array.shape} where `init` has {leaf.dtype} '
        f'{leaf.shape}.'
      )
    made.append(leaf if array is None else jax.device_put(array, leaf.sharding))
  return jax.tree.unflatten(tree, made)
