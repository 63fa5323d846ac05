"""Trains a program on 1, 2 and 4 devices: python several_devices.py FILE COUNT... > JSON.

The devices are forced on the CPU. COUNTs are the numbers of devices; the output is a list with what
was measured for each.
"""

import json
import os
import pathlib
import sys

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'

import jax
import numpy as np

from autoresearch_jax.artifact import reader
from autoresearch_jax.artifact.fingerprint import fingerprint
from autoresearch_jax.artifact.unshared import for_one_device
from autoresearch_jax.config import Limits
from autoresearch_jax.runner.compile import ExecutableTemplate, compile_template, prng_key_data
from autoresearch_jax.tracer import export
from autoresearch_jax.types import Budget, Spec

STEPS, ROWS = 4, 8


def measured(file: pathlib.Path, count: int) -> dict:
  spec = Spec('language_model', 'cpu', count, Budget(4), vocab_size=64, sequence_length=32)
  artifact = export.export_program(file.parent, file.name, spec, ROWS, Limits())
  artifact = reader.from_bytes(artifact.to_bytes(), Limits())
  template = ExecutableTemplate.from_artifact(artifact)
  compiled = compile_template(template, jax.devices()[:count], 0).bind(template)
  phase = compiled.phases[0]
  shape = (phase.steps_per_call, phase.batch_size, phase.sequence_length)
  tokens = np.random.default_rng(0).integers(0, 64, shape, np.int32)
  inputs, targets = (compiled.device_put(x, 1) for x in (tokens, np.roll(tokens, -1, 2)))
  progress = np.zeros(shape[0], np.float32)
  leaves = compiled.init(prng_key_data(0))
  leaves, metrics = phase.run(leaves, inputs, targets, progress, np.int32(STEPS))
  scored = compiled.score(
    leaves, compiled.device_put(tokens[0][:ROWS]), compiled.device_put(tokens[1][:ROWS])
  )
  alone = ExecutableTemplate.from_artifact(for_one_device(artifact))
  alone = compile_template(alone, jax.devices()[:1], 0).bind(alone)
  scored_alone = alone.score(
    tuple(np.asarray(leaf) for leaf in leaves), tokens[0][:ROWS], tokens[1][:ROWS]
  )
  return {
    'losses': np.asarray(metrics['loss'])[:STEPS].tolist(),
    'scored': float(np.asarray(scored[0]).mean()),
    'scored_alone': float(np.asarray(scored_alone[0]).mean()),  # the same state, on one device
    'fingerprint': fingerprint(artifact),
    'traced_flops': artifact.flops[0],
    'flops': phase.flops,
    'shared': [graph.num_devices for graph in artifact.graphs],
    'replicated': phase.share.replicated if phase.share else None,
    'note': phase.share.note if phase.share else None,
  }


if __name__ == '__main__':
  file, *counts = sys.argv[1:]
  print(json.dumps([measured(pathlib.Path(file), int(count)) for count in counts]))
