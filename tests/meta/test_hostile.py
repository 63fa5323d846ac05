"""Strategies that cheat: each is refused with a sentence, or scores exactly what greedy does."""

import dataclasses
import pathlib

import pytest
from helpers import hostile

from autoresearch_jax.config import Limits
from autoresearch_jax.meta.client import StrategyError
from autoresearch_jax.meta.play import Player
from autoresearch_jax.problems.meta import MetaSearch
from autoresearch_jax.programs.strategy_parts import donors
from autoresearch_jax.types import Program, Status

pytestmark = pytest.mark.slow
BUDGET = 20.0
LIMITS = Limits(trace_bytes=2 * 2**30, trace_seconds=300.0)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('meta')


def player_with(folder: pathlib.Path, limits: Limits) -> Player:
  problem = MetaSearch(('leading_ones',), ('trap',))
  dataset = problem.prepare(folder / 'cache', lambda line: None)
  return Player(
    problem, pathlib.Path(dataset.validation), limits, problem.hidden(), folder / 'scratch'
  )


@pytest.fixture(scope='module')
def player(folder):
  made = player_with(folder, LIMITS)
  yield made
  made.close()


def played(player: Player, text: str) -> dict[str, float]:
  """Checks a strategy and plays it. Raises StrategyError."""
  program = Program((('greedy.py', text),), 'greedy.py')
  with player.written(program) as files:
    player.check(program, files)
    return player.measure(program, files, 0, BUDGET, False, lambda share: None).metrics


@pytest.fixture(scope='module')
def honest(player):
  return played(player, donors()['greedy'])


CASES = [
  *((name, word, hostile.before_ask, code) for name, (word, code) in hostile.BEFORE_ASK.items()),
  *((name, word, hostile.after_ask, code) for name, (word, code) in hostile.AFTER_ASK.items()),
  *((name, word, hostile.before_tell, code) for name, (word, code) in hostile.BEFORE_TELL.items()),
]


@pytest.mark.parametrize(
  ('word', 'write', 'code'), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_hostile_strategy_gains_nothing(player, honest, word, write, code):
  text = write(donors()['greedy'], code)
  if word == hostile.PLAYS:
    assert played(player, text) == honest
    return
  with pytest.raises(StrategyError) as refused:
    played(player, text)
  assert word in str(refused.value)
  assert refused.value.status is Status.INVALID


@pytest.mark.parametrize('name', hostile.SLOW)
def test_time_is_limited(folder, name):
  limits = dataclasses.replace(LIMITS, trace_seconds=4.0, trace_cpu_seconds=2.0)
  player = player_with(folder, limits)
  try:
    with pytest.raises(StrategyError) as refused:
      played(player, hostile.before_ask(donors()['greedy'], hostile.SLOW[name]))
    assert refused.value.status is Status.TIMEOUT
  finally:
    player.close()
