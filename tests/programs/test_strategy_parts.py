"""Parts of strategies that are exchanged bring along what they use, and leave nothing unused."""

import ast
import itertools

import numpy as np
import pytest

from autoresearch_jax.programs import strategy_parts
from autoresearch_jax.programs.constants import constants
from autoresearch_jax.programs.strategy_parts import (
  PARTS,
  SKELETON,
  differing_parts,
  donors,
  merged,
  part_edits,
  with_part,
)

NAMES = list(donors())


def names_of(text: str) -> set[str]:
  return {n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize(('name', 'donor'), list(itertools.permutations(NAMES, 2)))
def test_a_part_brings_along_what_it_uses(name, donor):
  text = donors()[name]
  for part in differing_parts(text, donors()[donor]):
    new = with_part(text, donors()[donor], part)
    assert new is not None and part not in differing_parts(new, donors()[donor])
    used = {n.id for n in ast.walk(ast.parse(new)) if isinstance(n, ast.Name)}
    assert {c.name for c in constants(new)} <= used
    assert names_of(new) - used <= {*SKELETON}
    compile(new, name, 'exec')


def test_the_skeleton_is_the_same_in_all():
  def skeleton(text: str) -> list[str]:
    body = ast.parse(text).body
    return [ast.dump(n) for n in body if isinstance(n, ast.FunctionDef) and n.name in SKELETON]

  assert len({tuple(skeleton(text)) for text in donors().values()}) == 1


def test_edits_are_offered_to_strategies_only():
  keys = {edit.key for edit in part_edits(donors()['greedy'])}
  assert {'choose of tree', 'guidance of guided', 'choose and fidelity of screening'} <= keys
  assert part_edits('BATCH_SIZE = 4\n') == []
  assert part_edits('def choose(:\n') == []


def test_a_merge_takes_parts_of_the_second_parent():
  found = list(merged(donors()['tree'], donors()['guided'], np.random.default_rng(0)))
  assert {len(taken) for _, taken in found} == {1, 2, 3} and len(found) == 7
  assert all('NUM_DRAFTS' not in text for text, taken in found if 'opening' in taken)
  assert set(PARTS) >= {part for _, taken in found for part in taken}
  assert not list(merged(donors()['tree'], 'x = 1\n', np.random.default_rng(0)))
  assert strategy_parts.is_strategy(found[0][0])
