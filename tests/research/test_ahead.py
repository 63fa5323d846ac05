"""The next trial is written and traced while one runs, and nothing about the search changes."""

import dataclasses
import threading

import numpy as np
import pytest
from helpers.dying import Killed
from helpers.synthetic_run import START, Arithmetic, Nudge, replay_records, run
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance.strict import Strict
from autoresearch_jax.executors import Unavailable
from autoresearch_jax.ledger.events import (
  Consulted,
  Declined,
  Edited,
  Finished,
  Learned,
  Proposed,
  Released,
)
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.proposers import NothingToPropose, Proposer
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.search.wrappers.speculative import Speculative

EXCHANGE = types.Exchange('1', 'a model', 'propose', 'sent', request='What?', dollars=0.5)
ANSWERED = dataclasses.replace(EXCHANGE, state='answered', response='That.', dollars=0.1)


def events(directory):
  with Ledger.read(directory / 'ledger.db') as ledger:
    return [record.event for record in ledger.records()]


def order(directory):
  return [
    f'{type(event).__name__} {event.trial}'
    for event in events(directory)
    if isinstance(event, Proposed | Edited | Released | Finished)
  ]


class Landing(Arithmetic):
  """Says when the result of a trial has landed."""

  def __init__(self, trial):
    super().__init__()
    self.trial, self.landed = trial, threading.Event()

  def wait(self, timeout):
    news = super().wait(timeout)
    if any(isinstance(item, types.Result) and item.trial == self.trial for item in news):
      self.landed.set()
    return news


class Pensive(Nudge):
  """Takes its time over one trial, until it is closed."""

  def __init__(self, trial):
    self.trial, self.closed = trial, threading.Event()

  def propose(self, proposal, context, rng):
    if context.trial_id == self.trial:
      self.closed.wait(20)
    return super().propose(proposal, context, rng)

  def close(self):
    self.closed.set()


class Slow(Arithmetic):
  """Trains until the next trial, if one is to come, has been traced."""

  def wait(self, timeout):
    waits = self.queue and self.queue[0].trial not in (0, self.last)
    if waits and len(self.checked) < self.queue[0].trial:
      threading.Event().wait(0.001)
      return []
    return super().wait(timeout)


def slow(last):
  executor = Slow()
  executor.last = last
  return executor


def test_the_next_trial_is_written_and_traced_before_the_last_result(tmp_path):
  executor = slow(3)
  live = run(tmp_path, 4, executor=executor, proposer=Steps())
  assert order(tmp_path)[3:] == [
    'Proposed 1', 'Edited 1', 'Proposed 2', 'Edited 2', 'Finished 1', 'Released 2',
    'Proposed 3', 'Edited 3', 'Finished 2', 'Released 3', 'Finished 3',
  ]  # fmt: skip
  assert executor.checked == [live.history.edits[trial].program for trial in (2, 3)]


def test_a_proposer_is_told_what_is_under_way(tmp_path):
  seen = []

  class Watching(Steps):
    def propose(self, proposal, context, rng):
      seen.append({n: edit.description for n, edit in context.pending.items()})
      return super().propose(proposal, context, rng)

  run(tmp_path, 4, executor=slow(3), proposer=Watching())
  assert seen == [{}, {1: 'step X'}, {2: 'step Y'}]


def test_nothing_is_ahead_where_the_config_says_so(tmp_path):
  executor = Arithmetic()
  run(tmp_path, 4, executor=executor, proposer=Steps(), prefetch=0)
  assert [line.split()[0] for line in order(tmp_path)] == ['Proposed', 'Edited', 'Finished'] * 4
  assert executor.checked == []


@pytest.mark.parametrize('strategy', [Greedy(), Speculative()])
def test_prepared_trials_train_on_while_a_proposer_takes_long(tmp_path, strategy):
  """What landed meanwhile gets its verdict when the edit is there; nobody sees it before."""
  seen = []

  class Long(Nudge):
    def propose(self, proposal, context, rng):
      if context.trial_id == 4:
        assert executor.landed.wait(20)
      seen.append((context.trial_id, max(context.history)))
      name = 'Y = -2.0' if context.trial_id % 2 else 'X = 3.0'
      text = START.text().replace(name, f'{name[0]} = {context.trial_id}.5')
      edit = START.with_text(text)
      return types.Edit(edit, 'another', types.Hypothesis('It helps.'))

  class Watched(Landing):
    def wait(self, timeout):
      if self.queue and self.queue[0].trial and len(self.checked) < 2:
        return []  # until trials 2 and 3 are prepared
      return super().wait(timeout)

    def result(self, request):
      return dataclasses.replace(super().result(request), status=types.Status.OK)

  executor = Watched(3)
  live = run(tmp_path, 8, strategy=strategy, proposer=Long(), executor=executor, prefetch=2)
  assert (4, 1) in seen
  found = order(tmp_path)
  here = found.index('Proposed 4')
  assert found[here : here + 6] == [
    'Proposed 4', 'Released 3', 'Edited 4', 'Finished 2', 'Finished 3', 'Released 4'
  ]  # fmt: skip
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    assert replay_records(ledger.records(), strategy, live.acceptance)[1] == live.states


