"""Live views of a run: a panel in a terminal, one line per event elsewhere.

Descriptions and reasons come from proposers and candidates. They are shown without control
characters and never as rich markup, so they cannot redraw the terminal.
"""

import time
from collections.abc import Callable
from typing import Any, Self

import rich.box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoresearch_jax.clock import monotonic_time
from autoresearch_jax.findings.trust import short
from autoresearch_jax.ledger import ends
from autoresearch_jax.ledger.events import (
  CanaryJudged,
  Decided,
  Declined,
  Edited,
  Event,
  Finished,
  HandedOver,
  ImportRefused,
  Proposed,
  Record,
  Resumed,
  Steered,
  StoreRead,
)
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.results import slowness
from autoresearch_jax.ledger.steering import described
from autoresearch_jax.messages import ignored_hangup, one_line, say
from autoresearch_jax.report.base import View
from autoresearch_jax.report.summary import (
  format_duration,
  format_spend,
  format_value,
  gain_over,
  num_slots,
  run_statistics,
)
from autoresearch_jax.types import Decision, Progress, Status, Trial

SHOWN_TRIALS = 8
MIN_WIDTH = 60  # columns for all of the table
REFRESH_SECONDS = 1.0  # a redraw takes 5 to 15 ms of CPU time from training
COLOURS = {Decision.KEEP: 'green', Decision.DISCARD: 'bright_black', Decision.CRASH: 'red'}


class LineView(View):
  """Prints one line per event, for logs and pipes."""

  def __init__(self, say: Callable[[str], None] = say):
    self._say = say

  def record(self, record: Record, history: History) -> None:
    if line := event_line(record, history):
      self._say(f'{time.strftime("%H:%M:%S", time.localtime(record.time))}  {line}')


class PanelView(View):
  """A live panel: best so far, running and next trials, the last trials, and throughput."""

  def __init__(
    self,
    history: History,
    console: Console,
    clock: Callable[[], float] = monotonic_time,
    ending: str = 'Ctrl-C stops, the same command resumes',
  ):
    """Makes the panel.

    Args:
      history: The run.
      console: The terminal.
      clock: Returns Unix seconds.
      ending: What Ctrl-C does, for the last line.
    """
    self._history, self._clock, self._ending = history, clock, ending
    self._progress: dict[int, Progress] = {}
    self._note = ''
    self._proposed_at = clock()
    self._drawn_at = 0.0
    self._live = Live(console=console, auto_refresh=False, transient=True)

  def __enter__(self) -> Self:
    with ignored_hangup():
      self._live.start()
    return self

  def __exit__(self, *_: object) -> None:
    with ignored_hangup():
      self._live.stop()

  def record(self, record: Record, history: History) -> None:
    self._history = history
    match record.event:
      case Finished(trial=trial):
        self._progress.pop(trial, None)
      case Proposed():
        self._proposed_at = record.time
      case Declined() | Steered() | HandedOver() | StoreRead():
        self._note = event_line(record, history)
    self._draw()

  def progress(self, progress: Progress) -> None:
    self._progress[progress.trial] = progress

  def tick(self) -> None:
    if self._clock() - self._drawn_at >= REFRESH_SECONDS:
      self._draw()

  def _draw(self) -> None:
    self._drawn_at = self._clock()
    with ignored_hangup():
      self._live.update(self.renderable(), refresh=True)

  def renderable(self) -> RenderableType:
    """Returns the panel, as a function of history and progress."""
    parts: list[RenderableType] = [_headline(self._history), Text()]
    parts += [_running(self._history, trial, self._progress) for trial in self._history.running]
    parts += self._next_trials()
    # Two lines a running trial, four of the table's frame, two of the last line, one to spare.
    others = len(parts) + len(self._history.running) + 7 + bool(self._note) + bool(self._left())
    rows = max(1, min(SHOWN_TRIALS, self._live.console.height - others))
    parts += [
      Text(),
      _last_trials(self._history, rows, self._live.console.width),
      Text(),
      self._throughput(),
    ]
    if left := self._left():
      parts.append(Text(left, 'bright_black', no_wrap=True, overflow='ellipsis'))
    if self._note:
      parts.append(Text(self._note, 'yellow', no_wrap=True, overflow='ellipsis'))
    return Group(*parts)

  def _next_trials(self) -> list[RenderableType]:
    """Returns a line for each prepared trial, and for the proposal in progress."""
    history = self._history
    lines = [
      Text.assemble(
        (f'trial {trial}  ', 'bold'), ('next  ', 'cyan'), one_line(history.edits[trial].description)
      )
      for trial in history.prepared
    ]
    if history.open_proposal is not None:
      took = format_duration(max(0.0, self._clock() - self._proposed_at))
      lines.append(
        Text.assemble(
          (f'trial {history.open_proposal.trial}  ', 'bold'), (f'proposing, {took}', 'cyan')
        )
      )
    for line in lines:
      line.no_wrap, line.overflow = True, 'ellipsis'
    return [*lines]

  def _throughput(self) -> Text:
    since = max(0.0, self._clock() - self._history.last_time)
    training = sum(self._trained(p) for p in self._progress.values())
    f = run_statistics(self._history, since)
    wall = f.wall_seconds * num_slots(self._history)
    busy = f.utilization + (training / wall if wall else 0.0)
    spent = f'   {format_spend(self._history)}' if self._history.spend.calls else ''
    words = (
      f'{f.kept} kept of {f.trials}   {f.trials_per_hour:.0f} trials per hour   device busy '
      f'{min(busy, 1.0):.0%}   {format_duration(f.wall_seconds)}{spent}'
    )
    fits = len(words) + 3 + len(self._ending) <= self._live.console.width
    gap = '   ' if fits else '\n'
    return Text(f'{words}{gap}{self._ending}', 'bright_black')

  def _left(self) -> str:
    """Returns what is left of the search, and by whom it is paused; '' without ends or pause."""
    history, search = self._history, self._history.config.search
    since = 0.0 if _paused(history) else max(0.0, self._clock() - history.last_time)
    applying = ends.effective(history, search.ends)
    left = ends.left(history, applying, search.dollars_per_hour, since)
    return '   '.join(filter(None, [f'left: {", ".join(left)}' if left else '', _paused(history)]))

  def _trained(self, progress: Progress) -> float:
    """Returns how long a running trial has trained; 0 unless the budget is in seconds."""
    proposal = self._history.proposals.get(progress.trial)
    budget = self._history.config.budget
    if budget.unit != 'seconds' or proposal is None or progress.seed not in proposal.seeds:
      return 0.0
    done = proposal.seeds.index(progress.seed) + _fraction(progress)
    return budget.scaled(proposal.fidelity).amount * done


