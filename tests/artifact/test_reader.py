"""An artifact survives its file, and whatever else is in a file is refused with a sentence."""

import dataclasses

import jax
import jax.export
import jax.numpy as jnp
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax.artifact import reader
from autoresearch_jax.artifact.header import ArtifactError, Header, Leaf, pack, unpack
from autoresearch_jax.artifact.reader import Artifact, from_bytes
from autoresearch_jax.config import Limits
from autoresearch_jax.programs.contract import Phase
from autoresearch_jax.types import Budget, Spec

SPEC = Spec('supervised', 'cpu', 1, Budget(10, 'steps'), input_shape=(6,), num_classes=3)
F32, I32 = jnp.float32, jnp.int32


def module(function, *shapes, platform='cpu', **options):
  structs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
  exported = jax.export.export(jax.jit(function), platforms=[platform], **options)(*structs)
  return bytes(exported.serialize())


def init(key):
  return (jax.random.normal(jax.random.wrap_key_data(key), (6, 3)),)


def train_step(weights, inputs, targets, progress):
  return weights - 0.1 * progress, jnp.mean(inputs @ weights) + jnp.mean(targets)


def predict(weights, inputs):
  return inputs @ weights


KEY, WEIGHTS, INPUTS = ((2,), jnp.uint32), ((6, 3), F32), ((4, 6), F32)
STEP = (WEIGHTS, INPUTS, ((4,), I32), ((), F32))


@pytest.fixture(scope='module')
def made():
  return Artifact(
    platform='cpu',
    spec=SPEC,
    evaluation_batch=4,
    batch_size=4,
    phases=(Phase(1.0, 4),),
    leaves=(Leaf('w', (6, 3), 'float32'),),
    metric_names=('loss',),
    init=module(init, KEY),
    train_steps=(module(train_step, *STEP),),
    predict=module(predict, WEIGHTS, INPUTS),
  )


def why(artifact):
  """The sentence with which an artifact is refused."""
  with pytest.raises(ArtifactError) as caught:
    from_bytes(artifact.to_bytes())
  assert str(caught.value).endswith('.') and '\n' not in str(caught.value)
  assert '; ' in str(caught.value) and caught.value.remedy  # every reason says what to do
  return str(caught.value)


def test_written_and_read_it_is_the_same(made, tmp_path, limits):
  made.write(tmp_path / 'artifact')
  read = reader.read(tmp_path / 'artifact', limits)
  assert read == made
  facts = read.facts()
  assert facts['parameters'] == 18 and facts['state_bytes'] == 72
  assert facts['matmul_flops_per_step'] == [2 * 4 * 6 * 3]


def test_a_file_that_is_too_big_or_absent_is_refused(made, tmp_path, limits):
  path = tmp_path / 'artifact'
  with pytest.raises(ArtifactError, match='cannot be read'):
    reader.read(path, limits)
  made.write(path)
  with pytest.raises(ArtifactError, match=r'limits\.artifact_bytes allows'):
    reader.read(path, dataclasses.replace(limits, artifact_bytes=1000))


