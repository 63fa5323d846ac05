"""Seconds of one train step of artifacts, on this machine's devices, in three ways.

  autoresearch measure steps --platform=gpu --out=FILE ARTIFACT...

  looped  as many steps in one call as a trial's runner has there, calls queued
  queued  one step a call, calls queued
  waited  one step a call, and the host waits for each: what queueing saves

Compiled and fed as in a trial (`stepping.py`), sending batches to the device included. Called by
measure_accelerator.py in a process of its own.
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

PLATFORM = flags.DEFINE_enum('platform', None, list(JAX_PLATFORMS), 'Where to run.', required=True)
SECONDS = flags.DEFINE_float('seconds', 4.0, 'Of each way; it takes at least three calls.')
OUT = flags.DEFINE_string('out', '', 'JSON file, written anew after each artifact.')
KERNELS = ('__cudnn$fmhaSoftmax', '__cudnn$fmhaSoftmaxBackward', 'tpu_custom_call')


def measure(path: pathlib.Path, seconds: float) -> dict[str, Any]:
  """Of one artifact: seconds of a step in each way, of compiling, bytes, and its kernels."""
  from autoresearch_jax.runner import devices  # noqa: PLC0415 - after the environment is set

  stepping = CompiledTrainStep(path, cast(Platform, PLATFORM.value))
  device, steps = stepping.devices[0], stepping.phase.steps_per_call
  names = [
    name
    for op in stepping.made.graphs[1].ops()
    for name in KERNELS
    if ('call_target_name', f'"{name}"') in op.attributes
  ]
  return {
    'variant': path.name,
    'device': device.device_kind,
    'num_devices': len(stepping.devices),
    'peak_flops': devices.peak_flops(device, cache.directory())[0],
    'compile_seconds': stepping.compile_seconds,
    'analysis_bytes': stepping.ready.analysis_bytes,
    'steps_per_call': steps,
    'kernels': {name: names.count(name) for name in sorted(set(names))},
    'looped': queued(lambda: stepping.call(steps), seconds) / steps,
    'queued': queued(lambda: stepping.call(1), seconds),
    'waited': waited(lambda: stepping.call(1), seconds),
    'allocator_bytes': devices.allocator_peak(device),
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
