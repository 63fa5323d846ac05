"""Compiles artifacts ahead of time, measures their memory, and refuses those that do not fit.

The runner calls `compile_template` before any clock starts. Several train steps run inside one
call, a loop on the device over stacked batches, so that the host keeps up with short steps. On a
CPU, steps with convolutions are called one by one, since XLA compiles those in a loop to slow code.
Artifacts that differ only in scalar constants have equal `ExecutableTemplate.cache_key`s and share
executables, which are bound to the constants of each (`hoist_constants`).
"""

import concurrent.futures
import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.monitoring
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.runner.device_calls import (
  UNPACKED,
  Dispatch,
  SingleSteps,
  batch_bytes,
  dispatch_of,
  jit_init,
  jit_scorer,
  jit_single_step,
  jit_train_steps,
  sharding_over,
)
from autoresearch_jax.runner.device_share import DeviceShare, device_share
from autoresearch_jax.runner.devices import Device
from autoresearch_jax.runner.hoist_constants import HoistedModule, hoist_constants
from autoresearch_jax.types import Platform

# A call should last about this long, and have at most so many steps and bytes of batches.
CALL_SECONDS = 0.25
MAX_STEPS_PER_CALL = 64
MAX_BATCH_BYTES = 64 * 2**20
BATCH_NAMES = ('inputs', 'targets')
# Rough sustained FLOP/s, only for choosing the steps of one call. Fixed for each platform, so that
# the executable, and with it every bit of the result, does not depend on the machine's speed.
ROUGH_FLOPS: dict[Platform, float] = {'cpu': 1e11, 'gpu': 4e14, 'tpu': 1e14}

# On a CPU, LLVM at level 1 compiles the small GPT in two thirds of the time, and its step is as
# fast. Level 0 draws random numbers five times more slowly, and `init` runs on the trial's clock.
# Each part that the code is split into has a fixed cost in LLVM: with 4 parts instead of 32,
# compiling takes a tenth less CPU time. XLA's older emitters compile it in 60 % of the time.
# Not used: xla_cpu_disable_loop_unrolling saves another 20 %, but a CNN's step takes 1.3 times as
# long. xla_cpu_optimize_for_size does not vectorize loops: exp and tanh take 7 times as long.
CPU_COMPILER_OPTIONS: dict[str, Any] = {
  'xla_backend_optimization_level': 1,
  'xla_cpu_parallel_codegen_split_count': 4,
  'xla_cpu_use_fusion_emitters': False,
}
# The older emitters slow down steps with convolutions and normalisation by up to 14 %.
SINGLE_STEP_OPTIONS: dict[str, Any] = {'xla_cpu_use_fusion_emitters': True}

# Constants are hoisted where measurements showed that this does not slow a step down. On a GPU, XLA
# cannot fold a scale into a matrix product when it does not know its value.
HOISTING_PLATFORMS: frozenset[Platform] = frozenset(('cpu',))


class OutOfDeviceMemory(Exception):
  """The program needs more memory than the device has.

  Attributes:
    needed: Bytes that it needs on each device.
    limit: Bytes that are available.
  """

  def __init__(self, needed: int, limit: int):
    super().__init__(
      f'The program needs {needed / 2**20:,.0f} MiB on each device, and {limit / 2**20:,.0f} MiB '
      'are available; use a smaller batch, a smaller model, or rematerialisation.'
    )
    self.needed, self.limit = needed, limit


class IndivisibleBatch(Exception):
  """A batch size is not a multiple of the number of devices; the message says which."""


