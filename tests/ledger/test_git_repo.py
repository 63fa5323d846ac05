"""Repository, branch and results.tsv are what the ledger says, whatever happened to them."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

import pygit2
import pytest
from helpers.synthetic_run import START, Arithmetic, Nudge, run, ticking

from autoresearch_jax import types
from autoresearch_jax.ledger.git_repo import Workspace, WorkspaceError, tag_of
from autoresearch_jax.proposers import Proposer

BRANCH = 'refs/heads/autoresearch/synthetic'


def files(directory):
  """What there is to see: references, the branch's log, the work tree, the log file."""
  repository = pygit2.Repository(str(directory / 'repo'))
  return {
    'references': {name: str(repository.references[name].target) for name in repository.references},
    'head': str(repository.lookup_reference('HEAD').target),
    'status': repository.status(),
    'tree': {p.name: p.read_text() for p in (directory / 'repo').iterdir() if p.is_file()},
    'results': (directory / 'results.tsv').read_bytes(),
  }


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  directory = tmp_path_factory.mktemp('finished')
  run(directory, 20, clock=ticking())
  return directory


@pytest.fixture
def workdir(finished, tmp_path):
  return pathlib.Path(shutil.copytree(finished, tmp_path / 'run'))


def git(workdir, *arguments):
  done = subprocess.run(
    ['git', '-C', workdir / 'repo', *arguments], capture_output=True, text=True, check=True
  )
  return done.stdout.splitlines()


def _delete_repository(workdir):
  shutil.rmtree(workdir / 'repo')


def _delete_references(workdir):
  shutil.rmtree(workdir / 'repo' / '.git' / 'refs' / 'trials')


def _delete_objects(workdir):
  shutil.rmtree(workdir / 'repo' / '.git' / 'objects')
  (workdir / 'repo' / '.git' / 'objects').mkdir()


def _empty_objects(workdir):
  for path in (workdir / 'repo' / '.git' / 'objects').rglob('*'):
    if path.is_file():
      path.chmod(0o644)
      path.write_bytes(b'')


def _garble_head(workdir):
  (workdir / 'repo' / '.git' / 'HEAD').write_text('garbage')


def _leave_locks(workdir):
  for name in ('index.lock', 'HEAD.lock', 'refs/heads/autoresearch/synthetic.lock'):
    (workdir / 'repo' / '.git' / name).write_text('')


def _move_branch(workdir):
  git(workdir, 'update-ref', BRANCH, git(workdir, 'rev-parse', 'refs/trials/0')[0])


def _check_out_another_branch(workdir):
  git(workdir, 'checkout', '-q', '--detach', 'refs/trials/0')


def _invent_a_trial(workdir):
  git(workdir, 'update-ref', 'refs/trials/99', 'HEAD')


def _edit_the_work_tree(workdir):
  (workdir / 'repo' / 'model.py').write_text('X = 100.0\n')


def _garble_results(workdir):
  (workdir / 'results.tsv').write_text('commit\tval_lo')


def _leave_half_a_file(workdir):
  (workdir / '.results.tsv.new').write_text('commit\tval_lo')
  (workdir / 'results.tsv').unlink()


@pytest.mark.parametrize(
  'damage',
  [
    _delete_repository, _delete_references, _delete_objects, _empty_objects, _garble_head,
    _leave_locks, _move_branch, _check_out_another_branch, _invent_a_trial, _edit_the_work_tree,
    _garble_results, _leave_half_a_file,
  ],
)  # fmt: skip
def test_the_next_start_puts_everything_right(workdir, damage):
  before = files(workdir)
  damage(workdir)
  run(workdir, 20)
  assert files(workdir) == before


def test_git_agrees_that_the_repository_is_sound(workdir):
  git(workdir, 'fsck', '--strict')
  assert git(workdir, 'status', '--short') == []


def test_every_trial_is_a_commit_on_its_parents(workdir):
  history = run(workdir, 20).history
  repository = pygit2.Repository(str(workdir / 'repo'))
  for trial, edit in history.edits.items():
    commit = repository.references[f'refs/trials/{trial}'].peel(pygit2.Commit)
    tree = {entry.name: entry.data.decode() for entry in commit.tree}
    assert tree == dict(edit.program.files)
    assert commit.message.startswith(edit.description + '\n\n' + edit.hypothesis.claim)
    parent = history.parent(trial)
    expected = [] if parent is None else [repository.references[f'refs/trials/{parent}'].target]
    assert commit.parent_ids == expected


