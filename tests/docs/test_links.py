"""What the documentation points to exists: pages, anchors, files of the repository."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'autoresearch_jax'
PAGES = [ROOT / 'README.md', ROOT / 'program.md', *sorted((ROOT / 'docs').rglob('*.md'))]
STUDIES = sorted((ROOT / 'scripts' / 'studies').rglob('*.md'))
LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')
NAMED = re.compile(r'`((?:[\w-]+/)*[\w-]+\.(?:py|md|yml|toml|sh)|(?:[\w-]+/)+)`')
# Files that an example makes, that a reader is to make, or that a run leaves behind.
EXAMPLES = {
  'config.py',
  'epsilon_greedy.py',
  'model.py',
  'leaderboard.md',
  'repo/',
  'scratch/',
  'runs/',
  'refs/trials/',
}
MAX_README_LINES = 140


def name(path):
  return path.relative_to(ROOT).as_posix()


def prose(path):
  """The page without its code blocks."""
  return re.sub(r'^( *)```.*?^\1```$', '', path.read_text(), flags=re.DOTALL | re.MULTILINE)


def on_github(heading):
  """The anchor that GitHub gives a heading."""
  text = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading).replace('`', '').lower()
  return re.sub(r'[^\w\- ]', '', text).replace(' ', '-')


def on_the_site(heading):
  """The anchor that mkdocs gives a heading."""
  return re.sub(r'[-\s]+', '-', on_github(heading)).strip('-')


def anchors(path):
  """Anchors that lead to the same heading on both."""
  headings = re.findall(r'^#+ +(.+?) *$', prose(path), re.MULTILINE)
  return {on_github(h) for h in headings if on_github(h) == on_the_site(h)}


def links(path):
  return sorted({target for target in LINK.findall(prose(path)) if '://' not in target})


def test_there_are_pages_and_links():
  assert len(PAGES) > 10
  assert sum(len(links(page)) for page in PAGES) > 50


@pytest.mark.parametrize('page', [*PAGES, *STUDIES], ids=name)
def test_links_lead_somewhere(page):
  for link in links(page):
    path, _, anchor = link.partition('#')
    target = (page.parent / path).resolve() if path else page
    assert target.exists(), f'{link} leads nowhere'
    assert target.is_relative_to(ROOT), f'{link} leaves the repository'
    if anchor:
      assert anchor in anchors(target), f'{link}: {name(target)} has no such heading'


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_files_that_are_named_exist(page):
  tree = {name(path) + '/' * path.is_dir() for path in _tracked()}
  for word in sorted(set(NAMED.findall(prose(page))) - EXAMPLES):
    assert any(path == word or path.endswith(f'/{word}') for path in tree), f'there is no {word}'


def test_the_tree_is_the_tree():
  """The drawing in the architecture page has all folders and modules of the package, no more."""
  text = (ROOT / 'docs' / 'architecture.md').read_text()
  drawing = next(b for b in re.findall(r'```text\n(.*?)```', text, re.DOTALL) if '__init__' in b)
  inside, _, beside = drawing.partition('configs/')
  drawn = {line.split()[0] for line in inside.splitlines() if line.startswith('  ')}
  there = {path.name for path in PACKAGE.glob('*.py')}
  there |= {f'{path.parent.name}/' for path in PACKAGE.glob('*/__init__.py')}
  assert drawn == there
  for line in f'configs/{beside}'.splitlines():
    assert (ROOT / line.split()[0]).exists(), line


def test_each_folder_says_which_file_to_open_first():
  text = (ROOT / 'docs' / 'architecture.md').read_text()
  headings = re.findall(r'^### (.+)$', text, re.MULTILINE)
  described = {folder for heading in headings for folder in heading.split(', ')}
  assert described == {path.parent.name for path in PACKAGE.glob('*/__init__.py')}


def test_the_readme_is_short():
  assert len((ROOT / 'README.md').read_text().splitlines()) <= MAX_README_LINES


def _tracked():
  """Files and folders of the repository, without what a build or a run leaves behind."""
  skipped = {'.git', 'site', 'runs', 'build', 'dist', '.venv', 'venv'}
  for path in ROOT.rglob('*'):
    if not skipped & set(path.relative_to(ROOT).parts):
      yield path
