"""A run goes on while a real browser looks at it. Needs the extra `browser` and Chromium."""

import contextlib
import dataclasses
import shutil
import signal
import subprocess
import sys

import pytest
from helpers.synthetic_run import run, ticking

from autoresearch_jax.ledger.events import Decided, Edited, Proposed, Released
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.mailbox import waiting
from autoresearch_jax.ledger.requests import reviewed
from autoresearch_jax.ledger.store import Ledger, read_records
from autoresearch_jax.report.dashboard.process import dashboard_beside
from autoresearch_jax.report.shared_progress import SharedProgress, read_progress
from autoresearch_jax.types import Progress

playwright = pytest.importorskip('playwright.sync_api')
pytest.importorskip('uvicorn')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(CHROMIUM is None, reason='There is no Chromium.'),
]
HOSTILE = '<img src=x onerror="document.title=`hacked`">'
PATIENCE = 60_000  # milliseconds; only a broken page takes so long
FIRST = 20  # trials before anybody looks


class Played:
  """A run whose events come when the test wants them."""

  def __init__(self, directory, records):
    self.workspace = Workspace.open(directory)
    self.ledger = Ledger.open(self.workspace.ledger_path)
    self.history, self.rest = History(), list(records)
    self.shared = SharedProgress(Silent(), directory)

  def until(self, kind, trial):
    """Appends the events up to this one of a trial."""
    while True:
      event = self.rest.pop(0).event
      if isinstance(event, Edited):
        edit = dataclasses.replace(event.edit, description=f'{event.edit.description} {HOSTILE}')
        event = dataclasses.replace(event, edit=edit)
      record = self.ledger.append(event)
      self.history.apply(record)
      self.shared.record(record, self.history)
      if isinstance(event, kind) and event.trial == trial:
        return

  def close(self):
    self.ledger.close()
    self.workspace.close()


class Silent:
  """A view without a screen."""

  def record(self, record, history):
    pass

  def progress(self, progress):
    pass

  def tick(self):
    pass


@contextlib.contextmanager
def steering(directory):
  """A dashboard through which runs can be steered; yields its address."""
  server = subprocess.Popen(
    [sys.executable, '-m', 'autoresearch_jax.cli.dashboard', str(directory), '--steer', '--port=0'],
    stdout=subprocess.PIPE,
    text=True,
  )
  try:
    yield server.stdout.readline().split()[-1]
  finally:
    server.send_signal(signal.SIGINT)
    server.wait(60)
    server.stdout.close()


@pytest.fixture
def played(tmp_path):
  run(tmp_path / 'source', 30, clock=ticking())
  made = Played(tmp_path / 'run', read_records(tmp_path / 'source'))
  made.until(Decided, FIRST)
  yield made
  made.close()


def test_a_run_goes_on_while_a_browser_looks(played, tmp_path):
  with (
    dashboard_beside(tmp_path / 'run') as address,
    playwright.sync_playwright() as started,
  ):
    browser = started.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
    # So high that all is in sight: what is not is drawn when it is scrolled to.
    page = browser.new_page(viewport={'width': 1200, 'height': 4000})
    page.set_default_timeout(PATIENCE)
    expect = playwright.expect
    expect.set_options(timeout=PATIENCE)
    errors = []
    page.on('console', lambda message: errors.append(message.text))
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto(address)
    page.evaluate('window.isTheSame = true')
    rows = page.locator('#table tbody tr')
    expect(rows.first).to_be_attached()
    expect(page.locator('#state')).to_contain_text('running')
    before = rows.count()

    # A trial that begins appears without a reload, and its verdict follows.
    trial = next(r.event.trial for r in played.rest if isinstance(r.event, Edited))
    played.until(Edited, trial)
    row = page.locator(f'#table tr[data-trial="{trial}"]')
    expect(row).to_be_attached()
    expect(page.locator('#under-way')).to_contain_text(f'Trial {trial}')
    if not played.history.running:
      played.until(Released, trial)
    training = played.history.running[0]
    for step in range(20):
      played.shared.progress(Progress(training, 'train', 0, step / 20, step, 5.0 - step / 20))
    for _ in range(PATIENCE // 100):
      if read_progress(tmp_path / 'run'):  # the page has said that somebody looks
        break
      page.wait_for_timeout(100)
      played.shared.progress(Progress(training, 'train', 0, 0.99, 20, 4.0))
      played.shared.tick()
    expect(page.locator('#under-way')).to_contain_text('step 20')
    expect(page.locator('#under-way polyline').first).to_be_attached()
    played.until(Decided, trial)
    expect(row.locator('.tag')).not_to_have_text('running')
    expect(rows).to_have_count(len(played.history.edits))
    assert page.evaluate('window.isTheSame')

    # One looks at it while more trials come.
    page.fill('#filter', str(trial))
    expect(row).to_be_attached()
    assert rows.count() < before
    shown = next(
      number
      for number, edit in played.history.edits.items()
      if number and edit.program != played.history.edits[played.history.parent(number)].program
    )
    page.fill('#filter', '')
    page.locator(f'#table tr[data-trial="{shown}"]').click()
    expect(page.locator('#detail pre .add').first).to_be_visible()
    played.until(Proposed, played.history.next_trial + 1)
    expect(page.locator('#table tbody tr')).to_have_count(len(played.history.edits))
    assert page.is_visible('#detail')
    assert HOSTILE in page.text_content('#detail-title')
    assert page.locator('img').count() == 0
    assert page.title().startswith('synthetic')
    assert errors == []
    browser.close()


def test_a_run_is_steered_from_the_page(played, tmp_path):
  directory = tmp_path / 'run'
  expect = playwright.expect
  expect.set_options(timeout=PATIENCE)
  with steering(directory) as address, playwright.sync_playwright() as started:
    browser = started.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
    page = browser.new_page(viewport={'width': 390, 'height': 844})
    page.set_default_timeout(PATIENCE)
    errors = []
    page.on('console', lambda message: errors.append(message.text))
    page.on('pageerror', lambda error: errors.append(str(error)))
    page.goto(address)
    answer, listed = page.locator('#steer-answer'), page.locator('#requests')
    expect(page.locator('#unread')).to_contain_text('cannot read words')

    page.fill('#steer-text', 'Go wide.')
    page.click('text=Give as a hint')
    expect(answer).to_contain_text('Posted. The proposer mutate cannot read')
    expect(listed).to_contain_text('Go wide.')
    page.click('text=Protect a part')
    page.fill('#protect-name', 'Y')
    page.click('#protect-form button')
    expect(listed).to_contain_text('protect Y')
    page.click('text=Set when the search ends')
    page.fill('#end-form [name=max_trials]', '77')
    page.fill('#end-form [name=target]', '-1.5')
    page.click('#end-form button')
    expect(listed).to_contain_text('max_trials 77, target -1.5')
    page.fill('#end-form [name=max_hours]', 'soon')
    page.click('#end-form button')
    expect(answer).to_contain_text('soon')

    # The run takes them up; then they can be taken back.
    for _, request in waiting(directory):
      played.history.apply(played.ledger.append(reviewed(played.history, request)))
    for path, _ in waiting(directory):
      path.unlink()
    expect(page.locator('#protected')).to_contain_text('Protected: Y')
    expect(page.locator('#end-form [name=max_trials]')).to_have_attribute('placeholder', '77')
    page.click('[aria-label="Unprotect Y"]')
    expect(listed).to_contain_text('unprotect Y')
    page.click('[aria-label="Withdraw request 1"]')
    expect(listed).to_contain_text('withdraw request 1')
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    assert errors == []
    browser.close()
