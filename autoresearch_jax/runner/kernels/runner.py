"""The runner of kernels: compiles a program's kernel and the reference, compares them, times them.

The reference's artifact was traced without any program. A kernel is compared once per compilation,
on inputs that are drawn when the process starts; what is timed gets new inputs each time, and some
of the timed outputs are compared too.
"""

import dataclasses
import math
import pathlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from autoresearch_jax.artifact import kernel as kernel_artifact
from autoresearch_jax.artifact.fingerprint import kernel_fingerprint
from autoresearch_jax.artifact.header import ArtifactError
from autoresearch_jax.artifact.kernel import KernelArtifact
from autoresearch_jax.programs.contract import FLOATS
from autoresearch_jax.runner.base import Runner
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.kernels import gate, inputs, timing
from autoresearch_jax.runner.kernels.gate import Case, GateError
from autoresearch_jax.runner.kernels.inputs import Arrays
from autoresearch_jax.types import (
  Budget,
  CheckpointPlan,
  Cost,
  Measurement,
  PruningRung,
  SavePlan,
  Status,
  test_metric,
)

PROGRESS_SECONDS = 0.25  # between two reports
CHECKED_PAIRS = 2  # of those that are timed, whose outputs are compared
UNITS = ('seconds', 'steps')  # of a budget; a step is a pair of calls


@dataclasses.dataclass(frozen=True)
class _Reference:
  """The compiled reference.

  Attributes:
    path: Of its artifact.
    artifact: Its artifact.
    functions: Its compiled modules.
    exact: The same in float64, for the CPU; empty if it has none.
  """

  path: str
  artifact: KernelArtifact
  functions: tuple[Any, ...]
  exact: tuple[Any, ...]


