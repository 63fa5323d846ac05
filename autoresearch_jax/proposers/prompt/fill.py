"""The templates in `prompts/`: Markdown with `string.Template` places, some of them in chapters."""

import functools
import pathlib
import re
import string

FOLDER = pathlib.Path(__file__).parent / 'templates'
CHAPTER = re.compile(r'^## (\w+)(?:: (.*))?$', re.MULTILINE)


def filled(name: str, **values: object) -> str:
  """The template of a file, filled. Raises KeyError when a value is missing."""
  return string.Template(_text(name)).substitute(values).strip()


@functools.cache
def chapters(name: str) -> dict[str, tuple[str, str]]:
  """(title, body) of each `## key: title` of a file, by key. The title may be absent."""
  _, *found = CHAPTER.split(_text(name))
  return {
    key: (title or '', body.strip())
    for key, title, body in zip(found[::3], found[1::3], found[2::3], strict=True)
  }


@functools.cache
def _text(name: str) -> str:
  return (FOLDER / f'{name}.md').read_text(encoding='utf-8')
