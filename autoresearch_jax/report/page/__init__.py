"""A run as a web page: `view` has what it shows as plain data, `html` makes it one file.

`projection` computes the view from the ledger. The browser draws the page from it (the JavaScript
files), so that a file and a live page look the same.
"""

from autoresearch_jax.report.page.html import write_page
from autoresearch_jax.report.page.projection import RunProjection
from autoresearch_jax.report.page.view import RunView

__all__ = ['RunProjection', 'RunView', 'write_page']
