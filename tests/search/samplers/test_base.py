"""A run sampled through Optuna is an Optuna study, and the log is all there is to it."""

import importlib.util
import subprocess
import sys
import warnings

import numpy as np
import optuna
import pytest
from helpers import memory_wall
from helpers.synthetic_run import Arithmetic, replay_records, run
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.programs import constants
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.samplers import study
from autoresearch_jax.search.samplers.base import SamplerState
from autoresearch_jax.search.samplers.space import Range
from autoresearch_jax.search.samplers.study import Add, Ask, Drop, Tell

pytestmark = pytest.mark.slow

TEXT = 'DEPTH = 4\nRATE = 0.01  # in [0.0001, 1.0], log\nNAME = "x"\nBETAS = (0.9, 0.99)\n'
START = types.Program((('model.py', TEXT), ('notes.py', 'SIZE = 3\n')), 'model.py')
OBJECTIVE = types.Objective('loss', 'minimize')
SPACE = {
  'DEPTH': optuna.distributions.IntDistribution(1, 16, log=True),
  'RATE': optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
}
NAMES = ['tpe', 'cma_es', *(['gp'] if importlib.util.find_spec('torch') else [])]
OPTIONS = {
  'tpe': {'n_startup_trials': 4},
  'cma_es': {'popsize': 4},
  'gp': {'n_startup_trials': 4},
}
PLAIN = {
  'tpe': lambda seed: optuna.samplers.TPESampler(
    seed=seed, n_startup_trials=4, multivariate=True, constant_liar=True
  ),
  'cma_es': lambda seed: optuna.samplers.CmaEsSampler(seed=seed, popsize=4),
  'gp': lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=4),
}
OK, OOM = types.Status.OK, types.Status.OOM

every_sampler = pytest.mark.parametrize('name', NAMES)


def make(name, **options):
  return STRATEGIES.make(name, {**OPTIONS[name], **options})


def program(text, **files):
  return types.Program(
    tuple({'notes.py': 'SIZE = 3\n', **files, 'model.py': text}.items()), 'model.py'
  )


def trial(number, edited, value, status=OK, duplicate_of=None, **proposal):
  measured = (types.Measurement(0, {'loss': value}, types.Cost()),) if value is not None else ()
  return types.Trial(
    number,
    types.Proposal(**{'operation': types.Operation.IMPROVE, 'parents': (0,), **proposal}),
    types.Edit(edited, 'an edit', types.Hypothesis('A claim.')),
    types.Result(number, status, measurements=measured, duplicate_of=duplicate_of),
    types.Verdict(types.Decision.DISCARD, ''),
  )


def begun(strategy, value=5.0):
  return strategy.tell(strategy.init(OBJECTIVE), trial(0, START, value))


def asked(strategy, state, number):
  proposal, state = strategy.ask(state, np.random.default_rng(number))
  return proposal.edit.program, state


def loss(params):
  return (params['DEPTH'] - 7) ** 2 / 9 + (np.log10(params['RATE']) + 2.5) ** 2


def params_of(edited):
  values: dict = {}
  exec(edited.text(), values)
  return {name: values[name] for name in SPACE}


@every_sampler
def test_it_suggests_what_plain_optuna_suggests(name):
  """Two asks under way, told in the other order; trial 0 is there first; the same seeds."""
  strategy = make(name)
  state = begun(strategy)
  plain = quietly(lambda: optuna.create_study(direction='maximize'))
  start = {'DEPTH': 4, 'RATE': 0.01}
  plain.add_trial(optuna.trial.create_trial(params=start, distributions=SPACE, value=-5.0))
  for turn in range(8):
    pairs = []
    for number in (2 * turn + 1, 2 * turn + 2):
      mine, state = asked(strategy, state, number)
      seed = int(np.random.default_rng(number).integers(2**31 - 1))
      plain.sampler = quietly(lambda seed=seed: PLAIN[name](seed))
      theirs = quietly(lambda: plain.ask(SPACE))
      assert params_of(mine) == theirs.params
      pairs.append((number, mine, theirs))
    for number, mine, theirs in reversed(pairs):
      value = loss(theirs.params)
      state = strategy.tell(state, trial(number, mine, value))
      plain.tell(theirs, -value)


