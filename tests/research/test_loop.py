"""The loop: nothing is lost or doubled wherever it is killed, and it says why it stops."""

import contextlib
import dataclasses
import re
import threading

import pygit2
import pytest
from helpers import synthetic_run
from helpers.dying import Dying, Killed
from helpers.synthetic_run import START, Arithmetic, Nudge, SeedBySeed, replay_records, run, ticking
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.acceptance.simplicity import Simplicity
from autoresearch_jax.config import ConfigError, Search
from autoresearch_jax.executors import Unavailable
from autoresearch_jax.ledger.events import (
  Decided,
  Declined,
  Edited,
  Finished,
  LedgerError,
  Proposed,
  Resumed,
  SeedFailed,
  SeedFinished,
  Started,
  Stopped,
)
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import RERUNS
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.messages import ComponentError
from autoresearch_jax.proposers import NothingToPropose, Proposer
from autoresearch_jax.research import pruning
from autoresearch_jax.research.decisions import MAX_DECLINED
from autoresearch_jax.search import Strategy
from autoresearch_jax.search.greedy import Greedy

TRIALS = 12


def events(directory):
  with Ledger.read(directory / 'ledger.db') as ledger:
    return [record.event for record in ledger.records()]


def decisions(directory):
  """What the run did, without sessions, false starts and reports of single seeds."""
  others = Started | Resumed | Stopped | SeedFinished | SeedFailed
  return [event for event in events(directory) if not isinstance(event, others)]


def of(kind, found):
  return [event.trial for event in found if isinstance(event, kind)]


def run_until_killed(monkeypatch, directory, dying, slots, acceptance, kind=Arithmetic):
  with monkeypatch.context() as patch:
    patch.setattr(Ledger, 'append', dying.around(Ledger.append))
    for name in ('record_trial', 'record_verdict', 'write_results', 'append_row', '_append',
                 '_set_head', '_show_incumbent'):  # fmt: skip
      patch.setattr(Workspace, name, dying.around(getattr(Workspace, name)))
    patch.setattr(Arithmetic, 'submit', dying.around(Arithmetic.submit))
    executor = kind(slots=slots)
    run(directory, TRIALS, executor=executor, acceptance=acceptance, pruning=True)


@pytest.mark.parametrize('count', range(5))
@pytest.mark.parametrize('killed', [True, False])
def test_seeds_that_are_done_are_not_trained_again(tmp_path, count, killed):
  class Dying(SeedBySeed):
    def wait(self, timeout):
      if killed and len(self.trained) == count:
        raise Killed
      return super().wait(timeout)

  def stop():
    return 'Ctrl-C' if not killed and len(first.trained) == count else ''

  first, second = Dying(), SeedBySeed()
  with contextlib.suppress(Killed):
    run(tmp_path, 1, executor=first, stop=stop)
  run(tmp_path, 1, executor=second)
  assert first.trained + second.trained == [(0, seed) for seed in range(4)]
  assert len(first.trained) >= count
  if second.submitted:
    done = second.submitted[0].done
    assert [(0, run.measurement.seed) for run in done] == first.trained
    assert second.submitted[0].reference.step_seconds == (0.125 if done else 0.0)
  run(tmp_path / 'whole', 1)
  assert decisions(tmp_path)[2:] == decisions(tmp_path / 'whole')[2:]


def test_a_finished_seed_is_on_record_while_the_proposer_works(tmp_path):
  logged = threading.Event()

  class Waiting(Nudge):
    def propose(self, proposal, context, rng):
      assert context.trial_id < 2 or logged.wait(20)
      return super().propose(proposal, context, rng)

  class Sound(SeedBySeed):
    def result(self, request):
      return super().result(dataclasses.replace(request, program=START, known={}))

  class Watching(synthetic_run.Blind):
    def record(self, record, history):
      if isinstance(record.event, SeedFinished) and record.event.trial:
        logged.set()

  live = run(tmp_path, 4, proposer=Waiting(), executor=Sound(), view=Watching())
  assert logged.is_set() and len(live.history.trials) == 4
  assert 'AssertionError' not in str(events(tmp_path))