class Steps(Proposer):
  """Moves X and Y toward zero in turn, by one; each is on a line of its own."""

  def __init__(self):
    self.asked = 0

  def propose(self, proposal, context, rng):
    del proposal, rng
    self.asked += 1
    name, step = ('X', -1.0) if self.asked % 2 else ('Y', 1.0)
    lines = context.parents[0].text().splitlines()
    row = next(n for n, line in enumerate(lines) if line.startswith(name))
    value = float(lines[row].split('=')[1]) + step
    lines[row] = f'{name} = {value}'
    program = context.parents[0].with_text('\n'.join(lines) + '\n')
    return types.Edit(program, f'step {name}', types.Hypothesis(f'{name} is too far.'))


class Sound(Arithmetic):
  """Every program has a score, without noise."""

  def result(self, request):
    x, y = (float(line.split('=')[1]) for line in request.program.text().splitlines())
    runs = tuple(
      types.Measurement(seed, {'val_loss': x * x + y * y}, types.Cost()) for seed in request.seeds
    )
    found = types.Status.OK
    return types.Result(request.trial, found, '', request.program.digest, None, runs)


def test_an_edit_moves_to_the_new_parent_when_the_running_trial_is_kept(tmp_path):
  """X goes 3, 2, 1 and Y -2, -1: each step on top of the one that was kept meanwhile."""
  live = run(
    tmp_path,
    5,
    strategy=Speculative('greedy'),
    proposer=Steps(),
    executor=Sound(),
    acceptance=Strict(),
  )
  texts = [edit.program.text() for edit in live.history.edits.values()]
  assert texts[1:3] == ['X = 2.0\nY = -2.0\n', 'X = 2.0\nY = -1.0\n']
  assert live.history.kept == [0, 1, 2, 3, 4]
  moved = [event for event in events(tmp_path) if isinstance(event, Released)]
  assert [event.proposal.parents for event in moved] == [(1,), (2,), (3,)]
  assert moved[0].edit.program.text() == texts[2]
  assert live.workspace.short_hash(2)
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    assert replay_records(ledger.records(), Speculative('greedy'), Strict())[1] == live.states


def test_an_edit_that_does_not_go_there_is_run_where_it_was_made(tmp_path):
  class OneLine(Steps):
    def propose(self, proposal, context, rng):
      self.asked = 0  # always X
      edit = super().propose(proposal, context, rng)
      text = edit.program.text().replace('X = 2.0', f'X = {2.0 - context.trial_id / 8}')
      return dataclasses.replace(edit, program=edit.program.with_text(text))

  live = run(
    tmp_path,
    3,
    strategy=Speculative('greedy'),
    proposer=OneLine(),
    executor=Sound(),
    acceptance=Strict(),
  )
  assert live.history.proposals[2].parents == (0,)
  assert [e for e in events(tmp_path) if isinstance(e, Released)] == [Released(2)]


@dataclasses.dataclass(frozen=True)
class Turning(Greedy):
  """Asks for trial 0 again, and by the time that can begin for `parents` instead."""

  parents: tuple[int, ...] = (1,)

  def ask(self, state, rng):
    trial, state = super().ask(state, rng)
    if trial.parents and state.incumbent == 0 and self.asked.count(0):
      trial = types.Proposal(types.Operation.REPLICATE, (0,), seeds=(7,))
    self.asked.append(0)
    return trial, state

  def revise(self, state, proposal):
    return dataclasses.replace(proposal, parents=self.parents), state

  @property
  def asked(self):
    return self.__dict__.setdefault('_asked', [])


