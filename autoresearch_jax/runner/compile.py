"""From an artifact to executables: compiled ahead of time, measured, refused if they do not fit.

The runner calls `compile_frame` before any clock starts. Steps run inside one call (a loop on
the device over stacked batches), so that the host does not have to keep up with short steps.
Artifacts that differ in scalar constants alone have one `Frame`: what is compiled for one of them
is given the other's numbers (`scalars.py`).
"""

import concurrent.futures
import dataclasses
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.runner.devices import Device
from autoresearch_jax.runner.hoist_constants import Lifted, lift
from autoresearch_jax.types import Platform

# A call should last about this long, and hold at most so many steps and bytes of batches.
CALL_SECONDS = 0.25
MAX_STEPS_A_CALL = 64
MAX_BATCH_BYTES = 64 * 2**20
# Rough sustained FLOP/s, only to choose the steps of one call; the same on every machine of a
# platform, so that the executable, and with it every bit of the result, does not depend on it.
ROUGH_FLOPS: dict[Platform, float] = {'cpu': 1e11, 'gpu': 4e14, 'tpu': 1e14}


# On a CPU, LLVM's first level compiles the small GPT in two thirds of the time and its step runs
# as fast; `init`, which runs once, needs none. Each part that LLVM gets has a price of its own: in
# 4 instead of 32, the same code takes a tenth less of the processor.
_PARTS = {'xla_cpu_parallel_codegen_split_count': 4}
CPU_OPTIONS: dict[str, dict[str, Any]] = {
  'init': {'xla_backend_optimization_level': 0, **_PARTS},
  'score': {'xla_backend_optimization_level': 1, **_PARTS},
  'train': {'xla_backend_optimization_level': 1, **_PARTS},
}


# Where numbers are arguments: where that was measured not to slow a step down. On a GPU, XLA can no
# longer put a scale into a product when it does not know it.
SHARING: frozenset[Platform] = frozenset(('cpu',))


class DoesNotFit(Exception):
  """The program needs more memory than the device has; the sentence says how much.

  needed, limit: bytes of one device.
  """

  def __init__(self, needed: int, limit: int):
    super().__init__(
      f'The program needs {needed / 2**20:,.0f} MiB on each device and {limit / 2**20:,.0f} MiB '
      'are available; use a smaller batch, a smaller model, or rematerialisation.'
    )
    self.needed, self.limit = needed, limit


class DoesNotDivide(Exception):
  """The batch can not be shared by the devices; the sentence says which one."""


@dataclasses.dataclass(frozen=True)
class Phase:
  """One compiled train step. Shapes are those of a whole step, all devices together.

  run: (leaves, inputs [call_steps, ...], targets, progress [call_steps], count) ->
    (leaves, metrics as name -> [call_steps]); runs the first `count` steps, donates `leaves`.
  """

  until: float
  batch_size: int
  sequence_length: int
  call_steps: int
  tokens: int
  flops: float
  run: Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Compiled:
  """All executables of an artifact, resident on the runner's devices.

  init: (key data uint32[2]) -> leaves. score: (leaves, inputs, targets) -> float32 nats of each
  target, [batch, time] for language models and [batch] for supervised problems.
    For supervised problems it also gives whether the target was the likeliest class, bool [batch].
    For constructions it is (leaves, inputs) -> what `predict` returns, float32.
  pace: seconds of a step of each phase when this artifact last ran, empty before. paces: those of
  all artifacts of the frame: a number may be how often a step loops, so each has its own.
  """

  artifact: Artifact
  mesh: Mesh
  init: Callable[..., Any]
  phases: tuple[Phase, ...]
  score: Callable[..., Any]
  analysis_bytes: int
  pace: list[float] = dataclasses.field(default_factory=list)
  paces: dict[str, list[float]] = dataclasses.field(default_factory=dict)

  @property
  def flops_per_step(self) -> float:
    return self.phases[0].flops

  def place(self, batch: np.ndarray, axis: int = 0) -> jax.Array:
    """Puts a host array on the devices, split along `axis` where it divides."""
    return jax.device_put(batch, _split(self.mesh, batch.shape, axis))

  def given(self, frame: 'Frame') -> 'Compiled':
    """The same executables with the numbers of an artifact of this frame. Here none are given."""
    whole = NamedSharding(self.mesh, PartitionSpec())
    numbers = [jax.device_put(module.values, whole) for module in frame.modules]
    phases = tuple(
      dataclasses.replace(phase, run=functools.partial(phase.run, given))
      for phase, given in zip(self.phases, numbers[1:-1], strict=True)
    )
    return dataclasses.replace(
      self,
      artifact=frame.artifact,
      init=functools.partial(self.init, numbers[0]),
      phases=phases,
      score=functools.partial(self.score, numbers[-1]),
      pace=self.paces.setdefault(frame.artifact.digest, []),
    )