RULES = [Noise(), SequentialTest(), Simplicity('sequential')]


@pytest.fixture(scope='module')
def hasty():
  """Trials are ended early after a few of them."""
  with pytest.MonkeyPatch.context() as monkeypatch:
    monkeypatch.setattr(pruning, 'MIN_PROGRAMS', 5)
    monkeypatch.setattr(pruning, 'ERROR_RATE', 0.1)
    yield


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, hasty):
  """What each rule's run decides when nobody kills it; some of it ends early."""
  found = []
  for rule in RULES:
    directory = tmp_path_factory.mktemp('undisturbed')
    run(directory, TRIALS, acceptance=rule, pruning=True)
    found.append(decisions(directory))
  finished = [event for decided in found for event in decided if isinstance(event, Finished)]
  assert any(event.result.status is types.Status.PRUNED for event in finished)
  return found


@settings(max_examples=14, deadline=None)
@given(
  steps=st.lists(st.tuples(st.integers(1, 90), st.booleans()), min_size=1, max_size=3),
  rule=st.integers(0, len(RULES) - 1),
  kind=st.sampled_from([Arithmetic, SeedBySeed]),
)
def test_killed_at_any_step_it_goes_on_as_if_nothing_had_happened(
  tmp_path_factory, undisturbed, steps, rule, kind
):
  directory = tmp_path_factory.mktemp('killed')
  with pytest.MonkeyPatch.context() as monkeypatch:
    for step, late in steps:
      try:
        run_until_killed(monkeypatch, directory, Dying(step, late), 1, RULES[rule], kind)
      except Killed:
        continue
  live = run(directory, TRIALS, executor=kind(), acceptance=RULES[rule], pruning=True)
  reported = [
    (e.trial, e.result.measurement.seed) for e in events(directory) if isinstance(e, SeedFinished)
  ]
  assert len(set(reported)) == len(reported)
  assert decisions(directory) == undisturbed[rule]
  with Ledger.read(directory / 'ledger.db') as ledger:
    assert replay_records(ledger.records(), Greedy(), live.acceptance)[1] == live.states


@settings(max_examples=10, deadline=None)
@given(
  steps=st.lists(st.tuples(st.integers(1, 90), st.booleans()), min_size=1, max_size=3),
  rule=st.sampled_from(RULES),
)
def test_with_trials_side_by_side_none_is_lost_or_doubled(tmp_path_factory, hasty, steps, rule):
  directory = tmp_path_factory.mktemp('killed')
  with pytest.MonkeyPatch.context() as monkeypatch:
    for step, late in steps:
      try:
        run_until_killed(monkeypatch, directory, Dying(step, late), 3, rule)
      except Killed:
        continue
  run(directory, TRIALS, executor=Arithmetic(slots=3), acceptance=rule, pruning=True)
  found = events(directory)
  assert of(Edited, found) == list(range(TRIALS))
  for kind in (Finished, Decided):
    assert sorted(of(kind, found)) == list(range(TRIALS))
  assert len((directory / 'results.tsv').read_text().splitlines()) == TRIALS + 1


@pytest.mark.parametrize('slots', [1, 3])
def test_a_night_with_replications_ends_in_order(tmp_path, slots):
  """The branch holds the kept programs in turn, results.tsv a row a trial, the strategy goes on."""
  live = run(tmp_path, 100, acceptance=SequentialTest(), executor=Arithmetic(slots=slots))
  history = live.history
  assert list(sorted(history.trials)) == list(range(100))
  kept = history.kept
  repeats = [t for t in history.trials.values() if t.proposal.operation in RERUNS]
  assert len(repeats) > 5 and len(kept) > 3
  assert any(history.original(trial) != trial for trial in kept)
  assert live.states.strategy.incumbent == kept[-1]

  lines = (tmp_path / 'results.tsv').read_text().splitlines()[1:]
  assert [line.split('\t')[3] for line in lines] == [
    t.verdict.decision for t in history.trials.values()
  ]
  assert sum('replicate trial' in line for line in lines) >= len(repeats)

  repository = pygit2.Repository(str(tmp_path / 'repo'))
  walker = repository.walk(repository.head.target)
  walker.simplify_first_parent()
  texts = [commit.tree['model.py'].data.decode() for commit in walker]
  assert texts[::-1] == [history.edits[trial].program.text() for trial in kept]
  subject = repository[repository.head.target].message.splitlines()[0]
  assert history.edits[history.original(kept[-1])].description in subject
  assert (tmp_path / 'repo' / 'model.py').read_text() == texts[0]


