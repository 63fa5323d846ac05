"""Writes headings, paragraphs, tables and figures as Markdown or as one HTML file.

All text is escaped, since labels are chosen by users. Nothing here is specific to benchmarks.
"""

import base64
import dataclasses
import html
import pathlib
import re
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Heading:
  """A heading.

  Attributes:
    text: The text.
    level: 1 for the title of the page.
  """

  text: str
  level: int = 2


@dataclasses.dataclass(frozen=True)
class Paragraph:
  """Plain text.

  Attributes:
    text: The text.
    code: Whether it is a code block, with its line breaks.
  """

  text: str
  code: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
  """A table.

  Attributes:
    header: Names of the columns.
    rows: The cells.
    texts: Number of leading columns with text. The others have numbers, aligned to the right.
  """

  header: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]
  texts: int = 1


@dataclasses.dataclass(frozen=True)
class Figure:
  """A picture with a caption.

  Attributes:
    name: File name without suffix, for Markdown.
    title: Alternative text.
    caption: Text below the picture.
    png: The picture.
  """

  name: str
  title: str
  caption: str
  png: bytes


Block = Heading | Paragraph | Table | Figure

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #24292f; max-width: 1180px; margin: 2em auto;
  padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .7em; border-bottom: 1px solid #d8dee4; text-align: right; }
th.text, td.text { text-align: left; }
th { vertical-align: bottom; }
.wide { overflow-x: auto; }
img { max-width: 100%; }
figcaption { color: #57606a; }
figure { margin: 1.5em 0; }
pre { background: #f6f8fa; padding: .8em; overflow-x: auto; }
"""


def as_html(blocks: Sequence[Block]) -> str:
  """Returns a self-contained HTML page."""
  titles = [block.text for block in blocks if isinstance(block, Heading) and block.level == 1]
  title = _escaped(titles[0] if titles else 'Leaderboard')
  body = '\n'.join(_html(block) for block in blocks)
  return (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n'
  )


def as_markdown(blocks: Sequence[Block], folder: str = '') -> str:
  """Returns Markdown.

  Args:
    blocks: The content.
    folder: Folder of the figures, relative to the page.
  """
  return '\n\n'.join(_markdown(block, folder) for block in blocks) + '\n'


def write(blocks: Sequence[Block], path: pathlib.Path) -> pathlib.Path:
  """Writes HTML if the suffix is .html, else Markdown with its figures in `<stem>_figures/`."""
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix in ('.html', '.htm'):
    path.write_text(as_html(blocks), encoding='utf-8')
    return path
  folder = path.with_name(f'{path.stem}_figures')
  for block in blocks:
    if isinstance(block, Figure):
      folder.mkdir(exist_ok=True)
      (folder / f'{block.name}.png').write_bytes(block.png)
  path.write_text(as_markdown(blocks, folder.name), encoding='utf-8')
  return path


def _html(block: Block) -> str:
  match block:
    case Heading(text, level):
      return f'<h{level}>{_escaped(text)}</h{level}>'
    case Paragraph(text, code):
      return f'<pre>{_escaped(text)}</pre>' if code else f'<p>{_escaped(text)}</p>'
    case Table(header, rows, texts):
      body = '\n'.join(_html_row('td', row, texts) for row in rows)
      return (
        f'<div class="wide"><table>\n<thead>{_html_row("th", header, texts)}</thead>\n'
        f'<tbody>\n{body}\n</tbody>\n'
        '</table></div>'
      )
    case Figure(_, title, caption, png):
      data = base64.b64encode(png).decode()
      return (
        f'<figure><img alt="{_escaped(title)}" src="data:image/png;base64,{data}">'
        f'<figcaption>{_escaped(caption)}</figcaption></figure>'
      )


def _html_row(tag: str, row: Sequence[str], texts: int) -> str:
  kinds = [' class="text"' if place < texts else '' for place in range(len(row))]
  cells = (f'<{tag}{kind}>{_escaped(c)}</{tag}>' for kind, c in zip(kinds, row, strict=True))
  return f'<tr>{"".join(cells)}</tr>'


def _escaped(text: str) -> str:
  return html.escape(text, quote=True)


def _markdown(block: Block, folder: str) -> str:
  match block:
    case Heading(text, level):
      return f'{"#" * level} {_plain(text)}'
    case Paragraph(text, code):
      return f'```\n{text}\n```' if code else _plain(text)
    case Table(header, rows, texts):
      lines = [header, ['---' if n < texts else '---:' for n in range(len(header))], *rows]
      return '\n'.join(
        '| ' + ' | '.join(c if n == 1 else _plain(c) for c in line) + ' |'
        for n, line in enumerate(lines)
      )
    case Figure(name, title, caption, _):
      return f'![{_plain(title)}]({folder}/{name}.png)\n\n{_plain(caption)}'


def _plain(text: str) -> str:
  """Escapes emphasis, code, HTML and links for Markdown, and joins lines."""
  return re.sub(r'([\\`*<|]|\](?=[(\[:])|(?<!\w)_|_(?!\w))', r'\\\1', ' '.join(text.split()))
