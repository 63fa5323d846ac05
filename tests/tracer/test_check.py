"""What a program may not do ends in a sentence with file, line and remedy; what is safe passes."""

import re

import pytest

pytestmark = pytest.mark.slow

STEP = '  speed = 0.9'
STATE = "'steps': 0}"
NEW_STATE = "'weights': weights, 'speed': speed"
IMPORTS = 'import jax.numpy as jnp\n'
LOSS = 'loss, slope = jax.value_and_grad(loss_of)'


def in_step(code):
  """One more line in train_step, whose value is a metric."""
  return (STEP, f'  extra = {code}\n{STEP}'), ("{'loss': loss, ", "{'loss': loss, 'extra': extra, ")


def in_state(leaf, before=''):
  return (STATE, f"'steps': 0, 'more': {leaf}}}"), ('BATCH_SIZE', f'{before}\nBATCH_SIZE')


def at_top(code):
  return ((IMPORTS, f'{IMPORTS}{code}\n'),)


THING = 'class Thing:\n  def __init__(self):\n    self.x = jnp.zeros(3)\n'
PLAIN = f'import dataclasses\n@dataclasses.dataclass\n{THING.partition("  def")[0]}  x: jax.Array\n'

# Name -> (edits, line or None for any, what is wrong, what to do).
REASONS = {
  'state as it came': (
    ((NEW_STATE, "'weights': state['weights'], 'speed': speed"),), 21,
    "train_step changes no array that predict reads (state['weights'])", 'return the updated'),
  'only a counter moves': (
    (("state = {" + NEW_STATE + ", 'steps'", "state = {**state, 'steps'"),), 21,
    'train_step changes no array', 'return the updated'),
  'unchanged through jit': (
    ((NEW_STATE, "'weights': jax.jit(lambda w: w)(state['weights']), 'speed': speed"),), 21,
    'train_step changes no array', 'return the updated'),
  'constant loss': (
    ((LOSS, 'loss, slope = jax.value_and_grad(lambda w, b: jnp.float32(1))'),), 21,
    'depends on the training batch, so nothing is learned', 'let the loss'),
  'stopped gradient': (
    (("batch['inputs'] @ weights", "jax.lax.stop_gradient(batch['inputs'] @ weights)"),), 21,
    'depends on the training batch', 'without jax.lax.stop_gradient'),
  'decay without gradient': (
    ((LOSS, 'loss, slope = jax.value_and_grad(lambda w, b: (w**2).sum())'),), 21,
    'depends on the training batch', 'let the loss'),
  'predict reads nothing': (
    (("return inputs @ state['weights']", 'return inputs[:, :3]'),), 29,
    'predict reads nothing of the state', 'compute the predictions from'),
  'rng_uniform': (
    in_step('jax.lax.rng_uniform(0.0, 1.0, ())'), 23, "'stablehlo.rng'", 'with jax.random'),
  'a kernel of one\'s own': (
    in_step("jax.ffi.ffi_call('mine', jax.ShapeDtypeStruct((), 'float32'))(loss)"), 23,
    "calls 'mine', a custom call", 'write it with functions of jax.numpy'),
  'a sparse product': (
    (*at_top('from jax.experimental import sparse'),
     *in_step("(sparse.BCSR.fromdense(jnp.eye(6), nse=6) @ state['weights']).sum()")), 24,
    'cpu_csr_sparse_dense_ffi', 'use jax.experimental.sparse.BCOO'),
  'lapack with other shapes': (
    in_step("jax.ffi.ffi_call('lapack_sgeqrf_ffi', [jax.ShapeDtypeStruct(s, 'float32') for s in "
            '((1, 1), (1,))])(slope)[1][0]'), 23,
    'with other shapes than jax would', 'use jax.numpy.linalg'),
  'a large table': (
    (*at_top('import numpy\nTABLE = numpy.random.rand(9, 2**17).astype("float32")'),
     *in_step('jnp.asarray(TABLE).sum()')), 23,
    'embeds constants of 4.50 MiB', 'raise limits.constant_bytes'),
  'debug print': (
    in_step("jax.debug.print('{}', loss) or loss"), 23,
    'calls back into Python', 'remove jax.debug'),
  'a mesh of two': (at_top("MESH = jax.make_mesh((2,), ('data',))"), 4,
                    'Number of devices 1', 'meshes of jax.device_count() devices'),
  'plain dataclass': (in_state('Thing(jnp.zeros(3))', PLAIN), None,
                      "state['more'] is a Thing", 'jax.tree_util.register_dataclass'),
  'plain object': (in_state('Thing()', THING), None,
                   "state['more'] is a Thing", 'jax.tree_util.register_pytree_node_class'),
  'text in the state': (in_state("'adam'"), None, 'is a str', 'make it a constant of the file'),
  'function in the state': (in_state('jnp.tanh'), None, "state['more']", 'call it in train_step'),
  'set in the state': (in_state('{1, 2}'), None, 'is a set', 'use a tuple, a list or a dict'),
  'array of text': (in_state("__import__('numpy').array(['a'])"), None,
                    'an array of str', 'make it a constant'),
  'mixed keys': (((STATE, "'steps': 0, 1: jnp.zeros(3)}"),), 10,
                 'sorting pytree dictionary keys', 'keys of one type'),
  'if on an array': (in_step('1.0 if progress > 0.5 else 0.0'), 23,
                     'TracerBoolConversionError', 'use jnp.where or jax.lax.cond'),
  'numpy on an array': (in_step("__import__('numpy').asarray(loss)"), 23,
                        'TracerArrayConversionError', 'use jax.numpy instead'),
  'float of an array': (in_step('float(loss)'), 23, 'ConcretizationTypeError', 'take sizes from'),
  'range of an array': (in_step("sum(range(state['steps']))"), 23,
                        'TracerIntegerConversionError', 'must be Python ints'),
  'boolean mask': (in_step('slope[slope > 0].sum()'), 23,
                   'NonConcreteBooleanIndexError', 'use jnp.where(mask'),
  'leaked array': (
    (*at_top('KEPT = []'), (STEP, f'  KEPT.append(progress)\n{STEP}'),
     ('return inputs @', 'return KEPT[0] + inputs @')), None, 'Error', 'return it in the state'),
  'a file that is not there': (at_top("open('weights.txt')"), 4,
                               "no file 'weights.txt'", 'put it next to the entry'),
  'a module that is not there': (at_top('import jaxx'), 4, "'jaxx'", 'import an installed module'),
  'a name that is not there': (at_top('from .layers import dense'), 4, "'layers'", 'import an'),
  'above the folder': (at_top('from ..layers import dense'), 4, 'beyond top-level', 'correct this'),
  'a list of nnx modules': (
    at_top('from flax import nnx\nclass M(nnx.Module):\n  def __init__(self, rngs):\n'
           '    self.blocks = [nnx.Linear(2, 2, rngs=rngs)]\nM(nnx.Rngs(0))'), 7,
    'Found data on value', 'nnx.List'),
}  # fmt: skip