def test_the_baseline_comes_first_and_alone(tmp_path):
  executor = Arithmetic(slots=4)
  live = run(tmp_path, 6, executor=executor)
  found = events(tmp_path)
  assert found[1] == Proposed(0, types.Proposal(types.Operation.DRAFT, seeds=(0, 1, 2, 3)))
  assert [type(event) for event in found[2:5]] == [Edited, Finished, Decided]
  assert live.history.edits[0].program == START
  assert executor.submitted[0].known == {}
  assert executor.submitted[0].budget == synthetic_run.SPEC.budget


def test_all_slots_are_kept_busy(tmp_path):
  under_way = []

  class Watching(Arithmetic):
    def wait(self, timeout):
      under_way.append(len(self.queue))
      return super().wait(timeout)

  run(tmp_path, 30, executor=Watching(slots=3))
  assert under_way[0] == 1
  assert max(under_way) == 3
  assert under_way.count(3) > 15


def test_a_failed_baseline_stops_the_run(tmp_path):
  live = run(tmp_path, executor=Arithmetic(fail_baseline=True))
  assert live.failed
  assert events(tmp_path)[-1].reason.startswith('The baseline failed')
  again = run(tmp_path)
  assert again.failed
  assert of(Proposed, events(tmp_path)) == [0]


def test_the_limit_counts_the_baseline_and_may_be_raised(tmp_path):
  assert run(tmp_path, 1).history.next_trial == 1
  assert run(tmp_path, 1).history.next_trial == 1
  assert 'All 1 trials' in events(tmp_path)[-1].reason
  assert run(tmp_path, 4).history.next_trial == 4
  assert run(tmp_path, 2).history.next_trial == 4


@dataclasses.dataclass
class Failing(Proposer):
  error: Exception

  def propose(self, proposal, context, rng):
    raise self.error


@pytest.mark.parametrize(
  ('error', 'failed'), [(NothingToPropose('Nothing left.'), False), (OSError('No line.'), True)]
)
def test_a_proposer_that_gives_nothing_is_asked_a_few_times(tmp_path, error, failed):
  run(tmp_path, proposer=Failing(error))
  *_, last, stopped = events(tmp_path)
  assert isinstance(last, Declined)
  assert last.failed == failed
  assert str(error) in last.reason
  assert len(of(Declined, events(tmp_path))) == MAX_DECLINED
  assert stopped == Stopped(f'{MAX_DECLINED} proposals in a row produced no program.')
  assert run(tmp_path, 5).history.next_trial == 5  # with a proposer that has ideas again


@dataclasses.dataclass
class Writing(Proposer):
  """Gives the same edit each time."""

  edit: types.Edit

  def propose(self, proposal, context, rng):
    return self.edit


CLAIM = types.Hypothesis('It is better.')


@pytest.mark.parametrize(
  ('edit', 'sentence'),
  [
    (types.Edit(START.with_text('Z = 1\n', 'notes.py'), 'x', CLAIM), 'changes notes.py; only mod'),
    (types.Edit(START.with_text('Z = 1\n', 'new.py'), 'x', CLAIM), 'changes new.py; only model.py'),
    (types.Edit(types.Program(START.files, 'notes.py'), 'x', CLAIM), 'makes notes.py the entry'),
    (types.Edit(START.with_text('X = "\ud800"'), 'x', CLAIM), 'surrogates not allowed'),
    (types.Edit(START, 7, CLAIM), 'Expected `str`, got `int`'),
    ('nonsense', 'Expected `object`, got `str`'),
  ],
)
def test_an_edit_that_breaks_the_rules_is_recorded_and_goes_no_further(tmp_path, edit, sentence):
  live = run(tmp_path, proposer=Writing(edit))
  assert sentence in events(tmp_path)[-2].reason
  assert live.history.next_trial == 1


