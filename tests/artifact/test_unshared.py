"""A module that several devices share computes the same on one."""

import dataclasses

import numpy as np
from helpers.tiny_language import SPEC, TIME, VOCAB, program

from autoresearch_jax.artifact.reader import from_bytes
from autoresearch_jax.artifact.unshared import for_one_device
from autoresearch_jax.tracer.export import export_program

DEVICES = 4
MEAN = """
  from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec as P
  mesh = AbstractMesh((4,), ('batch',))
  def share(table, inputs, targets):
    value, gradient = jax.value_and_grad(loss)(table, {'inputs': inputs, 'targets': targets})
    return jax.lax.pmean((value, gradient), 'batch')
  inputs = jax.lax.with_sharding_constraint(batch['inputs'], NamedSharding(mesh, P('batch')))
  value, gradient = jax.shard_map(
    share, mesh=mesh, in_specs=(P(), P('batch'), P('batch')), out_specs=P(), check_vma=False
  )(state['table'], inputs, batch['targets'])
"""


def step(folder, text, num_devices):
  folder.mkdir()
  (folder / 'model.py').write_text(text)
  spec = dataclasses.replace(SPEC, num_devices=num_devices)
  artifact = export_program(folder, 'model.py', spec, evaluation_batch=8)
  assert artifact.graphs[1].num_devices == num_devices
  artifact = from_bytes(for_one_device(artifact).to_bytes())
  assert {graph.num_devices for graph in artifact.graphs} == {1}
  tokens = np.random.default_rng(0).integers(0, VOCAB, (8, TIME), np.int32)
  table = np.random.default_rng(1).normal(size=(VOCAB, VOCAB)).astype(np.float32)
  return artifact.exported[1].call(table, tokens, np.roll(tokens, -1, 1), np.float32(0.5))


def test_a_train_step_that_averages_over_devices(tmp_path):
  shared = step(tmp_path / 'shared', program(step=MEAN), DEVICES)
  alone = step(tmp_path / 'alone', program(), 1)
  for one, other in zip(shared, alone, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5)
