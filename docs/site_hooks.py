"""Makes a site of pages that are also read in the repository.

Pages link to files of the repository by relative paths, which works wherever the repository is
shown. The site holds `docs/` alone, so these hooks of mkdocs bring in the published measurements,
which live beside what they measure, and turn links to other files into plain text. They also make
a page of API reference for each folder of the package, so that a new folder has one by itself.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'autoresearch_jax'
# Folders of measurements -> where the site has them.
PUBLISHED = {
  'autoresearch_jax/benchmark/published': 'published/benchmark',
  'autoresearch_jax/knowledge': 'published/knowledge',
}
SHOWN = ('.md', '.png', '.txt', '.csv')
LINK = re.compile(r'(?<!!)\[([^\]]+)\]\(([^)\s]+)\)')


def _modules():
  """Names of the package's own modules and folders that have something to document."""
  folders = [path.parent.name for path in PACKAGE.glob('*/__init__.py')]
  modules = [path.stem for path in PACKAGE.glob('*.py') if not path.stem.startswith('__')]
  return sorted(modules) + sorted(folders)


def on_config(config):
  """Lists the API pages under Reference."""
  reference = next(entry['Reference'] for entry in config.nav if 'Reference' in entry)
  api = next(entry for entry in reference if 'API' in entry)
  pages = [{name: f'reference/api/{name}.md'} for name in _modules()]
  api['API'] = [{'Front door': api['API']}, *pages]
  return config


def on_files(files, config):
  """Adds API pages, and the published measurements outside of the navigation."""
  for name in _modules():
    content = f'# {name}\n\n::: autoresearch_jax.{name}\n'
    files.append(File.generated(config, f'reference/api/{name}.md', content=content))
  for folder, place in PUBLISHED.items():
    for path in sorted((ROOT / folder).rglob('*')):
      if path.suffix in SHOWN:
        name = f'{place}/{path.relative_to(ROOT / folder).as_posix()}'
        files.append(File.generated(config, name, abs_src_path=str(path)))
  return files


def on_page_markdown(markdown, page, config, files):
  """Points links that leave `docs/` to where the site has their target, if it has it."""
  folder = posixpath.dirname(page.file.src_uri)

  def replaced(match):
    text, target = match.groups()
    path, _, anchor = target.partition('#')
    if not path or '://' in target or target.startswith('mailto:'):
      return match[0]
    inside = posixpath.normpath(posixpath.join('docs', folder, path))
    if inside.startswith('docs/') or files.get_file_from_path(posixpath.join(folder, path)):
      return match[0]
    for source, place in PUBLISHED.items():
      if inside.startswith(f'{source}/'):
        there = posixpath.relpath(f'{place}{inside[len(source) :]}', folder or '.')
        return f'[{text}]({there}{"#" + anchor if anchor else ""})'
    return text

  return LINK.sub(replaced, markdown)