@dataclasses.dataclass(frozen=True)
class Fixed(Strategy):
  """A strategy that always asks for the same."""

  proposal: types.Proposal

  def init(self, objective):
    return None

  def ask(self, state, rng):
    return self.proposal, state

  def tell(self, state, trial):
    return state


@pytest.mark.parametrize('operation', [types.Operation.REPLICATE, types.Operation.PROMOTE])
def test_the_same_program_again_needs_no_proposer_and_is_no_duplicate(tmp_path, operation):
  executor = Arithmetic()
  asked = types.Proposal(operation, (0,), fidelity=0.5, seeds=(7, 8))
  live = run(tmp_path, 2, strategy=Fixed(asked), proposer=Failing(OSError()), executor=executor)
  request = executor.submitted[-1]
  assert (request.program, request.seeds, request.known) == (START, (7, 8), {})
  assert request.budget == types.Budget(1.0, 'steps')
  assert live.history.trials[1].result.status == types.Status.OK


class Remark(Proposer):
  """Adds a comment, so that the program computes the same."""

  def propose(self, proposal, context, rng):
    text = f'{context.parents[0].text()}# {rng.integers(10**9)}\n'
    return types.Edit(context.parents[0].with_text(text), 'remark', CLAIM)


@pytest.mark.parametrize('again', [False, True])
def test_programs_that_were_tried_are_trained_where_duplicates_are_allowed(
  tmp_path, monkeypatch, again
):
  made = synthetic_run.config(search=Search(allow_duplicates=again))
  monkeypatch.setattr(synthetic_run, 'config', lambda: made)
  executor = Arithmetic()
  live = run(tmp_path, 5, proposer=Remark(), executor=executor)
  wanted = types.Status.OK if again else types.Status.DUPLICATE
  assert [live.history.results[trial].status for trial in range(1, 5)] == [wanted] * 4
  assert len(executor.submitted) == (5 if again else 1)


def test_an_edit_that_the_strategy_brings_is_taken(tmp_path):
  edit = types.Edit(START.with_text('X = 1.0\nY = 0.0\n'), 'set X', CLAIM)
  asked = types.Proposal(types.Operation.IMPROVE, (0,), edit=edit)
  live = run(tmp_path, 2, strategy=Fixed(asked), proposer=Failing(OSError()))
  assert live.history.edits[1] == edit


class Mixed(Fixed):
  """Asks the proposer first, then brings an edit of its own."""

  def init(self, objective):
    return 0

  def ask(self, state, rng):
    asked = self.proposal if state else dataclasses.replace(self.proposal, edit=None)
    return asked, state + 1


def test_a_trial_is_never_called_a_twin_of_one_that_began_later(tmp_path):
  class Second(Arithmetic):
    """Fails once trial 2 is done, while trial 1 runs."""

    def wait(self, timeout):
      if self.queue and len(self.submitted) == 2:
        return []  # until trial 2 is there as well
      self.queue.sort(key=lambda request: -request.trial)
      if len(self.submitted) == 3 and len(self.queue) < 2:
        raise Unavailable('The device is lost.')
      return [self.result(self.queue.pop(0))] if self.queue else []

  def near(value):
    return types.Edit(START.with_text(f'X = {value}\nY = -2.0\n'), f'set X to {value}', CLAIM)

  parts = {
    'strategy': Mixed(types.Proposal(types.Operation.IMPROVE, (0,), edit=near(2.01))),
    'proposer': Writing(near(2.0)),
  }
  live = run(tmp_path, 3, executor=Second(slots=2), prefetch=0, **parts)
  assert live.history.running == [1] and 2 in live.history.results
  live = run(tmp_path, 3, executor=Arithmetic(slots=2), prefetch=0, **parts)
  assert live.history.results[1].status is not types.Status.DUPLICATE