def test_the_branch_holds_the_successes_and_the_work_tree_the_best(workdir):
  history = run(workdir, 20).history
  commits = git(workdir, 'rev-list', '--reverse', BRANCH)
  assert len(commits) == len(history.kept) > 1
  for trial, commit in zip(history.kept, commits, strict=True):
    tree = git(workdir, 'rev-parse', f'refs/trials/{trial}^{{tree}}')
    assert git(workdir, 'rev-parse', f'{commit}^{{tree}}') == tree
    score = history.trials[trial].metric('val_loss')
    assert f'val_loss: {score:.6f}' in '\n'.join(git(workdir, 'log', '-1', '--format=%B', commit))
  assert (workdir / 'repo' / 'model.py').read_text() == history.incumbent.edit.program.text()


def test_no_discarded_program_lies_below_the_branch(tmp_path):
  history = run(tmp_path, 40, executor=Arithmetic(slots=3)).history
  repository = pygit2.Repository(str(tmp_path / 'repo'))
  trees, commit = [], repository.references[BRANCH].peel(pygit2.Commit)
  while True:
    trees.append(commit.tree.id)
    if not commit.parents:
      break
    (commit,) = commit.parents
  kept = [repository.references[f'refs/trials/{t}'].peel(pygit2.Commit) for t in history.kept]
  assert trees[::-1] == [commit.tree.id for commit in kept]


def test_results_are_in_the_originals_format(workdir):
  header, *lines = (workdir / 'results.tsv').read_text().splitlines()
  assert header == 'commit\tval_loss\tmemory_gb\tstatus\tdescription'
  assert len(lines) == 20
  for trial, line in enumerate(lines):
    commit, value, memory, status, description = line.split('\t')
    assert git(workdir, 'rev-parse', f'refs/trials/{trial}')[0].startswith(commit)
    assert len(commit) == 7
    assert value == f'{float(value):.6f}'
    assert memory in ('1.5', '0.0')
    assert status in ('keep', 'discard', 'crash')
    assert description


class Rude(Proposer):
  """Writes what would break a line, a terminal, or a commit message."""

  def propose(self, proposal, context, rng):
    del proposal
    program = context.parents[0].with_text(f'X = {rng.normal():.3f}\nY = 0.0\n')
    text = 'a\tb\nc\x1b[2Jd\r\x00e\u202ef\u2028g'
    return types.Edit(program, text, types.Hypothesis(text, (text,)))


def test_a_description_cannot_break_out_of_its_line(tmp_path):
  run(tmp_path, 4, proposer=Rude())
  lines = (tmp_path / 'results.tsv').read_text().split('\n')
  assert len(lines) == 6
  for line in lines[2:5]:
    assert line.count('\t') == 4
    assert line.isprintable() or line.replace('\t', '').isprintable()
    assert line.split('\t')[4].startswith('a b c [2Jd e f g')


class Twins(Arithmetic):
  """Finds a program equal to one that is still running, too, whose row then changes in the end."""

  def result(self, request):
    request = _without_line(request)
    others = [(super(Twins, self).result(_without_line(other)), other) for other in self.queue]
    running = {result.fingerprint: other.trial for result, other in others}
    known = {**request.known, **{f: n for f, n in running.items() if n != request.trial}}
    return super().result(dataclasses.replace(request, known=known))


def _without_line(request):
  text = ''.join(request.program.text().splitlines(keepends=True)[:2])
  return dataclasses.replace(request, program=request.program.with_text(text))


def watching(inodes, damage=lambda path: None):
  """A workspace that checks results.tsv after each verdict, and damages it before."""

  class Watching(Workspace):
    def record_verdict(self, history, trial):
      damage(self.results_path)
      super().record_verdict(history, trial)
      found = self.results_path.read_bytes()
      inodes.append(self.results_path.stat().st_ino)
      with Workspace.open(self.directory / 'other') as other:
        other._commits = self._commits
        other.write_results(history)
        assert other.results_path.read_bytes() == found

  return Watching


class Whims(Nudge):
  """Draws from few programs, which look new: each has a line that no other one has."""

  def propose(self, proposal, context, rng):
    x, y = rng.integers(1, 7, size=2)
    program = context.parents[0].with_text(f'X = {x}.0\nY = {y}.0\nN = {context.trial_id}\n')
    return types.Edit(program, 'a whim', types.Hypothesis('It helps.'))


