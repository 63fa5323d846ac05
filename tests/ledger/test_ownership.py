"""Files of the user in a run's folder are never overwritten, whatever they are called."""

import pathlib
import re
import sqlite3
import subprocess

import pytest
from helpers.command import finish
from helpers.synthetic_run import run

from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.ownership import NAMES, WorkspaceError, is_in_use, require_usable

SCRATCH_FILES = [name for name in NAMES if name not in ('repo', 'scratch', 'ledger.db')]


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
    for path in sorted(folder.rglob('*'))
  }


def git(folder, *arguments):
  subprocess.run(
    ['git', '-C', folder, '-c', 'user.name=u', '-c', 'user.email=u@localhost', *arguments],
    check=True, capture_output=True,
  )  # fmt: skip


def _file(name):
  def make(folder):
    (folder / name).write_text('mine\n')

  return make


def _repository(branch, commit=True):
  def make(folder):
    (folder / 'repo').mkdir()
    git(folder / 'repo', 'init', '-b', branch)
    (folder / 'repo' / 'model.py').write_text('committed\n')
    if commit:
      git(folder / 'repo', 'add', '.')
      git(folder / 'repo', 'commit', '-m', 'mine')
    (folder / 'repo' / 'model.py').write_text('not committed\n')

  return make


def _folder(name):
  def make(folder):
    (folder / name / 'inner').mkdir(parents=True)
    (folder / name / 'inner' / 'file').write_text('mine\n')

  return make


def _database(folder):
  with sqlite3.connect(folder / 'ledger.db') as connection:
    connection.execute('CREATE TABLE mine (x)')
  connection.close()


def _link(folder):
  (folder / 'elsewhere').write_text('mine\n')
  (folder / 'results.tsv').symlink_to('elsewhere')


def _dangling_link(folder):
  (folder / 'results.tsv').symlink_to('nowhere')


USERS = {
  **{name: _file(name) for name in SCRATCH_FILES},
  'ledger.db': _database,
  'ledger.db as text': _file('ledger.db'),
  'repo': _repository('main'),
  'repo on a branch of that name': _repository('autoresearch/synthetic'),
  'repo without a commit': _repository('autoresearch/synthetic', commit=False),
  'repo without git': _folder('repo'),
  'scratch': _folder('scratch'),
  'link': _link,
  'dangling link': _dangling_link,
}


@pytest.mark.parametrize('make', USERS.values(), ids=USERS)
def test_a_folder_of_the_user_is_refused_and_untouched(tmp_path, make):
  make(tmp_path)
  before = contents(tmp_path)
  with pytest.raises(WorkspaceError, match='another --workdir'):
    run(tmp_path, 3)
  assert contents(tmp_path) == before


def test_the_command_and_repair_say_so_too(tmp_path):
  (tmp_path / 'results.tsv').write_text('mine\n')
  _repository('main')(tmp_path)
  before = contents(tmp_path)
  code, _, err = finish(workdir=tmp_path)
  assert code == 2 and 'results.tsv, repo' in err and 'Traceback' not in err
  for command in ('repair', 'report', 'knowledge'):
    code, _, err = finish(str(tmp_path), command=('-m', 'autoresearch_jax', command))
    assert code == 2 and 'There is no ledger' in err
  assert contents(tmp_path) == before


def test_other_files_may_lie_in_the_folder(tmp_path):
  (tmp_path / 'notes.md').write_text('mine\n')
  (tmp_path / 'scratch').mkdir()  # an empty folder can lose nothing
  run(tmp_path, 3)
  run(tmp_path, 4)
  assert (tmp_path / 'notes.md').read_text() == 'mine\n'


def test_a_run_that_was_killed_before_its_ledger_goes_on(tmp_path):
  (tmp_path / 'lock').write_text('autoresearch_jax 4194304\n')
  (tmp_path / 'scratch').mkdir()
  run(tmp_path, 3)


def test_a_repository_that_took_the_place_of_the_runs_own_is_left_alone(tmp_path):
  run(tmp_path, 3)
  (tmp_path / 'repo').rename(tmp_path / 'old')
  _repository('main')(tmp_path)
  before = contents(tmp_path / 'repo')
  with pytest.raises(WorkspaceError, match='Move it away'):
    run(tmp_path, 4)
  assert contents(tmp_path / 'repo') == before
  (tmp_path / 'repo').rename(tmp_path / 'mine')
  run(tmp_path, 4)


def test_a_folder_without_git_in_its_place_is_moved_aside(tmp_path):
  run(tmp_path, 3)
  (tmp_path / 'repo').rename(tmp_path / 'old')
  _folder('repo')(tmp_path)
  run(tmp_path, 4)
  (aside,) = tmp_path.glob('repo.broken*')
  assert (aside / 'inner' / 'file').read_text() == 'mine\n'


def test_a_folder_that_cannot_be_read_is_a_sentence(tmp_path):
  file = tmp_path / 'file'
  file.write_text('')
  for path in (file, file / 'below', pathlib.Path('/proc/nowhere')):
    with pytest.raises(WorkspaceError, match='cannot be used as --workdir'):
      run(path, 3)
  require_usable(tmp_path / 'new')


def test_a_folder_is_in_use_while_its_lock_is_held_on_the_same_file_system(tmp_path, monkeypatch):
  with Workspace.open(tmp_path):
    assert is_in_use(tmp_path)
    locks = pathlib.Path('/proc/locks').read_text()
    inode = (tmp_path / 'lock').stat().st_ino
    elsewhere = re.sub(rf'\w+:\w+:{inode} ', f'fe:fe:{inode} ', locks)
    read = pathlib.Path.read_text

    def other(path, *arguments, **options):
      return elsewhere if path == pathlib.Path('/proc/locks') else read(path, *arguments, **options)

    monkeypatch.setattr(pathlib.Path, 'read_text', other)
    assert not is_in_use(tmp_path)
    monkeypatch.undo()
  assert not is_in_use(tmp_path)
