"""`autoresearch share`, `learn` and `hub`, as somebody types them."""

import json
import os
import subprocess
import sys

import pytest

from autoresearch_jax.cli import hub, learn, share
from autoresearch_jax.findings.hub_store import TOKEN_VARIABLE


def test_what_one_run_shares_is_listed_for_another(recorded, tmp_path, capsys):
  store = str(tmp_path / 'store')
  assert share.main([str(recorded), f'--to={store}']) == 0
  assert 'new findings' in capsys.readouterr().out
  assert share.main([str(recorded), f'--to={store}']) == 0
  assert capsys.readouterr().out.startswith('0 new findings')
  assert learn.main([store, '--status=gain']) == 0
  out = capsys.readouterr().out
  assert 'none, val_loss (minimize), 2 steps' in out and 'no_gain' not in out
  assert learn.main([store, '--json', '--limit=3', '--sort=t']) == 0
  data = json.loads(capsys.readouterr().out)
  assert data['schema'] == 1 and len(data['findings']) == 3 < data['total']
  assert learn.main([store, f'--show={data["findings"][0]["id"][:12]}']) == 0
  assert '--- a/model.py' in capsys.readouterr().out
  into = f'--into={tmp_path / "program"}'
  assert learn.main([store, f'--show={data["findings"][0]["id"]}', into]) == 0
  assert 'X = ' in (tmp_path / 'program' / 'model.py').read_text()
  assert learn.main([store, f'--show={data["findings"][0]["id"]}', into]) == 2
  assert 'not empty' in capsys.readouterr().err
  assert learn.main([store, '--problem=other']) == 0
  assert 'No finding' in capsys.readouterr().out


def test_nothing_is_shared_or_written_by_a_dry_run(recorded, tmp_path, capsys):
  assert share.main([str(recorded), '--dry_run']) == 0
  assert 'nudge X' in capsys.readouterr().out
  assert not (tmp_path / 'config').exists()


def test_text_of_others_cannot_move_the_cursor(tmp_path, capsys):
  path = tmp_path / 'r.txt'
  path.write_text(
    'commit:a1b2c3d platform:\x1b[31mH100 val_bpb:0.99 vram_gb:4 | \x1b]0;x\x07 \u202e it'
  )
  assert learn.main([str(path)]) == 0
  out = capsys.readouterr().out
  assert '\x1b' not in out and '\u202e' not in out and '\x07' not in out


@pytest.mark.parametrize(
  ('command', 'arguments', 'word'),
  [
    (share, ['RUN'], '--to'),
    (share, ['RUN', '--to='], '--to'),
    (share, ['RUN', '--to=x', '--key=absent'], 'absent'),
    (share, ['absent', '--to=x'], 'no folder'),
    (learn, ['absent'], 'no folder'),
    (learn, ['RUN', '--show=zz'], '0 findings'),
    (learn, ['RUN', '--into=x'], '--show'),
    (learn, ['http://localhost:9'], 'cannot be reached'),
    (hub, ['FOLDER', '--revoke_token=x'], 'no token'),
  ],
)
def test_wrong_input_is_a_sentence(
  command, arguments, word, recorded, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  names = {'RUN': str(recorded), 'FOLDER': str(tmp_path / 'hub')}
  assert command.main([names.get(a, a) for a in arguments]) == 2
  error = capsys.readouterr().err
  assert word in error and 'Traceback' not in error


@pytest.mark.slow
def test_a_hub_in_its_own_process(recorded, tmp_path, capsys, monkeypatch):
  command = [sys.executable, '-m', 'autoresearch_jax', 'hub', str(tmp_path / 'hub'), '--port=0']
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
    try:
      token = process.stdout.readline().rpartition('=')[2].strip()
      address = process.stdout.readline().split()[-1]
      assert learn.main([address]) == 2 and 'token' in capsys.readouterr().err
      monkeypatch.setenv(TOKEN_VARIABLE, token)
      assert share.main([str(recorded), f'--to={address}']) == 0
      assert learn.main([address, '--json']) == 0
      shared = json.loads(capsys.readouterr().out.splitlines()[-1])['total']
      assert share.main([address, f'--to={tmp_path / "copy.git"}']) == 0
      assert f'{shared} new findings' in capsys.readouterr().out
    finally:
      process.send_signal(2)
      process.communicate()
  assert process.returncode == 0