@pytest.mark.parametrize('name', REASONS)
def test_a_reason_names_file_line_what_differs_and_a_remedy(trace, edit, name):
  edits, line, what, remedy = REASONS[name]
  with trace.within(artifact_bytes=2**25):
    reason = trace.refused(edit(*edits))
  place = re.match(r'model\.py:(\d+): ', reason)
  assert place and line in (None, int(place[1])), reason
  assert what in reason and remedy in reason, reason
  assert reason.index(what) < reason.index(remedy)
  assert '/' not in reason.partition(' ')[0] and str(trace.folder) not in reason


MESH = "MESH = jax.make_mesh((jax.device_count(),), ('data',), (jax.sharding.AxisType.Auto,))"
ROWS = "jax.sharding.NamedSharding(MESH, jax.P('data'))"


def mapped(body, out="jax.P('data')"):
  function = f"jax.shard_map(lambda x: {body}, mesh=MESH, in_specs=jax.P('data'), out_specs={out})"
  return (*at_top(MESH), (STEP, f'  slope = slope + 0 * {function}(slope)\n{STEP}'))


ACCEPTED = {
  'approx_max_k': in_step("jax.lax.approx_max_k(state['weights'][:, 0], 2)[0].sum()"),
  'singular values alone': in_step('jnp.linalg.svd(slope, False, False)[0]'),
  'sqrtm': in_step('jax.scipy.linalg.sqrtm(slope.T @ slope + jnp.eye(3)).real.sum()'),
  'a key of the file': (*at_top('KEY = jax.random.key(3)'),
                        *in_step("jax.random.normal(jax.random.fold_in(KEY, state['steps']))")),
  'sharding constraint': (
    *at_top(MESH), (STEP, f'  slope = jax.lax.with_sharding_constraint(slope, {ROWS})\n{STEP}')),
  'shardings of jit': (
    *at_top(MESH),
    (STEP, f'  slope = jax.jit(lambda x: x, in_shardings={ROWS}, out_shardings={ROWS})(slope)\n'
           f'{STEP}')),
  'device_put': (*at_top(MESH), (STEP, f'  slope = jax.device_put(slope, {ROWS})\n{STEP}')),
  'explicit mesh': (
    *at_top("MESH = jax.make_mesh((1,), ('data',))"), (NEW_STATE, NEW_STATE.replace(
      "'speed': speed", f"'speed': jax.sharding.reshard(speed, {ROWS})"))),
  'shard_map': mapped('jnp.sin(x)'),
  'psum': mapped("jax.lax.psum(x, 'data')", 'jax.P()'),
  'all_gather': mapped("jax.lax.all_gather(x, 'data', tiled=True)"),
  'ppermute': mapped("jax.lax.ppermute(x, 'data', [(0, 0)])"),
  'psum_scatter': mapped("jax.lax.psum_scatter(x, 'data', tiled=True)"),
  'axis_index': mapped("x + jax.lax.axis_index('data')"),
  'registered dataclass': (
    *in_state(
      'Thing(jnp.zeros(3))', PLAIN.replace('@data', '@jax.tree_util.register_dataclass\n@data')),
    ("'steps': state['steps'] + 1", "'steps': state['steps'] + 1, 'more': state['more']")),
  'frozen parts': (
    (STATE, "'steps': 0, 'frozen': jax.random.normal(key, (6, 6))}"),
    ("'steps': state['steps'] + 1", "'steps': state['steps'] + 1, 'frozen': state['frozen']"),
    ('return inputs @', "return inputs @ state['frozen'] @")),
  'training in a loop': (
    (NEW_STATE, "'weights': jax.lax.fori_loop(0, 3, lambda i, w: w - slope, state['weights']), "
                "'speed': speed"),),
  'a donated state': (
    ('def train_step',
     'import functools\n@functools.partial(jax.jit, donate_argnums=0)\ndef train_step'),
  ),
  'an optimizer of optax': (
    *at_top('import optax\nTX = optax.MultiSteps(optax.adam(1e-3), 4)'),
    (STATE, "'steps': 0, 'tx': TX.init(weights)}"),
    (STEP, f"  update, tx = TX.update(slope, state['tx'], state['weights'])\n{STEP}"),
    (NEW_STATE, "'weights': optax.apply_updates(state['weights'], update), 'tx': tx, "
                "'speed': speed")),
  'training now and then': (
    (NEW_STATE, "'weights': jax.lax.cond(progress > 0.5, lambda: weights, lambda: "
                "state['weights']), 'speed': speed"),),
  'an average of the weights': (
    (NEW_STATE, "'weights': weights, 'speed': 0.9 * state['speed'] + weights"),
    ("return inputs @ state['weights']", "return inputs @ state['speed']")),
  'a loss that says nothing': (("{'loss': loss", "{'loss': jnp.float32(0)"),),
}  # fmt: skip


@pytest.mark.parametrize('name', ACCEPTED)
def test_what_is_safe_and_trains_is_accepted(trace, edit, name):
  assert trace.artifact(edit(*ACCEPTED[name])).leaves


def test_equal_tables_count_once(trace, edit):
  """1.25 MiB in init, in train_step and in predict."""
  table = 'import numpy\nTABLE = numpy.random.rand(5, 2**16).astype("float32")'
  use = '0 * jnp.asarray(TABLE).sum()'
  text = edit(
    *at_top(table),
    (STATE, f"'steps': 0, 'more': {use}}}"),
    (STEP, f'  slope = slope + {use}\n{STEP}'),
    ("'steps': state['steps'] + 1", "'steps': state['steps'] + 1, 'more': state['more']"),
    ('return inputs @', f'return {use} + inputs @'),
  )
  with trace.within(artifact_bytes=2**25):
    assert trace(text).status == 'ok'


def test_a_loop_of_three_thousand_operations_is_traced(trace, edit):
  loop = '  for i in range(3000):\n    slope = slope + 1e-9 * slope\n'
  assert len(trace.artifact(edit((STEP, loop + STEP))).graphs[1].ops()) > 6000
