"""Every way to break the contract ends in a status and one sentence that names file and line."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from autoresearch_jax.tracer import client, export, preload
from autoresearch_jax.types import Budget, Spec

pytestmark = pytest.mark.slow

ENDLESS = 'while True:\n  pass\n'


def test_a_program_traces_and_its_artifact_says_what_it_is(trace):
  artifact = trace.artifact()
  assert artifact.batch_size == 4
  assert artifact.metric_names == ('loss', 'norm')
  assert [leaf.path for leaf in artifact.leaves] == [
    "state['speed']",
    "state['steps']",
    "state['weights']",
  ]
  assert artifact.parameters == 18  # not the speed, which predict does not read
  # Products: inputs by weights, and its gradient to the weights.
  assert artifact.flops == (2 * 2 * 4 * 6 * 3,)
  assert artifact.matmul_dtypes == {'float32': 288.0}


def test_the_same_program_gives_the_same_bytes_and_no_path_of_this_machine(trace):
  first, second = trace.artifact().to_bytes(), trace.artifact().to_bytes()
  assert first == second
  assert str(trace.folder).encode() not in first


def test_the_warm_up_traces_and_is_optional(monkeypatch, capsys):
  list(export.warm_up())
  monkeypatch.setattr(export, 'WARM_UP_PROGRAM', pathlib.Path('/nowhere/model.py'))
  list(preload._warm_up_jax())
  assert 'FileNotFoundError' in capsys.readouterr().err


def test_full_isolation_is_recorded(trace):
  isolation = trace().isolation
  assert isolation.network and isolation.files and isolation.system_calls
  assert isolation.processes and isolation.limits


def test_the_entry_imports_its_siblings(trace, edit):
  text = edit(
    ('import jax\n', 'import jax\nimport layers\n'), ('inputs @ s', 'layers.of(inputs) @ s')
  )
  trace.artifact(text, layers='def of(x):\n  return x * 2\n')


@pytest.mark.parametrize(
  ('change', 'place', 'words'),
  [
    (('def init(key, spec):', 'def init(key, spec:'), 'model.py:10: ', 'SyntaxError'),
    (('def predict(', 'def foresee('), 'model.py: ', "no function 'predict'; define"),
    (('BATCH_SIZE = 4', ''), 'model.py: ', 'no BATCH_SIZE; set it'),
    (('BATCH_SIZE = 4', 'BATCH_SIZE = 0'), 'model.py: ', 'BATCH_SIZE is 0; set it to a positive'),
    (('BATCH_SIZE = 4', 'BATCH_SIZE = 2.5'), 'model.py: ', 'BATCH_SIZE is 2.5; set it'),
    (('import jax\n', 'import jaxx\n'), 'model.py:2: ', "No module named 'jaxx'"),
    (('RATE = 0.1', 'RATE = 1 / 0'), 'model.py:6: ', 'ZeroDivisionError: division by zero'),
    (
      ("'steps': 0}", "'steps': 0, 'name': 'x'}"),
      'model.py:10: ',
      "state['name'] is a str; the state must hold arrays",
    ),
    (
      ("'speed': speed, 'steps'", "'steps'"),
      'model.py:21: ',
      "train_step drops state['speed']; return a state of the same structure",
    ),
    (
      ("'speed': speed, 's", "'more': speed, 'speed': speed, 's"),
      'model.py:21: ',
      "train_step adds state['more']; create it in init",
    ),
    (
      ("'speed': speed, 's", "'speed': speed[0], 's"),
      'model.py:21: ',
      "turns state['speed'] from float32[6, 3] into float32[3]; keep the shapes and dtypes",
    ),
    (
      ("'speed': speed, 's", "'speed': speed.astype(jnp.bfloat16), 's"),
      'model.py:21: ',
      "turns state['speed'] from float32[6, 3] into bfloat16[6, 3]",
    ),
    (("'loss': loss, ", ''), 'model.py:21: ', "metrics hold 'norm'; return a dict"),
    (
      ('jnp.sum(slope**2)', 'slope'),
      'model.py:21: ',
      "metric 'norm' is [6, 3]; metrics are scalar",
    ),
    (("return state, {'loss'", "return {'loss'"), 'model.py:21: ', 'return the pair (state, metr'),
    (
      ("return inputs @ state['weights']", "return (inputs @ state['weights']).T"),
      'model.py:29: ',
      'predict returns shape [3, 5] for inputs [5, 6]; return [batch, classes] = [5, 3]',
    ),
    (
      ("return inputs @ state['weights']", "return jnp.argmax(inputs @ state['weights'], -1)"),
      'model.py:29: ',
      'predict returns shape [5]',
    ),
    (
      ('  speed = 0.9', '  jax.debug.print("{}", loss)\n  speed = 0.9'),
      'model.py:23: ',
      'train_step calls back into Python',
    ),
    (
      (
        '  speed = 0.9',
        '  jax.pure_callback(float, jax.ShapeDtypeStruct((), "float32"), loss)\n  speed = 0.9',
      ),
      'model.py:23: ',
      'calls back into Python (pure_callback), but a trial runs no Python; remove',
    ),
    (
      (
        "slope = jax.value_and_grad(loss_of)(state['weights'], batch)",
        "slope = jax.value_and_grad(loss_of)(state['weights'].T, batch)",
      ),
      'model.py:16: ',
      'TypeError: dot_general requires contracting dimensions',
    ),
    (('RATE = 0.1', 'import os; os._exit(3)'), 'model.py: ', 'process with exit code 3; remove'),
    (('RATE = 0.1', 'import os; os._exit(0)'), 'model.py: ', 'process with exit code 0; remove'),
    (('RATE = 0.1', 'import sys; sys.exit(7)'), 'model.py:6: ', 'process with exit code 7; remove'),
    (
      ('RATE = 0.1', 'import os; os.abort()'),
      'model.py: ',
      "crashed the tracer's process with SIGABRT",
    ),
    (('RATE = 0.1', 'def f(): f()\nf()'), 'model.py:6: ', 'RecursionError'),
  ],
)
def test_a_violation_names_its_place_and_what_to_do(trace, edit, change, place, words):
  reason = trace.refused(edit(change))
  assert reason.startswith(place), reason
  assert words in reason, reason


def test_a_large_constant_makes_an_artifact_too_big(trace, edit):
  text = edit(
    ('RATE = 0.1', 'import numpy\nTABLE = numpy.random.rand(2**19).astype("float32")\nRATE = 0.1'),
    ('return inputs @', 'return TABLE.sum() * jnp.asarray(TABLE).sum() + inputs @'),
  )
  reason = trace.refused(text)
  assert reason.startswith('model.py: the traced program has ')
  assert 'MiB, and limits.artifact_bytes allows 1 MiB; compute large constants inside' in reason


def test_text_that_is_no_text_is_invalid(trace, edit):
  assert 'cannot be written to files' in trace.refused(edit(('RATE', '\ud800')))
  assert 'null bytes' in trace.refused(edit(('RATE', '\0')))


@pytest.mark.parametrize('package', ['programs', 'trial'])
def test_phases_are_exported_one_by_one(trace, edit, package):
  """`Phase` comes from `programs.contract`; programs of old ledgers know it by `trial.contract`."""
  spec = Spec('language_model', 'cpu', 1, Budget(10, 'steps'), vocab_size=8, sequence_length=6)
  text = f"""
