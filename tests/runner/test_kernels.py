"""Kernels: honest ones are timed, and cheating ones are refused, each with its reason."""

import dataclasses
import difflib

import pytest

import autoresearch_jax as ar
from autoresearch_jax.config import Limits, load
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.kernels import inputs, timing
from autoresearch_jax.runner.kernels import runner as kernel_runner
from autoresearch_jax.runner.kernels.runner import KernelRunner
from autoresearch_jax.types import Budget, Dataset, KernelInput, KernelSpec, Program, Spec

PAIRS = Budget(5, 'steps')
LIMITS = Limits(trace_seconds=30, trace_cpu_seconds=30, constant_bytes=2**15)
LOGITS, LABELS = KernelInput((16, 256), 'float32'), KernelInput((16,), 'int32', 0, 255)
KERNEL = KernelSpec((LOGITS, LABELS), 'reference', gradients=True)
SPEC = Spec('kernel', 'cpu', 1, PAIRS, kernel=KERNEL)
REFERENCE = """
import jax
import jax.numpy as jnp

def reference(logits, labels):
  logs = jax.nn.log_softmax(logits, axis=-1)
  return -jnp.take_along_axis(logs, labels[:, None], axis=-1)[:, 0]
"""
HONEST = """
import jax
import jax.numpy as jnp

def chosen(logits, labels):
  return jnp.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]

def right(logits, labels):
  top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
  return jnp.log(jnp.sum(jnp.exp(logits - top), axis=-1)) + top[:, 0] - chosen(logits, labels)

def kernel(logits, labels):
  return right(logits, labels)
"""


@dataclasses.dataclass
class Bench:
  """A sandboxed tracer and a runner of kernels that has its reference."""

  tracing: object
  runner: KernelRunner
  spec: Spec

  def __call__(self, text: str) -> dict:
    path = self.trace(text, self.spec)
    self.runner.load(path)
    self.runner.compile()
    return self.runner.run(0, PAIRS, lambda *news: None)

  def trace(self, text: str, spec: Spec) -> str:
    out = self.tracing.folder / 'kernel.artifact'
    out.unlink(missing_ok=True)
    program = Program((('model.py', text),), 'model.py')
    result = self.tracing.tracer.trace(program, spec, 0, out)
    if result.status != 'ok':
      raise RunnerError(result.status, result.reason)
    return str(out)

  def refer(self, text: str, spec: Spec) -> dict:
    """Makes a function the reference."""
    self.spec = spec
    reference = dataclasses.replace(spec.kernel, is_reference=True)
    path = self.trace(text, dataclasses.replace(spec, kernel=reference))
    self.runner._reference = None  # the path stays the same
    return self.runner.reference(path)


@pytest.fixture(scope='module')
def made(tracing_of, tmp_path_factory) -> Bench:
  setup = RunnerSetup('cpu', Dataset('kernel'), LIMITS, str(tmp_path_factory.mktemp('cache')))
  return Bench(tracing_of(LIMITS), KernelRunner(setup), SPEC)


@pytest.fixture
def bench(made) -> Bench:
  if made.spec is not SPEC or made.runner._reference is None:
    assert made.refer(REFERENCE, SPEC) == {'float64': True}
  return made


def test_an_honest_kernel_is_timed(bench):
  run = bench(HONEST)
  measured = run['measurement']
  found = measured.metrics
  assert 0 < found['relative_time_low'] <= found['relative_time'] <= found['relative_time_high']
  assert found['kernel_ms'] > 0 and found['reference_ms'] > 0
  assert 0 <= found['tolerance_used'] <= 1
  assert measured.cost.steps == timing.MIN_PAIRS
  assert run['curve'] == [(1.0, found['relative_time'])]


def test_each_stage_reports_progress(bench, monkeypatch):
  monkeypatch.setattr(kernel_runner, 'PROGRESS_SECONDS', -1.0)  # each report passes
  bench.runner.load(bench.trace(HONEST, SPEC))
  bench.runner.compile()
  news = []
  bench.runner.run(0, PAIRS, lambda *each: news.append(each))
  phases = [each[3] if len(each) > 3 else 'train' for each in news]
  first, last = phases.index('train'), len(phases) - phases[::-1].index('train')
  assert phases[first:last] == ['train'] * PAIRS.amount
  assert first >= len(inputs.KINDS) + timing.MIN_SETS  # the comparison, then a report per set
  # Each set once more, then the reference in both precisions for each pair that is checked.
  assert len(phases) - last >= timing.MIN_SETS + 2
  assert all(each[0] == 1.0 for each in news[last:])