def quietly(call):
  """Plain Optuna as it comes: its line for a new study, its warnings, do not concern this test."""
  optuna.logging.set_verbosity(optuna.logging.ERROR)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    return call()


@every_sampler
@settings(max_examples=5, deadline=None)
@given(outcomes=st.lists(st.sampled_from(['ok', 'oom', 'wait']), min_size=8, max_size=14))
def test_a_study_rebuilt_from_json_goes_on_as_the_one_that_lived(name, outcomes):
  strategy = make(name)
  state, waiting = begun(strategy), []
  for number, outcome in enumerate(outcomes, start=1):
    edited, state = asked(strategy, state, number)
    waiting.append((number, edited))
    if outcome != 'wait':
      number, edited = waiting.pop(0)
      value, status = (loss(params_of(edited)), OK) if outcome == 'ok' else (None, OOM)
      state = strategy.tell(state, trial(number, edited, value, status))
  live, after = asked(strategy, state, 99)
  study._cache.clear()
  read = types.from_json(types.to_json(state), SamplerState)
  assert read == state
  assert asked(strategy, read, 99) == (live, after)


@every_sampler
def test_an_old_state_is_asked_again_as_if_nothing_had_come_after(name):
  """What the loop does after a declined proposal, and a wrapper that looks ahead."""
  strategy = make(name)
  state = begun(strategy)
  for number in range(1, 8):
    edited, state = asked(strategy, state, number)
    state = strategy.tell(state, trial(number, edited, loss(params_of(edited))))
  first, _ = asked(strategy, state, 50)
  _, other = asked(strategy, state, 51)
  asked(strategy, other, 52)
  assert asked(strategy, state, 50)[0] == first


def test_no_more_studies_are_remembered_than_it_says():
  strategy = make('tpe')
  for value in range(2 * study.MAX_CACHED):
    asked(strategy, begun(strategy, float(value)), 1)
  assert len(study._cache) == study.MAX_CACHED


def test_studies_of_equal_numbers_of_other_types_are_not_taken_for_each_other():
  strategy = make('tpe', space={'X': {'low': 1, 'high': 9}})
  for text, kind in (('X = 4\n', int), ('X = 4.0\n', float)) * 2:
    state = strategy.tell(strategy.init(OBJECTIVE), trial(0, program(text), 1.0))
    _, state = asked(strategy, state, 1)
    assert type(state.log[-1].values[0]) is kind


def test_another_answer_than_the_log_has_is_not_passed_over():
  strategy = make('tpe')
  _, state = asked(strategy, begun(strategy), 1)
  log = (state.log[0], Ask(1, state.log[1].seed, (4, 0.5)))
  with pytest.raises(RuntimeError, match='answers ask 1 of tpe differently from the ledger'):
    asked(strategy, SamplerState(OBJECTIVE, 0, START, log), 2)


def test_the_start_is_the_first_completed_trial():
  assert begun(make('tpe')).log == (Add(0, 0, -5.0, (4, 0.01)),)


def test_an_edit_has_the_constants_and_nothing_else():
  strategy = make('tpe')
  proposal, state = strategy.ask(begun(strategy), np.random.default_rng(1))
  depth, rate = state.log[-1].values
  expected = TEXT.replace('DEPTH = 4', f'DEPTH = {depth}').replace('RATE = 0.01', f'RATE = {rate}')
  assert proposal.edit.program == START.with_text(expected)
  assert proposal.parents == (0,)
  assert proposal.edit.description == f'tpe: DEPTH 4 -> {depth}, RATE 0.01 -> {rate:.4g}'


def test_results_find_their_asks_in_any_order():
  strategy = make('tpe')
  first, state = asked(strategy, begun(strategy), 1)
  second, state = asked(strategy, state, 2)
  state = strategy.tell(state, trial(2, second, 1.0))
  state = strategy.tell(state, trial(1, first, 2.0))
  assert state.log[-2:] == (Tell(2, 2, -1.0), Tell(1, 1, -2.0))


