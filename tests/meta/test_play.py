"""How strategies are played: the same games for all of them, other ones for other seeds."""

import pytest

from autoresearch_jax.config import Limits
from autoresearch_jax.meta.client import StrategyError
from autoresearch_jax.meta.play import Player
from autoresearch_jax.problems.meta import SECRET, MetaSearch
from autoresearch_jax.programs.strategy_parts import donors
from autoresearch_jax.types import Program


@pytest.fixture(scope='module')
def player(tmp_path_factory):
  folder = tmp_path_factory.mktemp('meta')
  problem = MetaSearch(('nk_k4',), ('trap',))
  (folder / 'secret').mkdir()
  (folder / 'secret' / SECRET).write_text('not drawn, so that the games are always the same')
  limits = Limits(trace_bytes=2 * 2**30, trace_seconds=300.0)
  made = Player(problem, folder / 'secret', limits, problem.hidden(), folder / 's')
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
    isolation, _ = player.check(program, folder)
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


@pytest.mark.slow
def test_strategies_that_propose_the_same_have_the_same_fingerprint(player):
  def fingerprint(text: str) -> str:
    program = program_of(text)
    with player.written(program) as folder:
      return player.check(program, folder)[1]

  text = donors()['tree']
  first = fingerprint(text)
  assert fingerprint(f'{text}\nUNUSED = 1\n') == first
  assert fingerprint(text.replace('NUM_DRAFTS = 5', 'NUM_DRAFTS = 4')) != first


def test_regret_is_relative_to_that_of_a_hand_written_strategy(player):
  found = [metrics(player, donors()['greedy'], seed)['relative_regret'] for seed in range(3)]
  assert len(set(found)) == 3  # with other random numbers, or there would be no noise
  assert all(0 < value < 5 for value in found)
