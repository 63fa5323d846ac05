"""The closing act: paired, resumable, honest about its interval, and unseen by whoever decides."""

import dataclasses
import itertools
import re
import signal
import subprocess
import sys

import pytest
import scipy.stats
from helpers import ROOT
from helpers.command import finish, history, start, wait_for
from helpers.dying import Killed
from helpers.synthetic_run import SPEC, Arithmetic, Nudge, config, replay_records, run

from autoresearch_jax import types
from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.cli.report import report
from autoresearch_jax.executors import Unavailable
from autoresearch_jax.executors.base import FIRST_REQUEST
from autoresearch_jax.ledger.events import FinalScored, Proposed, Started
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.results import rows
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.report.final_comparison import best_program, conclusion, final_comparison
from autoresearch_jax.research.final_evaluation import FinalEvaluation, unused_seeds
from autoresearch_jax.search.greedy import Greedy

pytestmark = pytest.mark.slow

TRIALS = 20
COMPARED = ('--config.data.test=held back', '--config.final_seeds=3')


@pytest.fixture(scope='module')
def searched(tmp_path_factory):
  """The folder of a run whose best is not the baseline."""
  directory = tmp_path_factory.mktemp('searched')
  assert best_program(run(directory, TRIALS).history) is not None
  return directory


@pytest.fixture
def directory(searched, tmp_path):
  """A copy that a test may go on with."""
  (tmp_path / 'ledger.db').write_bytes((searched / 'ledger.db').read_bytes())
  return tmp_path


def close(directory, pairs=3, executor=None, stop=lambda: ''):
  """What a start does after its search; gives the history, the executor and what was said."""
  executor, said = executor or Arithmetic(), []
  with Ledger.open(directory / 'ledger.db') as ledger:
    found = History.of(ledger.records())
    ended = FinalEvaluation(ledger, found, executor, SPEC.budget, pairs, stop, said.append).run()
  return found, executor, said, ended


def confirmed(directory):
  with Ledger.read(directory / 'ledger.db') as ledger:
    events = [record.event for record in ledger.records()]
  return [(e.trial, e.seed) for e in events if isinstance(e, FinalScored)]


def test_both_programs_train_on_the_same_seeds_that_no_trial_had(directory):
  found, executor, said, ended = close(directory)
  best = best_program(found)
  assert ended and len(said) == 1 + 6
  first, second, third = unused_seeds(found, 3)  # in the order A B B A A B
  assert confirmed(directory) == [
    *((BASELINE, first), (best, first), (best, second)),
    *((BASELINE, second), (BASELINE, third), (best, third)),
  ]
  used = {seed for proposal in found.proposals.values() for seed in proposal.seeds}
  assert not used & set(unused_seeds(found, 3))
  for request in executor.submitted:
    assert request.on_test and request.trial == FIRST_REQUEST and request.budget == SPEC.budget
  programs = [request.program for request in executor.submitted]
  baseline, kept = found.edits[BASELINE].program, found.edits[best].program
  assert programs == [baseline, kept, kept, baseline, baseline, kept]


def test_each_slot_trains_one_and_all_are_told_apart(directory):
  class Watching(Arithmetic):
    most = 0

    def wait(self, timeout):
      trials = [request.trial for request in self.queue]
      assert len(set(trials)) == len(trials)
      self.most = max(self.most, len(trials))
      return super().wait(timeout)

  found, executor, _, ended = close(directory, pairs=4, executor=Watching(slots=3))
  alone = close(directory, pairs=0)[0].final_results
  assert ended and executor.most == 3
  assert found.final_results == alone
  for trial, by_seed in found.final_results.items():
    assert sorted(by_seed) == unused_seeds(found, 4)
    for seed, result in by_seed.items():
      assert (result.trial, [m.seed for m in result.measurements]) == (trial, [seed])


@pytest.mark.parametrize(
  ('slots', 'took'), [(1, '0:06:00'), (4, '0:02:00'), (8, '0:01:00'), (0, '0:06:00')]
)
def test_the_estimate_is_of_as_many_rounds_as_the_slots_need(directory, slots, took):
  found, *_ = close(directory, pairs=0)
  baseline = found.results[BASELINE]
  minute = dataclasses.replace(baseline.measurements[0], cost=types.Cost(total_seconds=60.0))
  found.results[BASELINE] = dataclasses.replace(baseline, measurements=(minute,))
  closing = FinalEvaluation(None, found, Arithmetic(slots=slots), SPEC.budget, 3, lambda: '', print)
  assert closing._estimate(6).startswith(f', about {took}')


