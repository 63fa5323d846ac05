"""Reports of a run: the live view, the summary and the progress plot, all from the ledger.

`base` has the interface of a view. May import `ledger`, `knowledge` and what is below them.
"""

from autoresearch_jax.report.base import View

__all__ = ['View']
