"""Trials that users request: what is run, who takes turns, and what a verdict is."""

import dataclasses
import itertools

import pytest
from helpers.synthetic_run import SPEC, START, Arithmetic, Nudge, config, replay_records, run
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.acceptance.paired import Paired
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.acceptance.strict import Strict
from autoresearch_jax.config import Limits
from autoresearch_jax.ledger.events import Decided, Declined, Proposed
from autoresearch_jax.ledger.mailbox import MAX_BYTES, post, waiting
from autoresearch_jax.ledger.requests import SteeringError
from autoresearch_jax.ledger.store import read_history, read_records
from autoresearch_jax.report import View
from autoresearch_jax.research.program_comparison import CHALLENGER, compare
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.service.checker import Checker
from autoresearch_jax.service.client import ServiceError, submit, verdict
from autoresearch_jax.types import (
  Constraint,
  Decision,
  Ends,
  Operation,
  Proposal,
  Status,
  TrialRequest,
)

OBJECTIVE = config().objective
RULES = [
  Strict(),
  Noise(baseline_seeds=3),
  SequentialTest(baseline_seeds=4),
  Paired(baseline_seeds=4),
]


def edited(x, y=-2.0):
  return START.with_text(f'X = {x}\nY = {y}\n')


class NeverAsked(Nudge):
  def propose(self, proposal, context, rng):
    raise AssertionError('the proposer was asked')


@dataclasses.dataclass
class Agent(View):
  """Requests the next program once nothing is due for the last one, then stops the run."""

  directory: object
  programs: list
  over: bool = False
  quiet: int = 0

  def record(self, record, history):
    del record, history
    self.quiet = 0

  def tick(self):
    self.quiet += 1
    if self.quiet < 5:
      return
    self.quiet = 0
    if self.programs:
      post(self.directory, 'try', text='an idea', program=self.programs.pop(0))
    else:
      self.over = True

  def __call__(self):
    return 'Enough.' if self.over else ''


def attended(directory, programs, acceptance, executor=None, max_trials=0):
  agent = Agent(directory, list(programs))
  return run(
    directory,
    max_trials,
    acceptance=acceptance,
    executor=executor or Arithmetic(),
    proposer=NeverAsked(),
    view=agent,
    stop=agent,
    requested_only=True,
  )


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: type(rule).__name__)
def test_only_what_is_requested_runs_until_its_verdict(tmp_path, rule):
  programs = [edited(0.5), edited(4.0), edited(0.25)]
  session = attended(tmp_path, programs, rule)
  history = read_history(tmp_path)
  new = [n for n in history.trials if history.original(n) == n]
  assert [history.edits[n].program for n in new[1:]] == programs
  assert not history.under_test()
  assert history.edits[new[1]].description == 'an idea'
  best = verdict(history, programs[0])
  assert (best.decision, best.undecided) == (Decision.KEEP, False)
  assert verdict(history, programs[1]).decision is Decision.DISCARD
  assert verdict(history, edited(9.0)) is None
  again, states = replay_records(read_records(tmp_path), Greedy(), rule)
  assert (states, again.kept) == (session.states, history.kept)


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: type(rule).__name__)
@given(x=st.floats(0.1, 3.5), y=st.floats(-2.2, -1.8))
@settings(max_examples=20, deadline=None)
def test_a_comparison_has_the_verdict_of_a_run_with_the_same_measurements(
  tmp_path_factory, rule, x, y
):
  directory = tmp_path_factory.mktemp('run')
  program = edited(round(x, 3), round(y, 3))
  attended(directory, [program], rule)
  history = read_history(directory)
  of_run = verdict(history, program)
  measured = {
    (history.original(n) != 0, m.seed): dataclasses.replace(result, measurements=(m,))
    for n, result in history.results.items()
    for m in result.measurements
  }
  failed = next((r for r in history.results.values() if r.status is not Status.OK), None)

  def train(which, seed):
    return failed if failed and which == CHALLENGER else measured[which == CHALLENGER, seed]

  compared = compare(rule, history.objective, (START, program), train)
  assert (compared.decision, compared.undecided) == (of_run.decision, of_run.undecided)
  if failed is None and history.kept[-1] != 0:
    assert compared.reason == of_run.reason.replace('trial 0', 'the other program')


def result_of(program):
  return Arithmetic().result(TrialRequest(1, program, (0,), SPEC.budget))


def trained(programs, executor):
  def train(which, seed):
    request = TrialRequest(which, programs[which], (seed,), SPEC.budget)
    return executor.result(request)

  return train


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: type(rule).__name__)
def test_given_seeds_are_trained_in_turn_and_no_others(tmp_path, rule):
  del tmp_path
  executor, calls = Arithmetic(), []
  programs = (START, edited(0.5))
  train = trained(programs, executor)

  def noting(which, seed):
    calls.append((which, seed))
    return train(which, seed)

  few = compare(rule, OBJECTIVE, programs, noting, seeds=(7, 8, 9))
  assert calls == [(0, 7), (1, 7), (1, 8), (0, 8), (0, 9), (1, 9)]
  assert len(few.gains(OBJECTIVE)) == 3 and few.gain(OBJECTIVE)[0] > 5
  one = compare(rule, OBJECTIVE, programs, train, seeds=(3,))
  if type(rule) in (SequentialTest, Paired):  # one run of a program is not enough for these
    assert one.undecided and 'seed' in one.missing
  else:
    assert not one.undecided and not one.missing


def test_a_program_without_a_score_is_a_crash_with_its_reason():
  candidates = map(edited, itertools.count(1))
  broken = next(p for p in candidates if result_of(p).status is not Status.OK)
  programs = (START, broken)
  found = compare(Paired(), OBJECTIVE, programs, trained(programs, Arithmetic()))
  assert found.decision is Decision.CRASH and 'It went' in found.reason
  assert found.status is not Status.OK


