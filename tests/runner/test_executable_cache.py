"""The cache of compiled executables: damaged entries are deleted and replaced, never executed."""

import os
import subprocess
import sys

import pytest

from autoresearch_jax.runner.executable_cache import CheckedExecutableCache

COMPILE = """
import pathlib, sys, warnings
import jax, jax.numpy as jnp
from jax._src import compilation_cache
from autoresearch_jax.runner import executable_cache
warnings.simplefilter('error')
{before}
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
checked = executable_cache.install(pathlib.Path(sys.argv[1]), 2**30)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append('cache_hits' in event))
double, square = jax.jit(lambda x: x * 2), jax.jit(lambda x: x * x)
print(double(jnp.float32(5)), square(jnp.float32(5)), sum(hits), checked)
"""


@pytest.fixture
def cache(tmp_path):
  made = CheckedExecutableCache(tmp_path, max_bytes=300)
  made.put('one', b'the first executable')
  made.put('two', b'the second executable')
  return made


def test_what_was_written_is_read(cache):
  assert cache.get('one') == b'the first executable'
  assert cache.get('three') is None
  cache.put('one', b'a later one')
  assert cache.get('one') == b'a later one'


def _truncate(one, two):
  one.write_bytes(one.read_bytes()[:10])


def _empty(one, two):
  one.write_bytes(b'')


def _change(one, two):
  one.write_bytes(b'X' + one.read_bytes()[1:])


def _swap(one, two):
  one.write_bytes(two.read_bytes())


@pytest.mark.parametrize('damage', [_truncate, _empty, _change, _swap])
def test_a_damaged_entry_is_deleted_and_replaced(cache, damage):
  damage(cache.path / 'one-cache', cache.path / 'two-cache')
  assert cache.get('one') is None
  assert not (cache.path / 'one-cache').exists()
  cache.put('one', b'the first executable')
  assert cache.get('one') == b'the first executable'


def test_the_least_recently_used_entries_are_deleted(cache):
  for age, name in ((30, 'two'), (20, 'one')):
    os.utime(cache.path / f'{name}-cache', (age, age))
  (cache.path / 'of another process-cache.123').write_bytes(b'cut off')
  os.utime(cache.path / 'of another process-cache.123', (10, 10))
  assert cache.get('two') == b'the second executable'  # used now
  cache.put('three', b'x' * 190)
  assert cache.get('one') is None
  assert cache.get('two') and cache.get('three')
  assert sorted(path.name for path in cache.path.iterdir()) == ['three-cache', 'two-cache']


def test_an_entry_above_the_limit_deletes_no_other(cache):
  cache.put('three', b'x' * 300)
  assert cache.get('three') is None and cache.get('one') and cache.get('two')


def compiled(folder, before=''):
  done = subprocess.run(
    [sys.executable, '-c', COMPILE.replace('{before}', before), str(folder)],
    capture_output=True, text=True, check=True,
  )  # fmt: skip
  *values, checked = done.stdout.split()
  return values, checked == 'True', done.stderr


# What a later version of JAX may do to the interface.
CHANGES = {
  'gone': 'del compilation_cache.get_file_cache',
  'other arguments': 'compilation_cache.get_file_cache = lambda path, backend: (None, path)',
  'other result': 'compilation_cache.get_file_cache = lambda path: None',
  'other methods': 'compilation_cache.get_file_cache = lambda path: (object(), path)',
}


@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
def test_another_version_of_jax_keeps_its_own_cache_in_another_folder(tmp_path, change):
  # JAX itself still needs its function after the check, as a later version would not.
  before = f"""
import jax._src.compilation_cache as theirs
function = theirs.get_file_cache
{change}
reset = theirs.reset_cache
def restored():
  reset()
  theirs.get_file_cache = function
executable_cache.public_cache.reset_cache = restored
"""
  for hits in ('0', '2'):
    values, checked, text = compiled(tmp_path / 'xla', before)
    assert values[:2] == ['10.0', '25.0'] and not checked
    assert int(values[2]) >= int(hits)
    assert 'without a check' in text and 'xla_unchecked' in text
  assert not (tmp_path / 'xla').exists()


def test_jax_compiles_again_what_was_damaged(tmp_path):
  first = ['10.0', '25.0', '0']
  assert compiled(tmp_path) == (first, True, '')
  hits = compiled(tmp_path)[0][2]
  assert int(hits) >= 2
  entries = sorted(tmp_path.glob('*-cache'))
  contents = [entry.read_bytes() for entry in entries]
  for entry, other in zip(entries, [*contents[1:], contents[0]], strict=True):
    entry.write_bytes(other)  # whole, and another program's
  assert compiled(tmp_path) == (first, True, '')
  assert compiled(tmp_path)[0][2] == hits