class KernelRunner(Runner):
  """Compares and times kernels on its first device.

  It prefetches nothing, since compiling a later kernel would slow down what is timed.
  """

  def __init__(self, setup: RunnerSetup):
    super().__init__(setup)
    self.devices = self.devices[:1]
    self._rng = np.random.default_rng(secrets.randbits(128))
    self._reference: _Reference | None = None
    self._cases: dict[tuple[str, int], Case] = {}  # by kind and module
    self._loaded: KernelArtifact | None = None
    self._functions: tuple[Any, ...] = ()
    self._used: float | None = None  # of the tolerance, once the kernel was compared
    self._analysis_bytes = 0

  def reference(self, path: str) -> dict[str, Any]:
    """Compiles the reference, which later kernels are compared with. Raises RunnerError."""
    if self._reference is None or self._reference.path != path:
      artifact = self._read(path)
      if not artifact.kernel.is_reference:
        raise RunnerError(Status.CRASH, 'The reference is the artifact of a program.')
      count = len(artifact.modules)
      functions = tuple(self._compile(each, self.devices[0]) for each in artifact.exported[:count])
      with jax.enable_x64(True):
        exact = tuple(self._compile(e, _cpu()) for e in artifact.exported[count:])
      self._reference = _Reference(path, artifact, functions, exact)
      self._cases.clear()
    return {'float64': bool(self._reference.exact)}

  def load(self, path: str, any_devices: bool = False) -> dict[str, Any]:
    del any_devices  # it always has one
    self._loaded, self._functions, self._used = None, (), None
    reference = self._require_reference().artifact
    artifact = self._read(path)
    if dataclasses.replace(artifact.kernel, is_reference=True) != reference.kernel:
      raise RunnerError(
        Status.INVALID, 'The artifact was traced for another reference; trace the program again.'
      )
    found, wanted = (
      [f'{leaf.dtype}{list(leaf.shape)}' for leaf in each.outputs] for each in (artifact, reference)
    )
    if found != wanted:
      raise RunnerError(
        Status.INVALID,
        f'`kernel` returns {", ".join(found)}, and the reference {", ".join(wanted)}; return '
        'outputs of the same shapes, dtypes and order.',
      )
    self._loaded = artifact
    return {'fingerprint': kernel_fingerprint(artifact), 'facts': artifact.facts()}

  def compile(self) -> dict[str, Any]:
    assert self._loaded is not None
    start = time.monotonic()
    functions = tuple(self._compile(each, self.devices[0]) for each in self._loaded.exported)
    self._analysis_bytes = max(map(_memory_bytes, functions))
    limit = self.memory_limit()
    if limit and self._analysis_bytes > limit:
      raise RunnerError(
        Status.OOM,
        f'The kernel needs {self._analysis_bytes / 2**20:,.0f} MiB, and {limit / 2**20:,.0f} MiB '
        'are available; process the inputs in parts.',
        {'needed_bytes': self._analysis_bytes, 'device_bytes': limit},
      )
    self._functions = functions
    return {
      'seconds': time.monotonic() - start,
      'flops_per_step': _flops(functions[-1]),
      'analysis_bytes': self._analysis_bytes,
    }

  def calibrate(self, path: str, step_seconds: float) -> dict[str, Any]:
    """Nothing to do: each call is paired with one of the reference, and no clock is needed."""
    del path
    return {'step_seconds': step_seconds or 1.0}

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
    """Compares the compiled kernel with the reference, then times both.

    Args:
      seed: Seed of the inputs that are timed, besides randomness of the operating system.
      budget: Seconds of timing, or pairs of calls.
      on_progress: Called with the fraction of the budget, the pairs, and the present ratio.
      on_test: Whether the metrics are named as those of a test split.
      rungs: None: a measurement is not pruned.
      checkpoint: None: it is too short.
      save: None: there are no parameters.
      state: Of no use.
      rows: Of no use.

    Raises:
      RunnerError: The outputs differ from the reference's.
    """
    del rungs, checkpoint, save, state, rows
    if budget.unit not in UNITS:
      raise RunnerError(
        Status.CRASH,
        f'config.budget.unit is {budget.unit!r}; kernels are timed for {" or ".join(UNITS)}.',
      )
    began = time.monotonic()
    if self._used is None:
      self._used = self._compare(on_progress)
    report = _throttled(on_progress)
    rng = np.random.default_rng([abs(seed), secrets.randbits(128)])
    host, sets = self._sets(rng, lambda: report(0.0, 0, None, 'evaluate'))
    compared = time.monotonic() - began
    timed, chosen = self._time(sets, budget, rng, report)
    metrics, pairs = timed.metrics(), len(timed.kernel)
    ratio = metrics['relative_time']
    used = self._check_timed(host, sets, chosen, lambda: report(1.0, pairs, ratio, 'evaluate'))
    metrics['tolerance_used'] = max(self._used, used)
    seconds = sum(timed.kernel) + sum(timed.reference)
    cost = Cost(
      training_seconds=seconds,
      evaluate_seconds=compared,
      steps=pairs,
      flops=pairs * _flops(self._functions[-1]),
      peak_bytes=self._analysis_bytes,
      analysis_bytes=self._analysis_bytes,
    )
    if on_test:
      metrics = {test_metric(name): value for name, value in metrics.items()}
    median = next(iter(metrics.values()))
    return {
      'measurement': Measurement(seed, metrics, cost),
      'curve': [(1.0, median)],
      'rungs': [],
      'saved': False,
    }

  def score(self, state: str, on_test: bool, on_progress: Callable[..., None]) -> dict[str, float]:
    """Kernels have no parameters that could be scored. Raises RunnerError."""
    del state, on_test, on_progress
    raise RunnerError(Status.INVALID, 'A kernel has no parameters; run a trial to time it.')

  def _compare(self, on_progress: Callable[..., None]) -> float:
    """Compares all functions on all kinds of inputs; returns the share of the tolerance used."""
    reference, used = self._require_reference(), 0.0
    assert self._loaded is not None
    for kind in inputs.kinds(reference.artifact.kernel):
      for module in range(len(self._functions)):
        case = self._case(kind, module, lambda: on_progress(0.0, 0, None, 'evaluate'))
        try:
          outputs = gate.host(self._functions[module](*case.arguments))
          used = max(used, gate.check(case, outputs, self._names(module), self._loaded.kernel))
        except GateError as error:
          raise RunnerError(Status.INVALID, str(error)) from None
    return used

  def _case(self, kind: str, module: int, heartbeat: Callable[[], None]) -> Case:
    """Inputs of a kind for a module, with the reference's outputs; the same in each trial."""
    if (kind, module) not in self._cases:
      kernel = self._require_reference().artifact.kernel
      self._cases[kind, module] = self._evaluated(
        kind,
        module,
        self._arguments(inputs.draw(kind, kernel, self._rng), module, self._rng),
        heartbeat,
      )
    heartbeat()
    return self._cases[kind, module]

  def _arguments(self, arrays: Arrays, module: int, rng: np.random.Generator) -> Arrays:
    outputs = self._require_reference().artifact.outputs
    return [*arrays, *(inputs.cotangents(outputs, rng) if module else ())]

  def _evaluated(
    self, kind: str, module: int, arguments: Arrays, heartbeat: Callable[[], None]
  ) -> Case:
    reference = self._require_reference()
    heartbeat()

    def exact(arrays: Arrays) -> Arrays:
      heartbeat()
      with jax.enable_x64(True):
        return gate.host(reference.exact[module](*arrays))

    return gate.case(
      kind,
      arguments,
      lambda arrays: gate.host(reference.functions[module](*arrays)),
      exact if reference.exact else None,
    )

  def _names(self, module: int) -> list[str]:
    artifact = self._require_reference().artifact
    names = [leaf.path for leaf in artifact.outputs]
    if module:
      floats = [i for i, each in enumerate(artifact.kernel.inputs) if each.dtype in FLOATS]
      names += [f'the gradient of input {i}' for i in floats]
    return names

  def _sets(
    self, rng: np.random.Generator, heartbeat: Callable[[], None]
  ) -> tuple[list[Arrays], list[Any]]:
    """Fresh inputs to time, on the host and on the device."""
    kernel, module = self._require_reference().artifact.kernel, len(self._functions) - 1
    first = self._arguments(inputs.draw(inputs.TYPICAL, kernel, rng), module, rng)
    count = timing.num_sets(sum(each.nbytes for each in first), self.devices[0].platform)
    host, sets = [], []
    for i in range(count):
      heartbeat()
      host.append(inputs.shuffled(first, rng) if i else first)
      # Copies, or the device's buffers would be those of the host.
      copies = [jax.device_put(each.copy(), self.devices[0]) for each in host[-1]]
      sets.append(jax.block_until_ready(copies))
    return host, sets

  def _time(
    self,
    sets: list[Any],
    budget: Budget,
    rng: np.random.Generator,
    on_progress: Callable[..., None],
  ) -> tuple[timing.Timing, dict[int, Any]]:
    """Times pairs; also returns the outputs of some of them, by the index of their set."""
    chosen: dict[int, Any] = {}
    spent = 0.0

    def is_over(pairs: int, seconds: float) -> bool:
      nonlocal spent
      spent = (seconds if budget.unit == 'seconds' else pairs) / budget.amount
      return spent >= 1

    def on_pair(pair: int, index: int, outputs: Any, ratio: float) -> None:
      # A reservoir: each pair is among the chosen ones with the same probability.
      if len(chosen) < CHECKED_PAIRS or rng.random() < CHECKED_PAIRS / (pair + 1):
        if len(chosen) >= CHECKED_PAIRS:
          del chosen[int(rng.choice(list(chosen)))]
        chosen[index] = outputs
      on_progress(min(1.0, spent), pair + 1, ratio)

    functions = self._functions[-1], self._require_reference().functions[-1]
    return timing.time_pairs(*functions, sets, is_over, on_pair), chosen

  def _check_timed(
    self, host: list[Arrays], sets: list[Any], chosen: dict[int, Any], heartbeat: Callable[[], None]
  ) -> float:
    """Compares timed outputs, and that no call has changed its inputs. Raises RunnerError."""
    module, used = len(self._functions) - 1, 0.0
    assert self._loaded is not None
    for before, after in zip(host, sets, strict=True):
      heartbeat()
      for i, (one, other) in enumerate(zip(before, after, strict=True)):
        if one.tobytes() != np.asarray(other).tobytes():
          raise RunnerError(Status.INVALID, f'The kernel changed its input {i}; leave it as it is.')
    for index, outputs in chosen.items():
      case = self._evaluated(inputs.TYPICAL, module, host[index], heartbeat)
      try:
        timed = gate.host(outputs)
        used = max(used, gate.check(case, timed, self._names(module), self._loaded.kernel))
      except GateError as error:
        raise RunnerError(Status.INVALID, f'While it was timed: {error}') from None
    return used

  def _require_reference(self) -> _Reference:
    if self._reference is None:
      raise RunnerError(Status.CRASH, 'The runner has no reference; send it first.')
    return self._reference

  def _read(self, path: str) -> KernelArtifact:
    try:
      return kernel_artifact.read(pathlib.Path(path), self.limits)
    except ArtifactError as error:
      raise RunnerError(Status.INVALID, str(error)) from None

  def _compile(self, exported: Any, device: Any) -> Any:
    sharding = SingleDeviceSharding(device)
    arguments = [
      jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=sharding) for aval in exported.in_avals
    ]
    return jax.jit(exported.call).lower(*arguments).compile()


def _throttled(on_progress: Callable[..., None]) -> Callable[..., None]:
  """Passes on a report only if the last one was PROGRESS_SECONDS ago."""
  last = -math.inf

  def report(*news: Any) -> None:
    nonlocal last
    if time.monotonic() - last > PROGRESS_SECONDS:
      last = time.monotonic()
      on_progress(*news)

  return report


def _cpu() -> Any:
  return jax.local_devices(backend='cpu')[0]


def _memory_bytes(executable: Any) -> int:
  memory = executable.memory_analysis()
  if memory is None:
    return 0
  sizes = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
  return sum(sizes)


def _flops(executable: Any) -> float:
  return max(0.0, float((executable.cost_analysis() or {}).get('flops', 0.0)))