def test_constants_are_limited_and_computed_tables_are_not(made, tmp_path, limits):
  path = tmp_path / 'artifact'
  constant = numpy.sin(numpy.arange(600, dtype='float32')).reshape(200, 3)

  def embedding(weights, inputs):
    return inputs @ weights + jnp.sum(constant * weights[0])

  def computing(weights, inputs):
    return inputs @ weights + jnp.sum(jnp.sin(jax.lax.iota(F32, 600)))

  strict = dataclasses.replace(limits, constant_bytes=1024)
  dataclasses.replace(made, predict=module(embedding, WEIGHTS, INPUTS)).write(path)
  assert reader.read(path, limits).constant_bytes >= 2400
  with pytest.raises(
    ArtifactError, match=r'0\.00 MiB, and limits\.constant_bytes allows'
  ) as caught:
    reader.read(path, strict)
  assert 'jax.lax.iota' in str(caught.value)
  dataclasses.replace(made, predict=module(computing, WEIGHTS, INPUTS)).write(path)
  assert reader.read(path, strict).constant_bytes < 1024


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_truncation_and_every_changed_bit_is_noticed(made, data):
  whole = made.to_bytes()
  place = data.draw(st.integers(0, len(whole) - 1))
  bit = data.draw(st.integers(0, 7))
  changed = whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]
  for bad in (whole[:place], changed, whole + b'x'):
    with pytest.raises(ArtifactError):
      from_bytes(bad)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_header_changed_by_someone_who_knows_the_checksum_is_refused_or_harmless(made, data):
  """Whatever a forger puts there raises ArtifactError and nothing else, or still is a trial."""
  header, modules = unpack(made.to_bytes())
  texts = st.sampled_from(['', 'cpu', 'tpu', 'loss', 'é', 'float32', 'float64'])
  numbers = st.one_of(st.integers(-3, 10), st.sampled_from([2**31, 2**62]))
  changes = {
    'platform': texts,
    'evaluation_batch': numbers,
    'batch_size': numbers,
    'phases': st.lists(st.builds(Phase, st.floats(), numbers, numbers), max_size=3).map(tuple),
    'leaves': st.lists(
      st.builds(Leaf, texts, st.lists(numbers, max_size=3).map(tuple), texts), max_size=3
    ).map(tuple),
    'metric_names': st.lists(texts, max_size=3).map(tuple),
    'module_bytes': st.lists(numbers, max_size=4).map(tuple),
    'spec': st.builds(
      Spec,
      st.sampled_from(['language_model', 'supervised', 'construction']),
      st.sampled_from(['cpu', 'gpu']),
      st.just(1),
      st.just(Budget(1.0)),
      numbers,
      numbers,
      st.lists(numbers, max_size=3).map(tuple),
      numbers,
    ),
  }
  field = data.draw(st.sampled_from(sorted(changes)))
  forged = {name: getattr(header, name) for name in header.__struct_fields__}
  forged[field] = data.draw(changes[field])
  try:
    read = from_bytes(pack(Header(**forged), tuple(modules)))
  except ArtifactError:
    return
  assert read.leaves[0].shape == (6, 3)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_modules_of_noise_raise_nothing_else(made, data):
  """Noise in the outer layer of a module; MLIR's own parser is only ever given what passed it."""
  noise = data.draw(st.binary(max_size=200))
  place = data.draw(st.integers(0, 64))
  bad = made.predict[:place] + noise + made.predict[place + len(noise) :]
  try:
    from_bytes(dataclasses.replace(made, predict=bad).to_bytes())
  except ArtifactError:
    return


def test_other_shapes_than_the_contract_says_are_refused(made):
  narrow = module(predict, ((6, 2), F32), INPUTS)
  assert 'predict takes other arrays' in why(dataclasses.replace(made, predict=narrow))
  both = module(lambda w, x: (x @ w, x @ w), WEIGHTS, INPUTS)
  assert 'predict does not return flat' in why(dataclasses.replace(made, predict=both))
  integers = module(lambda w, x: (x @ w).astype(I32), WEIGHTS, INPUTS)
  assert 'predict returns int32[4,3], not one float' in why(
    dataclasses.replace(made, predict=integers)
  )
  assert 'init returns other arrays' in why(
    dataclasses.replace(made, init=module(lambda k: (jnp.zeros(3),), KEY))
  )
  assert 'its metrics are not sorted' in why(dataclasses.replace(made, metric_names=('loss', 'a')))
  assert 'train_step returns other arrays' in why(
    dataclasses.replace(made, metric_names=('loss', 'more'))
  )


def test_another_platform_is_refused(made):
  moved = module(predict, WEIGHTS, INPUTS, platform='cuda')
  assert 'predict is not exported for one device of cpu' in why(
    dataclasses.replace(made, predict=moved)
  )


def test_named_arguments_are_refused(made):
  nested = jax.export.export(jax.jit(lambda both: both['x'] @ both['w']))(
    {'w': jax.ShapeDtypeStruct(*WEIGHTS), 'x': jax.ShapeDtypeStruct(*INPUTS)}
  )
  assert 'predict does not take flat arguments' in why(
    dataclasses.replace(made, predict=bytes(nested.serialize()))
  )


