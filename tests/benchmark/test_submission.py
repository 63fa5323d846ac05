"""A submission is verified by simulating its runs again; what was changed is found."""

import dataclasses
import json
import pathlib
import sys
import types

import pytest
from helpers import onemax  # noqa: F401 - registers a simulation

from autoresearch_jax import benchmark
from autoresearch_jax.benchmark import claims, site, submission
from autoresearch_jax.benchmark.config import benchmark_config
from autoresearch_jax.benchmark.results import Results
from autoresearch_jax.benchmark.submission import Submission, SubmissionError, pack, verify
from autoresearch_jax.cli.benchmark import main
from autoresearch_jax.config.files import load
from autoresearch_jax.search import STRATEGIES

GREEDY = 'greedy(context_size=2)'


@pytest.fixture(scope='module')
def submitted(tmp_path_factory):
  folder = tmp_path_factory.mktemp('submitted')
  benchmark.compare(
    [('greedy', {'context_size': 2}), 'random'], [('onemax', {'bits': 8})], seeds=3, trials=20,
    workers=1, out=folder,
  )  # fmt: skip
  to = folder / 'random.json'
  assert main(['submit', f'--out={folder}', '--strategy=random', f'--to={to}']) == 0
  return to


def test_a_submission_holds(submitted, capsys):
  assert main(['verify', str(submitted), '--runs=2']) == 0
  assert 'The claim holds: 2 of 3 runs of random' in capsys.readouterr().out
  assert Submission.read(submitted).sources == {}  # random is the library's


def test_a_changed_number_is_found(submitted, tmp_path, capsys):
  true = Submission.read(submitted)
  better = dataclasses.replace(true.runs[1], final=0.0)
  false = dataclasses.replace(true, runs=[true.runs[0], better, true.runs[2]])
  false.write(tmp_path / 'false.json')
  assert main(['verify', str(tmp_path / 'false.json'), '--runs=0']) == 1
  out = capsys.readouterr().out
  assert 'seed 1001: final is' in out and 'The claim does not hold: 3 of 3' in out
  old = dataclasses.replace(true, runs=[dataclasses.replace(true.runs[0], strategy_code='x')])
  (problem,) = verify(old, 0).problems
  assert "The strategy 'random' has other code" in problem


def test_a_file_that_was_edited_or_is_none(submitted, tmp_path, capsys):
  data = json.loads(submitted.read_text())
  data['submission']['runs'][0]['final'] = 0.0
  edited = tmp_path / 'edited.json'
  edited.write_text(json.dumps(data))
  with pytest.raises(SubmissionError, match='changed after it was made'):
    Submission.read(edited)
  edited.write_text('{}')
  assert main(['verify', str(edited)]) == 2
  assert main(['verify', str(tmp_path / 'nothing.json')]) == 2
  assert main(['submit', f'--out={tmp_path}']) == 2
  assert main(['submit', f'--out={submitted.parent}', '--strategy=tree']) == 2
  said = capsys.readouterr().err
  assert 'is no submission' in said and 'There is no' in said
  assert 'there are: greedy(context_size=2), random' in said


def _first(submitted, **changes):
  """The submission with its first run changed."""
  true = Submission.read(submitted)
  return dataclasses.replace(true, runs=[dataclasses.replace(true.runs[0], **changes)])


def test_no_file_that_a_submission_names_is_executed_or_read(submitted, tmp_path, capsys):
  trap = tmp_path / 'trap.py'
  trap.write_text(f'open({str(tmp_path / "executed")!r}, "w")\n')
  engine = _first(submitted, simulation='engine', simulation_options={'config': str(trap)})
  engine.write(tmp_path / 'engine.json')
  assert main(['verify', str(tmp_path / 'engine.json')]) == 2
  assert 'executes programs' in capsys.readouterr().err
  assert not (tmp_path / 'executed').exists()
  inner = {'sampler_name': f'{trap.stem}:X'}
  for changes, why in (
    ({'simulation': 'recorded', 'simulation_options': {'table': str(trap)}}, 'Only letters'),
    ({'simulation': 'recorded', 'simulation_options': {'table': 'mine'}}, 'shipped'),
    ({'simulation': 'landscape', 'simulation_options': {'landscape': 'mine'}}, 'shipped'),
    ({'simulation_options': {'size': 'x.py'}}, 'Only letters'),
    ({'strategy_name': 'from_file', 'strategy_options': {'path': 'x'}}, 'names a file'),
    ({'strategy_name': 'optuna', 'strategy_options': inner}, 'Only letters'),
    ({'strategy_name': 'novelty', 'strategy_options': {'inner_options': inner}}, 'Only letters'),
    ({'acceptance_options': {'looks': [1, 'a/b']}}, 'Only letters'),
    ({'strategy_name': 'no_such'}, 'must be installed'),
    ({'strategy_name': 'novelty', 'strategy_options': {'inner_options': 'x'}}, 'must be installed'),
    ({'simulation': 'no_such'}, 'must be installed'),
    ({'problem': 'a\nb'}, 'not printable'),
  ):
    with pytest.raises(SubmissionError, match=why):
      verify(_first(submitted, **changes), 0)


