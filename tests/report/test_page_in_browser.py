"""The page of a run in a real browser. Needs the extra `browser` and Chromium."""

import dataclasses
import shutil

import pytest
from helpers.synthetic_run import run, ticking

from autoresearch_jax.cli.report import view
from autoresearch_jax.report.page import write_page

playwright = pytest.importorskip('playwright.sync_api')
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(CHROMIUM is None, reason='There is no Chromium.'),
]
HOSTILE = (
  '<img src=x onerror="document.title=`hacked`"></td><script>document.title="hacked"</script>'
)


@pytest.fixture(scope='module')
def browser():
  with playwright.sync_playwright() as started:
    # The container that runs tests may not allow Chromium's own sandbox.
    browser = started.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
    yield browser
    browser.close()


@pytest.fixture(scope='module')
def shown(tmp_path_factory):
  directory = tmp_path_factory.mktemp('run')
  run(directory, 150, clock=ticking())
  found = view(directory)
  trials = list(found.trials)
  trials[5] = dataclasses.replace(trials[5], description=HOSTILE, reason=HOSTILE, claim=HOSTILE)
  found = dataclasses.replace(found, trials=tuple(trials))
  write_page(found, directory / 'report.html')
  return found, directory / 'report.html'


@pytest.fixture
def opened(browser, shown):
  page = browser.new_page(viewport={'width': 1200, 'height': 900})
  errors, requests = [], []
  page.on('console', lambda message: errors.append(message.text))
  page.on('pageerror', lambda error: errors.append(str(error)))
  page.on('request', lambda request: requests.append(request.url))
  page.goto(shown[1].as_uri())
  page.wait_for_selector('#table tbody tr')
  yield page
  page.close()
  assert errors == []
  assert set(requests) <= {shown[1].as_uri()}


def test_every_section_shows_the_run(opened, shown):
  found, _ = shown
  assert opened.title().startswith('synthetic')
  assert opened.inner_text('#count') == f'{len(found.trials)} of {len(found.trials)}'
  programs = [t for t in found.trials if t.original == t.id and t.program_value is not None]
  assert opened.locator('#staircase circle').count() == len(programs)
  kept = {t.original for t in found.trials if t.id in found.kept}
  assert opened.locator('#staircase circle.keep').count() == len(kept)
  assert opened.locator('#near-table tbody tr').count() == len(found.near_misses) > 0
  open_tests = sum(miss.undecided for miss in found.near_misses)
  assert opened.locator('#near-table .tag.undecided').count() == open_tests
  # What is out of sight is drawn when there is time.
  originals = sum(t.original == t.id for t in found.trials)
  playwright.expect(opened.locator('#family circle')).to_have_count(originals)
  playwright.expect(opened.locator('#timeline rect').first).to_be_attached()
  playwright.expect(opened.locator('#effects circle').first).to_be_attached()
  assert 'measured effects' in opened.inner_text('#calibration-hint')


def test_the_progress_can_be_zoomed(opened, shown):
  found, _ = shown
  dots = opened.locator('#staircase [data-trial]')
  everything = dots.count()
  opened.click('#zoom-in')
  assert dots.count() < everything
  assert int(dots.last.get_attribute('data-trial')) <= found.trials[-1].id
  opened.click('#zoom-all')
  assert dots.count() == everything
  box = opened.locator('#staircase svg').bounding_box()
  opened.mouse.move(box['x'] + 0.3 * box['width'], box['y'] + 6)
  opened.mouse.down()
  opened.mouse.move(box['x'] + 0.6 * box['width'], box['y'] + 6)
  opened.mouse.up()
  assert 0 < dots.count() < everything
  assert opened.is_enabled('#zoom-out')


def test_one_goes_from_trial_to_trial_by_keyboard(opened):
  for chart in ('#staircase', '#table tbody'):
    assert opened.locator(f'{chart} [data-trial][tabindex="0"]').count() == 1
    opened.locator(f'{chart} [data-trial][tabindex="0"]').focus()
    before = opened.evaluate('document.activeElement.dataset.trial')
    opened.keyboard.press('ArrowLeft' if chart == '#staircase' else 'ArrowDown')
    after = opened.evaluate('document.activeElement.dataset.trial')
    assert after != before
    opened.keyboard.press('Enter')
    assert f'Trial {after}:' in opened.inner_text('#detail')
    opened.keyboard.press('Escape')
  assert opened.evaluate('document.activeElement.dataset.trial') == after


