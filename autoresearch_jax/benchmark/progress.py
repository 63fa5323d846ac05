"""How far a benchmark is: a bar in a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import rich.console
import rich.progress

from autoresearch_jax.report.summary import format_duration

EVERY_SECONDS = 10.0  # between plain lines


class ComparisonProgress:
  """Runs done and time left, told by `tell` as plain lines."""

  def __init__(
    self, tell: Callable[[str], None] = print, clock: Callable[[], float] = time.monotonic
  ):
    self._tell, self._clock = tell, clock
    self.total = self.done = self._before = 0
    self._began = self._told = 0.0

  def begin(self, total: int, done: int) -> None:
    """total: runs in all. done: those that were there already."""
    self.total = total
    self.done = self._before = done
    self._began = self._told = self._clock()
    self._tell(f'{total} runs, {done} of them done before.' if done else f'{total} runs.')

  def advance(self, runs: int) -> None:
    self.done += runs
    if self.done == self.total or self._clock() - self._told > EVERY_SECONDS:
      self._told = self._clock()
      self._tell(f'{self.done} of {self.total} runs, {self.left()}.')

  def left(self) -> str:
    """The time left, if all runs take as long as those so far."""
    fresh, passed = self.done - self._before, self._clock() - self._began
    if self.done == self.total:
      return f'done in {format_duration(passed)}'
    return (
      f'{format_duration(passed / fresh * (self.total - self.done))} left'
      if fresh
      else 'just begun'
    )


class Bar(ComparisonProgress):
  """The same as a bar that is redrawn."""

  def __init__(self, bar: rich.progress.Progress):
    super().__init__(lambda line: None)
    self._bar = bar

  def begin(self, total: int, done: int) -> None:
    super().begin(total, done)
    self._task = self._bar.add_task('runs', total=total, completed=done, left='just begun')

  def advance(self, runs: int) -> None:
    super().advance(runs)
    self._bar.update(self._task, completed=self.done, left=self.left())


@contextlib.contextmanager
def shown() -> Iterator[ComparisonProgress]:
  """On standard error: a bar if that is a terminal."""
  if not sys.stderr.isatty():
    yield ComparisonProgress(lambda line: print(line, file=sys.stderr, flush=True))
    return
  columns = (
    rich.progress.BarColumn(bar_width=None),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TextColumn('{task.fields[left]}'),
  )
  console = rich.console.Console(stderr=True)
  with rich.progress.Progress(*columns, console=console) as bar:
    yield Bar(bar)
