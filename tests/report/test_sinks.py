"""Hooks and trackers get the events of a run, and nothing that they do stops or slows it."""

import dataclasses
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import pytest
from helpers import ROOT
from helpers.synthetic_run import Arithmetic, Blind, config, run

from autoresearch_jax.config import ConfigError, checked
from autoresearch_jax.ledger.events import Decided
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import read_history, read_records
from autoresearch_jax.report.sinks import SinkView, opened, sinks_of
from autoresearch_jax.report.sinks.base import Sink, SinkThread
from autoresearch_jax.report.sinks.events import SinkEvent
from autoresearch_jax.report.sinks.hooks import Hooks
from autoresearch_jax.report.sinks.trackers import Tracker, curves_of
from autoresearch_jax.types import to_builtins, to_json

TRIALS = 10


class Curved(Arithmetic):
  """The synthetic executor, with loss curves."""

  def result(self, request):
    result = super().result(request)
    curves = {str(run.seed): [[0.5, 2.0, 0.1], [1.0, 1.5, 0.2]] for run in result.measurements}
    return dataclasses.replace(result, facts={**result.facts, 'curves': curves})


class Fluctuating(Arithmetic):
  """The synthetic executor on a machine that is slow for some trials, as a clock has measured."""

  speeds = (1.0, 0.93, 0.7, 0.92, 0.8, 0.97, 0.91)

  def result(self, request):
    result = super().result(request)
    speed = self.speeds[min(request.trial, len(self.speeds) - 1)]
    runs = tuple(
      dataclasses.replace(m, cost=dataclasses.replace(m.cost, speed=speed, calibration_seconds=0.1))
      for m in result.measurements
    )
    return dataclasses.replace(result, measurements=runs)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """The folder of a run with some trials."""
  directory = tmp_path_factory.mktemp('run')
  run(directory, TRIALS, executor=Curved())
  return directory


@pytest.fixture
def copied(finished, tmp_path):
  """A copy of that folder, which trackers write to."""
  return shutil.copytree(finished, tmp_path / 'copy')


@pytest.fixture
def chat():
  """A server on loopback; `posts` has the bodies that it got, `status` is what it answers."""

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
      body = self.rfile.read(int(self.headers['Content-Length']))
      server.posts.append(json.loads(body))
      self.send_response(server.status)
      self.end_headers()

    def log_message(self, *arguments):
      del arguments

  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
    server.posts, server.status = [], 200
    server.url = f'http://127.0.0.1:{server.server_address[1]}/secret'
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def replayed(directory, sinks):
  """Shows a finished run to sinks as if it went on; returns what was said."""
  said, history = [], History()
  records = read_records(directory)
  history.apply(records[0])
  with (
    opened(sinks, directory, history, said.append) as threads,
    SinkView(Blind(), threads, history) as view,
  ):
    for record in records[1:]:
      history.apply(record)
      view.record(record, history)
  return said


def test_a_command_gets_every_event_and_a_failure_is_said_once(finished, tmp_path):
  log = tmp_path / 'log'
  script = tmp_path / 'hook.py'
  script.write_text(
    f'import sys\nwith open({str(log)!r}, "a") as f: f.write(sys.stdin.read() + "\\n")\n'
  )
  hooks = {'all': f'{sys.executable} {script}', 'discarded': f'{sys.executable} -c "1/0"'}
  said = replayed(finished, [Hooks(hooks)])
  events = [json.loads(line) for line in log.read_text().splitlines()]
  history = read_history(finished)
  assert [e['event'] for e in events][:: len(events) - 1] == ['started', 'ended']
  assert [e['trial']['id'] for e in events if e['trial']] == list(history.trials)
  kept = next(e for e in events if e['event'] == 'kept')
  assert kept['schema'] == 1 and kept['trial']['decision'] == 'keep' and kept['best'] == 0
  assert 'trials' in events[-1]['text']
  assert len(said) == 1 and 'ZeroDivisionError' in said[0] and 'goes on' in said[0]


class Noted(Sink):
  """Notes the events that it gets."""

  def __init__(self):
    self.events = []

  def open(self, run):
    pass

  def take(self, event):
    self.events.append(event)


def test_a_machine_that_changes_is_an_event(tmp_path):
  history = run(tmp_path, len(Fluctuating.speeds), executor=Fluctuating()).history
  assert not any(trial.verdict.drift for trial in history.trials.values())
  sink = Noted()
  replayed(tmp_path, [sink])
  drifts = [event for event in sink.events if event.event == 'drift']
  assert [re.findall(r'trial (\d+)|(\d+%)', e.text) for e in drifts] == [
    [('2', ''), ('', '70%')],
    [('5', ''), ('', '97%')],
  ]
  assert all(event.trial is None for event in drifts)


