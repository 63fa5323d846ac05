"""Hooks and trackers get the events of a run, and nothing that they do stops or slows it."""

import dataclasses
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import pytest
from helpers import ROOT
from helpers.synthetic_run import Arithmetic, Blind, config, run

from autoresearch_jax.config import ConfigError, checked
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import read_history, read_records
from autoresearch_jax.report.sinks import SinkView, opened, sinks_of
from autoresearch_jax.report.sinks.base import Sink, SinkThread
from autoresearch_jax.report.sinks.hooks import Hooks
from autoresearch_jax.report.sinks.trackers import curves_of

TRIALS = 10


class Curved(Arithmetic):
  """The synthetic executor, with loss curves."""

  def result(self, request):
    result = super().result(request)
    curves = {str(run.seed): [[0.5, 2.0, 0.1], [1.0, 1.5, 0.2]] for run in result.measurements}
    return dataclasses.replace(result, facts={**result.facts, 'curves': curves})


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
    self.ended = threading.Event()

  def open(self, run):
    del run

  def take(self, event):
    del event
    self.ended.wait()

  def abort(self):
    self.ended.set()


def test_a_sink_that_hangs_holds_nothing_up():
  said, sink = [], Hanging()
  thread = SinkThread(sink, None, said.append)
  began = time.monotonic()
  for _ in range(5000):
    thread.put(None if sink is None else object())
  thread.close(0.05)
  assert sink.ended.is_set() and len(said) == 1
  assert time.monotonic() - began < 30  # without it, forever


@pytest.mark.parametrize(
  ('changed', 'words'),
  [
    ({'hooks': {'begun': 'x'}}, 'hooks has .begun'),
    ({'hooks': {'kept': ' '}}, 'hooks has .kept'),
    ({'trackers': ('comet',)}, 'no tracker .comet'),
    ({'tracker_options': {'mlflow': {}}}, 'not in config.trackers'),
    ({'trackers': ('tensorboard',), 'tracker_options': {'tensorboard': {'x': 1}}}, "option 'x'"),
  ],
)
def test_what_cannot_work_is_refused_before_the_run(changed, words):
  pytest.importorskip('tensorboardX')
  with pytest.raises(ConfigError, match=words):
    sinks_of(checked(config(**changed)))


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
