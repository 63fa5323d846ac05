"""Makes the page of a run: as one HTML file that opens offline, or for the dashboard.

The data is JSON, compressed and encoded, so that nothing in it can be taken for markup. The page's
content security policy allows the embedded script and style alone.
"""

import base64
import dataclasses
import gzip
import hashlib
import html
import pathlib
from collections.abc import Iterable
from typing import Any

import msgspec

from autoresearch_jax.report.page.view import DETAILS, RunView, without_details

_FOLDER = pathlib.Path(__file__).parent
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
{body}
{source}
<script type="module">{script}</script>
</html>
"""

_POLICY = (
  "default-src 'none'; img-src data:; style-src '{style}'; script-src '{script}'; "
  "connect-src {connect}; base-uri 'none'; form-action 'none'"
)
DETAILED = 50  # trials whose details are unpacked together; trial.js has the same number
SCRIPTS = (
  'drawing.js', 'progress.js', 'table.js', 'programs.js', 'learned.js', 'machine.js', 'trial.js',
  'live.js', 'steering.js', 'page.js',
)  # fmt: skip


def write_page(view: RunView, path: pathlib.Path) -> None:
  """Writes the page of a run, atomically."""
  new = path.with_name(f'.{path.name}.new')
  new.write_text(page(view), encoding='utf-8')
  new.replace(path)


def page(view: RunView) -> str:
  """Returns the page of a run as one document."""
  trials = tuple(without_details(trial) for trial in view.trials)
  # What is only needed once a trial is opened is most of the data. It is unpacked then, in parts.
  parts: dict[int, dict[int, dict[str, Any]]] = {}
  for trial in view.trials:
    parts.setdefault(trial.id // DETAILED, {})[trial.id] = {n: getattr(trial, n) for n in DETAILS}
  data = {'run-data': dataclasses.replace(view, trials=trials)}
  data |= {f'run-details-{number}': part for number, part in parts.items()}
  source = '\n'.join(
    f'<script type="application/octet-stream" id="{name}">{_packed(part)}</script>'
    for name, part in data.items()
  )
  return _document(f'{view.name}: autoresearch_jax', 'page.html', SCRIPTS, source, "'none'")


def live_page(title: str, base: str, key: str, steer: bool = False) -> str:
  """Returns the page of a run that a dashboard shows.

  Args:
    title: Its title until the run is known.
    base: What the paths of all of the dashboard's addresses begin with.
    key: The run.
    steer: Whether the run can be steered.
  """
  source = (
    f'<div id="live" data-base="{_quoted(base)}" data-key="{_quoted(key)}" '
    f'data-steer="{"yes" if steer else ""}" hidden></div>'
  )
  return _document(title, 'page.html', SCRIPTS, source, "'self'")


def index_page(base: str, folder: str) -> str:
  """Returns the page that lists the runs of a dashboard."""
  source = f'<div id="live" data-base="{_quoted(base)}" hidden></div>'
  return _document(f'Runs in {folder}', 'index.html', ('drawing.js', 'index.js'), source, "'self'")


def _document(title: str, body: str, scripts: Iterable[str], source: str, connect: str) -> str:
  """Returns a page; `source` is an element that says where its data is."""
  style, script = _read('page.css'), '\n'.join(map(_read, scripts))
  return _PAGE.format(
    policy=_POLICY.format(style=_hash(style), script=_hash(script), connect=connect),
    title=html.escape(title),
    style=style,
    body=_read(body),
    source=source,
    script=script,
  )


def _packed(data: Any) -> str:
  return base64.b64encode(gzip.compress(msgspec.json.encode(data), mtime=0)).decode()


def _read(name: str) -> str:
  return (_FOLDER / name).read_text(encoding='utf-8')


def _quoted(text: str) -> str:
  return html.escape(text, quote=True)


def _hash(text: str) -> str:
  return f'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'