@dataclasses.dataclass(frozen=True)
class CompiledPhase:
  """The compiled train steps of one phase. Sizes are those of a whole step, all devices together.

  Attributes:
    until: Fraction of the budget at which the phase ends.
    batch_size: Sequences (examples) of a step.
    sequence_length: Tokens of a sequence; 0 where the problem has no sequences.
    steps_per_call: Steps that one call runs at most.
    tokens: Tokens (examples) of a step.
    flops: FLOPs of a step; what every device computes counts once.
    share: What each of several devices computes; None for one device.
    dispatch: `loop`, of the steps of a call, on the device; or `single`, one step a call.
    run: (leaves, inputs, targets, progress [steps_per_call], count) -> (leaves, metrics as name ->
      values of the steps). Runs the first `count` steps; `leaves` are donated. Inputs and targets
      are those of `CompiledProgram.put_batches`.
  """

  until: float
  batch_size: int
  sequence_length: int
  steps_per_call: int
  tokens: int
  flops: float
  share: DeviceShare | None
  dispatch: Dispatch
  run: Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
  """All executables of an artifact, loaded on the runner's devices.

  `compile_template` returns them with the constants as their first argument; `bind` fixes those.

  Attributes:
    artifact: The artifact.
    mesh: The devices, along one axis, 'batch'.
    init: (key data, uint32 [2]) -> leaves.
    phases: The train steps of each phase.
    score: (leaves, inputs, targets) -> (loss, correct, outputs). The loss is the cross-entropy of
      each target, float32 nats, [batch, time] for language models and [batch] for supervised
      problems; in regression the mean of the squared errors of each example. For supervised
      problems `correct` says whether the target was the likeliest class, bool [batch], and
      `outputs` is what `predict` returned, float32. For constructions: (leaves, inputs) -> what
      `predict` returns, float32.
    analysis_bytes: Memory of the largest executable, in bytes for each device, by XLA's analysis.
    step_seconds: Duration of a step of each phase when this artifact last ran; empty before.
    step_seconds_by_artifact: The same of all artifacts that share the executables, by digest. A
      constant may be the number of iterations of a loop, so each artifact has its own.
  """

  artifact: Artifact
  mesh: Mesh
  init: Callable[..., Any]
  phases: tuple[CompiledPhase, ...]
  score: Callable[..., Any]
  analysis_bytes: int
  step_seconds: list[float] = dataclasses.field(default_factory=list)
  step_seconds_by_artifact: dict[str, list[float]] = dataclasses.field(default_factory=dict)

  @property
  def flops_per_step(self) -> float:
    return self.phases[0].flops

  def device_put(self, batch: np.ndarray, axis: int = 0) -> jax.Array:
    """Transfers a host array to the devices, sharded along `axis` where that divides evenly."""
    return jax.device_put(batch, sharding_over(self.mesh, batch.shape, axis))

  def put_batches(
    self, phase: CompiledPhase, batches: Sequence[dict[str, np.ndarray]]
  ) -> tuple[Any, Any]:
    """Transfers the batches of a call, `steps_per_call` at most: inputs, and targets.

    Stacked to [steps_per_call, ...] for a loop, in which the rest is zero and not read.
    """
    if phase.dispatch == 'single':
      inputs, targets = ([self.device_put(b[name]) for b in batches] for name in BATCH_NAMES)
      return inputs, targets
    stacked = []
    for name in BATCH_NAMES:
      first = batches[0][name]
      array = np.zeros((phase.steps_per_call, *first.shape), first.dtype)
      for i, batch in enumerate(batches):
        array[i] = batch[name]
      stacked.append(self.device_put(array, 1))
    return stacked[0], stacked[1]

  def bind(self, template: 'ExecutableTemplate') -> 'CompiledProgram':
    """The same executables with the constants of an artifact that shares them."""
    replicated = NamedSharding(self.mesh, PartitionSpec())
    constants = [jax.device_put(module.values, replicated) for module in template.modules]
    phases = tuple(
      dataclasses.replace(phase, run=functools.partial(phase.run, values))
      for phase, values in zip(self.phases, constants[1:-1], strict=True)
    )
    return dataclasses.replace(
      self,
      artifact=template.artifact,
      init=functools.partial(self.init, constants[0]),
      phases=phases,
      score=functools.partial(self.score, constants[-1]),
      step_seconds=self.step_seconds_by_artifact.setdefault(template.artifact.digest, []),
    )


@dataclasses.dataclass(frozen=True)
class ExecutableTemplate:
  """An artifact with its scalar constants hoisted into arguments, plus their values.

  Artifacts that differ only in those values share one executable.

  Attributes:
    artifact: The artifact.
    modules: Its hoisted modules: init, every train step, predict.
  """

  artifact: Artifact
  modules: tuple[HoistedModule, ...]

  @classmethod
  def from_artifact(cls, artifact: Artifact) -> 'ExecutableTemplate':
    enabled = artifact.spec.platform in HOISTING_PLATFORMS
    return cls(artifact, tuple(hoist_constants(module, enabled) for module in artifact.exported))

  @functools.cached_property
  def cache_key(self) -> str:
    """SHA-256 of everything but the values: equal for artifacts that can share executables."""
    init, *steps, predict = (module.code for module in self.modules)
    return dataclasses.replace(
      self.artifact, init=init, train_steps=tuple(steps), predict=predict
    ).digest


