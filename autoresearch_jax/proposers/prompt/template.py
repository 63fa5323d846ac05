"""Reads the texts in `templates/`: Markdown with placeholders of `string.Template`."""

import functools
import pathlib
import re
import string

FOLDER = pathlib.Path(__file__).parent / 'templates'
HEADING = re.compile(r'^## (\w+)(?:: (.*))?$', re.MULTILINE)


def fill_template(name: str, **values: object) -> str:
  """Returns a file with its placeholders filled. Raises KeyError if a value is missing."""
  return string.Template(_text(name)).substitute(values).strip()


@functools.cache
def template_sections(name: str) -> dict[str, tuple[str, str]]:
  """Returns (title, body) of each section `## key: title` of a file, by key. Titles may be ''."""
  _, *found = HEADING.split(_text(name))
  return {
    key: (title or '', body.strip())
    for key, title, body in zip(found[::3], found[1::3], found[2::3], strict=True)
  }


@functools.cache
def _text(name: str) -> str:
  return (FOLDER / f'{name}.md').read_text(encoding='utf-8')
