"""Seconds of one train step of artifacts, on this machine's devices, in three ways.

  python scripts/measure_steps.py --platform=gpu --out=FILE ARTIFACT...

  looped  as many steps in one call as a trial's runner has there, calls queued
  queued  one step a call, calls queued
  waited  one step a call, and the host waits for each: what queueing saves

Compiled by the runner's `compile_frame`, with its cache. Batches are random tokens, sent to the
device within the time, as in a trial. Called by measure_accelerator.py in a process of its own.
"""

import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from absl import app, flags

from autoresearch_jax.config import Limits
from autoresearch_jax.data import cache
from autoresearch_jax.trial.running import JAX_PLATFORMS, environment

PLATFORM = flags.DEFINE_enum('platform', None, list(JAX_PLATFORMS), 'Where to run.', required=True)
SECONDS = flags.DEFINE_float('seconds', 4.0, 'Of each way; it takes at least three calls.')
OUT = flags.DEFINE_string('out', '', 'JSON file, written anew after each artifact.')
KERNELS = ('__cudnn$fmhaSoftmax', '__cudnn$fmhaSoftmaxBackward', 'tpu_custom_call')


def measure(path: pathlib.Path, seconds: float) -> dict[str, Any]:
  """Of one artifact: seconds of a step in each way, of compiling, bytes, and its kernels."""
  import jax  # noqa: PLC0415 - after the environment is set

  from autoresearch_jax.trial import artifact as artifacts  # noqa: PLC0415
  from autoresearch_jax.trial import compiled, devices  # noqa: PLC0415

  made = artifacts.read(path, Limits())
  found = devices.require_platform(PLATFORM.value)
  start = time.monotonic()
  frame = compiled.Frame.of(made)
  room = devices.memory_limit(found[0])
  ready = compiled.compile_frame(frame, found, room).given(frame)
  compile_seconds = time.monotonic() - start
  phase = ready.phases[0]
  rng = np.random.default_rng(0)
  shape = (phase.call_steps, phase.batch_size, phase.sequence_length)
  tokens = rng.integers(0, made.spec.vocab_size, shape, np.int32)
  progress = np.zeros(phase.call_steps, np.float32)
  state = [jax.block_until_ready(ready.init(compiled.seed_key(0)))]

  def call(count: int) -> Any:
    placed = ready.place(tokens, 1), ready.place(np.roll(tokens, -1, axis=2), 1)
    state[0], metrics = phase.run(state[0], *placed, progress, np.int32(count))
    return metrics['loss']

  names = [
    name
    for op in made.graphs[1].ops()
    for name in KERNELS
    if ('call_target_name', f'"{name}"') in op.attributes
  ]
  return {
    'variant': path.name,
    'device': found[0].device_kind,
    'num_devices': len(found),
    'peak_flops': devices.peak_flops(found[0], cache.directory())[0],
    'compile_seconds': compile_seconds,
    'analysis_bytes': ready.analysis_bytes,
    'steps_per_call': phase.call_steps,
    'kernels': {name: names.count(name) for name in sorted(set(names))},
    'looped': queued(lambda: call(phase.call_steps), seconds) / phase.call_steps,
    'queued': queued(lambda: call(1), seconds),
    'waited': waited(lambda: call(1), seconds),
    'allocator_bytes': devices.allocator_peak(found[0]),
  }


def waited(call: Callable[[], Any], seconds: float) -> float:
  """Median seconds of a call that is waited for."""
  times: list[float] = []
  np.asarray(call())
  while sum(times) < seconds or len(times) < 3:
    start = time.perf_counter()
    np.asarray(call())
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def queued(call: Callable[[], Any], seconds: float) -> float:
  """Mean seconds of a call when the next one is always on the queue, as a runner has it."""
  np.asarray(call())
  start, calls, before = time.perf_counter(), 0, None
  while time.perf_counter() - start < seconds or calls < 3:
    now, calls = call(), calls + 1
    if before is not None:
      np.asarray(before)
    before = now
  np.asarray(before)
  return (time.perf_counter() - start) / calls


def main(arguments: list[str]) -> int:
  if len(arguments) < 2:
    raise app.UsageError('Name the artifacts to measure.')
  if missing := [name for name in arguments[1:] if not pathlib.Path(name).is_file()]:
    raise app.UsageError(f'There is no artifact {missing[0]}.')
  platform: Any = PLATFORM.value
  os.environ.update(environment(platform))
  import jax  # noqa: PLC0415 - after the environment is set

  jax.config.update('jax_compilation_cache_dir', str(cache.directory() / 'xla'))
  rows = []
  for name in arguments[1:]:
    rows.append(measure(pathlib.Path(name), SECONDS.value))
    print(rows[-1], flush=True)
    if OUT.value:
      pathlib.Path(OUT.value).write_bytes(msgspec.json.encode(rows))
  return 0


if __name__ == '__main__':
  app.run(main)