def test_seeds_that_a_strategy_chose_are_passed_over(directory):
  found = close(directory, pairs=0)[0]
  first, second, third = unused_seeds(found, 3)
  found.proposals[1] = dataclasses.replace(found.proposals[1], seeds=(first, third))
  assert unused_seeds(found, 2) == [second, third + 1]


def test_the_interval_is_that_of_a_paired_t_test(directory):
  found = close(directory, pairs=5)[0]
  scores = [
    [found.final_results[trial][seed].measurements[0].metrics['test_loss'] for seed in seeds]
    for seeds, trial in itertools.product([unused_seeds(found, 5)], (BASELINE, best_program(found)))
  ]
  low, high = scipy.stats.ttest_rel(*scores).confidence_interval(0.95)
  result = final_comparison(found)
  assert (result.gain - result.half_width, result.gain + result.half_width) == pytest.approx(
    (low, high)
  )
  line = conclusion(found)
  gain = f'{(low + high) / 2:.6f} ± {(high - low) / 2:.6f} test_loss'
  assert line.startswith(f'Best beats baseline by {gain} on the test split ')
  assert f'trial {best_program(found)}; 95% ' in line and '5 paired seeds' in line
  assert report(directory).splitlines()[-1] == conclusion(found)


def measured(seed, value):
  return types.Measurement(seed, {'test_loss': value}, types.Cost())


def scored(found, baseline, best):
  """Puts these values in place of what was measured."""
  for trial, values in ((BASELINE, baseline), (best_program(found), best)):
    found.final_results[trial] = {
      seed: types.Result(trial, types.Status.OK, measurements=(measured(seed, value),))
      for seed, value in enumerate(values)
    }
  return conclusion(found)


def test_a_gain_inside_its_interval_is_not_called_one(directory):
  found = close(directory, pairs=0)[0]
  assert 'Best was not shown to beat baseline: its gain is +0.1' in scored(
    found, [1, 2], [0.7, 2.1]
  )
  assert 'Best is worse than baseline by 1.0' in scored(found, [1, 2, 3], [2, 3.01, 4])
  assert 'Best beats baseline by 1.0' in scored(found, [2, 3.01, 4], [1, 2, 3])


def test_one_pair_gives_no_interval(directory):
  line = conclusion(close(directory, pairs=1)[0])
  assert 'a single seed gives no interval' in line
  assert '±' not in line and 'beats' not in line


class Telling(Greedy):
  """Keeps what a strategy is given to see."""

  seen: list = []  # noqa: RUF012 - shared on purpose

  def tell(self, state, trial):
    self.seen.append(trial)
    return super().tell(state, trial)


class Judging(Noise):
  """The same of an acceptance rule."""

  seen: list = []  # noqa: RUF012 - shared on purpose

  def decide(self, state, trial, incumbent):
    self.seen.extend(filter(None, (trial, incumbent)))
    return super().decide(state, trial, incumbent)


class Asked(Nudge):
  """The same of a proposer."""

  seen: list = []  # noqa: RUF012 - shared on purpose

  def propose(self, proposal, context, rng):
    self.seen.extend(context.history.values())
    self.seen.extend(entry for entry in context.memory.hypotheses.values())
    self.seen.append(context.spec)
    return super().propose(proposal, context, rng)


def test_nobody_who_decides_ever_sees_a_locked_number(tmp_path):
  """Also after the act, when the run goes on: not one decision is another."""
  parts = {'strategy': Telling(), 'acceptance': Judging(), 'proposer': Asked()}
  run(tmp_path / 'looked', TRIALS, **parts)
  close(tmp_path / 'looked')
  for part in parts.values():
    part.seen.clear()
  went_on = run(tmp_path / 'looked', 2 * TRIALS, **parts).history
  assert went_on.final_results
  for part in parts.values():
    assert part.seen and 'test_loss' not in repr(part.seen)
  for trial in went_on.trials.values():
    assert 'test_loss' not in repr(trial)
  run(tmp_path / 'blind', TRIALS)
  blind = run(tmp_path / 'blind', 2 * TRIALS).history
  assert not blind.final_results
  assert rows(went_on) == rows(blind) and went_on.turn == blind.turn
  with Ledger.read(tmp_path / 'looked' / 'ledger.db') as ledger:
    replayed = replay_records(ledger.records(), Greedy(), Noise())[1]
  with Ledger.read(tmp_path / 'blind' / 'ledger.db') as ledger:
    assert replay_records(ledger.records(), Greedy(), Noise())[1].encoded() == replayed.encoded()