@pytest.mark.parametrize('executor', [Arithmetic(), Arithmetic(slots=3), Twins(slots=3)])
def test_results_grow_by_a_line_and_are_what_the_ledger_says(tmp_path, executor):
  inodes = []
  proposer = Whims() if isinstance(executor, Twins) else Nudge()
  history = run(
    tmp_path, 60, workspace_kind=watching(inodes), executor=executor, proposer=proposer
  ).history
  order = list(history.trials)
  late = [
    trial
    for trial in history.trials.values()
    if (first := trial.result.duplicate_of) is not None
    and order.index(first) > order.index(trial.id)
  ]
  assert bool(late) == isinstance(executor, Twins)
  assert len(set(inodes)) <= 1 + len(late)  # a file that is written anew is another one


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-3])


def _change_one_byte(path):
  path.write_bytes(path.read_bytes()[:-2] + b'!\n')


def _replace_by_a_copy(path):
  path.write_bytes((path.rename(path.with_name('moved'))).read_bytes())


def _replace_by_a_pipe(path):
  path.unlink()
  os.mkfifo(path)


@pytest.mark.parametrize(
  'damage',
  [pathlib.Path.unlink, _truncate, _change_one_byte, _replace_by_a_copy, _replace_by_a_pipe],
)
def test_results_that_somebody_changes_are_right_again_with_the_next_verdict(tmp_path, damage):
  run(tmp_path, 5, workspace_kind=watching([], damage))


def test_folders_inside_a_program_are_committed(tmp_path):
  program = types.Program((*START.files, ('parts/deep/layer.py', 'Z = 1\n')), 'model.py')
  with Workspace.open(tmp_path) as workspace:
    history = run_history(tmp_path / 'other', program)
    workspace.reconcile(history)
  assert git(tmp_path, 'show', 'refs/trials/0:parts/deep/layer.py') == ['Z = 1']
  assert (tmp_path / 'repo' / 'parts' / 'deep' / 'layer.py').is_file()


def run_history(directory, program):
  history = run(directory, 1).history
  history.edits[0] = types.Edit(program, 'baseline', types.Hypothesis('it is first'))
  return history


def test_a_second_start_is_refused_and_names_the_first(tmp_path):
  code = (
    'import sys; from pathlib import Path; from autoresearch_jax.ledger.git_repo import Workspace\n'
    'with Workspace.open(Path(sys.argv[1])): print("open", flush=True); input()'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
  )
  with process:
    assert process.stdout.readline() == b'open\n'
    with pytest.raises(WorkspaceError, match=f'in use by the process with pid {process.pid}'):
      Workspace.open(tmp_path)
    process.kill()
  with Workspace.open(tmp_path):
    assert (tmp_path / 'lock').read_text().split()[-1] == str(os.getpid())


def test_a_workdir_that_cannot_be_made_is_a_sentence(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(WorkspaceError, match='--workdir: Not a directory'):
    Workspace.open(tmp_path / 'file' / 'run')


def test_the_users_git_configuration_and_hooks_play_no_part(tmp_path, monkeypatch):
  home = tmp_path / 'home'
  (home / 'hooks').mkdir(parents=True)
  hook = home / 'hooks' / 'post-checkout'
  hook.write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\n')
  hook.chmod(0o755)
  (home / '.gitconfig').write_text(
    f'[core]\n hooksPath = {home}/hooks\n autocrlf = true\n[user]\n name = Somebody\n'
    '[commit]\n gpgsign = true\n[init]\n defaultBranch = trunk\n'
  )
  monkeypatch.setenv('HOME', str(home))
  run(tmp_path / 'one', 6, clock=ticking())
  monkeypatch.undo()
  run(tmp_path / 'two', 6, clock=ticking())
  assert files(tmp_path / 'one') == files(tmp_path / 'two')
  assert not (tmp_path / 'ran').exists()
  assert b'\r' not in (tmp_path / 'one' / 'repo' / 'model.py').read_bytes()


@pytest.mark.parametrize(
  ('name', 'tag'),
  [('gpt_small_cpu', 'gpt_small_cpu'), ('a b..c~^:/d.lock', 'a-b-c-d-lock'), ('///', 'run')],
)
def test_tags_are_names_that_git_takes(name, tag):
  assert tag_of(name) == tag
