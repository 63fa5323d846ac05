"""What a run has learned, as tables and sentences for a terminal or a file.

Text that candidates and models wrote is shown on one line and never interpreted as markup.
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
  NO_AUTHOR,
  Calibration,
  calibrations,
  summary,
)
from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome
from autoresearch_jax.knowledge.lessons import cite
from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Lesson

MAX_SURPRISES, MAX_LESSONS = 8, 15  # shown
MIN_HOPELESS = 3  # trials without a gain after which a group is listed as never working


@dataclasses.dataclass(frozen=True)
class KnowledgeReport:
  """A snapshot of a run's memory, ready to print.

  Attributes:
    name: Name of the run, with its proposer and strategy.
    metric: Name of the metric.
    hypotheses: What was tried.
    lessons: Lessons, most certain first.
    noise: Standard deviation of the score between seeds; None if it is not known.
    calibrations: How good the predictions were, over all authors and by author.
  """

  name: str
  metric: str
  hypotheses: tuple[HypothesisOutcome, ...]
  lessons: tuple[Lesson, ...]
  noise: float | None
  calibrations: tuple[Calibration, ...]

  @classmethod
  def of(cls, memory: Memory, name: str) -> 'KnowledgeReport':
    hypotheses = tuple(memory.hypotheses.values())
    return cls(
      name, memory.objective.metric, hypotheses, memory.lessons(), memory.noise,
      tuple(calibrations(hypotheses)),
    )  # fmt: skip

  def print(self, console: Console) -> None:
    """Prints the whole report."""
    for part in self._parts():
      console.print(part)

  def _parts(self) -> Iterator[RenderableType]:
    yield self._headline()
    if not self.hypotheses:
      return
    yield from _section('Most surprising results', self._surprises())
    yield from _section('Lessons', self._lessons())
    yield from _section('By author and role', self._authors())
    yield from _section('What never works', self._hopeless())
    yield from _section('Failures', self._failures())
    yield from _section('Predictions', self._predictions())

  def _headline(self) -> RenderableType:
    kept = sum(h.kept for h in self.hypotheses)
    scored = sum(h.effect is not None for h in self.hypotheses)
    number = len(self.hypotheses)
    noise = 'unknown' if self.noise is None else f'{self.noise:.3g}'
    return Text(
      f'{one_line(self.name)}: {number} edit{"" if number == 1 else "s"}, {scored} with a measured '
      f'effect, {kept} kept. Gains are in {one_line(self.metric)}, and above 0 is better. The '
      f'standard deviation between seeds is {noise}.'
    )

  def _surprises(self) -> Iterator[RenderableType]:
    found = [h for h in self.hypotheses if h.surprise]
    found = sorted(found, key=lambda h: -(h.surprise or 0.0))[:MAX_SURPRISES]
    if not found:
      yield Text('No outcome differs from its prediction yet.')
      return
    rows = [
      (
        str(h.trial), one_line(h.description, 60), signed_number(h.predicted, h.predicted_sd),
        signed_number(h.effect, h.effect_sd) or h.status.value, f'{h.surprise:.1f}',
        'kept' if h.kept else '',
      )
      for h in found
    ]  # fmt: skip
    yield table(('trial', 'edit', 'predicted', 'measured', '|z|', ''), rows, 'lrrrl')

  def _lessons(self) -> Iterator[RenderableType]:
    for lesson in self.lessons[:MAX_LESSONS]:
      author = f' [{one_line(lesson.author, 30)}]' if lesson.author else ''
      evidence = f' ({cite(lesson.trials)})' if lesson.author and lesson.trials else ''
      yield Text(f'- {one_line(lesson.text, 400)}{evidence}{author}')
    if not self.lessons:
      yield Text('None yet: a lesson needs two trials that have something in common.')
    if len(self.lessons) > MAX_LESSONS:
      yield Text(f'and {len(self.lessons) - MAX_LESSONS} more that are less certain.')

  def _authors(self) -> Iterator[RenderableType]:
    groups: dict[tuple[str, str], list[HypothesisOutcome]] = collections.defaultdict(list)
    for hypothesis in self.hypotheses:
      groups[hypothesis.author, hypothesis.role].append(hypothesis)
    rows = []
    for (author, role), members in sorted(groups.items()):
      effects = [h.effect for h in members if h.effect is not None]
      rows.append(
        (
          one_line(author, 30) or NO_AUTHOR, one_line(role, 30), str(len(members)),
          _share(sum(h.kept for h in members), len(members)),
          _share(sum(h.failed for h in members), len(members)),
          signed_number(statistics.median(effects)) if effects else '',
          signed_number(max(effects)) if effects else '',
        )
      )  # fmt: skip
    headers = ('author', 'role', 'edits', 'kept', 'failed', 'median gain', 'best gain')
    yield table(headers, rows, 'lrrrrr')

  def _hopeless(self) -> Iterator[RenderableType]:
    by_id = {h.trial: h for h in self.hypotheses}
    found = [lesson for lesson in self.lessons if _is_hopeless(lesson, by_id)]
    if not found:
      yield Text(f'Everything that was tried {MIN_HOPELESS} times or more helped at least once.')
    for lesson in found[:MAX_LESSONS]:
      yield Text(f'- {one_line(lesson.text, 400)}')

  def _failures(self) -> Iterator[RenderableType]:
    by_status: dict[str, list[HypothesisOutcome]] = collections.defaultdict(list)
    for hypothesis in self.hypotheses:
      if hypothesis.effect is None and hypothesis.status.value != 'ok':
        by_status[hypothesis.status.value].append(hypothesis)
    if not by_status:
      yield Text('None.')
      return
    rows = [
      (status, cite(h.trial for h in members), one_line(members[-1].reason, 90))
      for status, members in sorted(by_status.items(), key=lambda item: -len(item[1]))
    ]
    yield table(('status', 'trials', 'latest reason'), rows, 'll')

  def _predictions(self) -> Iterator[RenderableType]:
    yield Text(summary(self.calibrations))
    if len(self.calibrations) > 1:
      rows = [_calibration_row(c) for c in self.calibrations]
      headers = (
        'author', 'predictions', 'bias', 'rmse', 'rank corr.', 'sign accuracy', '50 %', '80 %',
        '95 %',
      )  # fmt: skip
      yield table(headers, rows, 'rrrrrrrr')


def _is_hopeless(lesson: Lesson, by_id: Mapping[int, HypothesisOutcome]) -> bool:
  """Whether a derived lesson rests on enough trials, none of which helped."""
  trials = [by_id[trial] for trial in lesson.trials if trial in by_id]
  if lesson.author or len(trials) < MIN_HOPELESS:
    return False
  return all(h.failed or (h.effect is not None and h.effect <= 0) for h in trials)


def _calibration_row(found: Calibration) -> tuple[str, ...]:
  shares = [f'{c.share:.0%}' for c in found.coverage] or [''] * len(LEVELS)
  return (
    one_line(found.author, 30),
    str(found.count),
    signed_number(found.bias),
    f'{found.rmse:.3g}',
    '' if found.rank_correlation is None else f'{found.rank_correlation:+.2f}',
    '' if found.sign_accuracy is None else f'{found.sign_accuracy:.0%}',
    *shares,
  )


def _section(title: str, parts: Iterable[RenderableType]) -> Iterator[RenderableType]:
  yield Text(f'\n{title}', style='bold')
  yield from parts


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], sides: str) -> Table:
  """Makes a table of plain text. sides: 'l' or 'r' alignment of each column after the first."""
  table = Table(box=rich.box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
  for header, side in zip(headers, 'l' + sides, strict=True):
    table.add_column(Text(header), justify='right' if side == 'r' else 'left')
  for row in rows:
    table.add_row(*map(Text, row))
  return table


def signed_number(value: float | None, sd: float | None = None) -> str:
  """Returns '+0.12 ± 0.01', without a standard deviation '+0.12', and '' for None."""
  if value is None:
    return ''
  return f'{value:+.3g}' + (f' ± {sd:.2g}' if sd is not None else '')


def _share(count: int, total: int) -> str:
  return f'{count} ({count / total:.0%})'
