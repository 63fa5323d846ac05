"""Seconds per train step of artifacts, on this machine's devices, for three ways of dispatching.

  autoresearch measure steps --platform=gpu --out=FILE ARTIFACT...

  looped  several steps per call, as in a trial; calls are dispatched asynchronously
  queued  one step per call; calls are dispatched asynchronously
  waited  one step per call; the host waits for each

Artifacts are compiled and fed as in a trial (`train_step.py`), including the transfer of batches.
`autoresearch measure accelerator` calls this in a separate process.
"""

import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
import numpy as np
from absl import app, flags

from autoresearch_jax.data import cache
from autoresearch_jax.measure.train_step import CompiledTrainStep, begin
from autoresearch_jax.runner.client import JAX_PLATFORMS
from autoresearch_jax.types import Platform

PLATFORM = flags.DEFINE_enum(
  'platform', None, list(JAX_PLATFORMS), 'Platform to run on.', required=True
)
SECONDS = flags.DEFINE_float(
  'seconds', 4.0, 'Seconds per way of dispatching; at least three calls are made.'
)
OUT = flags.DEFINE_string('out', '', 'JSON file, rewritten after each artifact.')
KERNELS = ('__cudnn$fmhaSoftmax', '__cudnn$fmhaSoftmaxBackward', 'tpu_custom_call')


def measure(path: pathlib.Path, seconds: float) -> dict[str, Any]:
  """Returns an artifact's seconds per step in each way, compile time, memory and kernels."""
  from autoresearch_jax.runner import devices  # noqa: PLC0415 - after the environment is set

  step = CompiledTrainStep(path, cast(Platform, PLATFORM.value))
  device, steps = step.devices[0], step.phase.steps_per_call
  names = [
    name
    for op in step.artifact.graphs[1].ops()
    for name in KERNELS
    if ('call_target_name', f'"{name}"') in op.attributes
  ]
  return {
    'variant': path.name,
    'device': device.device_kind,
    'num_devices': len(step.devices),
    'peak_flops': devices.peak_flops(device, cache.directory())[0],
    'compile_seconds': step.compile_seconds,
    'analysis_bytes': step.executable.analysis_bytes,
    'steps_per_call': steps,
    'kernels': {name: names.count(name) for name in sorted(set(names))},
    'looped': queued(lambda: step.call(steps), seconds) / steps,
    'queued': queued(lambda: step.call(1), seconds),
    'waited': waited(lambda: step.call(1), seconds),
    'allocator_bytes': devices.allocator_peak(device),
  }


def waited(call: Callable[[], Any], seconds: float) -> float:
  """Returns the median seconds of a synchronous call."""
  times: list[float] = []
  np.asarray(call())
  while sum(times) < seconds or len(times) < 3:
    start = time.perf_counter()
    np.asarray(call())
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def queued(call: Callable[[], Any], seconds: float) -> float:
  """Returns the mean seconds of a call while the next one is queued, as in a runner."""
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
    raise app.UsageError('Name one or more artifacts.')
  if missing := [name for name in arguments[1:] if not pathlib.Path(name).is_file()]:
    raise app.UsageError(f'There is no artifact {missing[0]}.')
  begin(cast(Platform, PLATFORM.value))
  rows = []
  for name in arguments[1:]:
    rows.append(measure(pathlib.Path(name), SECONDS.value))
    print(rows[-1], flush=True)
    if OUT.value:
      pathlib.Path(OUT.value).write_bytes(msgspec.json.encode(rows))
  return 0


if __name__ == '__main__':
  app.run(main)
