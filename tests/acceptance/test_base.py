"""The base class of acceptance rules: its example runs, and it has defaults for simple rules."""

import doctest

import pytest

from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule, base
from autoresearch_jax.types import Decision, Objective, Verdict


def test_the_example_in_the_docstring_runs():
  failed, ran = doctest.testmod(base)
  assert ran > 3 and not failed


class Always(AcceptanceRule):
  def init(self, objective):
    return ()

  def decide(self, state, trial, incumbent):
    return Verdict(Decision.KEEP, 'always'), state


def test_by_default_a_rule_trains_the_baseline_once_and_replicates_nothing():
  rule = Always()
  assert rule.baseline_seeds == 1
  assert rule.ask(()) == (None, ())
  assert not rule.undecided((), None)  # type: ignore[arg-type]


def test_a_rule_without_a_decision_cannot_be_made():
  class Incomplete(AcceptanceRule):
    def init(self, objective):
      return objective

  with pytest.raises(TypeError, match='decide'):
    Incomplete()  # type: ignore[abstract]


def test_every_registered_rule_is_a_subclass():
  assert all(issubclass(ACCEPTANCE.get(name), AcceptanceRule) for name in ACCEPTANCE.names())
  assert ACCEPTANCE.make('strict').init(Objective('val_loss', 'minimize'))
