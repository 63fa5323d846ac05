"""Where a run's events go besides its ledger and its view: hooks, and trackers of experiments.

`base` runs each of them in a thread of its own, `hooks` calls commands and URLs, `trackers` and the
modules named after them write to TensorBoard, Weights & Biases and MLflow, whose packages are
imported when a run uses them.
"""

from autoresearch_jax.report.sinks.base import SinkView, opened
from autoresearch_jax.report.sinks.build import sinks_of

__all__ = ['SinkView', 'opened', 'sinks_of']