def test_parents_that_do_not_exist_are_the_strategys_mistake(tmp_path):
  run(tmp_path, strategy=Fixed(types.Proposal(types.Operation.IMPROVE, (9,))))
  assert 'The strategy named parents (9,)' in events(tmp_path)[-2].reason


def test_a_proposer_sees_parents_history_and_what_was_tried(tmp_path):
  seen = []

  class Looking(Nudge):
    def propose(self, proposal, context, rng):
      seen.append(dataclasses.replace(context, tried=set(context.tried)))
      return super().propose(proposal, context, rng)

  live = run(tmp_path, 6, proposer=Looking())
  last = seen[-1]
  assert last.parents[0] == live.history.edits[live.history.proposals[5].parents[0]].program
  assert last.editable == ('model.py',)
  assert last.tried == {live.history.edits[trial].program.digest for trial in range(5)}
  with pytest.raises(TypeError):
    last.history[99] = None


def test_a_proposer_sees_what_was_kept_in_the_end_and_what_is_still_open(tmp_path):
  seen = []

  class Looking(Nudge):
    def propose(self, proposal, context, rng):
      verdicts = {number: trial.verdict for number, trial in context.history.items()}
      seen.append((proposal, set(context.kept), context.undecided, verdicts))
      return super().propose(proposal, context, rng)

  executor = Arithmetic(slots=3)
  history = run(
    tmp_path, 60, proposer=Looking(), acceptance=SequentialTest(), executor=executor
  ).history
  for proposal, kept, undecided, verdicts in seen:
    known = [n for n, verdict in verdicts.items() if verdict.decision == types.Decision.KEEP]
    assert kept == {history.original(number) for number in known}
    assert undecided <= {*proposal.context} - kept
    assert all('inconclusive' in verdicts[n].reason for n in undecided if n in history.proposals
               and history.proposals[n].operation not in RERUNS)  # fmt: skip
  assert any(undecided for _, _, undecided, _ in seen)
  replicated = {history.original(number) for number in history.kept} - {*history.kept}
  assert replicated and replicated <= seen[-1][1]


def test_known_programs_are_those_tried_at_the_same_budget(tmp_path):
  executor = Arithmetic()
  live = run(tmp_path, 10, executor=executor)
  known = executor.submitted[-1].known
  results = live.history.results
  assert known == {
    results[trial].fingerprint: trial
    for trial in range(9)
    if results[trial].status != types.Status.DUPLICATE
  }
  assert live.history.fingerprints(0.5) == {}


class Broken(Arithmetic):
  """Returns what no executor should."""

  def wait(self, timeout):
    news = super().wait(timeout)
    if not news or not news[1].trial:
      return news
    result = news[1]
    measurement = types.Measurement(0, {'val_loss': self.value}, types.Cost())
    return [
      *(types.SeedResult(trial, '', measurement) for trial in (result.trial, 99)),
      types.Result(99, types.Status.OK),
      dataclasses.replace(result, status=types.Status.OK, measurements=(measurement,)),
      result,
    ]


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 'text'])
def test_a_result_that_cannot_be_recorded_is_a_crash(tmp_path, value):
  executor = Broken()
  executor.value = value
  live = run(tmp_path, 3, executor=executor)
  for trial in (1, 2):
    assert live.history.results[trial].status == types.Status.CRASH
    assert 'cannot be recorded' in live.history.results[trial].reason
  assert sorted(of(Finished, events(tmp_path))) == [0, 1, 2]


def test_a_result_without_the_metric_is_a_crash(tmp_path):
  class Blank(Arithmetic):
    def measured(self, x, y, luck, seed, request):
      return types.Measurement(seed, {'other': 1.0}, types.Cost())

  live = run(tmp_path, executor=Blank())
  assert live.failed
  assert live.history.trials[0].verdict.reason == 'The executor measured no finite val_loss.'


