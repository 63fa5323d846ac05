"""Steering: what each request does to a run, and that no kill loses or doubles one."""

import contextlib
import dataclasses
import pathlib
import re

import pytest
from helpers import kills, synthetic_run
from helpers.dying import Dying, Killed
from helpers.registered import ours
from helpers.synthetic_run import START, Arithmetic, Nudge, replay_records, run
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.acceptance.paired import Paired
from autoresearch_jax.cli import steer as command
from autoresearch_jax.config import ConfigError, from_config_dict, load
from autoresearch_jax.ledger.events import Decided, HandedOver, Resumed, Steered, Stopped
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.mailbox import Mailbox, deliver, post, waiting
from autoresearch_jax.ledger.requests import SteeringError
from autoresearch_jax.ledger.store import Ledger, read_records
from autoresearch_jax.report import View
from autoresearch_jax.report.summary import summary
from autoresearch_jax.research.build import build
from autoresearch_jax.search import STRATEGIES
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.types import Ends, Operation, SteeringRequest, Verb

TRIALS = 12
PATCH = """A patch of the researcher.

--- a/model.py
+++ b/model.py
@@ -1,2 +1,2 @@
-X = 3.0
+X = 0.5
 Y = -2.0
"""


class Reader(Nudge):
  """A proposer that reads words, and notes what it was shown."""

  reads_text = True

  def __init__(self):
    self.seen = []

  def propose(self, proposal, context, rng):
    self.seen.append((context.trial_id, context.hints, context.idea, context.protected))
    while True:
      edit = super().propose(proposal, context, rng)
      if not context.check_duplicate(edit.program).startswith('The edit changes'):
        return edit


def request(number, verb, **fields):
  return SteeringRequest(f'{number:016d}', Verb(verb), 'ada@box', 1.7e9 + number, **fields)


# When so many trials are decided -> what the user asks: every verb, and some that are refused.
SCRIPT = {
  1: [request(1, 'hint', text='Go wide.'), request(2, 'protect', text='Y')],
  2: [request(3, 'try', text='Halve X.'), request(4, 'protect', text='NOTHING')],
  3: [request(5, 'try', patch=PATCH), request(6, 'pause'), request(7, 'resume')],
  4: [request(8, 'remeasure', trial=0, seeds=2), request(9, 'hint', text='Never mind.')],
  5: [request(10, 'withdraw', request=1), request(11, 'unprotect', text='Y')],
  6: [request(12, 'end', ends=Ends(max_trials=TRIALS + 2)), request(13, 'remeasure', trial=99)],
}


@dataclasses.dataclass
class User(View):
  """Asks what the script says, each request once, whatever happens to the run in between."""

  directory: pathlib.Path
  script: dict
  asked: set = dataclasses.field(default_factory=set)

  def record(self, record, history):
    if isinstance(record.event, Decided):
      for number in range(len(history.trials) + 1):
        for each in self.script.get(number, ()):
          if each.id not in self.asked:
            self.asked.add(each.id)
            deliver(self.directory, each)


def require_replayed(directory, session, strategy, acceptance):
  history, states = replay_records(read_records(directory), strategy, acceptance)
  assert states == session.states
  assert history.steering == session.history.steering
  return history


@pytest.mark.parametrize('slots', [1, 2])
@given(step=st.integers(1, 90), late=st.booleans(), remove=st.booleans())
@settings(max_examples=5, deadline=None, phases=[Phase.generate])
def test_a_kill_at_any_step_neither_loses_nor_doubles_a_request(
  tmp_path_factory, slots, step, late, remove
):
  directory, user = tmp_path_factory.mktemp('run'), None
  acceptance = Noise(baseline_seeds=2)
  user = User(directory, SCRIPT)
  with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Killed):
    around = Dying(step, late).around
    patch.setattr(Ledger, 'append', around(Ledger.append))
    patch.setattr(Arithmetic, 'submit', around(Arithmetic.submit))
    if remove:  # between the event and the removal of the file
      patch.setattr(Mailbox, 'remove', around(Mailbox.remove))
    parts = {'executor': Arithmetic(slots=slots), 'proposer': Reader(), 'acceptance': acceptance}
    run(directory, TRIALS, view=user, **parts)
  for _ in range(2):
    parts = {'executor': Arithmetic(slots=slots), 'proposer': Reader(), 'acceptance': acceptance}
    session = run(directory, TRIALS, view=user, **parts)
  history = require_replayed(directory, session, Greedy(), acceptance)
  taken = [r.event.request.id for r in read_records(directory) if isinstance(r.event, Steered)]
  assert sorted(taken) == sorted(user.asked) and len(user.asked) == 13
  assert not waiting(directory)
  refused = {t.request.id[-2:] for t in history.steering.taken.values() if t.event.refused}
  assert {'04', '13'} <= refused <= {'04', '05', '13'}  # the patch may not apply any more
  assert history.next_trial == TRIALS + 2
  (again,) = [p for p in history.proposals.values() if p.seeds == (10**9, 10**9 + 1)]
  assert again.operation is Operation.REPLICATE and again.parents == (0,)


