"""Digests of the code that decides what a score means, so that scores of other code are told apart.

They go into the ledger when a run begins, and into the findings that it shares. The source is read
and not imported, since the controller must not import JAX.
"""

import functools
import hashlib
import pathlib

PACKAGE = pathlib.Path(__file__).parents[1]
SCORER = ('problems/metrics.py', 'problems/verifiers.py', 'runner/evaluate.py',
          'runner/own_metrics.py')  # fmt: skip
HARNESS = ('artifact', 'runner', 'tracer')


@functools.cache
def code_digests() -> dict[str, str]:
  """Returns the digests of `scorer` and `harness`, in hexadecimal."""
  harness = [path for folder in HARNESS for path in (PACKAGE / folder).rglob('*.py')]
  return {'scorer': _digest([PACKAGE / name for name in SCORER]), 'harness': _digest(harness)}


def _digest(paths: list[pathlib.Path]) -> str:
  found = hashlib.sha256()
  for path in sorted(paths):
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    found.update(f'{path.relative_to(PACKAGE).as_posix()} {content}\n'.encode())
  return found.hexdigest()
