"""Writes the page of a run as one HTML file that opens offline.

The data is JSON, compressed and encoded, so that nothing in it can be taken for markup. The page's
content security policy allows the embedded script and style alone.
"""

import base64
import gzip
import hashlib
import html
import pathlib

import msgspec

from autoresearch_jax.report.page.view import RunView

_FOLDER = pathlib.Path(__file__).parent
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
{body}
<script type="application/octet-stream" id="run-data">{data}</script>
<script type="module">{script}</script>
</html>
"""


def write_page(view: RunView, path: pathlib.Path) -> None:
  """Writes the page of a run, atomically."""
  new = path.with_name(f'.{path.name}.new')
  new.write_text(page(view), encoding='utf-8')
  new.replace(path)


def page(view: RunView) -> str:
  """Returns the page of a run."""
  style, body, script = (
    (_FOLDER / name).read_text(encoding='utf-8') for name in ('page.css', 'page.html', 'page.js')
  )
  data = base64.b64encode(gzip.compress(msgspec.json.encode(view), mtime=0)).decode()
  policy = (
    f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'"
  )
  return _PAGE.format(
    policy=policy,
    title=html.escape(f'{view.name}: autoresearch_jax'),
    style=style,
    body=body,
    data=data,
    script=script,
  )


def _hash(text: str) -> str:
  return f'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'