@pytest.mark.slow
def test_a_killed_process_goes_on_with_what_it_was_told(tmp_path):
  command_line = [str(kills.SYNTHETIC), f'--config={kills.SYNTHETIC}']
  command_line += ['--config.executor_options.delay=0.05', '--config.search.max_trials=12']
  directory = tmp_path / 'run'
  asked = [
    [('hint', {'text': 'Go wide.'}), ('protect', {'text': 'Y'})],
    [('remeasure', {'trial': 0}), ('pause', {})],
    [('resume', {}), ('end', {'ends': Ends(max_trials=14)})],
  ]
  process = kills.start(command_line, directory)
  for posts in asked:
    while not (directory / 'ledger.db').exists() or not _trials(directory):
      assert process.poll() is None
    for verb, fields in posts:
      post_when_possible(directory, verb, **fields)
    process.kill()
    process.communicate()
    process = kills.start(command_line, directory)
  _, error = process.communicate(timeout=120)
  assert process.returncode == 0, error
  history = kills.require_consistent(directory, 14)
  assert [t.request.verb for t in history.steering.taken.values()] == [
    Verb(verb) for posts in asked for verb, _ in posts
  ]
  assert not any(t.event.refused for t in history.steering.taken.values())
  replayed, _ = replay_records(read_records(directory), Greedy(), Noise())
  assert replayed.steering == history.steering


def _trials(directory):
  try:
    return History.of(read_records(directory)).trials
  except Exception:  # it is being created
    return {}


def post_when_possible(directory, verb, **fields):
  """Posts a request as soon as those before it are taken up."""
  while True:
    with contextlib.suppress(SteeringError):
      return post(directory, verb, **fields)


def test_words_reach_the_proposer_and_the_patch_is_tried_next(tmp_path):
  run(tmp_path, 1, proposer=Reader())
  post(tmp_path, 'hint', text='Go\nwide.')
  post(tmp_path, 'try', text='Halve X.')
  post(tmp_path, 'try', patch=PATCH, author='ada')
  proposer = Reader()
  session = run(tmp_path, 4, proposer=proposer)
  assert (1, ('Go wide.',), 'Halve X.', ()) in proposer.seen
  assert [seen[2] for seen in proposer.seen if seen[0] == 3] in ([''], ['', ''])
  first, second = list(session.history.steering.taken.values())[1:]
  assert (first.trial, second.trial) in [(1, 2), (None, 1)]  # the proposer may have no idea
  edit = session.history.edits[second.trial]
  assert edit.program.text() == START.text().replace('X = 3.0', 'X = 0.5')
  assert (edit.author, edit.description) == ('ada', 'A patch of the researcher.')


def test_no_trial_begins_in_a_pause_and_its_time_does_not_count(tmp_path):
  user = User(tmp_path, {2: [request(1, 'pause')]})
  calls = []

  def stop():
    calls.append(waiting(tmp_path))
    return 'Enough.' if len(calls) > 400 else ''

  session = run(tmp_path, TRIALS, view=user, stop=stop)
  paused = session.history
  assert paused.steering.paused.request.author == 'ada@box'
  assert len(paused.trials) <= 3 and not paused.running
  post(tmp_path, 'resume')
  session = run(tmp_path, TRIALS)
  assert len(session.history.trials) == TRIALS
  require_replayed(tmp_path, session, Greedy(), Noise())