def test_a_later_best_is_compared_with_the_same_runs_of_the_baseline(directory):
  earlier = best_program(close(directory)[0])
  run(directory, 5 * TRIALS)
  found, executor, _, _ = close(directory)
  best = best_program(found)
  assert best != earlier
  assert len(executor.submitted) == 3
  trials = [trial for trial, _ in confirmed(directory)]
  first, second = [BASELINE, earlier], [earlier, BASELINE]
  assert trials == [*first, *second, *first] + [best] * 3
  assert len(final_comparison(found).gains) == 3


@dataclasses.dataclass
class Dying(Arithmetic):
  """Dies instead of its last result."""

  lives: int = 0

  def wait(self, timeout):
    self.lives -= bool(self.queue)
    if self.lives < 0:
      raise Killed
    return super().wait(timeout)


@pytest.mark.parametrize('lives', range(6))
def test_killed_in_between_the_next_start_trains_what_is_missing(directory, lives):
  with pytest.raises(Killed):
    close(directory, executor=Dying(lives=lives))
  assert len(confirmed(directory)) == lives
  found, executor, _, _ = close(directory)
  assert len(executor.submitted) == 6 - lives
  assert len(set(confirmed(directory))) == len(confirmed(directory)) == 6
  assert close(directory)[1].submitted == []
  assert len(final_comparison(found).gains) == 3


def test_a_stop_leaves_the_rest_and_more_pairs_may_be_asked_for_later(directory):
  said = []
  close(directory, stop=lambda: said.append(1) or ('enough' if len(said) > 2 else ''))
  assert len(confirmed(directory)) == 2
  assert len(final_comparison(close(directory, pairs=4)[0]).gains) == 4


@dataclasses.dataclass
class Faulty(Arithmetic):
  """Ends the requests of the closing act with `status`, and that of the n-th otherwise."""

  status: types.Status = types.Status.DIVERGED
  sound: tuple = ()

  def result(self, request):
    made = super().result(request)
    if len(self.submitted) in self.sound:
      return made
    return types.Result(request.trial, self.status, 'It broke.')


def test_a_run_without_a_score_is_said_and_counts_for_no_gain(directory):
  found = close(directory, executor=Faulty(sound=(1, 2, 3, 5, 6)))[0]
  line = conclusion(found)
  assert '2 paired seeds' in line
  assert line.endswith('; 1 of 3 seeds have no score: diverged: It broke.')


def test_nothing_to_compare_is_said(directory):
  line = conclusion(close(directory, executor=Faulty())[0])
  assert line.startswith('Best and baseline could not be compared')
  assert '3 of 3 seeds have no score: diverged: It broke.' in line


def test_a_crash_of_the_runner_is_tried_again(directory):
  found, _, said, ended = close(directory, executor=Faulty(status=types.Status.CRASH))
  assert ended and said[-1] == 'best, crash: It broke.' and not found.final_results
  assert conclusion(found) == ('Best and baseline were not compared on the test split.')
  assert len(final_comparison(close(directory)[0]).gains) == 3


def test_an_executor_that_scores_on_other_data_is_not_believed(directory):
  @dataclasses.dataclass
  class Careless(Arithmetic):
    def result(self, request):
      return super().result(dataclasses.replace(request, on_test=False))

  found, _, said, _ = close(directory, executor=Careless())
  assert said[-1] == 'best, crash: The executor measured no finite test_loss.'
  assert not found.final_results


def test_a_machine_that_fails_is_said(directory):
  class Gone(Arithmetic):
    def wait(self, timeout):
      raise Unavailable('The device is gone.')

  _, _, said, ended = close(directory, executor=Gone())
  assert not ended and said[-1] == 'The device is gone.'


def test_what_a_stop_left_running_is_cancelled_and_has_no_result(tmp_path):
  executor = Arithmetic(slots=2)

  def stop():
    return 'stop' if len(executor.submitted) > TRIALS and executor.queue else ''

  found = run(tmp_path, 0, executor=executor, stop=stop).history
  assert found.running and best_program(found) is not None
  left = found.running
  found, executor, _, _ = close(tmp_path, executor=executor)
  assert not executor.queue and found.running == left


def test_without_a_better_program_nothing_is_trained(tmp_path):
  run(tmp_path, 1)
  found, executor, said, ended = close(tmp_path)
  assert ended and not executor.submitted and not said
  assert 'The baseline is still the best' in conclusion(found)


