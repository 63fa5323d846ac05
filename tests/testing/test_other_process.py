"""The battery takes a strategy to fresh interpreters, wherever its class was loaded from."""

import dataclasses
import importlib.util
import sys
import types
import unittest

import pytest

from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.testing.strategies import StrategyContract, digest, digests_elsewhere

HERE = 'proposes differently in a process with PYTHONHASHSEED'
FILE = """
import dataclasses
from autoresearch_jax.search.greedy import Greedy

@dataclasses.dataclass(frozen=True)
class Steady(Greedy):
  pass
"""


@dataclasses.dataclass(frozen=True)
class Moody(Greedy):
  """Shows as many trials as the hash of a word says, which differs from process to process."""

  def ask(self, state, rng):
    proposal, state = super().ask(state, rng)
    return dataclasses.replace(proposal, seeds=(hash('word') % 10**9,)), state


def check(strategy):
  contract = type('Contract', (StrategyContract,), {'strategy': lambda self: strategy})()
  contract.test_same_in_another_process()


def test_a_strategy_that_depends_on_the_hash_of_strings_is_found_out():
  with pytest.raises(AssertionError, match=HERE):
    check(Moody())


@pytest.mark.parametrize('name', ['loose', 'folder.not_there.loose', 'colorsys'])
def test_a_class_from_a_file_that_cannot_be_imported_is_loaded_from_there(
  name, tmp_path, monkeypatch
):
  path = tmp_path / 'loose.py'
  path.write_text(FILE)
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  for made in [*map(types.ModuleType, ('folder', 'folder.not_there')), module]:  # as pytest does
    monkeypatch.setitem(sys.modules, made.__name__, made)
  spec.loader.exec_module(module)
  assert digests_elsewhere([module.Steady(), Greedy()], 3) == [digest(Greedy())] * 2


def test_a_class_inside_a_function_is_skipped_with_the_reason():
  class Local(Greedy):
    pass

  with pytest.raises(unittest.SkipTest, match=r'Local cannot be pickled: .*Local'):
    check(Local())
