"""Kernels of a train step on an accelerator: their times by name, longest first.

  autoresearch measure profile --config=configs/gpt_small.py:gpu
  autoresearch measure profile --artifact=FILE --platform=gpu --out=FILE.json

Prints milliseconds per step from XLA's profiler, whose overhead on an accelerator is small. Kernels
whose names differ only in a trailing number share a row, unless --each is set. The row `(gaps)` is
the remaining wall-clock time.
"""

import collections
import pathlib
import re
import tempfile
import time
from typing import Any

import msgspec
from absl import app, flags
from ml_collections import config_flags

from autoresearch_jax.config import from_config_dict
from autoresearch_jax.measure import gpt_setting
from autoresearch_jax.measure.train_step import CompiledTrainStep, begin
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.runner.client import JAX_PLATFORMS
from autoresearch_jax.types import Platform

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config whose starting program is profiled.'
)
ARTIFACT = flags.DEFINE_string('artifact', '', 'Artifact to profile, instead of a config.')
PLATFORM = flags.DEFINE_enum('platform', None, list(JAX_PLATFORMS), 'Platform of the artifact.')
EACH = flags.DEFINE_bool('each', False, 'One row per kernel, without merging numbered ones.')
ROWS = flags.DEFINE_integer('rows', 40, 'Number of kernels to print.', 1)
OUT = flags.DEFINE_string('out', '', 'JSON file: milliseconds and calls of each kernel in a step.')


def profile(path: pathlib.Path, platform: Platform) -> dict[str, tuple[float, float]]:
  """Returns milliseconds and calls per step of the artifact's first phase, by kernel."""
  import jax  # noqa: PLC0415 - after the environment is set

  step = CompiledTrainStep(path, platform)
  per_call = step.phase.steps_per_call

  def steps(calls: int) -> float:
    start = time.perf_counter()
    losses = [step.call(per_call) for _ in range(calls)]
    jax.block_until_ready(losses)
    return 1000 * (time.perf_counter() - start) / calls / per_call

  steps(2)
  calls = 3
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      total = steps(calls)
    (found_trace,) = pathlib.Path(folder).rglob('*.xplane.pb')
    sums = kernels(found_trace.read_bytes(), platform)
  num_steps = calls * per_call
  rows = {name: (ms / num_steps, n / num_steps) for name, (ms, n) in sums.items()}
  rows['(gaps)'] = (total - sum(ms for ms, _ in rows.values()), 0.0)
  return rows


def kernels(trace: bytes, platform: str) -> dict[str, tuple[float, float]]:
  """Returns milliseconds and calls in the trace, by kernel."""
  from jax.profiler import ProfileData  # noqa: PLC0415 - after the environment is set

  sums: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0.0])
  for plane in ProfileData.from_serialized_xspace(trace).planes:
    if not plane.name.startswith('/device:' if platform != 'cpu' else '/host:CPU'):
      continue
    for line in plane.lines:
      if platform == 'gpu' and not line.name.startswith('Stream'):
        continue  # repeats the kernels by module and by operation
      if platform == 'tpu' and line.name != 'XLA Ops':
        continue
      for event in line.events:
        name = event.name if EACH.value else re.sub(r'([._]\d+)+$', '', event.name)
        sums[name][0] += event.duration_ns / 1e6
        sums[name][1] += 1
  return {name: (ms, n) for name, (ms, n) in sums.items()}


def main(arguments: list[str]) -> int:
  if len(arguments) > 1 or bool(ARTIFACT.value) == bool(_CONFIG.value):
    raise app.UsageError('Name --config, or --artifact and --platform.')
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(ARTIFACT.value)
    platform: Any = PLATFORM.value
    if _CONFIG.value:
      config = from_config_dict(_CONFIG.value)
      path, platform = pathlib.Path(folder, 'artifact'), config.platform
      gpt_setting.trace(config, starting_program(config), 1, path)
    elif platform is None:
      raise app.UsageError('Name the platform of the artifact with --platform.')
    begin(platform)
    rows = sorted(profile(path, platform).items(), key=lambda item: -item[1][0])
  for name, (ms, calls) in rows[: ROWS.value]:
    print(f'{ms:9.3f} ms  {calls:7.1f} x  {name}')
  print(f'{sum(ms for _, (ms, _) in rows):9.3f} ms  per step, {len(rows)} kinds of kernels')
  if OUT.value:
    pathlib.Path(OUT.value).write_bytes(msgspec.json.encode(dict(rows)))
  return 0


if __name__ == '__main__':
  app.run(main)
