"""An artifact's train step, compiled as in a runner, for measurements.

It uses the runner's `compile_template` and cache. Each call sends a batch of random tokens to the
device. Call `begin` first: it sets environment variables that jax reads when it is imported.
"""

import os
import pathlib
import time
from typing import Any

import numpy as np

from autoresearch_jax.config import Limits
from autoresearch_jax.data import cache
from autoresearch_jax.runner.client import process_environment
from autoresearch_jax.types import Platform


def begin(platform: Platform) -> None:
  """Configures and imports jax as a runner does."""
  os.environ.update(process_environment(platform))
  from autoresearch_jax.runner import executable_cache  # noqa: PLC0415 - imports jax

  executable_cache.install(cache.directory() / 'xla')


class CompiledTrainStep:
  """The train step of an artifact's first phase, with its current state.

  Attributes:
    artifact: The artifact.
    devices: Devices that it runs on.
    executable: The compiled functions.
    compile_seconds: Time that compiling them took.
    phase: The first phase.
  """

  def __init__(self, path: pathlib.Path, platform: Platform):
    import jax  # noqa: PLC0415 - after the environment is set

    from autoresearch_jax.artifact import reader  # noqa: PLC0415
    from autoresearch_jax.runner import devices  # noqa: PLC0415
    from autoresearch_jax.runner.compile import (  # noqa: PLC0415
      ExecutableTemplate,
      compile_template,
      prng_key_data,
    )

    self.artifact = reader.read(path, Limits())
    self.devices = devices.require_platform(platform)
    start = time.monotonic()
    template = ExecutableTemplate.from_artifact(self.artifact)
    memory = devices.memory_limit(self.devices[0])
    self.executable = compile_template(template, self.devices, memory).bind(template)
    self.compile_seconds = time.monotonic() - start
    self.phase = self.executable.phases[0]
    shape = (self.phase.steps_per_call, self.phase.batch_size, self.phase.sequence_length)
    vocabulary = self.artifact.spec.vocab_size
    assert vocabulary, 'Only language models are supported.'
    tokens = np.random.default_rng(0).integers(0, vocabulary, shape, np.int32)
    self._batches = [{'inputs': each, 'targets': np.roll(each, -1, axis=1)} for each in tokens]
    self._progress = np.zeros(self.phase.steps_per_call, np.float32)
    self._state = jax.block_until_ready(self.executable.init(prng_key_data(0)))

  def call(self, count: int) -> Any:
    """Dispatches `count` steps, at most `phase.steps_per_call`, and returns their losses."""
    inputs, targets = self.executable.put_batches(self.phase, self._batches)
    self._state, metrics = self.phase.run(
      self._state, inputs, targets, self._progress, np.int32(count)
    )
    return metrics['loss']
