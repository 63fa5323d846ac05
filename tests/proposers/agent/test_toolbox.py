"""What a coding agent finds in its sandbox: Python with jax, git, a trace check, its own files."""

import json
import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.config import from_config_dict, load
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.proposers import PROPOSERS, NothingToPropose, ProposalContext
from autoresearch_jax.proposers.agent.toolbox import CERTIFICATE_VARIABLES, PROXY_VARIABLES
from autoresearch_jax.research.build import build_task
from autoresearch_jax.sandbox import linux, namespaces

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(
    not (linux.landlock_version() and linux.has_seccomp()), reason='no Landlock or seccomp here'
  ),
]


@pytest.fixture
def said(tmp_path, monkeypatch):
  """Runs a shell script as the agent and returns what it printed."""
  for name in (*PROXY_VARIABLES, *CERTIFICATE_VARIABLES):
    monkeypatch.delenv(name, raising=False)
  config = from_config_dict(load('digits'))
  program, spec = starting_program(config), build_task(config).spec

  def run(script, scratch=tmp_path / 'scratch', **options):
    records = []
    agent = PROPOSERS.make(
      'agent', {'command': ('/bin/sh', '-c', script), 'fallback': '', 'max_repairs': 0, **options}
    )
    (tmp_path / 'hidden').mkdir(exist_ok=True)
    context = ProposalContext(
      (program,), {}, ('model.py',), types.Objective('val_loss', 'minimize'), spec,
      scratch=scratch, hidden=(tmp_path / 'hidden',), record=records.append,
    )  # fmt: skip
    with pytest.raises(NothingToPropose):  # the scripts edit nothing
      agent.propose(types.Proposal(types.Operation.IMPROVE), context, np.random.default_rng(0))
    return records[-1].response

  return run


def test_python_runs_and_imports_what_programs_import(said):
  output = said("""
    python -c 'import sys; print("python", sys.version_info[0])'
    python -c 'import jax, flax, optax, numpy; print("devices", jax.devices("cpu"), 2 * jax.numpy.ones(()))'
    python -m pip list 2>&1 | grep -i ^numpy || pip list 2>&1 | grep -i ^numpy
  """)  # noqa: E501 - one command
  assert 'python 3' in output and 'CpuDevice' in output and '2.0' in output
  assert 'numpy' in output


@pytest.mark.skipif(not shutil.which('git'), reason='no git here')
def test_git_commits(said):
  output = said("""
    echo '# a comment' >> model.py
    git commit -qam 'Say more' && git log -1 --format='%an wrote: %s'
    git checkout -q HEAD~1 -- model.py
  """)
  assert 'Coding agent wrote: Say more' in output


def test_a_program_is_checked_inside(said):
  output = said("""
    python -m autoresearch_jax check . ; echo "code $?"
    cp model.py keep; echo 'DEPTH = (' >> model.py
    python -m autoresearch_jax check . ; echo "code $?"
    cp keep model.py; rm keep
  """)
  assert 'ok: the program traces' in output and 'code 0' in output
  assert 'SyntaxError' in output and 'code 1' in output


def test_proxies_and_certificates_are_passed_and_passwords_are_not_recorded(
  said, monkeypatch, tmp_path
):
  certificates = tmp_path / 'ca.pem'
  certificates.write_text('certificates of a company')
  monkeypatch.setenv('HTTPS_PROXY', 'http://someone:a-password@127.0.0.1:9')
  monkeypatch.setenv('SSL_CERT_FILE', str(certificates))
  output = said('cat $SSL_CERT_FILE; echo; echo $HTTPS_PROXY')
  assert 'certificates of a company' in output
  assert 'HTTPS_PROXY' in output and 'a-password' not in output
  assert 'http' not in said('echo proxy: $HTTPS_PROXY.', network=False)


def test_the_home_has_the_named_files(said, monkeypatch, tmp_path):
  own = tmp_path / 'own'
  (own / '.config' / 'tool').mkdir(parents=True)
  (own / '.config' / 'tool' / 'settings.json').write_text(json.dumps({'theme': 'dark'}))
  (own / '.secret').write_text('not to be seen')
  monkeypatch.setenv('HOME', str(own))
  output = said(
    f'cat $HOME/.config/tool/settings.json; ls -a $HOME; cat {own}/.secret',
    home_files=('~/.config/tool/settings.json',),
  )
  assert '"theme": "dark"' in output and 'not to be seen' not in output
  with pytest.raises(ValueError, match=r'home_files names .*nowhere'):
    said('true', home_files=('~/nowhere',))


def test_nothing_hidden_becomes_readable(said, tmp_path):
  (tmp_path / 'hidden').mkdir()
  (tmp_path / 'hidden' / 'ledger').write_text('test scores')
  output = said(f'cat {tmp_path}/hidden/ledger; echo done; echo $PATH')
  assert 'test scores' not in output and 'done' in output
  assert os.environ['PATH'] in output


own_places = pytest.mark.skipif(
  bool(namespaces.missing('enter_own_places')), reason='user namespaces do not work here'
)


@own_places
def test_it_opens_terminals_and_sees_no_others(said):
  output = said("""
    ls /dev/pts
    exec < /dev/null
    python -c 'import pty; pty.spawn(["sh", "-c", "tty; test -t 0 && echo a terminal > /dev/tty"])'
  """)
  assert output.split('\n')[:3] == ['ptmx', '/dev/pts/0', 'a terminal']


@own_places
@pytest.mark.skipif(
  any(pathlib.Path(path).resolve().is_relative_to('/tmp') for path in (sys.prefix, __file__)),
  reason='Python or this checkout lies in /tmp, which agents then share',
)
def test_tmp_is_its_own(said):
  with (
    tempfile.TemporaryDirectory(dir='/var/tmp') as scratch,
    tempfile.NamedTemporaryFile(dir='/tmp') as other,
  ):
    output = said(
      f'ls -A /tmp; echo seen > /tmp/mine && cat $TMPDIR/mine; cat {other.name}; echo done',
      scratch=pathlib.Path(scratch),
    )
    assert output.split('\n')[0] == 'seen' and output.strip().endswith('done')
    assert not pathlib.Path('/tmp/mine').exists()
