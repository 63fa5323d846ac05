"""How much of the CPU time that XLA's threads could use they got, by Linux's scheduler statistics.

A thread that is ready to run, but whose core is taken by another process, waits in a run queue. The
kernel counts both times for each thread. This tells the effect of other processes without the noise
of timing a program.
"""

import dataclasses
import pathlib

THREADS = pathlib.Path('/proc/self/task')
POOL = 'tf_XLA'  # the names of the threads in XLA's pool begin like this
MIN_SECONDS = 1e-3  # of CPU time, for a share to mean something
MIN_SHARE = 0.01  # the kernel counts waiting and running at slightly different times


@dataclasses.dataclass(frozen=True)
class CpuTime:
  """CPU time of XLA's threads since they started; 0 where the system does not count it.

  Attributes:
    running: Seconds in which they ran.
    waiting: Seconds in which they were ready to run and waited for a core.
  """

  running: float = 0.0
  waiting: float = 0.0

  @classmethod
  def now(cls) -> 'CpuTime':
    running = waiting = 0
    for thread in THREADS.glob('[0-9]*'):
      try:
        if (thread / 'comm').read_text().startswith(POOL):
          ran, waited, _ = (thread / 'schedstat').read_text().split()
          running, waiting = running + int(ran), waiting + int(waited)
      except OSError:
        continue  # the thread has ended, or the kernel has no such statistics
    return cls(running / 1e9, waiting / 1e9)

  def share_since(self, before: 'CpuTime') -> float | None:
    """The share of the time since `before` that they ran; None if they were idle."""
    running, waiting = self.running - before.running, self.waiting - before.waiting
    if running + waiting < MIN_SECONDS:
      return None
    return max(MIN_SHARE, running / (running + waiting))