def test_rows_appear_as_one_scrolls(opened, shown):
  rows = opened.locator('#table tbody tr')
  assert rows.count() == 100
  rows.last.scroll_into_view_if_needed()
  playwright.expect(rows).to_have_count(150)


def test_the_filter_filters(opened, shown):
  found, _ = shown
  opened.select_option('#show', 'keep')
  kept = sum(t.decision == 'keep' for t in found.trials)
  assert opened.locator('#table tbody tr').count() == kept
  opened.select_option('#show', 'all')
  opened.fill('#filter', 'no-such-word')
  assert opened.locator('#table tbody tr').count() == 0


def test_the_table_sorts(opened, shown):
  found, _ = shown
  opened.click('th button:has-text("score")')
  best = min(t.value for t in found.trials if t.value is not None)
  first = int(opened.locator('#table tbody tr').first.get_attribute('data-trial'))
  assert found.trials[first].value == best


@pytest.mark.parametrize('key', ['click', 'Enter'])
def test_a_trial_opens_and_closes(opened, shown, key):
  found, _ = shown
  trial = next(t for t in found.trials[1 if key == 'click' else 60 :] if t.diff)
  row = opened.locator(f'#table tr[data-trial="{trial.id}"]')
  row.click() if key == 'click' else row.press(key)
  text = opened.inner_text('#detail')
  assert f'Trial {trial.id}:' in text
  playwright.expect(opened.locator('#detail pre .add').first).to_be_visible()
  opened.keyboard.press('Escape')
  assert not opened.is_visible('#detail')


def test_hostile_text_stays_text(opened):
  opened.locator('#table tr[data-trial="5"]').click()
  assert HOSTILE in opened.text_content('#detail')
  assert opened.locator('#detail img').count() == 0
  opened.wait_for_timeout(50)
  assert opened.title().startswith('synthetic')


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [390, 1200])
def test_nothing_is_wider_than_the_window(browser, shown, width, scheme):
  page = browser.new_page(viewport={'width': width, 'height': 800}, color_scheme=scheme)
  page.goto(shown[1].as_uri())
  page.wait_for_selector('#table tbody tr')
  assert page.evaluate('document.documentElement.scrollWidth') <= width
  page.close()


# Texts with a contrast below 4.5 (WCAG 2.2, level AA), controls without a name, ids used twice.
CHECK = """() => {
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const color = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const found = color(getComputedStyle(element).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, style = getComputedStyle(element);
    if (!texts.currentNode.textContent.trim() || !element.getClientRects().length) continue;
    if (style.visibility === 'hidden' || element.closest(':disabled, .skip, title')) continue;
    const ink = color(element instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [ink, behind(element)].map((c) => luminance(c.slice(0, 3)));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${element.tagName} ${element.className}: ${contrast}`);
  }
  for (const control of document.querySelectorAll('button, input, select, textarea, a, [role=button]')) {
    const name = control.getAttribute('aria-label') || control.textContent.trim() || control.labels?.[0]?.textContent;
    if (!name) found.push(`no name: ${control.outerHTML.slice(0, 80)}`);
  }
  const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
  found.push(...ids.filter((id, at) => ids.indexOf(id) !== at));
  return found;
}"""  # noqa: E501


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_texts_can_be_read_and_controls_have_names(browser, shown, scheme):
  found, path = shown
  page = browser.new_page(viewport={'width': 1200, 'height': 900}, color_scheme=scheme)
  page.goto(path.as_uri())
  playwright.expect(page.locator('#timeline rect').first).to_be_attached()
  assert page.evaluate(CHECK) == []
  trial = next(t for t in found.trials[1:] if t.diff)
  page.locator(f'#table tr[data-trial="{trial.id}"]').click()
  assert page.is_visible('#detail pre')
  assert page.evaluate(CHECK) == []
  page.close()
