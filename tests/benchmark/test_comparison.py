"""`compare` and what it refuses; the same runs whoever plays them."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from helpers.onemax import Bits, OneMax

from autoresearch_jax import benchmark
from autoresearch_jax.acceptance.strict import Strict
from autoresearch_jax.benchmark import Entrant, ProblemSpec, SimulationError
from autoresearch_jax.benchmark.comparison import run
from autoresearch_jax.benchmark.progress import ComparisonProgress
from autoresearch_jax.benchmark.results import Results
from autoresearch_jax.benchmark.runners.specs import RunSpec
from autoresearch_jax.benchmark.simulations import HELD_OUT, SIMULATIONS
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.search.random import Random

ROOT = pathlib.Path(__file__).parent.parent.parent
MINE = """
import dataclasses
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.types import Operation, Proposal
@STRATEGIES.register('mine')
@dataclasses.dataclass(frozen=True)
class Mine(Strategy):
  def init(self, objective):
    return 0
  def ask(self, state, rng):
    return Proposal(Operation.IMPROVE, ({parent},)), state
  def tell(self, state, trial):
    return state
"""
SMALL = {'seeds': range(1000, 1003), 'trials': 20, 'workers': 1}
BITS = [('onemax', {'bits': 8}), ('onemax', {'bits': 16, 'noise': 1.0})]


@STRATEGIES.register('breaks')
@dataclasses.dataclass(frozen=True)
class Breaks(Random):
  """Raises when it is asked."""

  def ask(self, state, rng):
    raise ZeroDivisionError('by the number of ideas')


@STRATEGIES.register('samples')
@dataclasses.dataclass(frozen=True)
class Samples(Greedy):
  """Stands for a sampler of constants: has a space, which must be that of the instance."""

  space: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)

  def init(self, objective):
    assert self.space == {'X': {'low': 0, 'high': 1}}
    return super().init(objective)


@STRATEGIES.register('wraps')
@dataclasses.dataclass(frozen=True)
class Wraps:
  """A wrapper whose inner strategy is a sampler unless told otherwise."""

  inner: str = 'samples'
  inner_options: dict = dataclasses.field(default_factory=dict)

  def __new__(cls, inner='samples', inner_options=None):
    return STRATEGIES.make(inner, inner_options)


@SIMULATIONS.register('constants')
@dataclasses.dataclass(frozen=True)
class Constants(OneMax):
  """OneMax that says its program has a constant."""

  def instance(self, seed):
    return BitsWithSpace(self, super().instance(seed).start)


class BitsWithSpace(Bits):
  """Its search space is not that of its program."""

  @property
  def space(self):
    return {'X': {'low': 0, 'high': 1}}


@SIMULATIONS.register('unmade')
@dataclasses.dataclass(frozen=True)
class Unmade(OneMax):
  """Has no instance from `first` on."""

  first: int = 0

  def instance(self, seed):
    if seed >= self.first:
      raise KeyError('no such table')
    return super().instance(seed)


def test_strategies_and_problems_by_name_pair_and_label():
  made = benchmark.compare(
    {'mine': 'random', 'yours': ('greedy', {'context_size': 2})},
    ['onemax', ('onemax', {'bits': 6})],
    **SMALL,
  )
  assert list(made.runnable) == ['mine', 'yours']
  assert [p.label for p in made.suite.problems] == ['onemax', 'onemax(bits=6)']
  assert made.scores('final', 'mine', ['onemax']).shape == (1, 3)
  assert made.runs['yours', 'onemax', 1001].strategy_options == {'context_size': 2}


def test_runs_of_one_seed_are_of_one_instance():
  made = benchmark.compare(['random', 'greedy'], BITS, **SMALL)
  for problem in made.suite.problems:
    random, greedy = (made.runs_of(name, problem.label) for name in ('random', 'greedy'))
    for one, other in zip(random, greedy, strict=True):
      assert (one.start, one.definition) == (other.start, other.definition)
  assert len({run.start for run in made.runs_of('random', 'onemax(bits=8)')}) == 3


def test_the_seeds_are_held_out_unless_others_are_given():
  assert min(benchmark.comparison.SEEDS) == HELD_OUT and len(benchmark.comparison.SEEDS) == 20


def test_any_number_of_workers_and_any_process_gives_the_same_runs(tmp_path):
  found = []
  for workers in (1, 3):
    made = benchmark.compare(
      ['random', 'greedy'], BITS, **{**SMALL, 'workers': workers}, out=tmp_path / str(workers)
    )
    with Results.open(tmp_path / str(workers) / 'results.db', 'comparison') as results:
      found.append((dict(made.runs), results.csv()))
  assert found[0] == found[1]
  code = (
    'import sys; from helpers import onemax\n'
    'from autoresearch_jax import benchmark\n'
    f'made = benchmark.compare(["greedy", "random"], {BITS!r}, seeds=range(1000, 1003), trials=20,'
    ' workers=1, out=sys.argv[1])'
  )
  subprocess.run([sys.executable, '-c', code, tmp_path / 'other'], check=True)
  with Results.open(tmp_path / 'other' / 'results.db', 'comparison') as results:
    assert results.csv() == found[0][1]


def test_what_is_there_is_not_played_again(tmp_path, monkeypatch):
  first = benchmark.compare(['random'], BITS, **SMALL, out=tmp_path)
  specs = []
  play = RunSpec.run
  monkeypatch.setattr(
    RunSpec, 'run', lambda spec, *rest: (specs.append(spec), play(spec, *rest))[1]
  )
  second = benchmark.compare(['random', 'greedy'], BITS, **SMALL, out=tmp_path)
  assert {spec.entrant.label for spec in specs} == {'greedy'} and len(specs) == 6
  assert {k: v for k, v in second.runs.items() if k[0] == 'random'} == dict(first.runs)


@pytest.mark.parametrize(
  ('changed', 'sentence'),
  [({'trials': 21}, r'budget \(trials\)'), ({'slots': 2}, 'slots')],
)
def test_runs_of_another_budget_do_not_compare(tmp_path, changed, sentence):
  benchmark.compare(['random'], BITS, **SMALL, out=tmp_path)
  with pytest.raises(benchmark.ResultsError, match=sentence):
    benchmark.compare(['greedy'], BITS, **{**SMALL, **changed}, out=tmp_path)


def test_a_strategy_with_other_options_needs_another_label(tmp_path):
  benchmark.compare({'mine': 'greedy'}, BITS, **SMALL, out=tmp_path)
  with pytest.raises(benchmark.ResultsError, match='another label'):
    benchmark.compare({'mine': ('greedy', {'context_size': 1})}, BITS, **SMALL, out=tmp_path)


@pytest.mark.parametrize(
  ('strategies', 'problems', 'changed', 'sentence'),
  [
    (['greddy'], BITS, {}, "There is no strategy 'greddy'; there are: .*greedy"),
    ([('greedy', {'shwon': 1})], BITS, {}, "has no option 'shwon'; it has: context_size"),
    (['greedy'], ['nothing'], {}, "There is no simulation 'nothing'; there are: .*onemax"),
    (['greedy'], [('onemax', {'bits': 1})], {}, 'bits is 1; it must be 2 or more'),
    (['greedy'], BITS, {'acceptance': 'lenient'}, "There is no acceptance 'lenient'; there are"),
    ([], BITS, {}, 'there are no strategies'),
    (['greedy'], [], {}, 'there are no problems'),
    (['greedy'], BITS, {'seeds': ()}, 'there are no seeds'),
    (['greedy'], BITS, {'seeds': (1, 1)}, 'a seed occurs twice'),
    (['greedy', 'greedy'], BITS, {}, "label 'greedy' occurs twice"),
    (['greedy'], BITS, {'acceptance': 'noise', 'trials': 3}, 'baseline alone takes 4'),
    (['greedy'], BITS, {'slots': 0}, 'slots is 0'),
    (['greedy'], BITS, {'seeds': (3, -1)}, '-1 is not an instance seed'),
    (['greedy'], BITS, {'seeds': (2**32,)}, 'is not an instance seed; .* to 4294967295'),
    (['greedy'], BITS, {'trials': float('nan')}, 'trials is nan; it must be a finite number'),
    (['greedy'], BITS, {'trials': float('inf')}, 'trials is inf; it must be a finite number'),
    (['greedy'], BITS, {'workers': -3}, r'workers is -3; it must be 0 \(one per core\) or more'),
    (
      ['samples', 'greedy'],
      ['onemax', ('onemax', {'bits': 5})],
      {},
      'samples can run on none of the problems',
    ),
    (['greedy'], ['unmade'], {}, 'problem unmade, seed 1000, cannot be made: KeyError'),
    (['greedy'], [('recorded', {'metric': 'foo'})], {}, 'recorded.*, seed 1000, cannot be .*foo'),
    ('greedy', BITS, {}, 'give a list'),
  ],
)
def test_bad_input_is_a_sentence(strategies, problems, changed, sentence):
  with pytest.raises(benchmark.BenchmarkError, match=sentence):
    benchmark.compare(strategies, problems, **{**SMALL, **changed})


def test_a_strategy_that_raises_is_named():
  sentence = (
    'breaks on onemax.* under strict failed: The strategy Breaks of .* failed when '
    'it was asked for trial 1: ZeroDivisionError: by the number'
  )
  with pytest.raises(SimulationError, match=sentence):
    benchmark.compare(['breaks'], BITS, **SMALL)


@pytest.mark.parametrize('workers', [1, 2])
def test_an_instance_that_cannot_be_made_is_named(workers):
  problems = [*BITS, ('unmade', {'first': 1002})]
  with pytest.raises(SimulationError, match=r'unmade.*, seed 1002, cannot be made: KeyError'):
    benchmark.compare(['random'], problems, **{**SMALL, 'workers': workers})


def test_references_are_entrants_or_rules():
  two = {'problems': (ProblemSpec('p', 'onemax'),), 'seeds': (1,), 'trials': 9, 'title': 't'}
  rules = tuple(benchmark.AcceptanceSpec(name, name) for name in ('strict', 'noise'))
  entrants = (Entrant('g', 'greedy'), Entrant('r', 'random'))
  suite = benchmark.Suite(**two, entrants=entrants, rules=rules, references=('strict',))
  assert suite.reference_methods() == ('g + strict', 'r + strict')
  suite = benchmark.Suite(**two, entrants=entrants, references=('r',))
  assert suite.reference_methods() == ('r',)
  with pytest.raises(
    benchmark.BenchmarkError, match=r"'foo' does not exist; there are: strict, noi"
  ):
    benchmark.Suite(**two, entrants=entrants[:1], rules=rules, references=('foo',))


@STRATEGIES.register('local')
class Local(Random):
  """Stands for one that was defined in a notebook."""

  __module__ = 'a_notebook'


def test_what_only_this_process_knows_needs_one_worker():
  assert len(benchmark.compare(['local'], BITS, **SMALL).runs) == 6
  with pytest.raises(SimulationError, match=r'worker process cannot import .*use one worker'):
    benchmark.compare(['local'], BITS, **{**SMALL, 'workers': 2})


def test_samplers_get_the_instances_space_and_are_listed_where_there_is_none():
  entrants = ['samples', Entrant('inside', 'wraps'), 'greedy', ('wraps', {'inner': 'greedy'})]
  problems = [
    ProblemSpec('with', 'constants'),
    ProblemSpec('kept', 'constants', sampled=False),
    'onemax',
  ]
  made = benchmark.compare(entrants, problems, **SMALL)
  without = [(e, p) for e in ('samples', 'inside') for p in ('kept', 'onemax')]
  assert made.left_out == without
  assert np.array_equal(*(made.scores('final', e, ['with']) for e in ('samples', 'greedy')))


def test_rules_side_by_side(tmp_path):
  suite = benchmark.Suite(
    'rules', (ProblemSpec('noisy', 'onemax', {'noise': 4.0}),), (Entrant('g', 'greedy'),),
    tuple(range(6)), 60,
    rules=(benchmark.AcceptanceSpec('a', 'strict'), benchmark.AcceptanceSpec('b', 'noise')),
    references=('a',),
  )  # fmt: skip
  with Results.open(tmp_path / 'results.db', 'rules') as results:
    (made,) = run([suite], results, 1, ComparisonProgress(lambda line: None))
  assert list(made.runnable) == ['a', 'b']
  kept = {e: sum(r.kept for r in made.runs_of(e, 'noisy')) for e in 'ab'}
  false = {e: sum(r.false_keeps for r in made.runs_of(e, 'noisy')) for e in 'ab'}
  assert kept['a'] > kept['b'] and false['a'] > 4 * false['b']


def test_a_stop_keeps_what_is_done(tmp_path):
  suite = benchmark.Suite(
    's', (ProblemSpec('p', 'onemax'),), (Entrant('g', 'greedy'),), tuple(range(5)), 9
  )
  told = []
  with Results.open(tmp_path / 'results.db', 's') as results:
    stop = lambda: 'enough' if len(results.keys) >= 2 else ''  # noqa: E731
    assert run([suite], results, 1, ComparisonProgress(told.append), stop) == []
    assert len(results.keys) == 2
    (made,) = run([suite], results, 1, ComparisonProgress(told.append))
  assert len(made.runs) == 5
  assert told == ['5 runs.', '5 runs, 2 of them already finished.', '5 of 5 runs, done in 0:00:00.']


def test_edited_code_is_not_given_its_old_results(tmp_path):
  """As people do it: the module is edited between two calls."""
  (tmp_path / 'mine.py').write_text(MINE.format(parent=0))
  call = (
    'import mine\nfrom autoresearch_jax import benchmark\n'
    'benchmark.compare(["mine"], [("nk", {"n": 8})], seeds=[5], trials=5, workers=1, out="out")'
  )

  def called():
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(ROOT)])}
    return subprocess.run(
      [sys.executable, '-c', call], cwd=tmp_path, env=env, capture_output=True, text=True,
      check=False,
    )  # fmt: skip

  assert called().returncode == called().returncode == 0
  (tmp_path / 'mine.py').write_text(MINE.format(parent=1))
  assert "strategy 'mine' with other code" in called().stderr


SCRIPT = """
import dataclasses
import autoresearch_jax as ar
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.greedy import Greedy
{definition}
print('begun')
result = ar.compare([{strategy}, 'random'], [('nk', {{'n': 8}})], trials=6, seeds=3, workers=2)
print(len(result.runs), 'runs')
"""
REGISTERED = """
@STRATEGIES.register('mine')
@dataclasses.dataclass(frozen=True)
class Mine(Greedy):
  pass
