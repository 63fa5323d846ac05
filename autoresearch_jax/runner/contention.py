"""Busy processes beside a measurement, to find out what contention costs."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

MAX_SECONDS = 30.0  # of a process of `busy_cpus`
SPIN = 'import sys, time; end = time.time() + float(sys.argv[1])\nwhile time.time() < end: pass'


@contextlib.contextmanager
def running(
  count: int, code: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
  """Runs Python code in so many processes meanwhile, and kills them at the end."""
  command = [sys.executable, '-c', code, *arguments]
  processes = [subprocess.Popen(command, env=environment) for _ in range(count)]
  try:
    yield
  finally:
    for process in processes:
      process.kill()
      process.wait()


@contextlib.contextmanager
def busy_cpus() -> Iterator[None]:
  """Keeps every CPU busy meanwhile. The processes end by themselves, should this one be killed."""
  with running(len(os.sched_getaffinity(0)), SPIN, str(MAX_SECONDS)):
    yield
