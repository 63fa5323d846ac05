"""The base class of views: `record` makes one, and its example is true."""

import doctest

import pytest

from autoresearch_jax.report import View, base
from autoresearch_jax.types import Progress


def test_the_example_runs():
  results = doctest.testmod(base)
  assert results.attempted > 2 and not results.failed


def test_record_is_enough():
  class Smallest(View):
    def record(self, record, history):
      del record, history

  with Smallest() as view:
    view.progress(Progress(0, 'train'))
    view.tick()
  with pytest.raises(TypeError, match='record'):
    View()
