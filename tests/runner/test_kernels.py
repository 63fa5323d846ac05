"""Kernels: honest ones are timed, and cheating ones are refused, each with its reason."""

import dataclasses
import difflib

import numpy as np
import pytest

import autoresearch_jax as ar
from autoresearch_jax.config import Limits, load
from autoresearch_jax.problems.kernel import Kernel
from autoresearch_jax.programs.start import PROGRAMS
from autoresearch_jax.runner.client import RunnerError, RunnerSetup
from autoresearch_jax.runner.kernels import gate, inputs, timing
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


# --- inputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', inputs.KINDS)
def test_inputs_have_their_shapes_and_stay_inside_of_their_bounds(kind):
  arrays = (
    LOGITS, LABELS, KernelInput((), 'float32'), KernelInput((5, 3), 'bfloat16', -2.0, 0.5),
    KernelInput((7,), 'bool', 0.0, 1.0), KernelInput((64,), 'float16'),
  )  # fmt: skip
  kernel = KernelSpec(arrays, 'reference')
  drawn = inputs.draw(kind, kernel, np.random.default_rng(0))
  for each, array in zip(arrays, drawn, strict=True):
    assert (array.shape, str(array.dtype)) == (each.shape, each.dtype)
    values = array.astype(np.float64)
    assert not np.isnan(values).any()
    assert np.isfinite(values).all() or (each.low is None and 'infinity' in kind)
    if each.low is not None:
      assert each.low <= values.min() and values.max() <= each.high
  assert kind not in inputs.INFINITE or np.isinf(drawn[0]).any()


def test_infinities_are_for_inputs_without_bounds():
  assert set(inputs.kinds(KERNEL)) == set(inputs.KINDS)
  assert not set(inputs.kinds(KernelSpec((LABELS,), 'reference'))) & set(inputs.INFINITE)


# --- gate ---------------------------------------------------------------------------------------


def checked(output, own, truth=None, **tolerances):
  own = np.asarray(own, np.float32)
  truth = own if truth is None else np.asarray(truth, np.float64)
  case = gate.Case('typical', [], [own], [truth])
  kernel = dataclasses.replace(KERNEL, **tolerances)
  return gate.check(case, [np.asarray(output, np.float32)], ['output'], kernel)


def test_tolerances_scale_with_the_value_and_with_the_largest_one():
  assert checked([1000.0, 1.0], [1000.0, 1.0]) == 0
  assert checked([1000.0, 1.005], [1000.0, 1.0]) == pytest.approx(0.5, rel=0.02)
  for scale in (1e-20, 1.0, 1e20):
    with pytest.raises(gate.GateError, match=r'output\[1\].*times the tolerance'):
      checked([scale, 0.1 * scale], [scale, 0.101 * scale])
  assert checked([1.0, 0.1], [1.0, 0.101], rtol=0.5) < 1


def test_an_inaccurate_reference_allows_four_times_as_much_where_it_is_inaccurate():
  truth = [1.0, 2.0]
  assert 0 < checked([1.0, 2.03], [1.0, 2.01], truth) < 1
  with pytest.raises(gate.GateError, match=r'output\[1\]'):
    checked([1.0, 2.05], [1.0, 2.01], truth)
  with pytest.raises(gate.GateError, match=r'output\[0\]'):
    checked([1.01, 2.0], [1.0, 2.01], truth)


@pytest.mark.parametrize('size', [2, 16, 1000])
def test_one_inaccurate_value_of_the_reference_allows_nothing_elsewhere(size):
  truth = np.ones(size)
  own = truth.copy()
  own[0] += 1000 * 1.1e-4  # rtol + atol of 1
  assert checked(own, own, truth) < 1
  for index in (1, size - 1):
    output = truth.copy()
    output[index] += 3 * 1.1e-4
    with pytest.raises(gate.GateError, match=rf'output\[{index}\]'):
      checked(output, own, truth)


@pytest.mark.parametrize('share', [0.2, 1.0])
def test_errors_as_common_as_those_of_the_reference_pass_anywhere(share):
  rng = np.random.default_rng(0)
  truth = rng.standard_normal(10000)

  def inaccurate():  # 100 times the tolerance, in the same part and by chance exact in places
    errors = rng.standard_normal(10000) * (np.arange(10000) < share * 10000)
    return truth + 100 * (1e-4 * abs(truth) + 4e-5) * errors

  assert checked(inaccurate(), inaccurate(), truth) < 1
  with pytest.raises(gate.GateError):
    checked(truth + 10 * (inaccurate() - truth), inaccurate(), truth)


