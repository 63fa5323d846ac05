"""The live view shows what goes on, and nobody's text can redraw the terminal."""

import io
import itertools
import re

import pytest
from helpers import synthetic_run
from helpers.synthetic_run import START, Arithmetic, run, ticking
from rich.console import Console

from autoresearch_jax import types
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.ledger import mailbox
from autoresearch_jax.proposers import Proposer
from autoresearch_jax.report import live
from autoresearch_jax.report.summary import run_statistics
from autoresearch_jax.search import Strategy

pytestmark = pytest.mark.slow


class Evil(Proposer):
  """Writes markup and escape sequences where a description goes."""

  def propose(self, proposal, context, rng):
    del proposal, context
    program = START.with_text(f'X = {rng.normal():.3f}\nY = 0.0\n')
    text = '[bold red]markup[/] \x1b[2J\x1b]0;title\x07\nsecond line'
    return types.Edit(program, text, types.Hypothesis('claim'))


def terminal(width=120):
  return Console(file=io.StringIO(), force_terminal=True, width=width, height=40)


def shown(panel, width=120):
  console = Console(file=io.StringIO(), width=width, height=60)
  console.print(panel.renderable())
  return console.file.getvalue()


def test_lines_tell_the_story_where_there_is_no_terminal(tmp_path):
  lines = []
  run(tmp_path, 12, view=live.LineView(lines.append))
  assert lines[0].endswith('trial 0: baseline')
  assert 'trial 0: ok, val_loss 12.970361, keep: ' in lines[1]
  assert any(': timeout, crash: It went timeout.' in line for line in lines)
  assert all('\n' not in line for line in lines)
  assert sum('trial 11: ' in line for line in lines) == 2


@pytest.mark.parametrize('reason', ['I have no idea.', 'OSError: the line is down'])
def test_a_proposer_without_an_idea_is_mentioned(tmp_path, reason):
  lines = []
  run(tmp_path, 120, view=live.LineView(lines.append))
  assert any(line.endswith(reason) for line in lines)


class Watched(Arithmetic):
  """Keeps what the panel showed while a trial ran."""

  def wait(self, timeout):
    news = super().wait(timeout)
    if len(self.submitted) == 9 and news:
      self.panel.progress(news[0])
      self.seen = shown(self.panel, self.width)
    return news


@pytest.mark.parametrize('width', [40, 60, 120, 200])
def test_the_panel_shows_best_running_last_trials_and_pace(tmp_path, width):
  panel = live.PanelView(None, terminal(width), ticking())
  executor = Watched()
  executor.panel, executor.width = panel, width
  with panel:
    run(tmp_path, 10, clock=ticking(), view=panel, executor=executor)
  assert 'best val_loss' in executor.seen
  assert 'trial 9' in executor.seen
  if width == 40:
    assert re.search(r'discard +\d+\.\d{6} +\S', executor.seen), executor.seen
  if width <= 60:
    return
  for part in ('over the baseline', 'loss 2.5000', 'step 1', 'train', 'kept of 9',
               'trials per hour', 'device busy', 'timeout', 'discard', 'keep'):  # fmt: skip
    assert part in executor.seen, part
  assert max(len(line) for line in executor.seen.splitlines()) <= width


class SideBySide(Arithmetic):
  """Three trials at once, each with a loss of its own; keeps the panel from while they run."""

  seen, running = '', ()

  def wait(self, timeout):
    if len(self.queue) == 3 and not self.seen:
      self.running = tuple(request.trial for request in self.queue)
      for trial in self.running:
        news = types.Progress(trial, 'train', 0, 0.1 * trial, 100 + trial, 2.0 + trial)
        self.panel.progress(news)
      self.seen = shown(self.panel)
    return super().wait(timeout)


def test_the_panel_shows_each_of_several_trials_with_its_own_news(tmp_path):
  executor = SideBySide(slots=3)
  executor.panel = live.PanelView(None, terminal(), ticking())
  history = run(tmp_path, 12, view=executor.panel, executor=executor, prefetch=0).history
  lines = executor.seen.splitlines()
  assert len(executor.running) == 3
  for trial in executor.running:
    (place,) = (i for i, line in enumerate(lines) if line.startswith(f'trial {trial} '))
    assert history.edits[trial].description in lines[place]
    assert f'train  loss {2 + trial:.4f}  step {100 + trial}' in lines[place + 1]
  after = shown(executor.panel)
  assert 'train  loss' not in after and 'best val_loss' in after