import jax.numpy as jnp
from autoresearch_jax.{package}.contract import Phase
BATCH_SIZE = 4
def init(key, spec):
  return jnp.zeros((spec.vocab_size, spec.vocab_size))
def train_step(table, batch, progress):
  loss = table[batch['inputs']].mean()
  return table + 0.1 * loss, {{'loss': loss}}
def predict(table, inputs):
  return table[inputs]
def phases(spec):
  return [Phase(0.5, 8, 3), Phase(1, 4, 6)]
"""
  artifact = trace.artifact(text, spec=spec)
  assert [(p.until, p.batch_size, p.sequence_length) for p in artifact.phases] == [
    (0.5, 8, 3),
    (1.0, 4, 6),
  ]
  assert [step.in_avals[1].shape for step in artifact.exported[1:-1]] == [(8, 3), (4, 6)]
  wrong = edit(('Phase(1, 4, 6)', 'Phase(0.9, 4, 6)'), text=text)
  assert 'The last phase ends at until=0.9' in trace.refused(wrong, spec=spec)
  wrong = edit(('Phase(1, 4, 6)', 'Phase(1, 4, 7)'), text=text)
  assert 'rows hold 1 to 6 tokens' in trace.refused(wrong, spec=spec)


def test_constructions_need_no_data(trace):
  spec = Spec('construction', 'cpu', 1, Budget(10, 'steps'), output_shape=(4, 2))
  text = """