def test_a_stop_leaves_running_trials_for_the_next_start(tmp_path):
  stop = ['']

  class Interrupted(Arithmetic):
    def wait(self, timeout):
      news = super().wait(timeout)
      if len(self.submitted) == 4:
        stop[0] = 'enough'
        return [types.Result(3, types.Status.CRASH, 'The runner was interrupted.')]
      return news

  live = run(tmp_path, executor=Interrupted(), stop=lambda: stop[0])
  assert events(tmp_path)[-1] == Stopped('enough')
  assert live.history.running == [3]
  assert 3 in run(tmp_path, 5).history.trials
  assert of(Edited, events(tmp_path)) == [0, 1, 2, 3, 4]


def test_another_config_or_other_data_do_not_resume(tmp_path, monkeypatch):
  run(tmp_path, 2)
  before = len(events(tmp_path))
  original = synthetic_run.config
  monkeypatch.setattr(synthetic_run, 'config', lambda: original(seed=4, constants={'A': 1}))
  changed = (
    r'config\.constants\.A is 1 and was .absent.; config\.seed is 4 and was 0\. '
    r'.*may change: config\.search\.max_trials'
  )
  with pytest.raises(ConfigError, match=changed):
    run(tmp_path, 3)
  monkeypatch.setattr(synthetic_run, 'config', original)
  with pytest.raises(ConfigError, match='other data'):
    run(tmp_path, 3, dataset='digest of other data')
  assert len(events(tmp_path)) == before


def test_before_the_first_trial_the_config_may_still_change(tmp_path, monkeypatch):
  run(tmp_path, 2, stop=lambda: 'not yet')
  original = synthetic_run.config
  monkeypatch.setattr(synthetic_run, 'config', lambda: original(seed=4))
  assert run(tmp_path, 2).history.config.seed == 4


def test_a_strategy_that_changed_its_mind_does_not_resume(tmp_path):
  run(tmp_path, 4)
  before = len(events(tmp_path))
  with pytest.raises(LedgerError, match='cannot be replayed'):
    run(tmp_path, 6, strategy=Greedy(context_size=1))
  assert len(events(tmp_path)) == before


def test_two_runs_of_one_seed_are_the_same(tmp_path):
  for name in ('one', 'two'):
    run(tmp_path / name, 10, clock=ticking())
  assert events(tmp_path / 'one') == events(tmp_path / 'two')
  assert (tmp_path / 'one' / 'results.tsv').read_bytes() == (
    tmp_path / 'two' / 'results.tsv'
  ).read_bytes()


def test_a_machine_that_fails_ends_the_session_and_leaves_the_trial_for_the_next(tmp_path):
  class Broken(Arithmetic):
    def wait(self, timeout):
      raise Unavailable('No runner comes up.')

  live = run(tmp_path, 3, executor=Broken())
  assert live.unavailable
  assert not live.failed
  assert events(tmp_path)[-1] == Stopped('No runner comes up.')
  assert live.history.running == [0]
  live = run(tmp_path, 3)
  assert not live.unavailable
  assert list(live.history.trials) == [0, 1, 2]


@dataclasses.dataclass(frozen=True)
class Faulty:
  """Any part, one of whose methods breaks at its third call for `error`, or answers `answer`."""

  part: object
  method: str
  error: Exception | None = None
  answer: object = None
  calls: list = dataclasses.field(default_factory=list)

  def __getattr__(self, name):
    function = getattr(self.part, name)
    if name != self.method:
      return function

    def guarded(*arguments):
      self.calls.append(name)
      if len(self.calls) < 3:
        return function(*arguments)
      if self.error is not None:
        raise self.error
      return self.answer

    return guarded


FAULTS = [
  (
    'strategy',
    'ask',
    r'The strategy Faulty of .*test_loop failed when it was asked for trial \d',
  ),
  (
    'strategy',
    'tell',
    r'The strategy Faulty of .*test_loop failed when it was told of trial \d',
  ),
  ('acceptance', 'ask', r'The acceptance rule Faulty .* failed when it was asked for trial \d'),
  ('acceptance', 'decide', r'The acceptance rule Faulty .* failed when it judged trial \d'),
  ('acceptance', 'undecided', r'The acceptance rule Faulty .* when it was asked what is undecided'),
]


