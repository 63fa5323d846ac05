"""A machine that is taken away: the notice of the metadata server, SIGTERM, SIGHUP."""

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from helpers import ROOT, cloud
from helpers.kills import SYNTHETIC

from autoresearch_jax.cli.preemption import PreemptionNotice
from autoresearch_jax.data.bucket import Bucket
from autoresearch_jax.ledger.events import LedgerError, Stopped
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.mirror import snapshots

PATIENCE = 120.0  # seconds, however slow the machine is


def wait_until(condition):
  deadline = time.monotonic() + PATIENCE
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.02)


@contextlib.contextmanager
def metadata(values):
  """A metadata server with these values of the instance; yields its HOST:PORT."""

  class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      name = self.path.removeprefix('/computeMetadata/v1/instance/')
      known = name in values and self.headers['Metadata-Flavor'] == 'Google'
      self.send_response(200 if known else 404)
      self.end_headers()
      self.wfile.write(values.get(name, '').encode() if known else b'')

    def log_message(self, *_):
      pass

  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'127.0.0.1:{server.server_address[1]}'
    server.shutdown()
    thread.join()


def test_a_preemption_is_noticed_and_maintenance_is_reported(capsys, monkeypatch):
  monkeypatch.setattr('autoresearch_jax.cli.preemption.POLL_SECONDS', 0.05)
  values = {'preempted': 'FALSE', 'maintenance-event': 'NONE'}
  with metadata(values) as host, PreemptionNotice(host) as notice:
    values['maintenance-event'] = 'TERMINATE_ON_HOST_MAINTENANCE'
    wait_until(lambda: 'TERMINATE_ON_HOST' in capsys.readouterr().err)
    assert notice() == ''
    values['preempted'] = 'TRUE'
    wait_until(notice)
  assert 'preempted' in notice()


@pytest.mark.parametrize('host', ['', '127.0.0.1:9'])
def test_without_a_metadata_server_there_is_no_notice(host, monkeypatch):
  monkeypatch.setattr('autoresearch_jax.cli.preemption.POLL_SECONDS', 0.01)
  with PreemptionNotice(host) as notice:
    time.sleep(0.1)
    assert notice() == ''


def last_event(workdir):
  try:
    with Ledger.read(workdir / 'ledger.db') as ledger:
      return [record.event for record in ledger.records()][-1:]
  except LedgerError:
    return []


def start(script, workdir, *flags, **environment):
  command = [sys.executable, script, f'--config={SYNTHETIC}', f'--workdir={workdir}']
  command += ['--config.search.max_trials=0', '--config.executor_options.delay=0.02', *flags]
  return subprocess.Popen(
    command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
  )


def test_a_run_ends_in_good_order_when_its_machine_is_preempted(tmp_path):
  values = {'preempted': 'FALSE'}
  with metadata(values) as host:
    process = start(str(SYNTHETIC), tmp_path / 'run', GCE_METADATA_HOST=host)
    try:
      wait_until(lambda: len(last_event(tmp_path / 'run')))
      values['preempted'] = 'TRUE'
      assert process.wait(PATIENCE) == 143
    finally:
      process.kill()
  (event,) = last_event(tmp_path / 'run')
  assert isinstance(event, Stopped) and 'preempted' in event.reason


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_the_last_events_are_in_the_bucket_after_a_signal(tmp_path, number):
  bucket, workdir = tmp_path / 'bucket', tmp_path / 'run'
  mirror = f'--config.mirror={cloud.url(bucket)}'
  process = start(cloud.COMMAND, workdir, mirror)
  try:
    wait_until(lambda: len(last_event(workdir)))
    process.send_signal(number)
    assert process.wait(PATIENCE) == 128 + number
  finally:
    process.kill()
  assert isinstance(last_event(workdir)[0], Stopped)
  cloud.register()
  _, copy = snapshots.latest(Bucket(cloud.url(bucket)))
  (tmp_path / 'ledger.db').write_bytes(copy)
  assert last_event(tmp_path) == last_event(workdir)


def test_a_bucket_that_hangs_does_not_keep_a_session_from_ending(tmp_path):
  bucket, workdir = tmp_path / 'bucket', tmp_path / 'run'
  process = start(cloud.COMMAND, workdir, f'--config.mirror={cloud.url(bucket)}')
  try:
    wait_until(lambda: len(last_event(workdir)))
    cloud.set_weather(bucket, delay=3600.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 143
  finally:
    process.kill()
  assert isinstance(last_event(workdir)[0], Stopped)
