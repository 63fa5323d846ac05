"""What a run has learned, as tables and sentences for a terminal or a file.

Text that candidates and models wrote is put in as characters, never as markup, on one line.
"""

import collections
import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

import rich.box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from autoresearch_jax.knowledge.calibration import (
  LEVELS,
  NOBODY,
  Calibration,
  calibrations,
  summary,
)
from autoresearch_jax.knowledge.lessons import cited
from autoresearch_jax.knowledge.memory import Entry, Memory
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Lesson

SURPRISES, LESSONS = 8, 15  # shown
_LEVELS = tuple(f'in {level:.0%}' for level in LEVELS)
NEVER = 3  # trials without a gain from which a group is said never to have worked


@dataclasses.dataclass(frozen=True)
class Findings:
  """A memory's content at one moment. name: the run's, with what tells it from others. metric: what
  gains are of.
  """

  name: str
  metric: str
  entries: tuple[Entry, ...]
  lessons: tuple[Lesson, ...]
  noise: float | None
  calibrations: tuple[Calibration, ...]

  @classmethod
  def of(cls, memory: Memory, name: str) -> 'Findings':
    entries = tuple(memory.entries.values())
    return cls(
      name, memory.objective.metric, entries, memory.lessons(), memory.noise,
      tuple(calibrations(entries)),
    )  # fmt: skip

  def print(self, console: Console) -> None:
    """Writes all of it; gains are of the score, above 0 is better."""
    for part in self._parts():
      console.print(part)

  def _parts(self) -> Iterator[RenderableType]:
    yield self._headline()
    if not self.entries:
      return
    yield from _section('What surprised most', self._surprises())
    yield from _section('Lessons', self._taught())
    yield from _section('By author and role', self._authors())
    yield from _section('What never works', self._never())
    yield from _section('Failures', self._failures())
    yield from _section('Predictions', self._predictions())

  def _headline(self) -> RenderableType:
    kept = sum(e.kept for e in self.entries)
    scored = sum(e.effect is not None for e in self.entries)
    number = len(self.entries)
    noise = 'unknown' if self.noise is None else f'{self.noise:.3g}'
    return Text(
      f'{one_line(self.name)}: {number} edit{"" if number == 1 else "s"}, {scored} with a measured '
      f'effect, {kept} kept. Gains are of {one_line(self.metric)}, turned so that above 0 is '
      f'better; it differs by {noise} from seed to seed.'
    )

  def _surprises(self) -> Iterator[RenderableType]:
    found = [e for e in self.entries if e.surprise]
    found = sorted(found, key=lambda e: -(e.surprise or 0.0))[:SURPRISES]
    if not found:
      yield Text('No outcome differs from a prediction yet.')
      return
    rows = [
      (
        str(e.trial), one_line(e.description, 60), _number(e.predicted, e.predicted_sd),
        _number(e.effect, e.effect_sd) or e.status.value, f'{e.surprise:.1f}',
        'kept' if e.kept else '',
      )
      for e in found
    ]  # fmt: skip
    yield _table(('trial', 'edit', 'predicted', 'measured', 'deviations', ''), rows, 'lrrrl')

  def _taught(self) -> Iterator[RenderableType]:
    for lesson in self.lessons[:LESSONS]:
      author = f' [{one_line(lesson.author, 30)}]' if lesson.author else ''
      evidence = f' ({cited(lesson.trials)})' if lesson.author and lesson.trials else ''
      yield Text(f'- {one_line(lesson.text, 400)}{evidence}{author}')
    if not self.lessons:
      yield Text('None yet: a lesson takes two trials that have something in common.')
    if len(self.lessons) > LESSONS:
      yield Text(f'and {len(self.lessons) - LESSONS} more, which are less certain.')

  def _authors(self) -> Iterator[RenderableType]:
    groups: dict[tuple[str, str], list[Entry]] = collections.defaultdict(list)
    for entry in self.entries:
      groups[entry.author, entry.role].append(entry)
    rows = []
    for (author, role), members in sorted(groups.items()):
      effects = [e.effect for e in members if e.effect is not None]
      rows.append(
        (
          one_line(author, 30) or NOBODY, one_line(role, 30), str(len(members)),
          _share(sum(e.kept for e in members), len(members)),
          _share(sum(e.failed for e in members), len(members)),
          _number(statistics.median(effects)) if effects else '',
          _number(max(effects)) if effects else '',
        )
      )  # fmt: skip
    headers = ('author', 'role', 'edits', 'kept', 'failed', 'median gain', 'best gain')
    yield _table(headers, rows, 'lrrrrr')

  def _never(self) -> Iterator[RenderableType]:
    by_id = {e.trial: e for e in self.entries}
    found = [lesson for lesson in self.lessons if _is_hopeless(lesson, by_id)]
    if not found:
      yield Text(f'Nothing that was tried {NEVER} times or more was without a gain each time.')
    for lesson in found[:LESSONS]:
      yield Text(f'- {one_line(lesson.text, 400)}')

  def _failures(self) -> Iterator[RenderableType]:
    by_status: dict[str, list[Entry]] = collections.defaultdict(list)
    for entry in self.entries:
      if entry.effect is None and entry.status.value != 'ok':
        by_status[entry.status.value].append(entry)
    if not by_status:
      yield Text('None.')
      return
    rows = [
      (status, cited(e.trial for e in members), one_line(members[-1].reason, 90))
      for status, members in sorted(by_status.items(), key=lambda item: -len(item[1]))
    ]
    yield _table(('status', 'trials', 'the last one'), rows, 'll')

  def _predictions(self) -> Iterator[RenderableType]:
    yield Text(summary(self.calibrations))
    if len(self.calibrations) > 1:
      rows = [_calibration_row(c) for c in self.calibrations]
      headers = (
        'author',
        'predictions',
        'error',
        'rmse',
        'rank corr.',
        'sign',
        '50 %',
        '80 %',
        '95 %',
      )
      yield _table(headers, rows, 'rrrrrrrr')


def _is_hopeless(lesson: Lesson, entries: Mapping[int, Entry]) -> bool:
  """Whether all of its trials, of which there are some, came to no gain. An LLM's are its own."""
  trials = [entries[trial] for trial in lesson.trials if trial in entries]
  if lesson.author or len(trials) < NEVER:
    return False
  return all(e.failed or (e.effect is not None and e.effect <= 0) for e in trials)


def _calibration_row(found: Calibration) -> tuple[str, ...]:
  shares = [f'{c.share:.0%}' for c in found.coverage] or [''] * len(_LEVELS)
  return (
    one_line(found.author, 30),
    str(found.count),
    _number(found.error),
    f'{found.rmse:.3g}',
    '' if found.rank is None else f'{found.rank:+.2f}',
    '' if found.signs is None else f'{found.signs:.0%}',
    *shares,
  )


def _section(title: str, parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
  yield Text(f'\n{title}', style='bold')
  yield from parts


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> Table:
  """A table of plain characters. sides: 'l' or 'r' for each column after the first."""
  table = Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
  for header, side in zip(headers, 'l' + sides, strict=True):
    table.add_column(Text(header), justify='right' if side == 'r' else 'left')
  for row in rows:
    table.add_row(*map(Text, row))
  return table


def _number(value: float | None, spread: float | None = None) -> str:
  if value is None:
    return ''
  return f'{value:+.3g}' + (f' ± {spread:.2g}' if spread is not None else '')


def _share(count: int, of: int) -> str:
  return f'{count} ({count / of:.0%})'