@pytest.mark.parametrize(('role', 'method', 'sentence'), FAULTS)
@pytest.mark.parametrize('slots', [1, 3])
def test_a_part_that_raises_is_a_sentence_and_goes_on_when_it_is_mended(
  tmp_path, undisturbed, role, method, sentence, slots
):
  parts = {'strategy': Greedy(), 'acceptance': SequentialTest()}
  faulty = {**parts, role: Faulty(parts[role], method, KeyError('no such thing'))}
  live = run(tmp_path, TRIALS, executor=Arithmetic(slots=slots), pruning=True, **faulty)
  assert live.broken
  reason = events(tmp_path)[-1].reason
  assert re.match(sentence, reason) and 'no such thing' in reason
  assert 'same command' in reason
  run(tmp_path, TRIALS, executor=Arithmetic(slots=slots), pruning=True, **parts)
  assert of(Edited, events(tmp_path)) == sorted(of(Decided, events(tmp_path))) == [*range(TRIALS)]
  if slots == 1:
    assert decisions(tmp_path) == undisturbed[1]


@pytest.mark.parametrize(
  'answer',
  [
    None,
    ('nonsense', None),
    (types.Proposal(types.Operation.IMPROVE, fidelity=float('nan')), None),
  ],
)
@pytest.mark.parametrize(('role', 'method'), [('strategy', 'ask'), ('acceptance', 'decide')])
def test_an_answer_that_cannot_be_recorded_is_the_parts_mistake(tmp_path, role, method, answer):
  parts = {'strategy': Greedy(), 'acceptance': Noise()}
  parts[role] = Faulty(parts[role], method, answer=answer)
  live = run(tmp_path, 6, **parts)
  assert live.broken
  assert re.match(r'The .* Faulty of .* failed when it', events(tmp_path)[-1].reason)
  live = run(tmp_path, 6)
  assert sorted(live.history.trials) == [*range(6)]


@pytest.mark.parametrize(('role', 'method', 'sentence'), FAULTS[:4])
def test_a_part_that_raises_in_replay_is_a_sentence_and_leaves_no_trace(
  tmp_path, role, method, sentence
):
  run(tmp_path, 5, acceptance=SequentialTest())
  before = events(tmp_path)
  parts = {'strategy': Greedy(), 'acceptance': SequentialTest()}
  parts[role] = Faulty(parts[role], method, ValueError('two\nlines'))
  with pytest.raises(
    ComponentError, match=rf'Event \d+ cannot be replayed. {sentence}.*two lines \('
  ):
    run(tmp_path, 6, **parts)
  assert events(tmp_path) == before
  live = run(tmp_path, 6, acceptance=SequentialTest())
  assert sorted(live.history.trials) == [*range(6)]


def test_a_failure_that_is_held_back_while_a_proposer_works_is_not_trained_again(tmp_path):
  """The run is killed before the proposer ends; the restart takes the failure from the ledger."""

  class Diverging(Arithmetic):
    def result(self, request):
      if request.trial == 1:
        return types.Result(1, types.Status.DIVERGED, 'The loss became NaN.', 'x' * 64)
      return super().result(request)

  class Waiting(Nudge):
    """Works on trial 2 until the run is killed."""

    def propose(self, proposal, context, rng):
      if context.trial_id == 2:
        killed.wait(60)
      return super().propose(proposal, context, rng)

  class Watching(synthetic_run.Blind):
    def record(self, record, history):
      if isinstance(record.event, SeedFailed):
        killed.set()
        raise Killed

  killed = threading.Event()
  with pytest.raises(Killed):
    run(tmp_path, 4, executor=Diverging(), proposer=Waiting(), view=Watching())
  found = events(tmp_path)
  assert of(SeedFailed, found) == [1] and 1 not in of(Finished, found)
  again = Diverging()
  run(tmp_path, 4, executor=again)
  assert 1 not in [request.trial for request in again.submitted]
  (result,) = [e.result for e in events(tmp_path) if isinstance(e, Finished) and e.trial == 1]
  assert result.status is types.Status.DIVERGED