def test_a_prepared_repeat_says_which_trial_it_repeats_in_the_end(tmp_path):
  live = run(tmp_path, 3, strategy=Turning(), proposer=Steps(), executor=Sound())
  edit = live.history.edits[2]
  assert edit.program == live.history.edits[1].program
  assert edit.description == 'replicate trial 1: step X'


def test_a_revision_that_no_loop_can_run_is_the_strategys_mistake(tmp_path):
  live = run(tmp_path, 3, strategy=Turning(parents=(9,)), proposer=Steps(), executor=Sound())
  assert live.broken
  assert 'named parents (9,); no such trial exists' in events(tmp_path)[-1].reason


class Recording(Greedy):
  """Greedy that writes down what it is asked and told; its state is a text."""

  def init(self, objective):
    return ('init', None)

  def ask(self, state, rng):
    log, incumbent = state
    draw = int(rng.integers(1000))
    return types.Proposal(
      types.Operation.IMPROVE, parents=() if incumbent is None else (incumbent,), guidance='tuning',
      question=str(draw),
    ), (f'{log};ask {draw}', incumbent)  # fmt: skip

  def tell(self, state, trial):
    log, incumbent = state
    kept = trial.verdict.decision is types.Decision.KEEP
    told = f'tell {trial.id} {trial.proposal.parents} {trial.proposal.question}'
    return f'{log};{told}', trial.id if kept else incumbent


