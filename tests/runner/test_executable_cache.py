"""The cache of compiled executables: damaged entries are deleted and replaced, never executed."""

import subprocess
import sys

import pytest

from autoresearch_jax.runner.executable_cache import CheckedExecutableCache

COMPILE = """
import sys, warnings
import jax, jax.numpy as jnp
from autoresearch_jax.runner import executable_cache
warnings.simplefilter('error')
jax.config.update('jax_compilation_cache_dir', sys.argv[1])
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
executable_cache.install(2**30)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append('cache_hits' in event))
double, square = jax.jit(lambda x: x * 2), jax.jit(lambda x: x * x)
print(double(jnp.float32(5)), square(jnp.float32(5)), sum(hits))
"""


@pytest.fixture
def cache(tmp_path):
  made = CheckedExecutableCache(str(tmp_path), max_size=10_000)
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


def test_an_entry_without_its_time_of_access_does_not_stop_the_others(cache):
  (cache.path / 'one-atime').unlink()
  cache.put('three', b'the third executable')
  assert cache.get('three') == b'the third executable'


def test_jax_compiles_again_what_was_damaged(tmp_path):
  def compiled():
    done = subprocess.run(
      [sys.executable, '-c', COMPILE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()

  assert compiled() == ['10.0', '25.0', '0']
  hits = compiled()[2]
  assert int(hits) >= 2
  entries = sorted(tmp_path.glob('*-cache'))
  contents = [entry.read_bytes() for entry in entries]
  for entry, other in zip(entries, [*contents[1:], contents[0]], strict=True):
    entry.write_bytes(other)  # whole, and another program's
  assert compiled() == ['10.0', '25.0', '0']
  assert compiled()[2] == hits
