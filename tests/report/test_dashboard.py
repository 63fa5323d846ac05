"""The dashboard: it follows ledgers, sends what changed, and answers only whom it may."""

import gc
import json
import shutil
import socket
import urllib.request

import pytest
from helpers.synthetic_run import run, ticking
from helpers.web import request

from autoresearch_jax.cli import dashboard as command
from autoresearch_jax.ledger.events import Edited, Finished, LedgerError, Stopped
from autoresearch_jax.ledger.mailbox import MAX_BYTES, waiting
from autoresearch_jax.ledger.store import Ledger, read_history, read_records
from autoresearch_jax.report.dashboard.access import Access
from autoresearch_jax.report.dashboard.followed_run import FollowedRun, find_runs
from autoresearch_jax.report.dashboard.process import dashboard_beside
from autoresearch_jax.types import Program

starlette = pytest.importorskip('starlette')
from autoresearch_jax.report.dashboard.app import Runs, make_app  # noqa: E402 - needs starlette


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  directory = tmp_path_factory.mktemp('runs') / 'first'
  run(directory, 25, clock=ticking())
  return directory


def copied(records, directory):
  """Writes the records into the ledger of a folder, after those that are there."""
  directory.mkdir(exist_ok=True)
  with Ledger.open(directory / 'ledger.db') as ledger:
    for record in records:
      ledger.append(record.event)


def eager(directory):
  """A followed run that looks each time, since its last look is always an hour ago."""
  hours = iter(range(10**6))
  return FollowedRun(directory, clock=lambda: 3600.0 * next(hours))


def test_an_update_has_what_changed(finished, tmp_path):
  records = read_records(finished)
  copied(records[:60], tmp_path)
  followed = eager(tmp_path)
  followed.refresh()
  version, view = followed.view()
  assert followed.update(version) is None
  copied(records[60:70], tmp_path)
  followed.refresh()
  update = followed.update(version)
  assert not update.whole
  assert {'headline', 'kept', 'noise'} <= update.run.keys()
  changed = {trial.id for trial in update.trials}
  new = {r.event.trial for r in records[60:70] if isinstance(r.event, Edited | Finished)}
  assert new <= changed
  assert len(changed) < len(view.trials)
  assert all(not (t.diff or t.exchanges or t.isolation) for t in update.trials)
  known = {t.id: t for t in view.trials} | {t.id: t for t in update.trials}
  assert tuple(known.values()) == followed.view()[1].trials


def test_a_page_of_another_server_gets_everything(finished):
  followed = eager(finished)
  followed.refresh()
  version, view = followed.view()
  for unknown in (0, version + 10**9):
    update = followed.update(unknown)
    assert update.whole
    assert update.trials == view.trials


def test_a_replaced_ledger_is_read_anew(finished, tmp_path):
  records = read_records(finished)
  copied(records[:60], tmp_path)
  followed = eager(tmp_path)
  followed.refresh()
  version, _ = followed.view()
  for path in tmp_path.glob('ledger*'):
    path.unlink()
  copied(records[:20], tmp_path)
  followed.refresh()
  update = followed.update(version)
  assert update.whole
  assert len(update.trials) < 20


