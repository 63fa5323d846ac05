"""How strategies are played: the same games for all of them, other ones for other seeds."""

import pathlib

import pytest

from autoresearch_jax.config import Limits
from autoresearch_jax.meta.client import StrategyError, fingerprint
from autoresearch_jax.meta.play import Player
from autoresearch_jax.problems.meta import MetaSearch
from autoresearch_jax.programs.strategy_parts import donors
from autoresearch_jax.types import Program


@pytest.fixture(scope='module')
def player(tmp_path_factory):
  folder = tmp_path_factory.mktemp('meta')
  problem = MetaSearch(('leading_ones',), ('trap',))
  dataset = problem.prepare(folder, lambda line: None)
  limits = Limits(trace_bytes=2 * 2**30, trace_seconds=300.0)
  made = Player(problem, pathlib.Path(dataset.validation), limits, problem.hidden(), folder / 's')
  yield made
  made.close()


def program_of(text: str) -> Program:
  return Program((('greedy.py', text),), 'greedy.py')


def metrics(player: Player, text: str, seed: int = 0, on_test: bool = False) -> dict[str, float]:
  program = program_of(text)
  with player.written(program) as folder:
    return player.measure(program, folder, seed, 8.0, on_test, lambda share: None).metrics


def test_games_follow_from_the_seed(player):
  greedy = donors()['greedy']
  first = metrics(player, greedy)
  assert metrics(player, greedy) == first
  assert metrics(player, greedy, seed=1) != first
  assert 0 < first['regret'] <= 1


def test_the_final_evaluation_plays_the_held_out_landscapes(player):
  found = metrics(player, donors()['greedy'], on_test=True)
  assert set(found) == {
    'test_relative_regret', 'test_regret', 'test_final_regret', 'test_regret_trap',
  }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('name', donors())
def test_packaged_strategies_keep_the_contract(player, name):
  program = program_of(donors()[name])
  with player.written(program) as folder:
    isolation = player.check(program, folder)
  assert isolation.files and isolation.network and isolation.processes


def test_a_strategy_without_ask_is_refused(player):
  program = program_of('def init(objective):\n  return 0\n')
  with player.written(program) as folder, pytest.raises(StrategyError, match='no function ask'):
    player.check(program, folder)


def test_an_error_names_the_line(player):
  program = program_of(
    donors()['greedy'].replace('return Operation.IMPROVE', 'return Operation.WIN')
  )
  with player.written(program) as folder, pytest.raises(StrategyError, match=r'greedy\.py:\d+'):
    player.check(program, folder)


def test_comments_do_not_change_the_fingerprint():
  text = donors()['tree']
  assert fingerprint(program_of(text)) == fingerprint(program_of(text + '\n# more\n'))
  other = text.replace('NUM_DRAFTS = 5', 'NUM_DRAFTS = 4')
  assert fingerprint(program_of(text)) != fingerprint(program_of(other))


def test_regret_is_relative_to_that_of_a_hand_written_strategy(player):
  found = metrics(player, donors()['greedy'])
  assert found['relative_regret'] == 1.0  # the file of greedy does what the class does