def after(status, value=None, **more):
  """What a study is told of the second ask, when the first had a loss of 8 and trial 0 of 5."""
  strategy = make('tpe')
  first, state = asked(strategy, begun(strategy), 1)
  state = strategy.tell(state, trial(1, first, 8.0))
  second, state = asked(strategy, state, 2)
  return strategy.tell(state, trial(2, second, value, status, **more)).log[-1]


def test_failures_count_as_the_worst_score_so_far():
  for status in ('oom', 'crash', 'diverged', 'timeout', 'invalid'):
    assert after(types.Status(status)) == Tell(2, 2, -8.0)
  assert after(OK, float('nan')) == Tell(2, 2, -8.0)


def test_duplicates_have_the_score_of_the_first_and_cancelled_ones_none():
  assert after(types.Status.DUPLICATE, duplicate_of=0) == Tell(2, 2, -5.0)
  assert after(types.Status.DUPLICATE, duplicate_of=7) == Tell(2, 2, None)
  assert after(types.Status.CANCELLED) == Tell(2, 2, None)


def test_a_failure_before_any_score_says_nothing():
  strategy = make('tpe')
  state = strategy.tell(strategy.init(OBJECTIVE), trial(0, START, None, OOM))
  assert state.log == ()
  edited, state = asked(strategy, state, 1)
  state = strategy.tell(state, trial(1, edited, None, OOM))
  assert state.log[-1] == Tell(0, 1, None)


def test_trials_of_others_count_when_only_constants_of_the_space_differ():
  strategy = make('tpe')
  state = begun(strategy)
  tuned = program(TEXT.replace('RATE = 0.01', 'RATE = 2e-2'))
  state = strategy.tell(state, trial(1, tuned, 3.0))
  state = strategy.tell(state, trial(2, tuned, 4.0, operation=types.Operation.REPLICATE))
  assert state.log[1:] == (Add(1, 1, -3.0, (4, 0.02)), Add(2, 2, -4.0, (4, 0.02)))
  for other in (
    program(TEXT + 'x = 1\n'),
    program(TEXT.replace('0.9,', '0.8,')),
    program(TEXT, **{'notes.py': 'SIZE = 4\n'}),
    program(TEXT.replace('RATE = 0.01', 'RATE = 2.0')),  # outside its range
    program(TEXT.replace('DEPTH = 4', 'DEPTH = 4.0')),
    program('DEPTH = (\n'),
  ):
    assert strategy.tell(state, trial(3, other, 1.0)) == state
  assert strategy.tell(state, trial(3, tuned, 1.0, fidelity=0.5)) == state
  assert strategy.tell(state, trial(3, tuned, None, types.Status.CANCELLED)) == state
  again = trial(3, tuned, None, OOM, operation=types.Operation.REPLICATE)
  assert strategy.tell(state, again) == state  # the program has its score already


def test_a_start_outside_the_space_is_no_trial_of_the_study():
  strategy = make('cma_es', space={'DEPTH': {'low': 8, 'high': 32}})
  state = begun(strategy)
  assert state.log == ()
  for number in range(1, 6):
    edited, state = asked(strategy, state, number)
    assert 8 <= params_of(edited)['DEPTH'] <= 32
    state = strategy.tell(state, trial(number, edited, 1.0))


@every_sampler
def test_choices_are_chosen_from(name):
  strategy = make(name, space={'NAME': {'choices': ['x', 'y']}, 'RATE': {}})
  state, seen = begun(strategy), set()
  for number in range(1, 10):
    edited, state = asked(strategy, state, number)
    seen.add(edited.text().split('NAME = ')[1].split('\n')[0])
    state = strategy.tell(state, trial(number, edited, 1.0 / number))
  assert seen == {'"x"', "'y'"}


@every_sampler
def test_a_size_is_sampled_by_its_exponent_and_told_back(name):
  start = program('SIZE = 64\n')
  strategy, seen = make(name), set()
  state = strategy.tell(strategy.init(OBJECTIVE), trial(0, start, 1.0))
  assert state.log[0].values == (64,)
  for number in range(1, 12):
    edited, state = asked(strategy, state, number)
    seen.add(int(edited.text().split()[2]))
    state = strategy.tell(state, trial(number, edited, 1.0 + number))
  assert len(seen) > 2 and seen <= {16, 32, 64, 128, 256}
  assert sum(isinstance(entry, Tell) for entry in state.log) == 11