def _fraction(progress: Progress) -> float:
  return 1.0 if progress.phase == 'evaluate' else progress.fraction


def view(
  history: History,
  console: Console | None = None,
  print_line: Callable[[str], None] = say,
  **options: Any,
) -> View:
  """Returns the panel in a terminal, with these options, and else the view that prints lines."""
  shown = console or Console()
  if shown.is_terminal and not shown.is_dumb_terminal:
    return PanelView(history, shown, **options)
  return LineView(print_line)


def event_line(record: Record, history: History) -> str:
  """Describes an event on one line; '' for events that are not shown."""
  match record.event:
    case Edited(trial=trial, edit=edit):
      return f'trial {trial}: {one_line(edit.description)}'
    case Decided(trial=trial):
      return _decided_line(history.trials[trial], history)
    case Declined(reason=reason, failed=failed):
      return f'{"the proposer failed" if failed else "nothing proposed"}: {one_line(reason, 300)}'
    case Resumed():
      paused = _paused(history)
      return f'resumed after {len(history.trials)} trials{f"; {paused}" if paused else ""}'
    case Steered() | HandedOver() | CanaryJudged():
      return _other_line(record.event, history)
    case _:
      return _import_line(record.event)


def _import_line(event: Event) -> str:
  if isinstance(event, ImportRefused):
    finding = f'finding {short(event.claim.finding)} of {short(event.claim.source)}'
    return f'{finding} is not tried: {one_line(event.reason, 300)}'
  if not isinstance(event, StoreRead):
    return ''
  store = one_line(event.address, 80)
  if event.problem:
    return f'the findings of {store} cannot be read, so the run goes on without: {event.problem}'
  return f'read {event.findings} findings of {store}, {event.comparable} on this metric'


def _other_line(event: Steered | HandedOver | CanaryJudged, history: History) -> str:
  if isinstance(event, CanaryJudged):
    kind = history.canaries.planted[event.canary].planted.kind
    return f'canary {event.canary}, {kind}: {event.outcome}' if event.outcome else ''
  if isinstance(event, HandedOver):
    return f'{event.strategy} takes the search over: {event.reason}'
  became = f'refused. {event.refused}' if event.refused else 'taken up'
  return f'{described(event.request)}: {one_line(became, 300)}'