def test_the_closing_act_is_no_part_of_the_searchs_pace(directory):
  before = close(directory, pairs=0)[0]
  after = close(directory, executor=Arithmetic(delay=0.05))[0]
  assert (after.wall_seconds, after.training_seconds) == (
    before.wall_seconds,
    before.training_seconds,
  )


def test_the_commands_last_line_is_the_comparison_and_more_pairs_may_follow(tmp_path):
  code, out, err = finish(*COMPARED, '--config.search.max_trials=20', workdir=tmp_path)
  assert (code, err) == (0, '')
  lines = out.splitlines()
  assert re.search('test split .*best and baseline are compared', out)
  assert lines[-1] == conclusion(history(tmp_path))
  assert lines[-1].startswith('Best beats baseline by ')
  more = ('--config.data.test=held back', '--config.final_seeds=4')
  code, out, _ = finish(*more, '--config.search.max_trials=20', workdir=tmp_path)
  assert code == 0 and '4 paired seeds' in out.splitlines()[-1]


def test_a_comparison_without_data_for_it_is_refused(tmp_path):
  code, _, err = finish('--config.final_seeds=3', workdir=tmp_path)
  assert code == 2
  assert "config.final_seeds is 3, but the problem 'synthetic' has no test split" in err
  code, out, _ = finish(workdir=tmp_path)
  assert code == 0
  assert 'no test split, so best and baseline are not compared' in out


SLOW = ('--config.executor_options.delay=0.15', *COMPARED)


def test_a_run_from_before_there_was_such_an_end_goes_on(tmp_path):
  recorded = types.to_builtins(config())
  del recorded['final_seeds']
  with Ledger.open(tmp_path / 'ledger.db') as ledger:
    ledger.append(Started(recorded, 'synthetic', 'digest of data'))
    first = types.Proposal(types.Operation.DRAFT, seeds=tuple(range(4)))
    ledger.append(Proposed(0, first))
  run(tmp_path, TRIALS)
  assert len(final_comparison(close(tmp_path)[0]).gains) == 3


def test_a_first_stop_ends_the_search_and_a_second_one_the_comparison(tmp_path):
  with start(*SLOW, '--config.search.max_trials=0', workdir=tmp_path) as process:
    wait_for('keep: val_loss', process)
    process.send_signal(signal.SIGINT)
    wait_for('baseline, test_loss', process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
  assert (process.returncode, err) == (128 + signal.SIGINT, '')
  assert 1 <= len(confirmed(tmp_path)) < 6
  assert out.splitlines()[-1].startswith('Best and baseline were not compared')
  with start(*SLOW, '--config.search.max_trials=0', workdir=tmp_path) as process:
    wait_for(', val_loss', process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
  assert '3 paired seeds' in out.splitlines()[-1]


def test_sigterm_leaves_no_time_for_it(tmp_path):
  with start(*SLOW, '--config.search.max_trials=0', workdir=tmp_path) as process:
    wait_for('keep: val_loss', process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
  assert process.returncode == 128 + signal.SIGTERM
  assert not confirmed(tmp_path)


def test_a_real_run_ends_with_a_comparison_on_locked_digits(tmp_path):
  """Between killed and started again in the middle of it, through the real engine."""
  command = ('-m', 'autoresearch_jax.main', '--config=configs/digits.py')
  flags = ('--config.search.max_trials=10', '--config.final_seeds=4')
  with start(*flags, command=command, workdir=tmp_path, cwd=ROOT) as process:
    wait_for('best, test_loss', process)
    process.kill()
    process.communicate()
  assert 1 <= len(confirmed(tmp_path)) < 8
  done = subprocess.run(
    [sys.executable, *command, *flags, f'--workdir={tmp_path}'],
    cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
  )  # fmt: skip
  assert (done.returncode, done.stderr) == (0, '')
  found = history(tmp_path)
  assert len(set(confirmed(tmp_path))) == len(confirmed(tmp_path)) == 8
  result = final_comparison(found)
  assert len(result.gains) == 4 and result.gain > 0
  assert done.stdout.splitlines()[-1] == conclusion(found)
  for trial in found.trials.values():
    for measurement in trial.result.measurements:
      assert not [name for name in measurement.metrics if name.startswith('test_')]
  for results in found.final_results.values():
    for result in results.values():
      assert not [name for name in result.measurements[0].metrics if name.startswith('val_')]
