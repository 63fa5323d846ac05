"""What the README shows works as it stands there: a strategy in one file, compared and checked."""

import pathlib
import re
import subprocess
import sys

import pytest

README = pathlib.Path(__file__).parent.parent / 'README.md'
LINES = 60  # that adding a strategy may take


def blocks():
  return re.findall(r'```python\n(.*?)```', README.read_text(), re.DOTALL)


def block(word):
  (found,) = (text for text in blocks() if word in text)
  return found


def run(arguments, folder):
  ended = subprocess.run(
    [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
  )
  assert ended.returncode == 0, ended.stdout + ended.stderr
  return ended.stdout


@pytest.mark.slow
def test_a_strategy_is_one_short_file_that_can_be_compared_and_checked(tmp_path):
  strategy = block('class EpsilonGreedy')
  assert len(strategy.splitlines()) < LINES
  (tmp_path / 'epsilon_greedy.py').write_text(strategy)
  (tmp_path / 'compared.py').write_text('import epsilon_greedy\n' + block('benchmark.compare'))
  table = run(['compared.py'], tmp_path)
  for name in ('epsilon_greedy', 'greedy', 'random', 'best_of_n'):
    assert name in table
  assert 'data:image/' in (tmp_path / 'leaderboard.html').read_text()

  (tmp_path / 'test_it.py').write_text(
    'from epsilon_greedy import EpsilonGreedy\n' + block('StrategyContract')
  )
  assert ' passed' in run(['-m', 'pytest', '-p', 'no:cacheprovider', 'test_it.py'], tmp_path)