class Glimpsed(Proposer):
  """Looks at the panel while it writes the third edit."""

  seen = ''

  def propose(self, proposal, context, rng):
    del proposal, rng
    if context.trial_id == 3:
      self.seen = shown(self.panel)
    program = START.with_text(f'X = {context.trial_id}.0\nY = 0.0\n')
    return types.Edit(program, f'set X to {context.trial_id}', types.Hypothesis('It helps.'))


def test_the_panel_shows_what_is_prepared_and_what_is_being_written(tmp_path):
  proposer = Glimpsed()
  proposer.panel = live.PanelView(None, terminal())

  class Patient(Arithmetic):
    def wait(self, timeout):
      return (
        [] if self.queue and self.queue[0].trial and not proposer.seen else super().wait(timeout)
      )

  run(tmp_path, 4, view=proposer.panel, proposer=proposer, executor=Patient(), prefetch=2)
  assert 'trial 2  next  set X to 2' in proposer.seen
  assert 'trial 3  proposing, 0:00:0' in proposer.seen


class Again(Strategy):
  """Trains the baseline again, on three seeds, for a quarter of the budget."""

  def init(self, objective):
    del objective

  def ask(self, state, rng):
    del rng
    return types.Proposal(types.Operation.PROMOTE, (0,), fidelity=0.25, seeds=(4, 7, 9)), state

  def tell(self, state, trial):
    del trial
    return state


def test_a_short_trial_of_several_seeds_counts_as_long_as_it_trained(tmp_path, monkeypatch):
  """Of 600 s the baseline trained 8; a seed of this trial takes a quarter of 100."""
  config = synthetic_run.config(budget=types.Budget(100.0, 'seconds'))
  monkeypatch.setattr(synthetic_run, 'config', lambda: config)
  panel, busy = live.PanelView(None, terminal(), lambda: 0.0), []

  class Looking(Arithmetic):
    def wait(self, timeout):
      for phase, seed, fraction in (('train', 4, 0.5), ('train', 7, 0.5), ('evaluate', 9, 0.0)):
        if self.queue and self.queue[0].trial:
          panel.progress(types.Progress(1, phase, seed, fraction))
          busy.append(re.search(r'device busy (\d+)%', shown(panel))[1])
      return super().wait(timeout)

  clock = itertools.count(1.7e9, 100).__next__
  run(tmp_path, 2, view=panel, executor=Looking(), strategy=Again(), clock=clock)
  assert busy == ['3', '8', '14']


def test_the_headline_says_of_how_many_runs_the_best_is_the_mean(tmp_path):
  history = run(tmp_path, 60, acceptance=SequentialTest(), clock=ticking()).history
  f = run_statistics(history)
  assert f.runs > 1
  headline = shown(live.PanelView(history, terminal(), ticking())).splitlines()[0]
  assert f'best val_loss {f.value:.6f} ({f.runs} runs)   trial {f.best.id}' in headline


def test_a_candidates_text_is_text(tmp_path):
  console, lines = terminal(), []
  panel = live.PanelView(None, console)
  with panel:
    history = run(tmp_path, 4, view=panel, proposer=Evil()).history
  text = shown(live.PanelView(history, terminal()))
  assert '[bold red]markup[/] [2J ]0;title second line' in text
  assert '\x1b[2J' not in console.file.getvalue().replace('\x1b[2K', '')
  assert '\x07' not in console.file.getvalue()
  run(tmp_path, 6, view=live.LineView(lines.append), proposer=Evil())
  assert all(line.isprintable() for line in lines)


def test_the_view_fits_the_output():
  assert isinstance(live.view(None, terminal()), live.PanelView)
  assert isinstance(live.view(None, Console(file=io.StringIO())), live.LineView)


def test_it_says_what_is_left_and_what_was_asked(tmp_path):
  run(tmp_path, 2)
  mailbox.post(tmp_path, 'end', ends=types.Ends(max_trials=30, max_hours=9.0), author='ada')
  mailbox.post(tmp_path, 'protect', text='X', author='ada')
  lines = []
  paused = iter(['', ''])

  def stop():
    return next(paused, 'Enough.')

  session = run(tmp_path, 2, view=live.LineView(lines.append), stop=stop)
  assert any('protect X, by ada: taken up' in line for line in lines)
  panel = live.PanelView(session.history, terminal(), ticking(session.history.last_time))
  assert re.search(r'left: 2\d trials, (9\.0|8\.9) hours', shown(panel))
