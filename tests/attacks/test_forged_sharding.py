"""Artifacts for several devices: what `jax.shard_map` makes is read, and forgeries are refused.

A forgery is an honest module with some of its text replaced. It would make devices differ, or let
one wait for ever for a sum that others do not reach.
"""

import dataclasses
import re

import pytest
from helpers.tiny_language import SPEC, program
from jax.interpreters import mlir
from jaxlib import _jax
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo as hlo

from autoresearch_jax.artifact.fingerprint import fingerprint
from autoresearch_jax.artifact.header import ArtifactError
from autoresearch_jax.artifact.reader import from_bytes
from autoresearch_jax.config import Limits
from autoresearch_jax.programs.contract import ContractError
from autoresearch_jax.tracer import export

NAME, MORE = ('sym_name = "mesh"', 'sym_name = "more"')
SPEC = dataclasses.replace(SPEC, num_devices=2)
SHARED = program(
  step="""
  from jax.sharding import AbstractMesh, PartitionSpec as P
  mesh = AbstractMesh((2,), ('batch',))
  def share(table, inputs, targets):
    out = jax.value_and_grad(loss)(table, {'inputs': inputs, 'targets': targets})
    return jax.lax.pmean(out, 'batch')
  value, gradient = jax.shard_map(
    share, mesh=mesh, in_specs=(P(), P('batch'), P('batch')), out_specs=P(), check_vma=False
  )(state['table'], batch['inputs'], batch['targets'])
"""
)
CONSTRAINED = SHARED.replace(
  "batch['inputs'], batch['targets'])",
  "jax.lax.with_sharding_constraint(batch['inputs'], split), batch['targets'])",
).replace('  def share(', "  split = jax.sharding.NamedSharding(mesh, P('batch'))\n  def share(")
DIFFERS = 'differs between devices'


def traced(folder, text):
  folder.mkdir()
  (folder / 'model.py').write_text(text)
  return export.export_program(folder, 'model.py', SPEC, 16)


@pytest.fixture(scope='module')
def honest(tmp_path_factory):
  return traced(tmp_path_factory.mktemp('sharing') / 'shared', SHARED)


@pytest.fixture(scope='module')
def constrained(tmp_path_factory):
  return traced(tmp_path_factory.mktemp('sharing') / 'constrained', CONSTRAINED)


def forged(artifact, *replacements):
  """The artifact with some text of its train step's module replaced."""
  exported = artifact.exported[1]
  with mlir.make_ir_context() as context, ir.Location.unknown(context):
    text = exported.mlir_module(serialized=False).operation.get_asm(print_generic_op_form=True)
    for old, new in replacements:
      assert old in text, text
      text = text.replace(old, new)
    module = ir.Module.parse(text)
    code = _jax.mlir.serialize_portable_artifact(module, hlo.get_current_version(), True)
  step = dataclasses.replace(exported, mlir_module_serialized=code)
  return dataclasses.replace(artifact, train_steps=(bytes(step.serialize()),))


def refusal(artifact, *replacements):
  """The sentence that refuses a forgery; MLIR's own error where it does not even parse."""
  with pytest.raises((ArtifactError, ir.MLIRError)) as caught:
    from_bytes(forged(artifact, *replacements).to_bytes())
  return str(caught.value)


def refused_text(folder, text):
  """The sentence that refuses a program in the tracer, by the checks of the artifact's reader."""
  (folder / 'model.py').write_text(text)
  with pytest.raises(ContractError) as caught:
    export.export_program(folder, 'model.py', SPEC, 16, Limits())
  return str(caught.value)


def lines_of(artifact, word):
  """The lines of its train step, as MLIR prints them generically, that contain a word."""
  with mlir.make_ir_context() as context, ir.Location.unknown(context):
    module = artifact.exported[1].mlir_module(serialized=False).operation
    text = module.get_asm(print_generic_op_form=True)
  return [line for line in text.splitlines() if word in line]


def test_what_shard_map_makes_is_read(honest, constrained):
  for artifact in (honest, constrained):
    read = from_bytes(artifact.to_bytes())
    assert [graph.num_devices for graph in read.graphs] == [1, 2, 1]
    assert from_bytes(forged(artifact).to_bytes()).metric_names == ('loss',)
    assert fingerprint(read) == fingerprint(from_bytes(forged(artifact).to_bytes()))


@pytest.mark.parametrize(
  'new', ['"batch"=4', '"batch"=2, "more"=1', '"batch"=2], device_ids=[1, 0']
)
def test_another_mesh(honest, new):
  said = refusal(honest, ('#sdy.mesh<["batch"=2]>', f'#sdy.mesh<[{new}]>'))
  assert 'other devices than the 2' in said or 'not valid' in said or 'device_ids' in said, said


def test_an_axis_of_another_name(honest):
  assert 'other devices than the 2' in refusal(honest, ('"batch"', '"other"'))


def test_a_second_mesh(honest):
  mesh = lines_of(honest, '"sdy.mesh"')[-1]
  assert 'other devices' in refusal(honest, (mesh, f'{mesh}\n{mesh.replace(NAME, MORE)}'))