def test_no_edit_changes_what_is_protected(tmp_path):
  before = dict(run(tmp_path, 3).history.edits)
  post(tmp_path, 'protect', text='Y')
  session = run(tmp_path, TRIALS, proposer=Reader())
  before = {edit.program.text().splitlines()[1] for edit in before.values()}
  after = {edit.program.text().splitlines()[1] for edit in session.history.edits.values()}
  assert after == before and len(session.history.edits) > 5
  with pytest.raises(SteeringError, match=r'protected already, by'):
    post(tmp_path, 'protect', text='Y')


@pytest.mark.parametrize(
  ('verb', 'fields', 'words'),
  [
    ('hint', {'text': ' '}, 'hint is empty'),
    ('hint', {'text': 'x' * 3000}, '3000 characters'),
    ('try', {'patch': 'no patch'}, 'patch cannot be read'),
    ('try', {'patch': PATCH.replace('3.0', '7.0')}, 'does not apply'),
    ('try', {'patch': PATCH.replace('model.py', 'notes.py')}, 'does not apply|notes.py'),
    ('protect', {'text': 'XX'}, 'did you mean X'),
    ('unprotect', {'text': 'X'}, 'not protected'),
    ('resume', {}, 'not paused'),
    ('remeasure', {'trial': 77}, '77 was not kept'),
    ('remeasure', {'trial': 0, 'seeds': 1000}, 'seeds is 1000'),
    ('end', {}, 'Name an end'),
    ('end', {'ends': Ends(max_trials=2)}, '3 trials have begun'),
    ('end', {'ends': Ends(max_hours=1e-9)}, 'in the past'),
    ('end', {'ends': Ends(max_dollars=-1.0)}, 'at least 0'),
    ('end', {'ends': Ends(target=1e9)}, 'reached'),
    ('end', {'ends': Ends(max_trials=10**400)}, 'finite'),
    ('withdraw', {'request': 3}, 'Request 3 cannot be withdrawn'),
    ('dance', {}, 'dance'),
    ('remeasure', {'trial': 'one'}, 'int'),
  ],
)
def test_what_cannot_be_done_is_refused_at_the_door(tmp_path, verb, fields, words):
  run(tmp_path, 3)
  with pytest.raises(SteeringError, match=words):
    post(tmp_path, verb, **fields)
  assert not waiting(tmp_path)


def test_files_that_are_no_requests_are_set_aside(tmp_path):
  run(tmp_path, 1)
  folder = tmp_path / 'steering'
  folder.mkdir()
  (folder / '1.json').write_text('{"id": 3')
  (folder / '2.json').write_bytes(b'\xff\xfe')
  session = run(tmp_path, 2)
  assert not session.history.steering.taken
  assert sorted(path.suffix for path in folder.iterdir()) == ['.unreadable'] * 2


ENDS = {
  'hours': (Ends(max_hours=50 / 3600), 'hours; the limit is'),
  'dollars': (Ends(max_dollars=2.0), r'cost \$2\.\d\d'),
  'target': (Ends(target=12.0), 'target val_loss 12 is reached'),
  'patience': (Ends(patience=3), 'last 3 new programs'),
  'trials': (Ends(max_trials=9), 'All 9 trials'),
}


@pytest.mark.parametrize('name', ENDS)
def test_each_end_ends_the_search_and_a_larger_one_goes_on(tmp_path, name):
  end, words = ENDS[name]
  clock, search = synthetic_run.ticking(), {'dollars_per_hour': 144.0}
  run(tmp_path, 2, clock=clock, search=search)
  post(tmp_path, 'end', ends=dataclasses.replace(Ends(max_trials=200), **end.given()))
  session = run(tmp_path, 2, clock=clock, search=search)
  stopped = read_records(tmp_path)[-1].event
  assert isinstance(stopped, Stopped)
  assert re.search(words, stopped.reason), stopped.reason
  assert 'Left: ' not in summary(session.history)
  assert not session.history.running and 3 <= session.history.next_trial < 200
  count = session.history.next_trial
  larger = {'max_hours': 9.0, 'max_dollars': 1e6, 'patience': 99, 'target': 0.0}
  later = run(tmp_path, count + 3, clock=clock, search={**search, **larger})
  assert later.history.next_trial > count
  require_replayed(tmp_path, later, Greedy(), Noise())