@settings(max_examples=20, deadline=None)
@given(keeps=st.lists(st.booleans(), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_the_inner_strategy_is_asked_and_told_as_if_one_trial_came_after_the_other(keeps, seed):
  inner = Recording()
  wrapped = Speculative('greedy')
  vars(wrapped)['strategy'] = inner
  objective = types.Objective('loss', 'minimize')
  baseline = trial(0, types.Proposal(types.Operation.DRAFT), True)
  state = wrapped.tell(wrapped.init(objective), baseline)
  rng = np.random.default_rng(seed)
  running, state = wrapped.ask(state, rng)
  for number, kept in enumerate(keeps, 1):
    prepared, state = wrapped.ask(state, rng)
    state = wrapped.tell(state, trial(number, running, kept))
    running, state = wrapped.revise(state, prepared)

  plain = inner.tell(inner.init(objective), baseline)
  draws = np.random.default_rng(seed)
  for number, kept in enumerate([*keeps, None], 1):
    proposal, plain = inner.ask(plain, np.random.default_rng(int(draws.integers(2**63))))
    if kept is not None:
      plain = inner.tell(plain, trial(number, proposal, kept))
  assert state.inner == plain
  assert running == proposal


def trial(number, proposal, kept):
  decision = types.Decision.KEEP if kept else types.Decision.DISCARD
  edit = types.Edit(START, 'an edit', types.Hypothesis('It helps.'))
  result = types.Result(number, types.Status.OK)
  return types.Trial(number, proposal, edit, result, types.Verdict(decision, 'It is so.'))


@dataclasses.dataclass
class Consulting(Nudge):
  """Records a call before it nudges, and lessons after."""

  def propose(self, proposal, context, rng):
    context.record(EXCHANGE)
    during = context.spend()
    context.record(ANSWERED)
    context.record_lessons((types.Lesson('X is too large.', (0,)),))
    assert (during.dollars, context.spend().dollars) == (0.5, 0.1)
    return super().propose(proposal, context, rng)


def test_calls_are_on_record_before_they_are_made_and_count_once(tmp_path):
  live = run(tmp_path, 3, proposer=Consulting())
  assert live.history.spend == types.Spend(1, 0, 0, 0.1)
  assert [lesson.text for lesson in live.history.lessons] == ['X is too large.']
  found = events(tmp_path)
  first = next(n for n, event in enumerate(found) if isinstance(event, Consulted))
  kinds = [type(event) for event in found[first : first + 3]]
  assert kinds == [Consulted, Consulted, Learned]
  assert found[first].exchange == EXCHANGE
  assert found[first + 1].exchange == ANSWERED


def test_calls_change_no_draw(tmp_path):
  plain = run(tmp_path / 'plain', 6)
  consulted = run(tmp_path / 'consulted', 6, proposer=Consulting())
  assert consulted.history.edits == plain.history.edits


def test_what_cannot_be_recorded_is_the_proposers_error(tmp_path):
  class Broken(Nudge):
    def propose(self, proposal, context, rng):
      context.record(dataclasses.replace(EXCHANGE, dollars=float('nan')))

  run(tmp_path, 2, proposer=Broken())
  declined = [event for event in events(tmp_path) if isinstance(event, Declined)]
  assert declined[0].failed and 'ValidationError' in declined[0].reason


def test_a_stop_does_not_wait_for_a_proposer_and_the_next_start_asks_it_again(tmp_path):
  thinks = threading.Event()

  class Late(Pensive):
    def propose(self, proposal, context, rng):
      thinks.set()
      self.closed.wait(20)
      context.record(EXCHANGE)
      return super().propose(proposal, context, rng)

  proposer = Late(1)
  live = run(tmp_path, 5, proposer=proposer, stop=lambda: 'Enough.' if thinks.is_set() else '')
  assert proposer.closed.is_set()
  assert live.history.open_proposal is not None
  assert not any(isinstance(event, Consulted) for event in events(tmp_path))
  assert run(tmp_path, 5).history.edits == run(tmp_path / 'other', 5).history.edits


@pytest.mark.parametrize('strategy', [Greedy(), Speculative()])
@pytest.mark.parametrize('cut', ['stop', 'machine'])
def test_a_result_that_came_while_a_proposer_thought_outlives_a_stop(tmp_path, strategy, cut):
  """Its trial is not run again, and the run goes on as if there had been no stop."""

  class Cut(Landing):
    def wait(self, timeout):
      if self.landed.is_set() and cut == 'machine':
        raise Unavailable('The disk is full.')
      return super().wait(timeout)

  executor = Cut(3)

  def stop():
    return 'Enough.' if executor.landed.is_set() and cut == 'stop' else ''

  run(tmp_path / 'cut', 8, strategy=strategy, proposer=Pensive(4), executor=executor, stop=stop)
  assert order(tmp_path / 'cut')[-2:] == ['Proposed 4', 'Finished 3']
  again = Arithmetic()
  live = run(tmp_path / 'cut', 8, strategy=strategy, executor=again)
  whole = run(tmp_path / 'whole', 8, strategy=strategy)
  assert 3 not in [request.trial for request in again.submitted]
  assert live.history.edits == whole.history.edits
  assert live.history.proposals == whole.history.proposals
  assert live.states == whole.states


def test_a_result_from_before_a_stop_is_judged_where_no_more_trials_are_wanted(tmp_path):
  executor = Landing(1)
  stop = lambda: 'Enough.' if executor.landed.is_set() else ''  # noqa: E731
  run(tmp_path, 8, proposer=Pensive(2), executor=executor, stop=stop)
  assert list(run(tmp_path, 2).history.trials) == [0, 1]


@dataclasses.dataclass
class Talking(Nudge):
  """Puts calls on record for as long as anybody takes them."""

  said: int = 0

  def propose(self, proposal, context, rng):
    while True:
      self.said += 1
      context.record(dataclasses.replace(EXCHANGE, id=str(self.said)))


def test_a_proposer_that_never_stops_talking_does_not_keep_the_run_from_stopping(tmp_path):
  proposer = Talking()
  run(tmp_path, 5, proposer=proposer, stop=lambda: 'Enough.' if proposer.said > 20 else '')
  assert events(tmp_path)[-1].reason == 'Enough.'


def test_a_proposer_that_exits_is_declined(tmp_path):
  class Exiting(Nudge):
    def propose(self, proposal, context, rng):
      raise SystemExit('I quit.')

  run(tmp_path, 2, proposer=Exiting())
  declined = [event for event in events(tmp_path) if isinstance(event, Declined)]
  assert declined[0].failed and declined[0].reason == 'SystemExit: I quit.'


def test_what_a_proposer_leaves_running_cannot_write_once_it_has_answered(tmp_path):
  left, caught = [], []

  class Leaving(Nudge):
    def propose(self, proposal, context, rng):
      def later():
        threading.Event().wait(0.3)
        try:
          context.record(EXCHANGE)
        except BaseException as error:
          caught.append(type(error).__name__)

      left.append(threading.Thread(target=later, daemon=True))
      left[-1].start()
      return super().propose(proposal, context, rng)

  run(tmp_path, 2, proposer=Leaving())
  for thread in left:
    thread.join(10)
  assert caught == ['Abandoned'] * len(left)


def test_a_trace_ahead_that_fails_costs_no_edit(tmp_path):
  class Broken(Arithmetic):
    def check(self, program, budget):
      raise OSError('No space left on device')

  live = run(tmp_path, 6, executor=Broken(), proposer=Steps())
  assert sorted(live.history.trials) == [*range(6)]
  assert not any(isinstance(event, Declined) for event in events(tmp_path))


def test_a_program_that_was_tried_never_reaches_the_executor(tmp_path):
  class Same(Proposer):
    """Says the same in other words: a comment more each time, or a number that is nearly equal."""

    def propose(self, proposal, context, rng):
      text = context.parents[0].text()
      self.said = getattr(self, 'said', [])
      new = (
        text.replace('3.0', '3.01') if context.trial_id == 2 else f'{text}# {context.trial_id}\n'
      )
      program = context.parents[0].with_text(new)
      self.said.append((context.check_duplicate(program), context.check(program)))
      return types.Edit(program, 'say it again', types.Hypothesis('It helps.'))

  proposer, executor = Same(), Arithmetic()
  live = run(tmp_path, 4, proposer=proposer, executor=executor)
  assert [request.trial for request in executor.submitted] == [0]
  results = [live.history.results[trial] for trial in (1, 2, 3)]
  assert {result.status for result in results} == {types.Status.DUPLICATE}
  assert {result.duplicate_of for result in results} == {0}
  assert executor.checked == []
  assert all(refused == checked == results[n].reason
             for n, (refused, checked) in enumerate(proposer.said))  # fmt: skip


def test_a_run_that_only_repeats_itself_ends(tmp_path):
  class Same(Proposer):
    def propose(self, proposal, context, rng):
      program = context.parents[0].with_text(f'{START.text()}# {context.trial_id}\n')
      return types.Edit(program, 'say it again', types.Hypothesis('It helps.'))

  run(tmp_path, 0, proposer=Same())
  assert events(tmp_path)[-1].reason.startswith('The last 100 trials were duplicates')
  assert run(tmp_path, 103, proposer=Steps()).history.next_trial == 103


def test_a_program_that_only_the_trace_knew_is_remembered_by_the_next_start(tmp_path):
  """As it would have been without a stop: its twin does not reach the executor."""

  class Knowing(Arithmetic):
    def result(self, request):
      if request.trial == 1:
        why = 'It traces to what trial 0 ran.'
        return types.Result(1, types.Status.DUPLICATE, why, 'same', duplicate_of=0)
      return super().result(request)

  class Same(Proposer):
    def propose(self, proposal, context, rng):
      text = f'X = 1.0 + 2.0\nY = -2.0\n# {context.trial_id}\n'
      return types.Edit(START.with_text(text), 'spell X', types.Hypothesis('It helps.'))

  run(tmp_path, 2, proposer=Same(), executor=Knowing())
  executor = Arithmetic()
  live = run(tmp_path, 3, proposer=Same(), executor=executor)
  assert live.history.results[2].duplicate_of == 1
  assert executor.submitted == []


@settings(max_examples=12, deadline=None)
@given(steps=st.lists(st.integers(1, 60), min_size=1, max_size=3))
def test_killed_anywhere_a_speculative_run_goes_on_as_if_nothing_had_happened(
  tmp_path_factory, steps
):
  directory = tmp_path_factory.mktemp('killed')
  append = Ledger.append
  for step in steps:
    count = [0]

    def dying(ledger, event, count=count, step=step):
      count[0] += 1
      if count[0] == step:
        raise Killed
      return append(ledger, event)

    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(Ledger, 'append', dying)
      try:
        run(directory, 10, strategy=Speculative('greedy'))
      except Killed:
        continue
  live = run(directory, 10, strategy=Speculative('greedy'))
  other = run(tmp_path_factory.mktemp('undisturbed'), 10, strategy=Speculative('greedy'))
  assert live.history.edits == other.history.edits
  assert live.states == other.states


def test_a_proposer_that_gives_up_waits_for_the_result_before_it_is_asked_again(tmp_path):
  class Once(Nudge):
    def propose(self, proposal, context, rng):
      if context.trial_id == 2 and 1 not in context.history:
        raise NothingToPropose('I want to see the result first.')
      return synthetic_edit(context)

  def synthetic_edit(context):
    program = context.parents[0].with_text(f'X = {context.trial_id}.5\nY = 0.0\n')
    return types.Edit(program, 'another', types.Hypothesis('It helps.'))

  run(tmp_path, 4, proposer=Once())
  kinds = [type(event) for event in events(tmp_path)]
  assert kinds.count(Declined) == 1
  assert order(tmp_path)[5:9] == ['Proposed 2', 'Finished 1', 'Proposed 2', 'Edited 2']