# What a kernel does to look fast -> its code after HONEST, and words of the reason.
CHEATS = {
  'returns a constant': (
    'def kernel(logits, labels):\n  return jnp.full(16, 5.5)',
    'none of its inputs',
  ),
  'returns what is expected of random inputs': (
    'def kernel(logits, labels):\n  return jnp.log(256.0) + 0.5 - chosen(logits, labels)',
    'random inputs',
  ),
  'looks answers up in a table': (
    'import numpy as np\n'
    'TABLE = np.random.default_rng(0).random((16384,)).astype(np.float32)\n'
    'def kernel(logits, labels):\n'
    '  return jnp.asarray(TABLE)[(logits[:, 0] * 1000).astype(jnp.int32) % 16384]',
    'constants',
  ),
  'computes in Python on the host': (
    'def kernel(logits, labels):\n'
    '  out = jax.ShapeDtypeStruct((16,), jnp.float32)\n'
    '  return jax.pure_callback(lambda a, b: a[:, 0], out, logits, labels)',
    'calls back into Python',
  ),
  'calls native code': (
    'def kernel(logits, labels):\n'
    '  out = jax.ShapeDtypeStruct((16,), jnp.float32)\n'
    "  found = jax.ffi.ffi_call('fast_kernel', out)(jax.lax.stop_gradient(logits))\n"
    '  return found + 0 * chosen(logits, labels)',
    'custom call',
  ),
  'keeps its first answer': (
    'ANSWERS = []\n'
    'def kernel(logits, labels):\n'
    '  if not ANSWERS:\n'
    '    ANSWERS.append(right(logits, labels))\n'
    '  return ANSWERS[0]',
    'another one has traced',
  ),
  'computes in bfloat16': (
    'def kernel(logits, labels):\n'
    '  return right(logits.astype(jnp.bfloat16), labels).astype(jnp.float32)',
    'times the tolerance',
  ),
  'sums a quarter of the classes': (
    'def kernel(logits, labels):\n'
    '  total = jnp.sum(jnp.exp(logits[:, ::4]), axis=-1) * 4\n'
    '  return jnp.log(total) - chosen(logits, labels)',
    'random inputs',
  ),
  'subtracts no maximum': (
    'def kernel(logits, labels):\n'
    '  return jnp.log(jnp.sum(jnp.exp(logits), axis=-1)) - chosen(logits, labels)',
    'large',
  ),
  'subtracts one maximum for all rows': (
    'def kernel(logits, labels):\n'
    '  top = jax.lax.stop_gradient(jnp.max(logits))\n'
    '  return jnp.log(jnp.sum(jnp.exp(logits - top), axis=-1)) + top - chosen(logits, labels)',
    'large',
  ),
  'clips what is rare': (
    'def kernel(logits, labels):\n  return right(jnp.clip(logits, -50, 50), labels)',
    'large',
  ),
  'replaces infinities': (
    'def kernel(logits, labels):\n'
    '  return right(jnp.nan_to_num(logits, posinf=jnp.inf, neginf=0.0), labels)',
    '-inf',
  ),
  'is wrong on equal inputs only': (
    'def kernel(logits, labels):\n'
    '  equal = jnp.max(logits) == jnp.min(logits)\n'
    '  return jnp.where(equal & (logits[0, 0] != 0), 0.0, right(logits, labels))',
    'all equal',
  ),
  'recognises the inputs that are timed': (
    'def kernel(logits, labels):\n'
    '  timed = jnp.abs(jnp.std(logits) - 1) < 0.1\n'
    '  fast = jnp.log(256.0) + 0.5 - chosen(logits, labels)\n'
    '  return jax.lax.cond(timed, lambda: fast, lambda: right(logits, labels))',
    'random inputs',
  ),
  'returns NaN, which compares with nothing': (
    'def kernel(logits, labels):\n  return right(logits, labels) * jnp.nan',
    'is nan',
  ),
  'returns half of the precision': (
    'def kernel(logits, labels):\n  return right(logits, labels).astype(jnp.float16)',
    'same shapes, dtypes',
  ),
  'returns one number for all rows': (
    'def kernel(logits, labels):\n  return jnp.mean(right(logits, labels))',
    'same shapes, dtypes',
  ),
  'has no gradient': (
    'def kernel(logits, labels):\n'
    '  return jax.lax.stop_gradient(right(logits, labels)) + 0 * jnp.sum(logits)',
    'the gradient of input 0',
  ),
  'declares a cheaper gradient': (
    '@jax.custom_vjp\n'
    'def kernel(logits, labels):\n  return right(logits, labels)\n'
    'def forward(logits, labels):\n  return right(logits, labels), (logits, labels)\n'
    'def backward(saved, slope):\n  return slope[:, None] * jnp.exp(saved[0]) / 422.0, None\n'
    'kernel.defvjp(forward, backward)',
    'the gradient of input 0',
  ),
  'draws random numbers': (
    'def kernel(logits, labels):\n'
    '  noise = jax.lax.rng_uniform(jnp.float32(0), jnp.float32(1), (16,))\n'
    '  return right(logits, labels) + 0 * noise',
    'jax.random',
  ),
  'patches the comparison and the clock': (
    'import time\nimport numpy\n'
    'import autoresearch_jax.artifact.kernel as artifact\n'
    'numpy.isfinite = numpy.allclose = lambda *a, **k: True\n'
    'time.perf_counter = lambda: 0.0\n'
    'def kernel(logits, labels):\n  return logits[:, 0]',
    'random inputs',
  ),
  'widens its tolerances': (
    'import dataclasses\nimport msgspec\n'
    'from autoresearch_jax.artifact import kernel as artifact\n'
    'pack = artifact.pack\n'
    'def widened(header, modules):\n'
    '  wide = dataclasses.replace(header.spec.kernel, rtol=0.9, atol=0.9)\n'
    '  spec = dataclasses.replace(header.spec, kernel=wide)\n'
    '  return pack(msgspec.structs.replace(header, spec=spec), modules)\n'
    'artifact.pack = widened\n'
    'def kernel(logits, labels):\n  return right(logits, labels)',
    'another problem',
  ),
  'ends the process that checks it': (
    'import os\ndef kernel(logits, labels):\n  os._exit(0)',
    'exit',
  ),
}