def test_a_submission_is_bounded(submitted, tmp_path, monkeypatch):
  deep: dict = {}
  for _ in range(20):
    deep = {'inner_options': deep}
  for changes, why in (
    ({'trials': 1e9}, 'trials'),
    ({'slots': 10**9}, 'slots'),
    ({'instance_seed': 2**40}, 'seed'),
    ({'simulation': 'nk', 'simulation_options': {'n': 10**9}}, 'n=1000000000'),
    ({'strategy_options': {'num_islands': 10**9}}, 'num_islands'),
    ({'strategy_options': {'choices': list(range(10**4))}}, 'longer'),
    ({'strategy_options': deep}, 'nested'),
  ):
    with pytest.raises(SubmissionError, match=why):
      verify(_first(submitted, **changes), 0)
  true = Submission.read(submitted)
  with pytest.raises(SubmissionError, match='There are 0 runs'):
    verify(dataclasses.replace(true, runs=[]), 0)
  monkeypatch.setattr(claims, 'MAX_RUNS', 2)
  with pytest.raises(SubmissionError, match='There are 3 runs'):
    verify(true, 0)
  monkeypatch.setattr(submission, 'MAX_BYTES', 100)
  with pytest.raises(SubmissionError, match='larger than 100'):
    Submission.read(submitted)


def test_the_shipped_benchmark_can_be_submitted(submitted):
  (run,) = _first(submitted).runs
  suites = benchmark_config(load('benchmark:standard')).suites()
  for suite in suites:
    for problem in suite.problems:
      change = {'simulation': problem.simulation, 'simulation_options': problem.options}
      claims.require_safe(dataclasses.replace(run, **change))
    for row in suite.entrants:
      change = {'strategy_name': row.strategy, 'strategy_options': row.options}
      claims.require_safe(dataclasses.replace(run, **change))
  assert len(suites[0].problems) > 10 and len(suites[0].entrants) > 10


def test_the_sample_is_drawn_anew_and_a_seed_repeats_it(submitted, monkeypatch, capsys):
  sampled = []
  monkeypatch.setattr(
    submission, '_differences', lambda run: sampled.append(run.instance_seed) or iter(())
  )
  true = Submission.read(submitted)
  drawn = iter([5, 6])
  monkeypatch.setattr(submission.secrets, 'randbits', lambda bits: next(drawn))
  assert [verify(true, 1).seed, verify(true, 1).seed] == [5, 6]
  for seed in range(20):
    verify(true, 1, seed)
  assert set(sampled) == {1000, 1001, 1002}
  sampled.clear()
  assert main(['verify', str(submitted), '--runs=2', '--seed=7']) == 0
  assert '--seed=7' in capsys.readouterr().out
  verify(true, 2, 7)
  assert sampled[:2] == sampled[2:]


def test_a_claim_is_one_strategy_on_a_full_grid(submitted, tmp_path, capsys):
  true = Submission.read(submitted)
  one, two, three = true.runs
  renamed = [dataclasses.replace(run, problem='other') for run in true.runs]
  for runs, strategy, why in (
    (true.runs, 'tree', "runs of 'random', not of the strategy 'tree'"),
    ([one, two, three, one], 'random', 'there twice'),
    ([one, two, *renamed], 'random', '1 of 6 runs are missing: the first is onemax'),
    ([one, dataclasses.replace(two, slots=2), three], 'random', 'several budgets'),
    ([one, dataclasses.replace(two, trials=2.0), three], 'random', 'several definitions'),
    ([one, dataclasses.replace(two, strategy_name='tree')], 'random', "'random' has several"),
  ):  # fmt: skip
    assert any(why in line for line in claims.gaps(strategy, runs)), why
  assert claims.gaps('random', true.runs) == claims.gaps('random', [*true.runs, *renamed]) == ()
  relabelled = dataclasses.replace(true, strategy='tree')
  relabelled.write(tmp_path / 'tree.json')
  assert main(['verify', str(tmp_path / 'tree.json'), '--runs=1']) == 1
  assert 'The claim does not hold' in capsys.readouterr().out
  assert main(['verify', str(submitted), '--runs=1']) == 0
  out = capsys.readouterr().out
  assert 'random is random(), 20 trials, 1 at a time, 3 seeds (1000 to 1002)' in out
  assert 'onemax(bits=8): onemax(bits=8), under strict: strict()' in out