"""


@pytest.mark.parametrize(
  ('definition', 'strategy', 'in_turn'),
  [('', "'greedy'", False), (REGISTERED, "'mine'", True), (REGISTERED, 'Mine()', True)],
)
def test_a_script_needs_no_main_guard(tmp_path, definition, strategy, in_turn):
  script = tmp_path / 'mine.py'
  script.write_text(SCRIPT.format(definition=definition, strategy=strategy))
  env = {**os.environ, 'PYTHONPATH': str(ROOT)}
  ended = subprocess.run(
    [sys.executable, script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
  )
  assert ended.returncode == 0, ended.stderr
  assert ended.stdout.split('\n')[:2] == ['begun', '6 runs'] and 'Traceback' not in ended.stderr
  assert ('Mine is defined in the script itself' in ended.stderr) == in_turn


def test_objects_and_classes_of_every_kind():
  made = benchmark.compare([Greedy(context_size=1), Random], [OneMax(bits=6)], Strict, **SMALL)
  assert [p.simulation for p in made.suite.problems] == ['onemax']
  assert made.suite.problems[0].options['bits'] == 6
  assert {run.acceptance for run in made.runs.values()} == {'strict'}
  with pytest.raises(benchmark.BenchmarkError, match=r'problems has 3; give a registered name'):
    benchmark.compare(['greedy'], [3], **SMALL)


def test_the_trials_of_a_run_are_simulated_again():
  made = benchmark.compare(['greedy', 'random'], BITS, **SMALL)
  label = made.suite.problems[1].label
  rows = made.trial_rows('greedy', label, 1001)
  run = made.runs['greedy', label, 1001]
  assert rows[0]['trial'] == 0 and rows[0]['decision'] == 'keep'
  assert sum(row['decision'] == 'keep' for row in rows) == run.kept + 1
  assert {s: [r['status'] for r in rows].count(s) for s in run.statuses} == run.statuses
  assert all(row['parents'] for row in rows[1:]) and rows == made.trial_rows('greedy', label, 1001)
  with pytest.raises(benchmark.BenchmarkError, match=r"no run of 'greddy'.*1000 to 1002"):
    made.trial_rows('greddy', label, 1001)


def test_minutes_end_a_comparison_with_the_seeds_that_are_done(tmp_path):
  numbers = {'trials': 20, 'workers': 1, 'minutes': 1e-9}
  with pytest.raises(benchmark.BenchmarkError, match=r'no seed was finished.*Raise minutes'):
    benchmark.compare(['random'], BITS, seeds=3, **numbers)
  benchmark.compare(['random'], BITS, seeds=2, trials=20, workers=1, out=tmp_path)
  made = benchmark.compare(['random'], BITS, seeds=6, out=tmp_path, **numbers)
  assert made.suite.seeds == (1000, 1001) and len(made.runs) == 4
  with pytest.raises(benchmark.BenchmarkError, match='minutes is -1'):
    benchmark.compare(['random'], BITS, seeds=3, minutes=-1)