@pytest.mark.parametrize('cheat', CHEATS)
def test_a_cheating_kernel_is_refused(bench, cheat):
  code, words = CHEATS[cheat]
  with pytest.raises(RunnerError) as refused:
    bench(f'{HONEST}\n{code}\n')
  assert refused.value.status == 'invalid'
  assert words in str(refused.value)
  assert str(refused.value).endswith('.')


def test_there_are_fifteen_ways_to_cheat():
  assert len(CHEATS) >= 15


def test_a_kernel_for_another_reference_is_refused(bench):
  other = dataclasses.replace(SPEC, kernel=dataclasses.replace(KERNEL, atol=0.5))
  with pytest.raises(RunnerError, match='another reference'):
    bench.runner.load(bench.trace(HONEST, other))


def test_a_pallas_kernel_is_refused_on_a_cpu_and_traces_for_a_tpu(bench):
  text = """
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

def double(x_ref, out_ref):
  out_ref[...] = x_ref[...] * 2

def kernel(x):
  return pl.pallas_call(double, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype))(x)
"""
  kernel = KernelSpec((KernelInput((256, 256), 'float32'),), 'reference')
  with pytest.raises(RunnerError, match='interpret'):
    bench.trace(text, dataclasses.replace(SPEC, kernel=kernel))
  bench.trace(text, dataclasses.replace(SPEC, platform='tpu', kernel=kernel))


def test_a_reference_that_has_no_float64_is_compared_in_its_own_precision(bench):
  text = """
import jax
import jax.numpy as jnp

def reference(x):
  return jax.lax.scan(lambda s, v: (jnp.float32(0.5) * s + v.astype(jnp.float32),) * 2,
                      jnp.zeros(4, jnp.float64 if x.dtype == 'float64' else jnp.float32), x)[1]
"""
  spec = dataclasses.replace(
    SPEC, kernel=KernelSpec((KernelInput((8, 4), 'float32', 0.0, 1.0),), 'reference')
  )
  assert bench.refer(text.replace('0.5) * s', '0.5) * s.astype(jnp.float32)'), spec) == {
    'float64': False
  }
  assert bench(text.replace('def reference', 'def kernel'))['measurement'].metrics['kernel_ms'] > 0


@pytest.mark.slow
def test_a_run_keeps_a_faster_kernel_and_times_it_anew(tmp_path):
  config = load('kernel:scan').unlock()
  config.data.inputs = ('float32[512,64] in [0, 1]', 'float32[512,64] in [-100, 100]')
  text = (PROGRAMS / 'kernels' / 'scan' / 'model.py').read_text()
  (tmp_path / 'edits').mkdir()
  for number, code in enumerate(('inputs + decay', 'in_order(decay, inputs)')):
    after = text.replace('return as_tree(decay, inputs)', f'return {code}').splitlines(True)
    lines = difflib.unified_diff(text.splitlines(True), after, 'a/model.py', 'b/model.py')
    (tmp_path / 'edits' / f'{number}.patch').write_text(''.join(lines))
  result = ar.run(
    config, tmp_path / 'run', max_trials=3, proposer='replay',
    proposer_options={'source': str(tmp_path / 'edits')}, budget__amount=0.2, final_seeds=2,
    say=lambda line: None,
  )  # fmt: skip
  baseline, refused, kept = (trial.result for trial in result.trials)
  assert refused.status == 'invalid' and 'differs from the reference' in refused.reason
  assert kept.status == 'ok' and len(baseline.measurements) == 6
  # Several times faster, so that a busy machine does not change the order.
  before, after = ([m.metrics['relative_time'] for m in r.measurements] for r in (baseline, kept))
  assert min(after) < max(before)