def compile_template(
  template: ExecutableTemplate, devices: Sequence[Device], memory_limit: int
) -> CompiledProgram:
  """Compiles init, every phase and the scorer in parallel. The constants are not bound yet.

  Args:
    template: What to compile.
    devices: Devices of the mesh.
    memory_limit: Bytes available on each device; 0 for no limit.

  Raises:
    OutOfDeviceMemory: an executable needs more than `memory_limit`.
    IndivisibleBatch: the devices cannot share a batch.
  """
  artifact = template.artifact
  for phase in artifact.phases:
    # A construction has no batch to share: each device does all of the work.
    if artifact.spec.kind != 'construction' and phase.batch_size % len(devices):
      raise IndivisibleBatch(
        f'A batch of {phase.batch_size} cannot be split across {len(devices)} devices; make '
        f'BATCH_SIZE a multiple of {len(devices)}.'
      )
  mesh = Mesh(np.array(devices), ('batch',))
  replicated = NamedSharding(mesh, PartitionSpec())
  leaves = tuple(
    jax.ShapeDtypeStruct(leaf.shape, UNPACKED.get(leaf.dtype, leaf.dtype), sharding=replicated)
    for leaf in artifact.leaves
  )
  options = CPU_COMPILER_OPTIONS if artifact.spec.platform == 'cpu' else None
  calls = [
    jit_init(template.modules[0], mesh),
    jit_scorer(artifact, template.modules[-1], mesh, leaves),
  ]
  steps_per_call = [_steps_per_call(artifact, index) for index in range(len(artifact.phases))]
  dispatch: list[Dispatch] = [dispatch_of(artifact, index) for index in range(len(artifact.phases))]
  for index, steps in enumerate(steps_per_call):
    module = template.modules[1 + index]
    if dispatch[index] == 'loop':
      calls.append(jit_train_steps(artifact, module, steps, mesh, leaves))
    else:
      calls.append(jit_single_step(artifact, module, mesh, leaves))
  jobs = [_compile_job(*call, options=options) for call in calls[:2]]
  for call, each in zip(calls[2:], dispatch, strict=True):
    used = {**options, **SINGLE_STEP_OPTIONS} if options and each == 'single' else options
    jobs.append(_compile_job(*call, options=used))
  # XLA releases the GIL while it compiles, so the threads use all cores.
  with concurrent.futures.ThreadPoolExecutor(
    len(jobs), initializer=_count_for, initargs=(_thread.compilations,)
  ) as pool:
    executables = [job.result() for job in [pool.submit(job) for job in jobs]]
  needed = max(_memory_bytes(executable) for executable in executables)
  if memory_limit and needed > memory_limit:
    raise OutOfDeviceMemory(needed, memory_limit)
  shares = [_share(artifact, i, step, len(devices)) for i, step in enumerate(executables[2:])]
  phases = tuple(
    CompiledPhase(
      until=phase.until,
      batch_size=phase.batch_size,
      sequence_length=phase.sequence_length,
      steps_per_call=steps,
      tokens=_tokens(artifact, index),
      flops=max(_flops(executable, shares[index], len(devices)), artifact.flops[index]),
      share=shares[index],
      dispatch=dispatch[index],
      run=executable
      if dispatch[index] == 'loop'
      else SingleSteps(executable, artifact.metric_names),
    )
    for index, (phase, steps, executable) in enumerate(
      zip(artifact.phases, steps_per_call, executables[2:], strict=True)
    )
  )
  return CompiledProgram(artifact, mesh, executables[0], phases, executables[1], needed)


def prng_key_data(seed: int) -> np.ndarray:
  """The key data of `jax.random.key(seed)`, uint32 [2], made without a device."""
  return np.array([(seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)


def compilations() -> int:
  """How often XLA has compiled something in this thread, or on its behalf in `compile_template`.

  What another thread compiles meanwhile for a later trial does not count against this one.
  """
  return len(_thread.compilations)


class _ThreadState(threading.local):
  """State of each thread. compilations: the duration of each, in seconds."""

  def __init__(self) -> None:
    self.compilations: list[float] = []


_thread = _ThreadState()


def _count_for(compilations: list[float]) -> None:
  """Makes this worker thread count its compilations for the thread that started it."""
  _thread.compilations = compilations


def _count_compilations(event: str, duration_secs: float, **kwargs: Any) -> None:
  if event == '/jax/core/compile/backend_compile_duration':
    _thread.compilations.append(duration_secs)  # list.append is atomic: several threads may call it


jax.monitoring.register_event_duration_secs_listener(_count_compilations)


def _compile_job(
  function: Any, *arguments: Any, options: dict[str, Any] | None = None
) -> Callable[[], Any]:
  def compile() -> Any:
    lowered = function.lower(*arguments)
    try:
      return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
      if 'No such compile option' not in str(error):  # in this version of XLA
        raise
      return lowered.compile()

  return compile


def _steps_per_call(artifact: Artifact, index: int) -> int:
  rough_seconds = artifact.flops[index] / ROUGH_FLOPS[artifact.spec.platform]
  by_time = int(CALL_SECONDS / max(rough_seconds, 1e-9))
  by_bytes = MAX_BATCH_BYTES // max(1, batch_bytes(artifact, index))
  return max(1, min(MAX_STEPS_PER_CALL, by_time, by_bytes))


def _tokens(artifact: Artifact, index: int) -> int:
  phase = artifact.phases[index]
  return phase.batch_size * (phase.sequence_length or 1)


def _memory_bytes(executable: Any) -> int:
  """Device memory of one executable: arguments, outputs, temporaries; donated buffers once."""
  memory = executable.memory_analysis()
  if memory is None:
    return 0
  return (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    + memory.temp_size_in_bytes
    - memory.alias_size_in_bytes
  )


def _share(artifact: Artifact, index: int, step: Any, num_devices: int) -> DeviceShare | None:
  if num_devices == 1 or artifact.spec.kind == 'construction':
    return None
  return device_share(artifact, index, step.as_text(), num_devices)


def _flops(executable: Any, share: DeviceShare | None, num_devices: int) -> float:
  """FLOPs of one step, by XLA, which counts a loop's body once: so of one step.

  What all devices compute alike counts once, or it would raise the MFU.
  """
  costs = executable.cost_analysis() or {}
  on_device = max(0.0, float(costs.get('flops', 0.0)))
  if share is None:
    return on_device * num_devices
  return on_device * num_devices / (1 + share.replicated * (num_devices - 1))