def test_the_option_file_names_whose_constants_they_are():
  strategy = make('tpe', file='notes.py')
  edited, _ = asked(strategy, begun(strategy), 1)
  assert edited.text() == TEXT and edited.text('notes.py') != 'SIZE = 3\n'
  with pytest.raises(ValueError, match=r"'other\.py'; the program has: model\.py, notes\.py"):
    begun(make('tpe', file='other.py'))


def test_a_start_that_the_options_do_not_fit_is_named():
  with pytest.raises(ValueError, match=r'names WIDTH, which is not a constant of model\.py'):
    begun(make('tpe', space={'WIDTH': {}}))
  with pytest.raises(ValueError, match='has no constant to search over'):
    strategy = make('tpe')
    strategy.tell(strategy.init(OBJECTIVE), trial(0, program('NAME = "x"\n'), 1.0))
  with pytest.raises(ValueError, match=r"'space' of the strategy 'tpe': .*unknown field"):
    make('tpe', space={'RATE': {'lo': 1}})
  assert make('tpe', space={'RATE': {'low': 0, 'high': 1}}).space == {'RATE': Range(0, 1)}


def test_the_first_program_with_constants_is_the_start_where_trial_0_is_not_told():
  strategy = make('tpe')
  state = strategy.tell(strategy.init(OBJECTIVE), trial(4, program('x = 1\n'), 1.0))
  assert strategy.ask(state, np.random.default_rng(0))[0].edit is None
  state = strategy.tell(state, trial(5, START, 1.0))
  assert strategy.ask(state, np.random.default_rng(0))[0].parents == (5,)


