"""Makes a site of pages that are also read in the repository.

Pages link to files of the repository by relative paths, which works wherever the repository is
shown. The site holds `docs/` alone, so these hooks of mkdocs bring in the published studies, which
live beside the scripts that made them, and turn links to other files into plain text. They also
make a page of API reference for each folder of the package, so that a new folder has one by itself.
"""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / 'autoresearch_jax'
DOCS, STUDIES = 'docs', 'scripts/studies'
PLACES = {DOCS: '', STUDIES: 'studies'}  # folders of the repository -> where the site has them
SHOWN = ('.md', '.png', '.txt', '.csv')
LINK = re.compile(r'(?<!!)\[([^\]]+)\]\(([^)\s]+)\)')


def on_config(config):
  """Lists the API pages under Reference."""
  reference = next(entry['Reference'] for entry in config.nav if 'Reference' in entry)
  api = next(entry for entry in reference if 'API' in entry)
  pages = [{name: f'reference/api/{name}.md'} for name in _modules()]
  api['API'] = [{'Front door': api['API']}, *pages]
  return config


def on_files(files, config):
  """Adds API pages, and the published studies outside of the navigation."""
  for name in _modules():
    content = f'# {name}\n\n::: autoresearch_jax.{name}\n'
    files.append(File.generated(config, f'reference/api/{name}.md', content=content))
  for path in sorted((ROOT / STUDIES).rglob('*')):
    if path.suffix in SHOWN:
      place = _place(path.relative_to(ROOT).as_posix())
      files.append(File.generated(config, place, abs_src_path=str(path)))
  return files


def on_page_markdown(markdown, page, config, files):
  """Points links to where the site has their target; those to what it lacks become text."""
  here = page.file.src_uri
  source = _source(here)

  def replaced(match):
    text, target = match.groups()
    path, _, anchor = target.partition('#')
    if not path or '://' in target:
      return match[0]
    place = _place(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
    if place is None or files.get_file_from_path(place) is None:
      return text
    there = posixpath.relpath(place, posixpath.dirname(here) or '.')
    return f'[{text}]({there}{"#" + anchor if anchor else ""})'

  return LINK.sub(replaced, markdown)


def _modules():
  """Names of the package's own modules and folders that have something to document."""
  folders = [path.parent.name for path in PACKAGE.glob('*/__init__.py')]
  modules = [path.stem for path in PACKAGE.glob('*.py') if not path.stem.startswith('__')]
  return sorted(modules) + sorted(folders)


def _place(path):
  """Where the site has a file of the repository; None for what it does not have."""
  for folder, place in PLACES.items():
    if path.startswith(f'{folder}/'):
      return posixpath.join(place, posixpath.relpath(path, folder))
  return None


def _source(place):
  """The file of the repository that a page of the site is made from."""
  studies = PLACES[STUDIES]
  if place.startswith(f'{studies}/'):
    return posixpath.join(STUDIES, posixpath.relpath(place, studies))
  return posixpath.join(DOCS, place)