def test_what_the_reference_does_not_define_may_be_anything():
  nan, inf = np.nan, np.inf
  assert checked([7.0, inf, 1.0], [nan, inf, 1.0]) == 0
  assert checked([7.0, 1.0], [inf, 1.0], [1e39, 1.0]) == 0  # overflows in its own dtype
  for wrong in ([nan, 1.0], [-inf, 1.0], [3.0, 1.0]):
    with pytest.raises(gate.GateError, match=r'output\[0\]'):
      checked(wrong, [inf, 1.0])
  with pytest.raises(gate.GateError, match='is nan'):
    checked([nan], [1.0])


def test_integers_must_be_equal():
  case = gate.Case('zeros', [], [np.array([1, 2])], [np.array([1, 2])])
  assert gate.check(case, [np.array([1, 2])], ['output'], KERNEL) == 0
  with pytest.raises(gate.GateError, match='all zero'):
    gate.check(case, [np.array([1, 3])], ['output'], KERNEL)


# --- timing -------------------------------------------------------------------------------------


def test_pairs_alternate_and_never_share_their_inputs():
  calls, pairs = [], []

  def named(name):
    return lambda number: calls.append((name, number))

  timing.time_pairs(
    named('kernel'), named('reference'), [(i,) for i in range(4)], lambda n, s: n >= 6,
    lambda pair, index, outputs, ratio: pairs.append(index),
  )  # fmt: skip
  assert calls[:2] == [('kernel', 0), ('reference', 0)]  # warm-up
  order = [(calls[i], calls[i + 1]) for i in range(2, len(calls), 2)]
  assert len(order) == len(pairs) == 6
  assert [first[0] for first, _ in order] == ['kernel', 'reference'] * 3
  assert all(first[1] != second[1] for first, second in order)


@pytest.mark.parametrize('count', [4, 5, 6])
def test_both_functions_get_every_set(count):
  sets: dict[str, list] = {'kernel': [], 'reference': []}
  timed = []
  timing.time_pairs(
    sets['kernel'].append, sets['reference'].append, [(i,) for i in range(count)],
    lambda n, s: n >= 2 * count, lambda pair, index, outputs, ratio: timed.append(index),
  )  # fmt: skip
  kernel, reference = (each[1:] for each in sets.values())  # without the warm-up
  assert kernel == timed
  for found in (kernel, reference):
    assert sorted(found) == sorted(2 * list(range(count)))


def test_the_interval_holds_the_median():
  found = timing.Timing(tuple(range(1, 101)), (2,) * 100).metrics()
  assert found['relative_time'] == pytest.approx(25.25)
  assert 20 < found['relative_time_low'] < 25.25 < found['relative_time_high'] < 31
  assert found['reference_ms'] == 2000


def test_the_sets_of_inputs_exceed_the_caches():
  cache = timing.cache_bytes('cpu')
  assert 0 < cache <= timing.MAX_CACHE_BYTES
  assert timing.num_sets(2**20, 'cpu') * 2**20 >= min(2 * cache, timing.MAX_SETS * 2**20)
  assert timing.num_sets(2**40, 'cpu') == timing.MIN_SETS


# --- problem ------------------------------------------------------------------------------------

GOOD = {
  'reference': 'kernels/scan/reference.py:reference',
  'inputs': ('float32[4,2]', 'int32[3] in [0, 9]'),
}


def test_a_problem_describes_its_kernel():
  kernel = Kernel(**GOOD).shapes()['kernel']
  assert kernel.inputs == (
    KernelInput((4, 2), 'float32'), KernelInput((3,), 'int32', 0.0, 9.0)
  )  # fmt: skip
  assert kernel.function == 'kernel' and not kernel.is_reference
  assert dataclasses.replace(kernel, is_reference=True).function == 'reference'


@pytest.mark.parametrize(
  ('options', 'words'),
  [
    ({'reference': 'scan.py'}, 'the file and the function'),
    ({'reference': 'nowhere.py:f'}, 'no file nowhere.py'),
    ({'reference': 'kernels/scan/reference.py:scan'}, 'defines: reference'),
    ({'inputs': ()}, 'give 1 to'),
    ({'inputs': ('float32 4,2',)}, 'a dtype and a shape'),
    ({'inputs': ('float99[4]',)}, 'Dtypes: float32'),
    ({'inputs': ('float32[0]',)}, '0 numbers'),
    ({'inputs': ('int32[4]',)}, 'which values'),
    ({'inputs': ('int32[4] in [0, 0.5]',)}, 'whole numbers'),
    ({'inputs': ('float32[4] in [1, 0]',)}, 'lower'),
    ({'inputs': ('int32[4] in [0, 9]',), 'gradients': True}, 'no input is a float'),
    ({'rtol': 2.0}, 'config.data.rtol'),
  ],
)
def test_a_wrong_option_is_refused(options, words):
  with pytest.raises(ValueError, match=words):
    Kernel(**{**GOOD, **options})
