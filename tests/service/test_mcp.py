"""The tools of a run as coding agents get them: by the SDK's own client."""

import asyncio
import contextlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from helpers.synthetic_run import run as synthetic_run

from autoresearch_jax.cli import mcp as command
from autoresearch_jax.ledger import mailbox
from autoresearch_jax.ledger.store import read_history
from autoresearch_jax.service.allowed_folder import MAX_FILE_BYTES, AllowedFolder, Refusal
from autoresearch_jax.service.client import release
from autoresearch_jax.service.tools import RunTools

mcp = pytest.importorskip('mcp')
mcp_server = pytest.importorskip('autoresearch_jax.service.mcp_server')
READING = {'check', 'verdict', 'history', 'lessons', 'diff', 'report'}
CONFIG = (
  '--config=digits', '--config.budget.amount=30', '--config.final_seeds=0',
  '--config.acceptance_options.baseline_seeds=2', '--config.limits.isolation=limits',
)  # fmt: skip
SECONDS = 240


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  directory = tmp_path_factory.mktemp('run')
  synthetic_run(directory, 8)
  return directory


@pytest.fixture
def programs(workdir, tmp_path):
  """A folder with a new program, and beside it a secret that programs may not reach."""
  folder = tmp_path / 'programs'
  read_history(workdir).incumbent.edit.program.write(folder / 'good')
  (tmp_path / 'secret').mkdir()
  read_history(workdir).incumbent.edit.program.write(tmp_path / 'secret')
  return folder


def tools_of(workdir, programs, **options):
  return RunTools(workdir, AllowedFolder(programs), **options)


def talk(tools, conversation, allow_trials=False):
  """Connects the SDK's client to the server in this process."""

  async def connected():
    server = mcp_server.server_of(tools.call, allow_trials)
    async with mcp.Client(server) as client:
      return await conversation(client)

  return asyncio.run(asyncio.wait_for(connected(), SECONDS))


def answer(tools, name, arguments, allow_trials=False):
  """Returns the result of one call; its schema has been checked by the client."""

  async def conversation(client):
    await client.list_tools()
    return await client.call_tool(name, arguments)

  return talk(tools, conversation, allow_trials)


def refused(tools, name, arguments, allow_trials=False):
  """Returns the sentence by which a call is refused."""
  result = answer(tools, name, arguments, allow_trials)
  assert result.is_error
  text = result.content[0].text
  assert 'Traceback' not in text and 'of autoresearch itself' not in text
  assert text.endswith('.') and text.isprintable() and len(text) < 1000
  return text


def test_a_server_only_reads_unless_told(workdir, programs):
  async def names(client):
    return {tool.name: tool for tool in (await client.list_tools()).tools}

  listed = talk(tools_of(workdir, programs), names)
  assert listed.keys() == READING
  assert all(tool.annotations.read_only_hint for tool in listed.values())
  allowed = talk(tools_of(workdir, programs, allow_trials=True), names, allow_trials=True)
  assert allowed.keys() == {*READING, 'trial'}
  assert not allowed['trial'].annotations.read_only_hint
  for tool in allowed.values():
    assert tool.input_schema['type'] == tool.output_schema['type'] == 'object'
    assert tool.input_schema['additionalProperties'] is False and tool.description
  sentence = refused(
    tools_of(workdir, programs), 'trial', {'program': 'good', 'description': 'wider'}
  )
  assert '--allow_trials' in sentence


def test_history_comes_in_pages(workdir, programs):
  tools, trials = tools_of(workdir, programs), list(read_history(workdir).trials)
  page = answer(tools, 'history', {'limit': 3, 'offset': 1, 'newest_first': False})
  page = page.structured_content
  assert page['total'] == len(trials)
  assert [row['trial'] for row in page['rows']] == trials[1:4]
  newest = answer(tools, 'history', {'limit': 2}).structured_content
  assert [row['trial'] for row in newest['rows']] == trials[:-3:-1]
  assert answer(tools, 'history', {'offset': 10**6}).structured_content['rows'] == []


def test_verdict_diff_lessons_and_report_tell_of_the_ledger(workdir, programs):
  tools, history = tools_of(workdir, programs), read_history(workdir)
  best = history.best
  found = answer(tools, 'verdict', {'trial': best}).structured_content
  assert (found['decision'], found['trial'], found['best_trial']) == ('keep', best, best)
  assert 'not a trial' in refused(tools, 'verdict', {'program': 'good'})
  diff = answer(tools, 'diff', {}).structured_content
  assert (diff['before'], diff['after']) == (0, best) and '\n+' in diff['text']
  own = answer(tools, 'diff', {'trial': best}).structured_content
  assert own['before'] == history.parent(best)
  assert 'edits' in answer(tools, 'lessons', {}).structured_content['text']
  report = answer(tools, 'report', {}).structured_content
  assert f'trial {best}' in report['text'] and report['run'] is None
  complete = answer(tools, 'report', {'complete': True}).structured_content
  assert len(complete['run']['trials']) >= len(history.trials)


