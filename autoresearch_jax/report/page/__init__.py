"""A run as a web page: `view` has what it shows as plain data, `html` makes it one file.

The browser draws the page from the data (`page.js`), so that a file and a live page look the same.
"""

from autoresearch_jax.report.page.html import write_page
from autoresearch_jax.report.page.view import RunView

__all__ = ['RunView', 'write_page']