def test_what_an_acceptance_rule_finds_is_an_event(finished):
  records = read_records(finished)
  place = next(i for i, r in enumerate(records) if isinstance(r.event, Decided) and r.event.trial)
  found = dataclasses.replace(records[place].event.verdict, reason='It moved.', drift=True)
  record = dataclasses.replace(
    records[place], event=dataclasses.replace(records[place].event, verdict=found)
  )
  first, second = SinkEvent.of(record, History.of([*records[:place], record]))
  assert first.trial is not None and second.event == 'drift' and 'It moved.' in second.text


def test_a_url_gets_a_post_and_stays_out_of_messages(finished, chat, monkeypatch):
  monkeypatch.setenv('HOOK', chat.url)
  assert not replayed(finished, [Hooks({'ended': '$HOOK', 'kept': '${HOOK}'})])
  assert [post['event'] for post in chat.posts][-1] == 'ended'
  chat.status = 403
  (said,) = replayed(finished, [Hooks({'ended': '$HOOK'})])
  assert '403' in said and 'secret' not in said
  (said,) = replayed(finished, [Hooks({'ended': 'http://127.0.0.1:1/secret'})])
  assert 'request failed' in said and 'secret' not in said


def test_the_example_posts_to_a_chat(finished, chat):
  environment = {**os.environ, 'CHAT_WEBHOOK_URL': chat.url}
  script = ROOT / 'scripts' / 'notify_chat.py'
  event = {'event': 'kept', 'run': 'digits', 'metric': 'val_loss', 'best': 3, 'best_value': 0.25}
  trial = {'id': 3, 'value': 0.25, 'description': 'halve X'}
  event |= {'text': '', 'trial': trial}
  for status, code in ((200, 0), (500, 1)):
    chat.status = status
    done = subprocess.run(
      [sys.executable, script], input=json.dumps(event).encode(), env=environment, check=False,
      capture_output=True,
    )  # fmt: skip
    assert done.returncode == code
  assert chat.posts[0]['text'] == (
    'digits: trial 3 kept, val_loss 0.25. halve X. Best val_loss: 0.25 (trial 3).'
  )
  assert b'500' in done.stderr
  done = subprocess.run([sys.executable, script], input=b'{}', env={}, check=False)
  assert done.returncode == 2


class Hanging(Sink):
  """Hangs in its first event until it is aborted."""

  def __init__(self):
    self.begun, self.aborted, self.closed = (threading.Event() for _ in range(3))
    self.taken = 0

  def open(self, run):
    del run

  def take(self, event):
    del event
    self.taken += 1
    self.begun.set()
    self.aborted.wait()

  def close(self):
    self.closed.set()

  def abort(self):
    self.aborted.set()


def test_a_sink_that_hangs_holds_nothing_up_and_begins_nothing_after_the_end():
  said, sink = [], Hanging()
  thread = SinkThread(sink, None, said.append)
  for _ in range(5000):
    thread.put(object())
  sink.begun.wait()
  thread.close(0.05)
  assert sink.aborted.is_set() and len(said) == 1
  sink.closed.wait()
  assert sink.taken == 1


class Remembering(Tracker):
  """A tracker that keeps what it logs, and fails with some trials."""

  name = 'remembering'

  def __init__(self, fails=()):
    self.fails, self.logged = fails, []

  def begin(self, run):
    self.run = run

  def log_trial(self, trial, event):
    if trial.id in self.fails:
      raise OSError('no network')
    self.logged.append((trial.id, event.trials, event.best, event.best_value))

  def end(self, event):
    del event


def test_a_later_session_goes_on_with_the_run_and_logs_what_is_missing(copied):
  first, second, new = Remembering(fails=[3]), Remembering(), Remembering()
  (said,) = replayed(copied, [first])
  assert 'no network' in said
  history, said = read_history(copied), []
  for tracker in (second, new):
    with opened([tracker], copied, history, said.append):
      pass
    (copied / 'trackers' / 'remembering.json').unlink()
  assert not said
  assert [row[0] for row in second.logged] == [3]
  assert [row for row in new.logged if row[0] != 3] == first.logged  # with the best of their time
  assert len(new.logged) == len(history.trials)
  assert first.run.key == second.run.key == new.run.key


def test_commands_and_addresses_are_not_passed_on(copied):
  secret = 'https://me:secret@example.org'
  made = config(
    hooks={'kept': secret}, tracker_options={'mlflow': {'uri': secret}}, mirror=secret,
    proposer_options={'base_url': secret}, executor_options={'hosts': secret},
  )  # fmt: skip
  assert b'secret' in to_json(made) and b'secret' not in to_json(made.shareable())
  tracker = Remembering()
  replayed(copied, [tracker])
  assert tracker.run.config == to_builtins(read_history(copied).config.shareable())


