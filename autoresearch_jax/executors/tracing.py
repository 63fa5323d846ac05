"""A slot's tracer: traces each program once, and keeps the artifacts. No jax here."""

import dataclasses
import pathlib
import threading

from autoresearch_jax.executors.artifacts import ArtifactStore
from autoresearch_jax.executors.sharing import ResourceShare
from autoresearch_jax.messages import require_disk_space
from autoresearch_jax.tracer.client import TracerClient, TraceResult
from autoresearch_jax.types import Budget, Dataset, Program, Spec, Status

MAX_TRACES = 3  # of a program whose trace is killed from outside


class SlotTracer:
  """Traces programs for a slot's devices, one at a time. Thread-safe.

  Args:
    client: The tracer.
    share: The slot's share of the machine.
    artifacts: Artifacts of all slots.
    spec: The problem, at full budget.
    dataset: Data of the problem.

  Attributes:
    num_devices: Devices of the slot; 0 until it is known.
    closing: Whether the slot stops, so that killed traces are not repeated.
  """

  def __init__(
    self,
    client: TracerClient,
    share: ResourceShare,
    artifacts: ArtifactStore,
    spec: Spec,
    dataset: Dataset,
  ):
    self.num_devices = 0
    self.closing = False
    self._client, self._share, self._artifacts = client, share, artifacts
    self._spec, self._dataset = spec, dataset
    self._lock = threading.Lock()

  @property
  def busy(self) -> bool:
    """Whether it traces something."""
    return self._lock.locked()

  def trace(
    self, program: Program, budget: Budget, background: bool = False
  ) -> tuple[pathlib.Path, TraceResult, float]:
    """The program's artifact, its trace, and the seconds that took; 0 if it was traced before."""
    path = self._artifacts.path(program, budget)
    spec = dataclasses.replace(self._spec, budget=budget)
    return path, *self.trace_to(path, program, spec, background)

  def trace_to(
    self, path: pathlib.Path, program: Program, spec: Spec, background: bool = False
  ) -> tuple[TraceResult, float]:
    """The trace of a program to an artifact at `path`, and its seconds; 0 if traced before."""
    with self._artifacts.locked(path) as known:
      if known is not None:
        return known, 0.0
      path.parent.mkdir(parents=True, exist_ok=True)
      spec = dataclasses.replace(spec, num_devices=self.num_devices)
      batch = self._dataset.evaluation_batch
      with self._lock, self._share.pinned():
        traced = self._client.trace(program, spec, batch, path, background)
        for _ in range(MAX_TRACES - 1):
          if traced.killed and not self.closing:
            traced = self._client.trace(program, spec, batch, path, background)
      if traced.status != Status.OK:
        require_disk_space(path.parent)
      self._artifacts.add(path, traced)
    return traced, traced.seconds