def _paused(history: History) -> str:
  """Returns by whom the run is paused and how it goes on; '' if it is not."""
  if history.steering.paused is None:
    return ''
  by = history.steering.paused.request.author
  return f'paused by {by}, `autoresearch steer WORKDIR resume` goes on'


def _decided_line(trial: Trial, history: History) -> str:
  assert trial.verdict is not None
  metric = history.objective.metric
  value = trial.metric(metric)
  score = f', {metric} {value:.6f}' if value is not None else ''
  took = _took(trial)
  reason = one_line(trial.verdict.reason, 300)
  return f'trial {trial.id}: {trial.result.status}{score}{took}, {trial.verdict.decision}: {reason}'


def _took(trial: Trial) -> str:
  seconds = sum(m.cost.total_seconds for m in trial.result.measurements)
  slow = slowness(trial.result)
  return (f', {seconds:.1f} s' if seconds else '') + (f', {slow}' if slow else '')


def _headline(history: History) -> Text:
  f, config = run_statistics(history), history.config
  line = Text(f'{one_line(config.name)} ({config.platform})   ', 'bold')
  if f.best is None or f.value is None:
    return line.append('no score yet; the baseline runs first', 'yellow')
  line.append(f'best {config.metric} {format_value(f.value, f.runs)}', 'bold green')
  if f.best.id != BASELINE and f.gain is not None:
    line.append(f'   trial {f.best.id}   {f.gain:+.6f} over the baseline', 'green')
    if f.standard_errors is not None:
      line.append(f', {f.standard_errors:.1f} standard errors', 'green')
  return line


def _running(history: History, trial: int, latest: dict[int, Progress]) -> RenderableType:
  """Returns two lines: the description of a trial; its progress bar, phase, loss and step."""
  progress = latest.get(trial, Progress(trial, 'trace'))
  several = len(history.proposals[trial].seeds) > 1
  phase = progress.phase + (f', seed {progress.seed}' if several else '')
  what = Text.assemble((f'trial {trial}  ', 'bold'), one_line(history.edits[trial].description))
  what.no_wrap, what.overflow = True, 'ellipsis'
  line = Table.grid(padding=(0, 2))
  loss = '' if progress.loss is None else f'loss {progress.loss:.4f}'
  step = f'step {progress.step}' if progress.step else ''
  bar = ProgressBar(total=1.0, completed=_fraction(progress), width=24)
  line.add_row(bar, Text(phase, 'cyan'), Text(loss), Text(step, 'bright_black'))
  return Group(what, line)


def _last_trials(history: History, rows: int, width: int) -> Table:
  """Returns the table of the last trials; without gain and seconds in a narrow terminal."""
  narrow = width < MIN_WIDTH
  table = Table(box=rich.box.SIMPLE_HEAD, expand=True, padding=(0, 1), pad_edge=False)
  columns = [('trial', 'right'), ('', 'left'), (history.objective.metric, 'right')]
  columns += [] if narrow else [('gain', 'right'), ('seconds', 'right')]
  for name, justify in columns:
    table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
  table.add_column('what', ratio=1, no_wrap=True, overflow='ellipsis')
  for trial in list(history.trials.values())[-rows:]:
    cells = _cells(trial, history)
    table.add_row(*(cells[:3] + cells[5:] if narrow else cells))
  return table


def _cells(trial: Trial, history: History) -> list[Text]:
  assert trial.verdict is not None
  colour, status = COLOURS[trial.verdict.decision], trial.result.status
  value, baseline = trial.metric(history.objective.metric), history.trials.get(BASELINE)
  gain = gain_over(history.objective, trial, baseline) if baseline else None
  seconds = sum(m.cost.total_seconds for m in trial.result.measurements)
  word = trial.verdict.decision if status == Status.OK else status
  what = trial.edit.description if status == Status.OK else (
    f'{trial.edit.description}: {trial.result.reason}')  # fmt: skip
  cells = [
    str(trial.id),
    str(word),
    '' if value is None else f'{value:.6f}',
    '' if gain is None else f'{gain:+.6f}',
    f'{seconds:.1f}' if seconds else '',
    one_line(what, 300),
  ]
  return [Text(cell, colour) for cell in cells]