@pytest.mark.parametrize(
  ('changed', 'words'),
  [
    ({'hooks': {'begun': 'x'}}, 'hooks has .begun'),
    ({'hooks': {'kept': ' '}}, 'hooks has .kept'),
    ({'hooks': {'kept': 'https:///chat'}}, r'.kept.: a URL must be http'),
    ({'hooks': {'kept': 'https://chat:port/x'}}, r'.kept.: a URL must be http'),
    ({'hooks': {'kept': 'htps://chat/x'}}, r'.kept.: a URL must be http'),
    ({'hooks': {'ended': 'mail "me'}}, 'close its quotes'),
    ({'trackers': ('comet',)}, 'no tracker .comet'),
    ({'tracker_options': {'mlflow': {}}}, 'not in config.trackers'),
    ({'trackers': ('tensorboard',), 'tracker_options': {'tensorboard': {'x': 1}}}, "option 'x'"),
  ],
)
def test_what_cannot_work_is_refused_before_the_run(changed, words):
  pytest.importorskip('tensorboardX')
  with pytest.raises(ConfigError, match=words):
    sinks_of(checked(config(**changed)))


def test_what_will_probably_fail_is_said_before_the_run(finished, monkeypatch):
  monkeypatch.delenv('NOWHERE', raising=False)
  monkeypatch.setenv('SOMEWHERE', 'http://[secret')
  monkeypatch.setenv('QUOTE', "it's")
  hooks = {
    'kept': 'no-such-command -v', 'ended': '$NOWHERE', 'failed': '$SOMEWHERE', 'all': 'say $QUOTE',
  }  # fmt: skip
  sinks = sinks_of(checked(config(hooks=hooks)))
  said = sinks[0].warnings()
  assert [
    re.search(words, line) is not None
    for words, line in zip(
      ('no-such-command', r'\$NOWHERE is not set', 'a URL must', 'cannot be read'),
      said,
      strict=True,
    )
  ] == [True] * 4
  assert 'secret' not in ' '.join(said)
  assert said == replayed(finished, sinks)[: len(said)]
  assert not Hooks({'all': f'{sys.executable} -c pass', 'kept': 'https://chat/x'}).warnings()


def test_a_missing_package_is_a_sentence_with_the_command(monkeypatch):
  monkeypatch.setitem(sys.modules, 'wandb', None)
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  with pytest.raises(ConfigError, match=r"pip install 'autoresearch_jax\[wandb\]'"):
    sinks_of(checked(config(trackers=('wandb',))))


def test_tensorboard_gets_metrics_curves_and_words(copied):
  pytest.importorskip('tensorboardX')
  sinks = sinks_of(checked(config(trackers=('tensorboard',))))
  assert not replayed(copied, sinks)
  tags = event_tags(copied / 'tensorboard')
  history = read_history(copied)
  scored = [n for n, trial in history.trials.items() if trial.result.measurements]
  assert tags.count('trials/val_loss') == len(scored)
  assert tags.count('trials/training_seconds') == len(history.trials)
  curves = [f'loss/trial_{n}_seed_{s}' for n, t in history.trials.items() for s in curves_of(t)]
  assert curves and {*curves} <= {*tags}
  # A session that goes on logs no trial twice.
  sinks = sinks_of(checked(config(trackers=('tensorboard',))))
  said = []
  with opened(sinks, copied, history, said.append):
    pass
  assert not said
  assert event_tags(copied / 'tensorboard').count('trials/val_loss') == len(scored)


def event_tags(folder):
  """Tags of the scalars in TensorBoard's event files."""
  from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415

  tags = []
  for path in sorted(folder.iterdir()):
    data, at = path.read_bytes(), 0
    while at < len(data):
      size = int.from_bytes(data[at : at + 8], 'little')
      event = Event.FromString(data[at + 12 : at + 12 + size])
      tags += [value.tag for value in event.summary.value]
      at += 16 + size
  return tags


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # of packages of its own
def test_mlflow_has_the_run_in_a_local_store(copied):
  pytest.importorskip('mlflow')
  tracking = pytest.importorskip('mlflow.tracking')
  for _ in range(2):  # the second session goes on with the same run
    sinks = sinks_of(checked(config(trackers=('mlflow',))))
    assert not replayed(copied, sinks)
  client = tracking.MlflowClient(f'sqlite:///{copied / "mlflow.db"}')
  (experiment,) = [e for e in client.search_experiments() if e.name == 'autoresearch_jax']
  (made,) = client.search_runs([experiment.experiment_id])
  assert made.data.params['search.strategy'] == 'greedy'
  assert client.get_metric_history(made.info.run_id, 'val_loss')
  assert any(path.path == 'progress.png' for path in client.list_artifacts(made.info.run_id))


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_wandb_writes_a_run_for_later_upload(copied):
  pytest.importorskip('wandb')
  sinks = sinks_of(checked(config(trackers=('wandb',))))
  assert not replayed(copied, sinks)
  (folder,) = pathlib.Path(copied / 'wandb').glob('offline-run-*')
  assert list(folder.glob('*.wandb'))