def test_unfinished_seeds_are_left_out(submitted, tmp_path, capsys):
  with Results.open(tmp_path / 'results.db', 'comparison') as results:
    one, two, three = Submission.read(submitted).runs
    others = [dataclasses.replace(run, problem='b') for run in (one, two)]
    results.add([one, two, three, *others])
    seeds = [run.instance_seed for run in pack(results, 'x', 'random').runs]
  assert sorted(seeds) == [1000, 1000, 1001, 1001]
  assert main(['submit', f'--out={tmp_path}', '--strategy=random', f'--to={tmp_path}/x.json']) == 0
  assert '1 runs are left out' in capsys.readouterr().out


def test_a_strategy_without_a_readable_source_is_refused(submitted, monkeypatch):
  # As in a notebook, where __main__ has no file.
  module = types.ModuleType('typed_at_a_prompt')
  monkeypatch.setitem(sys.modules, module.__name__, module)
  monkeypatch.setattr(STRATEGIES.get('random'), '__module__', module.__name__)
  why = pytest.raises(SubmissionError, match='typed_at_a_prompt cannot be read')
  with Results.read(submitted.parent / 'results.db') as results, why:
    pack(results, 'x', 'random')


def test_nan_equals_nan():
  nan = float('nan')
  assert claims.same({'a': [1.0, nan]}, {'a': [1.0, float('nan')]})
  assert not claims.same([nan], [1.0]) and not claims.same([1.0], [nan]) and claims.same(1, 1.0)


def test_a_site_compares_what_holds_and_names_what_does_not(submitted, tmp_path, capsys):
  true = Submission.read(submitted)
  command = ['submit', f'--out={submitted.parent}', f'--strategy={GREEDY}']
  assert main([*command, f'--to={tmp_path / "g.json"}']) == 0
  relabeled = [dataclasses.replace(run, problem='<b>mine</b>') for run in true.runs]
  dataclasses.replace(true, runs=relabeled[:2]).write(tmp_path / 'fewer_seeds.json')
  false = dataclasses.replace(true.runs[0], final=-1.0)
  dataclasses.replace(true, runs=[false, *true.runs[1:]]).write(tmp_path / 'false.json')
  files = [str(submitted), *(str(tmp_path / f'{n}.json') for n in ('g', 'fewer_seeds', 'false'))]
  to = tmp_path / 'site'
  assert main(['site', *files, str(tmp_path / 'none.json'), f'--to={to}', '--runs=0']) == 1
  out = capsys.readouterr().out
  assert 'seed 1000: final is' in out and 'none.json: ' in out, out
  page = (to / 'index.html').read_text()
  assert '<b>mine' not in page and 'seed 1000: final is' in page
  assert len(list((to / 'submissions').iterdir())) == 3
  valid = [Submission.read(pathlib.Path(file)) for file in files[:3]]
  two, three = sorted(site.comparisons(valid), key=lambda one: len(one.suite.seeds))
  assert (three.suite.seeds, set(three.runnable)) == ((1000, 1001, 1002), {'random', GREEDY})
  repeated = f'random ({valid[2].digest[:8]})'
  assert (two.suite.seeds, set(two.runnable)) == ((1000, 1001), {'random', GREEDY, repeated})
  (problem,) = two.runnable[repeated]
  assert (
    two.scores('final', repeated, [problem]) == two.scores('final', 'random', [problem])
  ).all()
  assert main(['site', files[0], f'--to={to}']) == 0  # again, into the folder of before
  assert main(['site', files[0], f'--to={submitted.parent}']) == 2
  assert 'new or empty folder' in capsys.readouterr().err