def test_symbolic_shapes_are_refused(made):
  (batch,) = jax.export.symbolic_shape('b')
  anything = module(predict, WEIGHTS, ((batch, 6), F32))
  assert 'predict takes other arrays' in why(dataclasses.replace(made, predict=anything))


@pytest.mark.parametrize('target', ['xla_ffi_python_cpu_callback', 'my_kernel'])
def test_custom_calls_outside_the_list_are_refused(made, target):
  def cheat(weights, inputs):
    logits = inputs @ weights
    shape = jax.ShapeDtypeStruct(logits.shape, logits.dtype)
    return jax.ffi.ffi_call(target, shape)(logits)

  checks = [jax.export.DisabledSafetyCheck.custom_call(target)]
  bad = module(cheat, WEIGHTS, INPUTS, disabled_checks=checks)
  assert f'it calls {target!r}, a custom call' in why(dataclasses.replace(made, predict=bad))


def test_kernels_that_a_program_brings_are_refused_unless_asked_for(made):
  target = 'triton_kernel_call'

  def kernel(weights, inputs):
    logits = inputs @ weights
    return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(logits.shape, logits.dtype))(logits)

  on = {'platform': 'cuda'}
  checks = [jax.export.DisabledSafetyCheck.custom_call(target)]
  artifact = dataclasses.replace(
    made,
    spec=dataclasses.replace(SPEC, platform='gpu'),
    init=module(init, KEY, **on),
    train_steps=(module(train_step, *STEP, **on),),
    predict=module(kernel, WEIGHTS, INPUTS, disabled_checks=checks, **on),
    **on,
  )
  assert 'config.limits.custom_kernels = True allows it' in why(artifact)
  assert from_bytes(artifact.to_bytes(), Limits(custom_kernels=True)) == artifact


def test_library_calls_on_the_list_pass(made):
  def whiten(weights, inputs):
    return (inputs @ weights) @ jnp.linalg.cholesky(weights.T @ weights + jnp.eye(3))

  artifact = dataclasses.replace(made, predict=module(whiten, WEIGHTS, INPUTS))
  assert from_bytes(artifact.to_bytes()) == artifact


def test_complex_constants_can_be_read(made):
  turn = numpy.exp(1j * numpy.arange(600)).astype('complex64').reshape(200, 3)

  def turning(weights, inputs):
    return inputs @ weights + jnp.abs(turn * weights[0]).sum() + jnp.abs(weights[0] * 2j)

  artifact = dataclasses.replace(made, predict=module(turning, WEIGHTS, INPUTS))
  assert from_bytes(artifact.to_bytes()).constant_bytes >= 4800


def test_what_a_module_says_of_itself_is_compared_with_what_it_holds(made):
  exported = jax.export.deserialize(bytearray(made.predict))
  other = jax.export.deserialize(bytearray(module(predict, ((6, 2), F32), INPUTS)))
  lying = dataclasses.replace(exported, mlir_module_serialized=other.mlir_module_serialized)
  bad = dataclasses.replace(made, predict=bytes(lying.serialize()))
  assert 'a module takes other arrays than it declares' in why(bad)


def test_flops_count_the_trips_of_a_scan(made):
  def scanned(weights, inputs):
    turned = jax.lax.scan(lambda x, _: (jnp.sin(x) @ weights @ weights.T, None), inputs, length=7)
    return turned[0] @ weights

  artifact = dataclasses.replace(made, train_steps=(module(scanned, WEIGHTS, INPUTS),))
  assert artifact.flops == (15 * 2 * 4 * 6 * 3,)


def test_matmuls_are_told_apart_by_dtype(made):
  def mixed(weights, inputs):
    half = jnp.bfloat16
    return inputs.astype(half) @ weights.astype(half) + (inputs @ weights).astype(half)

  artifact = dataclasses.replace(made, train_steps=(module(mixed, WEIGHTS, INPUTS),))
  assert artifact.matmul_dtypes == {'bfloat16': 144.0, 'float32': 144.0}