@dataclasses.dataclass(frozen=True)
class Frame:
  """An artifact without its numbers, and these. modules: init, every train step, predict."""

  artifact: Artifact
  modules: tuple[Lifted, ...]

  @classmethod
  def of(cls, artifact: Artifact) -> 'Frame':
    wanted = artifact.spec.platform in SHARING
    return cls(artifact, tuple(lift(exported, wanted) for exported in artifact.exported))

  @functools.cached_property
  def key(self) -> str:
    """Equal for artifacts that can share executables: all in them but the numbers, as SHA-256."""
    init, *steps, predict = (module.code for module in self.modules)
    return dataclasses.replace(
      self.artifact, init=init, train_steps=tuple(steps), predict=predict
    ).digest


def compile_frame(frame: Frame, devices: Sequence[Device], memory_limit: int) -> Compiled:
  """Compiles init, every phase and the scorer side by side, without numbers: see `given`.

  Raises DoesNotFit, DoesNotDivide.
  """
  artifact = frame.artifact
  for phase in artifact.phases:
    # A construction has no batch to share: each device does all of the work.
    if artifact.spec.kind != 'construction' and phase.batch_size % len(devices):
      raise DoesNotDivide(
        f'A batch of {phase.batch_size} can not be shared by {len(devices)} devices; make '
        f'BATCH_SIZE a multiple of {len(devices)}.'
      )
  mesh = Mesh(np.array(devices), ('batch',))
  whole = NamedSharding(mesh, PartitionSpec())
  leaves = tuple(
    jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole) for leaf in artifact.leaves
  )
  options = CPU_OPTIONS if artifact.spec.platform == 'cpu' else {}
  jobs: list[Callable[[], Any]] = [
    _compiling(*_init(frame.modules[0], mesh), options=options.get('init')),
    _compiling(*_scorer(frame, mesh, leaves), options=options.get('score')),
  ]
  calls = [_call_steps(artifact, index) for index in range(len(artifact.phases))]
  for index, steps in enumerate(calls):
    call = _train_call(frame, index, steps, mesh, leaves)
    jobs.append(_compiling(*call, options=options.get('train')))
  # XLA lets go of the interpreter while it compiles, so this uses all cores.
  with concurrent.futures.ThreadPoolExecutor(
    len(jobs), initializer=_count_for, initargs=(_thread.compilations,)
  ) as pool:
    done = [job.result() for job in [pool.submit(job) for job in jobs]]
  needed = max(_bytes(executable) for executable in done)
  if memory_limit and needed > memory_limit:
    raise DoesNotFit(needed, memory_limit)
  phases = tuple(
    Phase(
      until=phase.until,
      batch_size=phase.batch_size,
      sequence_length=phase.sequence_length,
      call_steps=steps,
      tokens=_tokens(artifact, index),
      flops=max(_flops(executable) * len(devices), artifact.flops[index]),
      run=executable,
    )
    for index, (phase, steps, executable) in enumerate(
      zip(artifact.phases, calls, done[2:], strict=True)
    )
  )
  return Compiled(artifact, mesh, done[0], phases, done[1], needed)