import jax
BATCH_SIZE = 1
def init(key, spec):
  return jax.random.uniform(key, spec.output_shape)
def train_step(points, batch, progress):
  return points * 0.9, {'loss': points.sum()}
def predict(points, inputs):
  return points
"""
  assert trace.artifact(text, spec=spec).exported[-1].out_avals[0].shape == (4, 2)


@pytest.mark.parametrize('platform', ['gpu', 'tpu'])
def test_other_platforms_are_exported_without_their_devices(trace, spec, platform):
  spec = dataclasses.replace(spec, platform=platform)
  assert trace.artifact(spec=spec).platform == {'gpu': 'cuda', 'tpu': 'tpu'}[platform]


def test_keys_may_live_in_the_state(trace, edit):
  text = edit(
    ("'steps': 0}", "'steps': 0, 'key': key}"),
    (
      "'steps': state['steps'] + 1}",
      "'steps': state['steps'] + 1, 'key': jax.random.split(state['key'])[0]}",
    ),
  )
  leaves = trace.artifact(text).leaves
  assert [(leaf.shape, leaf.dtype) for leaf in leaves if 'key' in leaf.path] == [((2,), 'uint32')]


def test_an_endless_loop_ends_at_the_deadline(trace):
  with trace.within(trace_seconds=1.5):
    result = trace('RATE = 1\n' + ENDLESS)
  assert result.status == 'timeout'
  assert 'model.py: tracing exceeded the timeout of 1.5 s (limits.trace_seconds)' in result.reason
  assert trace().status == 'ok'


@pytest.mark.parametrize(
  'before', ['', 'import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)']
)
def test_processor_time_is_limited_too(trace, before):
  with trace.within(trace_cpu_seconds=1):
    result = trace(f'{before}\n{ENDLESS}')
  assert result.status == 'timeout'
  assert 'more than 1 s of CPU time (limits.trace_cpu_seconds)' in result.reason


def while_it_traces(server, act):
  """Starts a thread that calls `act` once the server has a child; what it was given is a list."""
  children = pathlib.Path(f'/proc/{server}/task/{server}/children')
  given = []

  def wait():
    while not (found := children.read_text().split()):
      time.sleep(0.01)
    given.extend(map(int, found))
    act()

  threading.Thread(target=wait, daemon=True).start()
  return given


def test_a_trace_can_be_cancelled_from_another_thread(trace):
  assert trace().status == 'ok'
  before = trace.tracer.pid
  while_it_traces(before, trace.tracer.kill)
  assert trace(ENDLESS).status == 'cancelled'
  assert trace().status == 'ok'
  assert trace.tracer.pid == before  # the server stayed warm


def test_closing_ends_a_trace_and_what_comes_after(tracing_of):
  trace = tracing_of()
  assert trace().status == 'ok'
  while_it_traces(trace.tracer.pid, trace.tracer.close)
  assert trace(ENDLESS).status == 'cancelled'
  assert trace.tracer.pid is None
  assert trace().status == 'cancelled'


def test_what_a_killed_run_left_is_cleared_and_what_goes_on_is_not(tmp_path, limits):
  other = subprocess.Popen(['sleep', '30'])
  try:
    going_on = tmp_path / f'trace-{other.pid}-ab'
    left = [
      tmp_path / name for name in ('trace-ab_c', 'trace-999999999-a', f'trace-{os.getpid()}-a')
    ]
    kept = tmp_path / 'note'
    for folder in (going_on, kept, *left):
      (folder / 'program').mkdir(parents=True)
    client.TracerClient(limits, (), tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([going_on, kept])
  finally:
    other.kill()
    other.wait()


def test_a_server_that_dies_takes_its_child_along_and_is_replaced(trace):
  assert trace().status == 'ok'
  server = trace.tracer.pid
  children = while_it_traces(server, lambda: os.kill(server, 9))
  assert trace(ENDLESS).status == 'crash'
  assert len(children) == 1
  deadline = time.monotonic() + 60
  while _runs(children[0]) and time.monotonic() < deadline:
    time.sleep(0.02)
  assert not _runs(children[0])
  assert trace().status == 'ok'
  assert trace.tracer.pid != server


def _runs(pid):
  try:
    return pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
  except FileNotFoundError:
    return False


def test_the_controller_side_imports_no_jax(tmp_path):
  code = 'import sys, autoresearch_jax.tracer.client; sys.exit("jax" in sys.modules)'
  assert subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=False).returncode == 0
