"""Filling the disk and the memory. At most 9 GiB are asked for, and none of it is touched."""

from helpers.tiny_language import program

from autoresearch_jax.types import Status

OPEN = """
import os, stat
for number in range(3, 99):
  try:
    if stat.S_ISFIFO(os.fstat(number).st_mode): pipe = number
    else: artifact = number
  except OSError: pass
"""


def test_the_log(arena):
  """Its size is bounded, and it goes with the trace's folder."""
  code = 'for _ in range(1100):\n  print("x" * 2**16, flush=True)'
  arena.at_import(code, 'File too large')


def test_the_artifact(arena):
  came = arena.done(
    {
      'sparse': 'os.ftruncate(artifact, 2**40)',
      'far': 'os.pwrite(artifact, b"x", 2**33)',
      'whole': 'for _ in range(2000): os.write(artifact, b"x" * 2**16)',
    },
    OPEN,
  )
  assert set(came.values()) <= {'EFBIG', 'EPERM', 'EINVAL'}, came


def test_what_was_written_to_the_artifact_is_no_artifact(arena):
  arena.refused(
    f'{OPEN}os.write(artifact, b"ARJTRIAL" * 99)\n{program()}', 'The artifact is rejected'
  )


def test_other_files(arena):
  folders = ['.', '/tmp', '/dev/shm', '/var/tmp', str(arena.executor.cache), str(arena.house)]
  attempts = {f: f'open("{f}/attack", "wb").truncate(2**20)' for f in folders}
  attempts['memory'] = 'import os; os.memfd_create("x")'
  attempts['temporary'] = 'import tempfile; tempfile.TemporaryFile()'
  came = arena.done(attempts)
  assert came.pop('temporary') in ('FileNotFoundError', 'ENOENT', 'EACCES')
  assert set(came.values()) <= {'EACCES', 'EPERM'}, came


def test_the_answer_pipe(arena):
  code = OPEN + 'for _ in range(200): os.write(pipe, b"x" * 2**16)'
  reason = arena.at_import(code)
  assert "wrote to the tracer's pipe" in reason, reason


def test_descriptors(arena):
  code = """
import os
made = []
try:
  for _ in range(5000): made.append(os.pipe())
except OSError as error: said = error.errno
"""
  assert arena.told('said', code) == '24'


def test_memory(arena):
  came = arena.done(
    {
      'numpy': 'import numpy; numpy.empty(9 * 2**30, numpy.uint8)',
      'pieces': 'import numpy; keep = [numpy.empty(2**28, numpy.uint8) for _ in range(36)]',
      'mapped': 'import mmap; mmap.mmap(-1, 9 * 2**30)',
    }
  )
  assert came.pop('numpy') in ('MemoryError', '_ArrayMemoryError')
  assert came.pop('pieces') in ('MemoryError', '_ArrayMemoryError')
  assert came == {'mapped': 'ENOMEM'}


def test_a_state_larger_than_the_device(arena):
  text = program().replace(
    "return {'table': 0", "return {'more': jnp.zeros((2**20, 2**19)), 'table': 0"
  )
  text = text.replace("return {'table': s", "return {'more': state['more'] + 1, 'table': s")
  arena.refused(text, 'MiB are available', status=Status.OOM)


def test_temporaries_larger_than_the_device(arena):
  step = (
    'big = jax.lax.sort(jax.random.normal(jax.random.key(0), (2**19, 2**17)) * value)\n'
    '  gradient = gradient + 1e-30 * big[::2**18].sum()'
  )
  arena.refused(program(step=step), 'MiB are available', status=Status.OOM)