def seed_key(seed: int) -> np.ndarray:
  """The key data of `jax.random.key(seed)`, uint32 [2], made without a device."""
  return np.array([(seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)


def compilations() -> int:
  """How many times XLA has compiled something in this thread, or for it in `compile_frame`.

  What another thread compiles meanwhile, for a trial to come, is none of a training's.
  """
  return len(_thread.compilations)


class _Thread(threading.local):
  """What is known of the thread that asks. compilations: the seconds of each."""

  def __init__(self) -> None:
    self.compilations: list[float] = []


_thread = _Thread()


def _count_for(compilations: list[float]) -> None:
  _thread.compilations = compilations


def _count_compilations(event: str, duration_secs: float, **kwargs: Any) -> None:
  if event == '/jax/core/compile/backend_compile_duration':
    _thread.compilations.append(duration_secs)  # of several threads at once, which that bears


jax.monitoring.register_event_duration_secs_listener(_count_compilations)


def _compiling(
  function: Any, *arguments: Any, options: dict[str, Any] | None = None
) -> Callable[[], Any]:
  return lambda: function.lower(*arguments).compile(compiler_options=options)


def _init(module: Lifted, mesh: Mesh) -> tuple[Any, ...]:
  """The jitted `init`, and its argument shapes."""
  whole = NamedSharding(mesh, PartitionSpec())

  def init(numbers, key):
    return module.exported.call(key, numbers)

  key = jax.ShapeDtypeStruct((2,), jnp.uint32, sharding=whole)
  return jax.jit(init, out_shardings=whole), _numbers(module, mesh), key


def _numbers(module: Lifted, mesh: Mesh) -> jax.ShapeDtypeStruct:
  whole = NamedSharding(mesh, PartitionSpec())
  return jax.ShapeDtypeStruct(module.values.shape, module.values.dtype, sharding=whole)


def _train_call(
  frame: Frame, index: int, steps: int, mesh: Mesh, leaves: tuple[Any, ...]
) -> tuple[Any, ...]:
  """The jitted loop over up to `steps` train steps of one phase, and its argument shapes."""
  artifact, module = frame.artifact, frame.modules[1 + index]
  exported, size = module.exported, len(leaves)

  def run(numbers, leaves, inputs, targets, progress, count):
    def step(i, carry):
      leaves, metrics = carry
      out = exported.call(*leaves, inputs[i], targets[i], progress[i], numbers)
      return out[:size], tuple(m.at[i].set(new) for m, new in zip(metrics, out[size:], strict=True))

    empty = tuple(jnp.zeros((steps,), jnp.float32) for _ in artifact.metric_names)
    leaves, metrics = jax.lax.fori_loop(0, count, step, (leaves, empty))
    return leaves, dict(zip(artifact.metric_names, metrics, strict=True))

  whole = NamedSharding(mesh, PartitionSpec())
  inputs, targets = exported.in_avals[size : size + 2]
  stacked = [
    jax.ShapeDtypeStruct(
      (steps, *aval.shape), aval.dtype, sharding=_split(mesh, (steps, *aval.shape), 1)
    )
    for aval in (inputs, targets)
  ]
  function = jax.jit(run, donate_argnums=1, out_shardings=whole)
  progress = jax.ShapeDtypeStruct((steps,), jnp.float32, sharding=whole)
  count = jax.ShapeDtypeStruct((), jnp.int32, sharding=whole)
  return function, _numbers(module, mesh), leaves, *stacked, progress, count


def _scorer(frame: Frame, mesh: Mesh, leaves: tuple[Any, ...]) -> tuple[Any, ...]:
  """The jitted nats of each target under the program's logits, and its argument shapes.

  For constructions there is nothing to compare with: it gives what `predict` returns.
  """
  artifact, module = frame.artifact, frame.modules[-1]
  exported, numbers = module.exported, _numbers(module, mesh)

  def construction(numbers, leaves, inputs):
    return exported.call(*leaves, inputs, numbers).astype(jnp.float32)

  def nats(numbers, leaves, inputs, targets):
    logits = exported.call(*leaves, inputs, numbers).astype(jnp.float32)
    # Shifted by the largest logit before anything else: an offset large enough to swallow the
    # logarithm of the sum would otherwise make every target cost nothing.
    top = jnp.max(logits, axis=-1)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    nats = jnp.log(jnp.sum(jnp.exp(logits - top[..., None]), axis=-1)) - (chosen - top)
    # The first of equals counts, so that equal logits are right as often as guessing.
    supervised = artifact.spec.kind == 'supervised'
    correct = jnp.argmax(logits, axis=-1) == targets if supervised else jnp.zeros((), bool)
    return nats, correct

  inputs = exported.in_avals[len(leaves)]
  if artifact.spec.kind == 'construction':
    empty = jax.ShapeDtypeStruct(inputs.shape, inputs.dtype, sharding=_split(mesh, inputs.shape, 0))
    return jax.jit(construction), numbers, leaves, empty
  shape = inputs.shape if artifact.spec.kind == 'language_model' else inputs.shape[:1]
  arguments = [
    jax.ShapeDtypeStruct(inputs.shape, inputs.dtype, sharding=_split(mesh, inputs.shape, 0)),
    jax.ShapeDtypeStruct(shape, jnp.int32, sharding=_split(mesh, shape, 0)),
  ]
  return jax.jit(nats), numbers, leaves, *arguments


def _split(mesh: Mesh, shape: tuple[int, ...], axis: int) -> NamedSharding:
  """Splits `axis` over the mesh where it divides, else keeps a whole copy on each device."""
  if mesh.size == 1 or not shape[axis] or shape[axis] % mesh.size:
    return NamedSharding(mesh, PartitionSpec())
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, 'batch'))


def _call_steps(artifact: Artifact, index: int) -> int:
  phase = artifact.phases[index]
  rough = artifact.flops[index] / ROUGH_FLOPS[artifact.spec.platform]
  by_time = int(CALL_SECONDS / max(rough, 1e-9))
  by_bytes = MAX_BATCH_BYTES // max(1, 8 * phase.batch_size * max(1, phase.sequence_length))
  return max(1, min(MAX_STEPS_A_CALL, by_time, by_bytes))


def _tokens(artifact: Artifact, index: int) -> int:
  phase = artifact.phases[index]
  return phase.batch_size * (phase.sequence_length or 1)


def _bytes(executable: Any) -> int:
  """Device bytes of one executable: arguments, outputs and temporaries, donated ones once."""
  memory = executable.memory_analysis()
  if memory is None:
    return 0
  return (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    + memory.temp_size_in_bytes
    - memory.alias_size_in_bytes
  )


def _flops(executable: Any) -> float:
  """FLOPs of one step a device, by XLA; a loop's body counts once there, so this is one step."""
  costs = executable.cost_analysis() or {}
  return max(0.0, float(costs.get('flops', 0.0)))