def test_a_broken_ledger_is_a_sentence(finished, tmp_path):
  directory = tmp_path / 'run'
  followed = eager(directory)
  followed.refresh()
  assert str(directory) in followed.summary('run').problem
  directory.mkdir()
  content = (finished / 'ledger.db').read_bytes()
  (directory / 'ledger.db').write_bytes(content[: len(content) // 2])
  followed.refresh()
  assert 'autoresearch repair' in followed.summary('run').problem
  with pytest.raises(LedgerError, match='repair'):
    followed.view()
  (directory / 'ledger.db').unlink()
  copied((), directory)
  followed.refresh()
  assert 'has not started' in followed.summary('run').problem
  assert 'has not started' in followed.activity().problem
  answer = request(make_app(directory, Access('127.0.0.1')), '/view/')
  assert answer.status == 200 and answer.json['run'] is None
  assert 'has not started' in answer.json['problem']
  copied(read_records(finished), directory)
  followed.refresh()
  assert followed.summary('run').problem == ''


def test_runs_are_found_in_subfolders(finished, tmp_path):
  assert dict(find_runs(finished)) == {'': finished}
  for key in ('one', 'nights/two', '.hidden/three'):
    (tmp_path / key).mkdir(parents=True)
    shutil.copy(finished / 'ledger.db', tmp_path / key)
  assert dict(find_runs(tmp_path)) == {k: tmp_path / k for k in ('one', 'nights/two')}


def programs():
  gc.collect()
  return sum(isinstance(found, Program) for found in gc.get_objects())


def test_runs_that_nobody_looks_at_leave_nothing_but_their_entry(finished, tmp_path):
  copied(read_records(finished), tmp_path / 'run')
  now = [0.0]

  def listed():
    now[0] += 100.0
    return runs.summaries()

  runs, before = Runs(tmp_path, lambda: now[0]), programs()
  (first,) = listed()
  assert programs() == before and listed() == [first]
  followed = runs.all()['run']
  version, view = followed.view()
  assert len(view.trials) == first.trials and followed.update(version) is None
  assert programs() > before
  del view
  now[0] += 1.0
  runs.summaries()
  assert programs() > before  # somebody has just looked
  assert listed() == [first] and programs() == before
  assert followed.update(version).whole  # a page that was open gets everything
  with Ledger.open(tmp_path / 'run' / 'ledger.db') as ledger:
    ledger.append(Stopped('Enough.'))
  (later,) = listed()
  assert later.stopped == 'Enough.'


@pytest.fixture(scope='module')
def app(finished):
  return make_app(finished.parent, Access('127.0.0.1'))


def test_the_list_names_the_runs(app):
  (found,) = request(app, '/runs').json
  assert (found['key'], found['name'], found['state']) == ('first', 'synthetic', 'ended')
  assert found['trials'] == 25
  assert 'Runs' in request(app, '/').text


def test_a_run_has_a_page_and_data(app):
  page = request(app, '/run/first')
  assert "connect-src 'self'" in page.text
  assert page.headers['x-frame-options'] == 'DENY'
  view = request(app, '/view/first', accept_encoding='gzip')
  assert view.headers['content-encoding'] == 'gzip'
  assert len(view.json['run']['trials']) == 25
  assert not any(trial['diff'] for trial in view.json['run']['trials'])
  assert any(request(app, f'/trial/{n}/first').json['diff'] for n in range(1, 25))


@pytest.mark.parametrize(
  'path', ['/run/second', '/view/second', '/events/second', '/view/../first', '/trial/99/first']
)
def test_what_is_not_there_is_not_found(app, path):
  assert request(app, path).status == 404


def test_a_folder_that_is_a_run_shows_it_at_once(finished):
  answer = request(make_app(finished, Access('localhost')), '/')
  assert answer.headers['location'] == '/run/'
  assert request(make_app(finished, Access('localhost')), '/view/').status == 200


@pytest.mark.parametrize(
  ('host', 'allowed'),
  [
    ('localhost:8730', True),
    ('127.0.0.1:99', True),
    ('[::1]:8730', True),
    ('evil.example:8730', False),
    ('localhost.evil.example', False),
    ('192.168.1.5:8730', False),
    ('', False),
  ],
)
def test_only_names_of_this_machine_are_answered(app, host, allowed):
  answer = request(app, '/runs', host=host)
  assert (answer.status == 200) is allowed
  assert allowed or 'command printed' in answer.text


def test_other_interfaces_need_the_token(finished):
  access = Access('0.0.0.0')
  app = make_app(finished.parent, access)
  assert len(access.prefix) > 30
  assert request(app, f'{access.prefix}/runs', host='machine:8730').status == 200
  for path in ('/runs', '/', '/run/first', f'{access.prefix[:-1]}/runs', f'{access.prefix}x/runs'):
    answer = request(app, path, host='machine:8730')
    assert answer.status == 403
    assert 'token' in answer.text
    assert access.prefix[1:] not in answer.text


def test_pages_elsewhere_may_not_post(app):
  answer = request(app, '/view/first', 'POST', origin='http://evil.example')
  assert answer.status == 403
  assert 'evil.example' in answer.text
  assert request(app, '/view/first', 'POST', origin='http://localhost:8730').status == 405


@pytest.fixture
def steered(finished, tmp_path):
  copied(read_records(finished), tmp_path / 'run')
  return tmp_path / 'run', make_app(tmp_path, Access('127.0.0.1'), steer=True)


@pytest.mark.parametrize(
  'form',
  [
    b'{"verb": "hint", "text": "Smaller X looks better."}',
    b'{"verb": "pause"}',
    b'{"verb": "remeasure", "trial": 0}',
    b'{"verb": "protect", "text": "X"}',
    b'{"verb": "end", "ends": {"max_trials": 99, "max_hours": 8, "target": -1.5}}',
  ],
)
def test_a_run_is_steered(steered, form):
  directory, app = steered
  origin = {'origin': 'http://localhost:8730'}
  said = request(app, '/steer/run', 'POST', form, **origin).text
  assert said.startswith('Posted.') and ('cannot read' in said) == (b'hint' in form)
  ((_, posted),) = waiting(directory)
  assert posted.verb == json.loads(form)['verb']
  assert 'dashboard' in posted.author
  (words,) = eager(directory).activity().waiting
  assert words.startswith(posted.verb)


def test_a_patch_is_posted(steered):
  directory, app = steered
  (line, *_) = read_history(directory).incumbent.edit.program.text().splitlines()
  patch = f'--- a/model.py\n+++ b/model.py\n@@ -1 +1 @@\n-{line}\n+X = 9.0\n'
  form = json.dumps({'verb': 'try', 'patch': patch}).encode()
  assert request(app, '/steer/run', 'POST', form).text == 'Posted.'
  assert [posted.patch for _, posted in waiting(directory)] == [patch]


@pytest.mark.parametrize(
  ('form', 'status', 'words'),
  [
    (b'{"verb": "resume"}', 409, 'paused'),
    (b'{"verb": "remeasure", "trial": 99}', 409, '99'),
    (b'{"verb": "end"}', 409, 'Name an end'),
    (b'{"verb": "end", "ends": {"max_trials": 0.5}}', 409, 'max_trials'),
    (b'{"verb": "try", "text": "Set Y to 0."}', 409, 'cannot read'),
    (b'{"verb": "protect", "text": "Z"}', 409, 'Z'),
    (b'{"verb": "unprotect", "text": "X"}', 409, 'not protected'),
    (b'{"verb": "dance"}', 400, 'no request'),
    (b'{"verb": "hint", "directory": "/"}', 400, 'directory'),
    (b'nonsense', 400, 'no request'),
    (b' ' * (MAX_BYTES + 1), 413, str(MAX_BYTES)),
  ],
)
def test_a_request_that_cannot_be_carried_out_is_a_sentence(steered, form, status, words):
  directory, app = steered
  answer = request(app, '/steer/run', 'POST', form)
  assert answer.status == status
  assert words in answer.text
  assert waiting(directory) == []


def test_nobody_else_steers(steered, finished):
  directory, app = steered
  form = b'{"verb": "pause"}'
  assert request(app, '/steer/run', 'POST', form, origin='http://evil.example').status == 403
  assert request(app, '/steer/run', 'POST', form, host='evil.example').status == 403
  assert request(app, '/steer/other', 'POST', form).status == 404
  reading = make_app(directory.parent, Access('127.0.0.1'))
  assert request(reading, '/steer/run', 'POST', form).status == 404
  assert waiting(directory) == []


def test_a_taken_port_is_a_sentence(finished, capsys):
  with socket.create_server(('127.0.0.1', 0)) as taken:
    port = taken.getsockname()[1]
    assert command.main([str(finished), f'--port={port}']) == 2
  assert f'Port {port} is taken' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['/no/such/folder'], 'no folder /no/such/folder'),
    (['.', '--host=192.0.2.1'], '192.0.2.1'),
    (['.', '--host=no such host'], 'no such host'),
    (['.', '--port=70000'], 'port'),
  ],
)
def test_bad_input_is_a_sentence(arguments, words, capsys):
  assert command.main(arguments) == 2
  error = capsys.readouterr().err
  assert words in error
  assert 'Traceback' not in error


def test_a_missing_package_is_a_sentence(finished, monkeypatch, capsys):
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  assert command.main([str(finished)]) == 2
  assert "pip install 'autoresearch_jax[dashboard]'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_beside_a_run_ends_with_it(finished):
  with (
    dashboard_beside(finished) as address,
    urllib.request.urlopen(f'{address}runs', timeout=60) as answer,
  ):
    assert json.load(answer)[0]['name'] == 'synthetic'
  with pytest.raises(OSError, match='refused'):
    urllib.request.urlopen(f'{address}runs', timeout=60)
