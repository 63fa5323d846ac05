"""The base class of runners. `server` has one of them, for the kind of its problem."""

import abc
from collections.abc import Callable, Sequence
from typing import Any

from autoresearch_jax.config import Limits
from autoresearch_jax.runner import devices
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.types import Budget, CheckpointPlan, PruningRung, SavePlan, Status


class Runner(abc.ABC):
  """Runs programs on its devices; one method for each request that `server` serves.

  One thread calls it; any thread may call `prefetch`.

  Attributes:
    limits: Limits of a trial.
    devices: The local devices.
  """

  def __init__(self, setup: RunnerSetup):
    self.limits: Limits = setup.limits
    self.devices = devices.require_platform(setup.platform)

  def describe(self) -> dict[str, Any]:
    """The devices, for the record of each trial."""
    return {
      'platform': self.devices[0].platform,
      'device': self.devices[0].device_kind,
      'num_devices': len(self.devices),
      'peak_flops': 0.0,
      'peak_source': '',
      'memory_bytes': self.memory_limit(),
      'hardware': devices.hardware(self.devices),
    }

  def memory_limit(self) -> int:
    """Bytes that a program may use on each device."""
    return self.limits.device_bytes or devices.memory_limit(self.devices[0])

  @abc.abstractmethod
  def load(self, path: str, any_devices: bool = False) -> dict[str, Any]:
    """Loads an artifact.

    Args:
      path: The artifact.
      any_devices: Whether it may have been traced for another number of devices.

    Returns:
      Its `fingerprint` and `facts`.

    Raises:
      RunnerError: It is rejected.
    """

  @abc.abstractmethod
  def compile(self) -> dict[str, Any]:
    """Compiles the loaded artifact and returns facts about that. Raises RunnerError."""

  @abc.abstractmethod
  def calibrate(self, path: str, step_seconds: float) -> dict[str, Any]:
    """Makes a program's train step the reference of calibrated clocks.

    Args:
      path: The artifact of the run's baseline.
      step_seconds: Duration of a step of the reference when the run began; 0 to measure it now.

    Returns:
      That duration as `step_seconds`.

    Raises:
      RunnerError: the artifact is rejected, or does not fit on the devices.
    """

  @abc.abstractmethod
  def run(
    self,
    seed: int,
    budget: Budget,
    on_progress: Callable[..., None],
    on_test: bool = False,
    rungs: Sequence[PruningRung] = (),
    checkpoint: CheckpointPlan | None = None,
    save: SavePlan | None = None,
    state: str = '',
    rows: str = '',
  ) -> dict[str, Any]:
    """Trains and evaluates the compiled program.

    Args:
      seed: Seed of the initial state and of the order of the data.
      budget: Training budget.
      on_progress: Called with the fraction of the budget, the step, the loss and, while it
        evaluates, 'evaluate'.
      on_test: Evaluate on the test split instead of the validation split.
      rungs: Pruning rungs.
      checkpoint: Where the run is saved if it is long, and continues if it was.
      save: Which runs leave their parameters, in the folder `state`.
      state: That folder.
      rows: File for the losses of each row at `rungs` and at the end (see `row_losses`), where
        programs train; no rung prunes then. '' for none.

    Returns:
      `measurement`, the loss `curve`, the evaluations at `rungs`, and whether parameters are
      `saved`, in the background.

    Raises:
      RunnerError: the run failed, or was pruned.
    """

  @abc.abstractmethod
  def score(self, state: str, on_test: bool, on_progress: Callable[..., None]) -> dict[str, float]:
    """Evaluates saved parameters of the compiled program, with the checks of a trial.

    Args:
      state: Folder of the parameters.
      on_test: Evaluate on the test split instead of the validation split.
      on_progress: Called after each batch, as by `run`.

    Raises:
      RunnerError: They cannot be read, or `predict` leaks.
    """

  def reference(self, path: str) -> dict[str, Any]:
    """Compiles what programs are compared with. Raises RunnerError where nothing is."""
    del path
    raise RunnerError(Status.CRASH, 'This runner compares programs with no reference.')

  def try_metrics(self) -> dict[str, float]:
    """Tries the metrics of the user's own; returns their values for constant predictions.

    By default there are none.

    Raises:
      RunnerError: One cannot be used.
    """
    return {}

  def prefetch(self, path: str, compile: bool, on_done: Callable[[], None]) -> None:
    """Prepares an artifact in the background, and then calls `on_done`. By default not at all.

    Args:
      path: The artifact.
      compile: Whether to compile it, too.
      on_done: Called from any thread.
    """
    del path, compile
    on_done()
