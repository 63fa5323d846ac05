"""Busy processes ("hogs") that use the machine beside what is measured."""

import contextlib
from collections.abc import Iterator

from autoresearch_jax.runner.contention import running

HOGS = {
  'compute': 'import numpy; a = numpy.ones((64, 64))\nwhile True: a @ a',
  'memory': 'import numpy; a = numpy.ones(2**25)\nwhile True: a.copy()',
  'sometimes': (
    'import time\nwhile True:\n  end = time.monotonic() + 2\n'
    '  while time.monotonic() < end: pass\n  time.sleep(2)'
  ),
}


@contextlib.contextmanager
def hogs(count: int, kind: str) -> Iterator[None]:
  """Runs so many of them meanwhile.

  Args:
    count: Number of processes.
    kind: `compute` multiplies small matrices, `memory` copies an array larger than the caches, and
      `sometimes` computes for 2 s of every 4.
  """
  variables = {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}
  with running(count, HOGS[kind], environment=variables):
    yield
