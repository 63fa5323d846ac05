"""Progress of a benchmark: a bar in a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import rich.console
import rich.progress

from autoresearch_jax.messages import say
from autoresearch_jax.report.summary import format_duration

LINE_INTERVAL = 10.0  # seconds between plain lines


class ComparisonProgress:
  """Reports finished runs and the remaining time as plain lines."""

  def __init__(
    self, write: Callable[[str], None] = say, clock: Callable[[], float] = time.monotonic
  ):
    self._write, self._clock = write, clock
    self.total = self.done = self._before = 0
    self._started = self._written = 0.0

  def begin(self, total: int, done: int) -> None:
    """Starts the clock.

    Args:
      total: Number of runs.
      done: How many of them an earlier session finished.
    """
    self.total = total
    self.done = self._before = done
    self._started = self._written = self._clock()
    self._write(f'{total} runs, {done} of them already finished.' if done else f'{total} runs.')

  def advance(self, runs: int) -> None:
    self.done += runs
    if self.done == self.total or self._clock() - self._written > LINE_INTERVAL:
      self._written = self._clock()
      self._write(f'{self.done} of {self.total} runs, {self.remaining()}.')

  def remaining(self) -> str:
    """Returns the remaining time, if the next runs take as long as those so far."""
    new, elapsed = self.done - self._before, self._clock() - self._started
    if self.done == self.total:
      return f'done in {format_duration(elapsed)}'
    return (
      f'{format_duration(elapsed / new * (self.total - self.done))} left' if new else 'just started'
    )


class ComparisonBar(ComparisonProgress):
  """Reports progress as a bar."""

  def __init__(self, bar: rich.progress.Progress):
    super().__init__(lambda line: None)
    self._bar = bar

  def begin(self, total: int, done: int) -> None:
    super().begin(total, done)
    self._task = self._bar.add_task('runs', total=total, completed=done, left='just started')

  def advance(self, runs: int) -> None:
    super().advance(runs)
    self._bar.update(self._task, completed=self.done, left=self.remaining())


@contextlib.contextmanager
def show_progress() -> Iterator[ComparisonProgress]:
  """Shows progress on standard error: a bar if that is a terminal, else lines."""
  if not sys.stderr.isatty():
    yield ComparisonProgress(lambda line: say(line, file=sys.stderr))
    return
  columns = (
    rich.progress.BarColumn(bar_width=None),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TextColumn('{task.fields[left]}'),
  )
  console = rich.console.Console(stderr=True)
  with rich.progress.Progress(*columns, console=console) as bar:
    yield ComparisonBar(bar)