@pytest.mark.parametrize(
  ('name', 'arguments', 'word'),
  [
    ('check', {}, 'program'),
    ('check', {'program': 7}, 'str'),
    ('check', {'program': None}, 'str'),
    ('check', {'program': ['good']}, 'str'),
    ('check', {'program': 'good', 'extra': 1}, 'extra'),
    ('check', {'program': 'missing'}, 'folder'),
    ('check', {'program': ''}, 'cannot be read'),
    ('check', {'program': '..'}, 'leads out'),
    ('check', {'program': '../secret'}, 'leads out'),
    ('check', {'program': 'good/../../secret'}, 'leads out'),
    ('check', {'program': '/etc'}, 'leads out'),
    ('check', {'program': 'x' * 100_000}, 'characters'),
    ('check', {'program': 'x' * 1000}, 'folder'),
    ('check', {'program': 'good\0'}, 'control characters'),
    ('check', {'program': 'good\x1b[2J'}, 'control characters'),
    ('check', {'program': 'good\n'}, 'line breaks'),
    ('verdict', {}, 'either'),
    ('verdict', {'program': 'good', 'trial': 1}, 'either'),
    ('verdict', {'trial': -1}, '>= 0'),
    ('verdict', {'trial': 10**6}, 'no trial'),
    ('verdict', {'trial': 10**30}, 'trial'),
    ('verdict', {'trial': '1'}, 'int'),
    ('verdict', {'trial': True}, 'int'),
    ('verdict', {'trial': 1.5}, 'int'),
    ('history', {'limit': 0}, '>= 1'),
    ('history', {'limit': 10**6}, '<= 200'),
    ('history', {'offset': -5}, '>= 0'),
    ('history', {'limit': 'all'}, 'int'),
    ('lessons', {'trial': 1}, 'trial'),
    ('diff', {'trial': -3}, '>= 0'),
    ('diff', {'trial': 999}, 'no trial 999'),
    ('diff', {'against': '/etc/passwd'}, 'against'),
    ('report', {'complete': 'yes'}, 'bool'),
    ('trial', {'program': 'good'}, 'description'),
    ('trial', {'program': 'good', 'description': ' '}, 'empty'),
    ('trial', {'program': 'good', 'description': 'x' * 10_000}, 'characters'),
    ('trial', {'program': 'good', 'description': 'a\tb\0'}, 'control characters'),
    ('trial', {'program': '../secret', 'description': 'out'}, 'leads out'),
  ],
)
def test_hostile_arguments_are_refused_by_a_sentence(workdir, programs, name, arguments, word):
  tools = tools_of(workdir, programs, allow_trials=True)
  assert word in refused(tools, name, arguments, allow_trials=True)


def test_an_unknown_tool_is_refused(workdir, programs):
  async def conversation(client):
    with pytest.raises(mcp.MCPError, match='no tool'):
      await client.call_tool('delete', {})
    return True

  assert talk(tools_of(workdir, programs), conversation)


def test_links_and_odd_files_do_not_lead_out(programs, workdir):
  config, outside = read_history(workdir).config, programs.parent / 'secret'
  folder, entry = AllowedFolder(programs), config.entry
  (programs / 'linked').symlink_to(outside)
  linked_file = programs / 'linked_file'
  linked_file.mkdir()
  (linked_file / entry).symlink_to(outside / entry)
  sibling = programs / 'sibling'
  sibling.mkdir()
  (sibling / entry).write_text('import stolen\n')
  (sibling / 'stolen.py').symlink_to(outside / entry)
  for name in ('linked', 'linked_file', 'sibling'):
    with pytest.raises(Refusal, match='leads out'):
      folder.program(name, config)
  pipe = programs / 'pipe'
  pipe.mkdir()
  os.mkfifo(pipe / entry)
  with pytest.raises(Refusal, match='regular file'):
    folder.program('pipe', config)
  for name, content in (('large', b'#' * (MAX_FILE_BYTES + 1)), ('binary', b'\xff\xfe')):
    (programs / name).mkdir()
    (programs / name / entry).write_bytes(content)
    with pytest.raises(Refusal, match=r'MiB|UTF-8'):
      folder.program(name, config)
  (programs / 'within').symlink_to(programs / 'good')  # a link that stays inside is followed
  assert folder.program('within', config) == folder.program('good', config)


def test_an_error_of_ours_is_told_without_its_traceback(workdir, programs, capsys):
  def fails(*_):
    raise KeyError('private detail')

  async def conversation(client):
    return await client.call_tool('history', {})

  async def connected():
    async with mcp.Client(mcp_server.server_of(fails, False)) as client:
      return await conversation(client)

  result = asyncio.run(connected())
  assert result.is_error and 'KeyError' in result.content[0].text
  assert 'private' not in result.content[0].text
  assert 'private detail' in capsys.readouterr().err
  del workdir, programs


def test_the_command_refuses_what_it_cannot_serve(tmp_path, capsys):
  assert command.main([]) == 2
  assert command.main([str(tmp_path / 'none')]) == 2
  assert '--config=digits' in capsys.readouterr().err
  (tmp_path / 'results.tsv').write_text('mine')
  assert command.main([str(tmp_path), '--config=digits']) == 2
  assert 'not the folder of a run' in capsys.readouterr().err
  assert command.main([str(tmp_path / 'x'), '--config=digits', '--programs=/nonexistent']) == 2
  assert 'no folder' in capsys.readouterr().err