def test_a_steered_end_survives_another_change_of_the_config(tmp_path):
  run(tmp_path, 1)
  started = read_records(tmp_path)[0]
  new = started.event.config
  old = {**new, 'search': {k: v for k, v in new['search'].items() if k != 'max_hours'}}
  asked = Steered(request(1, 'end', ends=Ends(max_hours=8.0, patience=5)))
  changed = {**new, 'final_seeds': 2, 'search': {**new['search'], 'patience': 9}}
  history = History()
  for event in (dataclasses.replace(started.event, config=old), asked, Resumed(config=changed)):
    history.apply(dataclasses.replace(started, event=event))
  assert history.steering.ends == Ends(max_hours=8.0)  # an earlier version had no such field


@pytest.mark.parametrize('name', sorted(ours(STRATEGIES)))
def test_every_strategy_takes_over_and_is_told_of_steered_trials(tmp_path, name):
  try:
    STRATEGIES.make(name).search_space(START)
  except ValueError as error:
    pytest.skip(str(error))
  search = {'patience': 2, 'after_patience': name}
  user = User(
    tmp_path, {4: [request(1, 'remeasure', trial=0)], 9: [request(2, 'try', patch=PATCH)]}
  )
  session = run(tmp_path, 16, search=search, view=user, executor=Arithmetic(slots=2))
  events = [record.event for record in read_records(tmp_path)]
  assert [e.strategy for e in events if isinstance(e, HandedOver)] == [name]
  assert type(session.controller.strategy) is type(STRATEGIES.make(name))
  require_replayed(tmp_path, session, Greedy(), Noise())


def test_a_strategy_that_can_never_take_over_is_refused():
  made = from_config_dict(load('digits'), {'search.after_patience': 'tree'})
  with pytest.raises(ConfigError, match='patience'):
    build(made)
  search = dataclasses.replace(made.search, patience=5)
  assert build(dataclasses.replace(made, search=search)).settings().after_patience == 'tree'


def test_a_remeasured_trial_disturbs_no_pair(tmp_path):
  rule = Paired(baseline_seeds=2)
  user = User(tmp_path, {3: [request(1, 'remeasure', trial=0, seeds=1)]})
  session = run(tmp_path, TRIALS, view=user, acceptance=rule)
  (taken,) = session.history.steering.taken.values()
  assert session.history.trials[taken.trial].verdict.reason
  require_replayed(tmp_path, session, Greedy(), rule)


def test_the_command_posts_lists_and_refuses(tmp_path, capsys):
  run(tmp_path, 3)
  directory = str(tmp_path)
  assert command.main([directory, 'hint', 'Go', 'wide.', '--author=ada']) == 0
  said = capsys.readouterr().out
  assert "hint 'Go wide.', by ada" in said and 'next start' in said and 'cannot read' in said
  assert command.main([directory, 'end', '--hours=8', '--patience=20']) == 0
  assert command.main([directory, 'end', '--target=-1.5']) == 0
  assert 'target -1.5' in capsys.readouterr().out
  assert command.main([directory, 'list']) == 0
  assert 'waits' in capsys.readouterr().out
  run(tmp_path, 3)
  assert command.main([directory, 'list']) == 0
  said = capsys.readouterr().out
  assert 'taken up' in said and '8.0 hours' in said and 'without a keep' in said
  for arguments, words in [
    (['hnt', 'x'], 'did you mean hint'),
    (['hint'], 'hint TEXT'),
    (['try', 'this'], 'as a patch'),
    (['try'], 'either an idea in words or --patch'),
    (['pause', 'now'], 'pause'),
    (['pause', '--hours=3'], '--hours does not go with'),
    (['try', '--patch=/nowhere.diff'], 'Cannot read /nowhere.diff'),
    (['remeasure', 'best'], "'best' is not the number"),
    (['end', '--hours=-1'], 'hours'),
  ]:
    assert command.main([directory, *arguments]) == 2
    assert words in capsys.readouterr().err
  assert command.main(['/nowhere', 'pause']) == 2
