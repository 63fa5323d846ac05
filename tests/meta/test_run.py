"""Whole runs over strategies: the offline proposer, and a language model that answers here."""

import pytest

import autoresearch_jax as ar
from autoresearch_jax.config import ConfigError, Limits
from autoresearch_jax.problems.meta import MetaSearch
from autoresearch_jax.service.checker import Checker
from autoresearch_jax.testing import loopback_model as loopback
from autoresearch_jax.types import Budget, Decision, Program, Spec, Status

pytestmark = pytest.mark.slow
SMALL = {
  'budget__amount': 6.0,
  'data__tuning': ('leading_ones',),
  'data__held_out': ('trap',),
  'acceptance': 'strict',
  'acceptance_options': {},
  'limits__trace_seconds': 300.0,
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('AUTORESEARCH_JAX_CACHE', str(tmp_path / 'cache'))


def test_a_run_ends_with_the_held_out_landscapes_and_resumes(tmp_path):
  settings = {**SMALL, 'final_seeds': 1, 'seed': 3}
  ar.run('meta:greedy', tmp_path / 'run', max_trials=2, **settings)
  run = ar.load_run(tmp_path / 'run')
  assert len(run.trials) == 2
  assert run.baseline.result.isolation.files
  assert set(run.baseline.result.measurements[0].metrics) == {
    'relative_regret', 'regret', 'final_regret', 'regret_leading_ones',
  }  # fmt: skip
  resumed = ar.run('meta:greedy', tmp_path / 'run', max_trials=4, **settings)
  assert [trial.id for trial in resumed.trials] == [0, 1, 2, 3]


def test_a_language_model_writes_strategies(tmp_path, monkeypatch):
  monkeypatch.setenv('GEMINI_API_KEY', loopback.KEY)
  monkeypatch.setenv('NO_PROXY', '127.0.0.1')
  old = "parents = () if state['incumbent'] is None else (state['incumbent'],)"
  edits = [
    "parents = (state['trials'][-1]['id'],) if state['trials'] else ()",
    'parents = (999,)',
    "open('/etc/passwd')\n  parents = ()",
  ]
  with loopback.serving() as server:
    server.script = [
      loopback.answer(loopback.edit(old, new, file='greedy.py')) for new in edits
    ] * 2
    options = {
      'base_url': server.url, 'attempts': 1, 'models': ('gemini-3.8-flash',),
      'lessons_interval': 0, 'max_repairs': 0,
    }  # fmt: skip
    run = ar.run(
      'meta:greedy', tmp_path / 'run', max_trials=4, proposer='gemini', proposer_options=options,
      final_seeds=0, strategy='greedy', strategy_options={}, search__prefetch=0, **SMALL,
    )  # fmt: skip
    (prompt, *_) = loopback.turn_texts(server.requests[0])
  assert 'ask(state, rng)' in prompt + loopback.system_text(server.requests[0])
  statuses = [trial.result.status for trial in run.trials]
  assert statuses[:2] == [Status.OK, Status.OK]
  reasons = ' '.join(trial.result.reason for trial in run.trials)
  assert 'not finished' in reasons and 'refused access' in reasons
  assert run.trials[0].verdict.decision is Decision.KEEP


@pytest.mark.parametrize(('config', 'executor'), [('meta', 'local'), ('packing', 'play')])
def test_strategies_and_their_executor_belong_together(tmp_path, config, executor):
  with pytest.raises(ConfigError, match="'play'"):
    ar.run(config, tmp_path / 'run', executor=executor, executor_options={})


def test_check_says_that_strategies_are_not_traced(tmp_path):
  problem = MetaSearch()
  spec = Spec(platform='cpu', num_devices=1, budget=Budget(4.0, 'steps'), **problem.shapes())
  checker = Checker(spec, 0, Limits(), tmp_path)
  report = checker.check(Program((('greedy.py', ''),), 'greedy.py'))
  assert report.status is Status.CANCELLED and 'autoresearch trial' in report.reason
