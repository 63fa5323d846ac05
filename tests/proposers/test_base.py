"""The base class of proposers: its example, its defaults, and what a third party must write."""

import doctest

import numpy as np
import pytest

from autoresearch_jax.proposers import Proposer, base


def test_the_example_in_the_docstring_runs():
  results = doctest.testmod(base)
  assert results.attempted > 5
  assert not results.failed


class Minimal(Proposer):
  def propose(self, proposal, context, rng):
    return proposal, context, int(rng.integers(10))


def test_propose_is_all_that_has_to_be_written():
  proposer = Minimal()
  assert proposer.title == ''  # the run then shows the registered name
  assert proposer.close() is None
  assert proposer.propose(None, None, np.random.default_rng(0))[:2] == (None, None)


def test_a_proposer_without_propose_cannot_be_made():
  class Lazy(Proposer):
    pass

  with pytest.raises(TypeError, match='propose'):
    Lazy()