def test_a_mesh_in_an_artifact_for_one_device(honest):
  alone = dataclasses.replace(honest, spec=dataclasses.replace(SPEC, num_devices=1))
  with pytest.raises(ArtifactError, match='not a function'):
    from_bytes(alone.to_bytes())


@pytest.mark.parametrize('count', [-1, 0, 65, 2**40])
def test_an_impossible_number_of_devices(honest, count):
  many = dataclasses.replace(honest, spec=dataclasses.replace(SPEC, num_devices=count))
  with pytest.raises(ArtifactError, match=r'for -?\d+ devices'):
    from_bytes(many.to_bytes())


@pytest.mark.parametrize(
  'groups', ['dense<[[0], [1]]> : tensor<2x1xi64>', 'dense<[[1, 0]]> : tensor<1x2xi64>',
             'dense<[[0, 0]]> : tensor<1x2xi64>', 'dense<[[0, 2]]> : tensor<1x2xi64>']
)  # fmt: skip
def test_a_sum_over_other_devices(honest, groups):
  said = refusal(honest, ('dense<[[0, 1]]> : tensor<1x2xi64>', groups))
  assert 'all_reduce' in said or 'not valid' in said or 'replica id' in said, said


TAIL = "return jax.lax.pmean(out, 'batch')"


@pytest.mark.parametrize(
  ('tail', 'match'),
  [
    ('return out', DIFFERS),
    ("return out[0], jax.lax.pmean(out[1], 'batch')", DIFFERS),
    ("return jax.lax.pmean(out, 'batch')[0] + out[0], jax.lax.pmean(out[1], 'batch')", DIFFERS),
    ("return jax.lax.pmean((out[0] * jax.lax.axis_index('batch'), out[1]), 'batch')", 'batches'),
    (
      "add = lambda i, c: jax.lax.pmean(c, 'batch')\n"
      '    return jax.lax.fori_loop(0, inputs[0, 0], add, out)',
      'in a loop, branch',
    ),
    (
      "add = jax.jit(lambda c: jax.lax.pmean(c, 'batch'))\n    return add(out)",
      'inner function',
    ),
    (
      "mean = lambda c: jax.lax.pmean(c, 'batch')\n"
      '    return jax.lax.cond(inputs[0, 0] > 3, mean, lambda c: c, out)',
      'in a loop, branch',
    ),
    (
      'loop = jax.lax.fori_loop(0, inputs[0, 0], lambda i, c: c + 1, 0.0)\n'
      "    return loop, jax.lax.pmean(out[1], 'batch')",
      DIFFERS,
    ),
    ("return jax.tree.map(lambda x: jax.lax.all_gather(x, 'batch')[0], out)", 'all_gather'),
    ("return jax.tree.map(lambda x: jax.lax.ppermute(x, 'batch', [(0, 1)]), out)", 'permute'),
  ],
)
def test_devices_that_would_differ(tmp_path, tail, match):
  assert TAIL in SHARED
  assert re.search(match, refused_text(tmp_path, SHARED.replace(TAIL, tail)))


def test_a_reduction_of_another_kind(honest):
  """All additions are replaced, that of the sums over devices included."""
  assert 'all_reduce' in refusal(honest, ('"stablehlo.add"', '"stablehlo.subtract"'))


@pytest.mark.parametrize(
  'new',
  [
    '<@mesh, [{}, {"batch"}, {}]>',
    '<@mesh, [{"batch"}p1, {}]>',
    '<@mesh, [{"batch":(1)1}, {}]>',
    '<@mesh, [{}, {}], replicated={"batch"}>',
    '<@more, [{"batch"}, {}]>',
  ],
)
def test_an_array_that_is_split_in_another_way(constrained, new):
  line = lines_of(constrained, 'sharding_constraint')[0]
  said = refusal(constrained, (line, line.replace('<@mesh, [{"batch"}, {}]>', new)))
  assert 'sdy' in said or 'not valid' in said or 'mesh' in said, said


@pytest.mark.parametrize(('old', 'new'), [('{"batch"}', '{}'), ('<@mesh, []>', '<@mesh, [{}]>')])
def test_a_part_with_other_shardings_than_shapes(honest, old, new):
  said = refusal(honest, (old, new))
  assert 'manual_computation' in said or 'not valid' in said or 'sdy' in said, said


@pytest.mark.parametrize('name', ['sdy.sharding_group', 'sdy.propagation_barrier', 'sdy.reshard'])
def test_other_operations_of_the_dialect(constrained, name):
  line = lines_of(constrained, 'sharding_constraint')[0]
  said = refusal(constrained, (line, line.replace('sdy.sharding_constraint', name)))
  assert name in said, said


def test_a_sharding_on_an_operation(honest):
  line = next(x for x in lines_of(honest, '"stablehlo.subtract"') if '16x16xf32' in x)
  marked = line.replace(
    ') : (', ') {sdy.sharding = #sdy.sharding_per_value<[<@mesh, [{"batch"}, {}]>]>} : (', 1
  )
  assert 'has a sharding' in refusal(honest, (line, marked))