def test_the_skill_is_shipped(capsys):
  assert command.main(['--skill']) == 0
  text = (pathlib.Path(capsys.readouterr().out.strip()) / 'SKILL.md').read_text()
  _, front, body = text.split('---\n', 2)
  assert 'name: autoresearch\n' in front and 'description: ' in front
  for name in (*READING, 'trial'):
    assert f'`{name}`' in body


def test_ctrl_c_ends_the_server(workdir):
  greeting = (
    '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",'
    '"capabilities":{},"clientInfo":{"name":"\\u001b[2J","version":"1"}}}\n'
  )
  with subprocess.Popen(
    [sys.executable, '-m', 'autoresearch_jax', 'mcp', str(workdir)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  ) as process:
    process.stdin.write(b'no JSON\n' + greeting.encode())
    process.stdin.flush()
    assert b'"id":1' in process.stdout.readline()
    process.send_signal(signal.SIGINT)  # while standard input is open
    assert process.wait(SECONDS) == -signal.SIGINT
    assert b'Traceback' not in process.stderr.read()


def start(program):
  arguments = ['start', '--config=digits', f'--out={program}']
  subprocess.run(
    [sys.executable, '-m', 'autoresearch_jax', *arguments], check=True, capture_output=True
  )


@contextlib.asynccontextmanager
async def server_process(directory, *arguments, mode='auto'):
  parameters = mcp.StdioServerParameters(
    command=sys.executable,
    args=['-m', 'autoresearch_jax', 'mcp', str(directory / 'run'), *arguments],
    cwd=str(directory),
    env=dict(os.environ),
  )
  with (directory / 'stderr').open('w') as errors:
    transport = mcp.stdio_client(parameters, errlog=errors)
    async with mcp.Client(transport, mode=mode) as client:
      yield client


async def cancelled_trial(client, description):
  """Calls `trial`, and cancels the call once the server has said something."""
  waits = asyncio.Event()

  async def notice(*_):
    waits.set()

  arguments = {'program': 'program', 'description': description}
  call = asyncio.create_task(client.call_tool('trial', arguments, progress_callback=notice))
  await waits.wait()
  call.cancel()
  with pytest.raises(asyncio.CancelledError):
    await call


@pytest.mark.slow
def test_an_agent_does_research_over_standard_streams(tmp_path):
  start(tmp_path / 'program')
  run, model = tmp_path / 'run', tmp_path / 'program' / 'model.py'
  told = []

  async def hear(progress, total, message):
    del total
    told.append((progress, message))

  async def called(client, name, **arguments):
    result = await client.call_tool(name, arguments, progress_callback=hear)
    assert not result.is_error, result.content[0].text
    return result.structured_content

  async def research():
    async with server_process(tmp_path, *CONFIG, '--allow_trials') as client:
      assert (await called(client, 'check', program='program'))['status'] == 'ok'
      first = await called(client, 'trial', program='program', description='baseline')
      assert (first['trial'], first['decision']) == (0, 'keep')
      assert 'baseline' in told[0][1]

      model.write_text(model.read_text().replace('WIDTH = 64', 'WIDTH = 32'))
      checked = await called(client, 'check', program='program')
      assert checked['status'] == 'ok' and checked['duplicate_of'] is None
      del told[:]
      second = await called(client, 'trial', program='program', description='halve WIDTH')
      assert (second['trial'], second['status']) == (1, 'ok') and second['values']
      assert any('trial 1' in message for _, message in told)
      assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})
      assert 'WIDTH = 32' in (await called(client, 'diff', trial=1))['text']

      mailbox.post(run, 'pause')
      while read_history(run).steering.paused is None:
        await asyncio.sleep(0.1)
      model.write_text(model.read_text().replace('WIDTH = 32', 'WIDTH = 16'))
      await cancelled_trial(client, 'a quarter of WIDTH')
      assert (await called(client, 'history'))['total'] == 2  # the server still answers
      mailbox.post(run, 'resume')
      found = await called(client, 'verdict', program='program')
      while found['decision'] == 'pending':
        await asyncio.sleep(0.2)
        found = await called(client, 'verdict', program='program')
      assert found['description'] == 'a quarter of WIDTH' and found['decision'] != 'crash'

    async with server_process(tmp_path, mode='legacy') as client:  # reads only, older protocol
      assert {tool.name for tool in (await client.list_tools()).tools} == READING
      assert (await called(client, 'history'))['total'] >= 3
      refusal = await client.call_tool('check', {'program': '../elsewhere'})
      assert refusal.is_error

  try:
    asyncio.run(asyncio.wait_for(research(), SECONDS))
  finally:
    release(run)
  errors = (tmp_path / 'stderr').read_text()
  assert 'Traceback' not in errors
  assert 'mcp' in str(read_history(run).edits[1].author)