@every_sampler
def test_optuna_says_nothing_and_keeps_its_settings(name, capfd):
  optuna.logging.set_verbosity(optuna.logging.INFO)
  strategy = make(name)
  state = begun(strategy)
  for number in range(1, 7):
    edited, state = asked(strategy, state, number)
    state = strategy.tell(state, trial(number, edited, float(number)))
  assert capfd.readouterr() == ('', '')
  assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_a_run_without_a_sampler_does_not_import_optuna():
  code = (
    'import sys, autoresearch_jax.main; from autoresearch_jax.search import STRATEGIES; '
    'STRATEGIES.make("greedy"); sys.exit("optuna" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


@every_sampler
def test_a_run_is_resumed_and_replayed_byte_for_byte(name, tmp_path):
  """The real loop, three trials at once, two sessions, the second without what the first knew."""
  strategy = make(name, space={'X': {'low': -4, 'high': 4}, 'Y': {'low': -4, 'high': 4}})
  for trials in (8, 16):
    study._cache.clear()
    live = run(tmp_path, trials, strategy=strategy, executor=Arithmetic(slots=3))
  study._cache.clear()
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    _, states = replay_records(ledger.records(), strategy, Noise())
  assert states.encoded() == live.states.encoded()
  assert len(live.history.trials) == 16
  statuses = {trial.result.status for trial in live.history.trials.values()}
  assert types.Status.OK in statuses and len(statuses) > 1


WALLED = [*NAMES, 'centaur']
every_walled = pytest.mark.parametrize('name', WALLED)


def walled(name, **options):
  """Centaur without turns of the proposer, which is asked elsewhere."""
  given = {'popsize': 4, 'llm_ratio': 0.0} if name == 'centaur' else OPTIONS[name]
  return STRATEGIES.make(name, {**given, **options})


@pytest.mark.parametrize(('name', 'says'), [(n, n == 'cma_es') for n in WALLED])
def test_what_does_not_fit_is_soon_asked_for_no_more(name, says):
  """The last trials, over three seeds; whether or not it is said what was needed."""
  off, on = (
    [
      status
      for seed in range(3)
      for status in memory_wall.played(walled(name, **options), 30, seed, says=says)[1][12:]
    ]
    for options in ({'max_oom_probability': 1.0}, {})
  )
  assert off.count(OOM) > 5
  assert on.count(OOM) <= off.count(OOM) / 3


@every_walled
def test_where_everything_fits_it_answers_as_if_memory_were_not_there(name):
  large = 2**50
  with_memory, _ = memory_wall.played(walled(name), 20, device=large)
  without, _ = memory_wall.played(walled(name, max_oom_probability=1.0), 20, device=large)
  assert with_memory.log == without.log
  assert len(with_memory.footprints) > 1


@every_walled
def test_dropped_points_are_in_the_log_and_replay(name):
  live, _ = memory_wall.played(walled(name), 24)
  rebuilt, _ = memory_wall.played(walled(name), 24, rebuilt=True)
  assert types.to_json(live) == types.to_json(rebuilt)
  dropped = [entry for entry in live.log if isinstance(entry, Drop)]
  assert dropped
  told = {entry.number for entry in live.log if isinstance(entry, Tell)}
  assert not told & {entry.number for entry in dropped}
  assert all((entry.score is None) == (name in ('cma_es', 'centaur')) for entry in dropped)


def test_memory_switched_off_drops_nothing():
  state, statuses = memory_wall.played(walled('tpe', max_oom_probability=1.0), 24)
  assert OOM in statuses
  assert not any(isinstance(entry, Drop) for entry in state.log)


@every_walled
def test_where_nothing_fits_it_goes_on_all_the_same(name):
  """An ask gives up after some drops, also before there is any score to tell of them."""
  state, statuses = memory_wall.played(walled(name, space={'RATE': Range()}), 5, device=1)
  assert statuses == [OOM] * 5
  assert sum(isinstance(entry, Ask) for entry in state.log) >= 4


def test_a_program_that_is_known_not_to_fit_is_not_asked_for_again():
  """Three values, of which one was refused: without any size, it is remembered as it is."""
  strategy = make('tpe', space={'DEPTH': {'low': 3, 'high': 5}})
  state = begun(strategy)
  big = program(TEXT.replace('DEPTH = 4', 'DEPTH = 5'))
  state = strategy.tell(state, trial(1, big, None, OOM))
  for number in range(2, 12):
    edited, state = asked(strategy, state, number)
    assert edited.text() != big.text()
    state = strategy.tell(state, trial(number, edited, 1.0))
  assert any(isinstance(entry, Drop) for entry in state.log)


def test_someone_else_may_run_a_point_that_was_dropped():
  state, _ = memory_wall.played(walled('tpe'), 24)
  dropped = next(entry.number for entry in state.log if isinstance(entry, Drop))
  values = next(e.values for e in state.log if isinstance(e, Ask) and e.number == dropped)
  strategy = walled('tpe')
  dimensions = strategy.search_space(memory_wall.START)
  new = dict(zip((d.name for d in dimensions), values, strict=True))
  edited = memory_wall.START.with_text(constants.with_values(memory_wall.TEXT, new))
  state = strategy.tell(state, trial(99, edited, 0.5))
  assert state.log[-1] == Add(len(state.log) - 1 - told_of(state), 99, -0.5, values)


def told_of(state):
  """Entries before the last one that make no trial of the study."""
  return sum(isinstance(entry, Tell | Drop) for entry in state.log[:-1])


def test_a_log_from_before_memory_was_known_goes_on():
  """States of earlier versions have neither drops nor footprints."""
  strategy = make('tpe')
  state = begun(strategy)
  for number in range(1, 9):
    edited, state = asked(strategy, state, number)
    state = strategy.tell(state, trial(number, edited, loss(params_of(edited))))
  old = types.to_builtins(state)
  del old['footprints']
  assert {key for entry in old['log'] for key in entry} == {
    'type', 'number', 'seed', 'trial', 'score', 'values'
  }  # fmt: skip
  study._cache.clear()
  read = types.from_builtins(old, SamplerState)
  assert asked(strategy, read, 50)[0] == asked(strategy, state, 50)[0]


@pytest.mark.parametrize(
  ('options', 'sentence'),
  [
    ({'max_oom_probability': 1.5}, 'max_oom_probability of tpe is 1.5'),
    ({'memory_margin': 1.0}, 'memory_margin of tpe is 1.0; it must be at least 0'),
    ({'memory_margin': float('nan')}, 'memory_margin.* is nan'),
  ],
)
def test_options_of_memory_that_cannot_work_are_refused(options, sentence):
  with pytest.raises(ValueError, match=sentence):
    make('tpe', **options)