def test_a_program_that_breaks_a_constraint_is_discarded_as_in_a_run():
  programs = (START, edited(0.5))
  train = trained(programs, Arithmetic())
  better = compare(Strict(), OBJECTIVE, programs, train)
  assert better.decision is Decision.KEEP
  ours, theirs = (r[0].metrics[OBJECTIVE.metric] for r in (better.own, better.against))
  constraint = Constraint(OBJECTIVE.metric, '>' if ours < theirs else '<', (ours + theirs) / 2)
  found = compare(Strict(), OBJECTIVE, programs, train, constraints=[constraint])
  assert (found.decision, found.status) == (Decision.DISCARD, Status.INFEASIBLE)
  turned = programs[::-1]
  turned = compare(
    Strict(), OBJECTIVE, turned, trained(turned, Arithmetic()), constraints=[constraint]
  )
  assert 'other program' in turned.reason and turned.status is Status.INFEASIBLE


def test_a_program_that_is_too_long_to_be_read_is_refused(tmp_path):
  attended(tmp_path, [], Noise(baseline_seeds=2))
  with pytest.raises(SteeringError, match='bytes'):
    post(tmp_path, 'try', program=START.with_text(f'X = 1.0\n#{"x" * MAX_BYTES}\n'))


def test_a_check_after_the_end_starts_nothing(tmp_path):
  checker = Checker(SPEC, 8, Limits(isolation='none'), tmp_path)
  checker.close()
  assert checker.check(START).status is Status.CANCELLED
  assert not list(tmp_path.iterdir())


def test_no_trial_is_requested_of_a_run_that_is_over(tmp_path):
  run(tmp_path, 2)
  post(tmp_path, 'end', ends=Ends(max_trials=4))
  run(tmp_path, 0)
  with pytest.raises(ServiceError, match='All 4 trials'):
    list(submit(tmp_path, edited(0.5), 'late'))
  assert not waiting(tmp_path)


def test_the_ends_of_a_search_do_not_end_what_is_requested(tmp_path):
  rule = Noise(baseline_seeds=2)
  run(tmp_path, 3, acceptance=rule)
  session = attended(tmp_path, [edited(0.5), edited(0.25)], rule, max_trials=3)
  assert len(session.history.trials) > 4


def test_a_program_whose_test_an_end_has_cut_off_is_undecided(tmp_path):
  rule = Paired(baseline_seeds=2)
  run(tmp_path, 2, acceptance=rule)
  for trials in range(3, 30):
    post(tmp_path, 'end', ends=Ends(max_trials=trials))
    history = run(tmp_path, 0, acceptance=rule).history
    if tested := history.under_test():
      break
  program = history.edits[next(iter(tested))].program
  list(submit(tmp_path, program, 'again'))  # waits for nothing
  assert verdict(history, program).undecided


def test_a_search_and_requests_take_turns_in_one_run(tmp_path):
  rule = Noise(baseline_seeds=2)
  run(tmp_path, 4, acceptance=rule)
  before = len(read_history(tmp_path).trials)
  attended(tmp_path, [edited(0.5)], rule)
  run(tmp_path, before + 4, acceptance=rule)
  history = read_history(tmp_path)
  assert len(history.trials) == before + 4
  requested = [r.event for r in read_records(tmp_path) if isinstance(r.event, Proposed)]
  assert len([event for event in requested if event.request]) == 1
  replay_records(read_records(tmp_path), Greedy(), rule)


def test_programs_that_cannot_be_tried_are_refused_with_the_reason(tmp_path):
  attended(tmp_path, [edited(0.5)], Noise(baseline_seeds=2))
  for program, sentence in [
    (edited(0.5), 'best program'),
    (START, 'trial 0'),
    (START.with_text('# mine\n', 'notes.py'), 'notes.py'),
  ]:
    with pytest.raises(SteeringError, match=sentence):
      post(tmp_path, 'try', program=program)


def test_nothing_is_run_while_nothing_is_requested(tmp_path):
  session = attended(tmp_path, [], Noise(baseline_seeds=2))
  assert list(session.history.trials) == [0]
  decided = [r.event for r in read_records(tmp_path) if isinstance(r.event, Decided)]
  assert len(decided) == 1


def test_a_comparison_ends_though_a_rule_never_does():
  @dataclasses.dataclass(frozen=True)
  class Never(Noise):
    def undecided(self, state, trial):
      return True

    def ask(self, state):
      return Proposal(Operation.REPLICATE, (1,), seeds=(5,)), state

  scored = (edited(3.0 + x / 8) for x in itertools.count(1))
  programs = (START, next(p for p in scored if result_of(p).status is Status.OK))
  found = compare(Never(), OBJECTIVE, programs, trained(programs, Arithmetic()))
  assert found.undecided


class UntilProposed(View):
  """Stops a search when it has asked its strategy for a trial, before there is a program."""

  over = False

  def record(self, record, history):
    del history
    self.over = self.over or (isinstance(record.event, Proposed) and record.event.trial > 0)

  def __call__(self):
    return 'Enough.' if self.over else ''


def test_a_proposal_that_a_search_left_open_is_not_carried_out(tmp_path):
  rule, until = Noise(baseline_seeds=2), UntilProposed()
  run(tmp_path, 4, acceptance=rule, view=until, stop=until)
  assert read_history(tmp_path).open_proposal is not None
  session = attended(tmp_path, [edited(0.5)], rule)
  assert session.history.open_proposal is None
  declined = [r.event for r in read_records(tmp_path) if isinstance(r.event, Declined)]
  assert 'search left' in declined[-1].reason
  assert verdict(session.history, edited(0.5)).decision is Decision.KEEP
