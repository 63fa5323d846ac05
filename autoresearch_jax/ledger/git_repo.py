"""The run directory: its lock, results.tsv, and a git repository of all trials.

    ledger.db      all events; everything else is derived from them
    results.tsv    one line per trial, in the original autoresearch's format
    progress.png   the plot of `autoresearch report`
    repo/          one commit per trial under refs/trials/<id>; the branch autoresearch/<tag> has a
                   commit per kept trial with its score, and the work tree shows the best program
    scratch/       traces and artifacts of the executor
    lock           held by the process that runs here

`reconcile` brings the repository and results.tsv in line with the ledger after a kill. A commit is
a function of the ledger, so making it again gives the same hash. The user's git configuration is
not read, and no hooks run (libgit2 has none).
"""

import fcntl
import os
import pathlib
import re
import time
from typing import Self

import pygit2

from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.ownership import (
  ATTRIBUTES,
  LOCK_MARK,
  WorkspaceError,
  require_usable,
)
from autoresearch_jax.ledger.results import Row, row, rows
from autoresearch_jax.messages import is_disk_error, one_line
from autoresearch_jax.types import Hypothesis, Program

LOCK_SECONDS = 1.0  # wait for the lock of a git command that the user runs in the repository
BROKEN = (pygit2.GitError, KeyError, ValueError, OSError)  # raised for a damaged repository
AUTHOR = ('autoresearch', 'autoresearch@localhost')


class Workspace:
  """One run's directory, locked for this process while open."""

  def __init__(self, directory: pathlib.Path):
    self.directory = directory
    self.ledger_path = directory / 'ledger.db'
    self.results_path = directory / 'results.tsv'
    self.repository_path = directory / 'repo'
    self.scratch = directory / 'scratch'
    self._lock: int | None = None
    self._repository: pygit2.Repository | None = None
    self._commits: dict[int, pygit2.Oid] = {}
    self._written: tuple[int, int, int] | None = None  # results.tsv as this process left it
    self._awaited: set[int] = set()  # undecided trials that a row in results.tsv duplicates

  @classmethod
  def open(cls, directory: pathlib.Path) -> Self:
    """Creates and locks the directory.

    Raises:
      WorkspaceError: Another process runs in it, it has files of the user, or it cannot be written.
    """
    require_usable(directory)
    workspace = cls(directory)
    try:
      directory.mkdir(parents=True, exist_ok=True)
      workspace._lock = _locked(directory / 'lock')
      workspace.scratch.mkdir(exist_ok=True)
    except OSError as error:
      raise WorkspaceError(f'{directory} cannot be used as --workdir: {error.strerror}.') from None
    return workspace

  def close(self) -> None:
    if self._lock is not None:
      os.close(self._lock)
      self._lock = None

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def reconcile(self, history: History) -> None:
    """Brings repository and results.tsv in line with the ledger; renames a broken repository."""
    assert history.started is not None
    branch = branch_name(history.started.tag)
    try:
      self._rebuild(history, branch)
    except BROKEN as error:
      if is_disk_error(error):  # the repository itself is not broken
        raise WorkspaceError(
          f'{self.repository_path} cannot be written: {error}. Free some space or make it '
          'writable. The ledger is intact, and the same command resumes the run.'
        ) from error
      if self.repository_path.exists():
        self.repository_path.rename(_free_name(self.directory / 'repo.broken'))
      self._rebuild(history, branch)
    self.write_results(history)

  def record_trial(self, history: History, trial: int) -> None:
    """Commits a trial's program under refs/trials/<id>."""
    try:
      self._record_trial(history, trial)
    except BROKEN:
      self._recover(history)

  def _recover(self, history: History) -> None:
    """Rebuilds after git failed: a lock was left behind, say, or an object was removed."""
    time.sleep(LOCK_SECONDS)
    self.reconcile(history)

  def _record_trial(self, history: History, trial: int) -> None:
    parent = history.parent(trial)
    parents = [] if parent is None else [self._commits[parent]]
    edit = history.edits[trial]
    message = _message(trial, edit.description, edit.hypothesis)
    commit = self._commit(edit.program, message, parents, int(history.edited_at[trial]))
    self._commits[trial] = commit
    _point(self._git, f'refs/trials/{trial}', commit)

  def record_verdict(self, history: History, trial: int) -> None:
    """Moves the branch if the trial was kept, and adds its row to results.tsv."""
    try:
      if history.kept and history.kept[-1] == trial:
        self._advance(history, self._head())
        self._show_incumbent()
    except BROKEN:
      self._recover(history)
    else:
      self.append_row(history, trial)

  def write_results(self, history: History) -> None:
    """Writes results.tsv atomically."""
    lines = [f'commit\t{history.objective.metric}\tmemory_gb\tstatus\tdescription\n']
    lines += [self._line(found) for found in rows(history)]
    self._written = None
    _replace(self.results_path, ''.join(lines))
    self._written = _stamp(self.results_path.stat())
    firsts = (trial.result.duplicate_of for trial in history.trials.values())
    self._awaited = {first for first in firsts if first is not None} - {*history.trials}

  def append_row(self, history: History, trial: int) -> None:
    """Appends the row of a decided trial to results.tsv.

    The whole file is rewritten if the trial changes an earlier row, or if another process has
    changed the file. A line cut off by a power failure is repaired at the next start.
    """
    first = history.trials[trial].result.duplicate_of
    if trial in self._awaited or not self._append(self._line(row(history, history.trials[trial]))):
      self.write_results(history)
    elif first is not None and first not in history.trials:
      self._awaited.add(first)

  def _append(self, line: str) -> bool:
    """Appends a line durably, in one write. Returns False if the file must be rewritten."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    try:
      descriptor = os.open(self.results_path, flags)
    except OSError:  # removed, read-only, or no regular file
      return False
    try:
      expected, self._written = self._written, None
      if _stamp(os.fstat(descriptor)) != expected:
        return False
      data = line.encode()
      if os.write(descriptor, data) != len(data):
        return False
      os.fsync(descriptor)
      self._written = _stamp(os.fstat(descriptor))
    finally:
      os.close(descriptor)
    return True

  def _line(self, row: Row) -> str:
    return (
      f'{self.short_hash(row.trial)}\t{row.value:.6f}\t{row.memory_gb:.1f}\t{row.status}\t'
      f'{one_line(row.description)}\n'
    )

  def short_hash(self, trial: int) -> str:
    return str(self._commits[trial])[:7]

  @property
  def _git(self) -> pygit2.Repository:
    assert self._repository is not None, 'call reconcile() first'
    return self._repository

  def _rebuild(self, history: History, branch: str) -> None:
    self._repository = _open_repository(self.repository_path, branch)
    self._commits = {}
    for trial in history.edits:
      self._record_trial(history, trial)
    self._drop_unknown_trials(history)
    head = None
    for position in range(len(history.kept)):
      head = self._successor(history, position, head)
    self._set_head(head)
    if head is not None:
      self._show_incumbent()

  def _drop_unknown_trials(self, history: History) -> None:
    """Deletes refs of trials that are not in the ledger."""
    for name in list(self._git.references):
      trial = name.removeprefix('refs/trials/')
      if trial != name and not (trial.isdecimal() and int(trial) in history.edits):
        self._git.references.delete(name)

  def _successor(self, history: History, position: int, head: pygit2.Oid | None) -> pygit2.Oid:
    """Returns the branch's commit for the kept trial at `position`, whose only parent is `head`.

    The trial's own commit has the program that it edits as its parent, which need not be kept.
    """
    trial = history.kept[position]
    first = history.edits[history.original(trial)]
    metric, value = history.objective.metric, history.trials[trial].metric(history.objective.metric)
    runs = len(history.trials[trial].result.measurements)
    score = 'unknown' if value is None else f'{value:.6f}'
    mean = f' (mean of {runs} runs)' if runs > 1 else ''
    message = (
      f'{one_line(f"Keep trial {trial}: {first.description}", 200)}\n\n'
      f'{metric}: {score}{mean}\nTrial: {trial}\n'
    )
    parents = [] if head is None else [head]
    return self._commit(
      history.edits[trial].program, message, parents, int(history.edited_at[trial])
    )

  def _advance(self, history: History, head: pygit2.Oid | None) -> None:
    self._set_head(self._successor(history, len(history.kept) - 1, head))

  def _head(self) -> pygit2.Oid | None:
    if self._git.head_is_unborn:
      return None
    head = self._git.head.target
    assert isinstance(head, pygit2.Oid)
    return head

  def _set_head(self, commit: pygit2.Oid | None) -> None:
    branch = str(self._git.lookup_reference('HEAD').target)
    if commit is not None:
      _point(self._git, branch, commit)
    elif branch in self._git.references:
      self._git.references.delete(branch)

  def _show_incumbent(self) -> None:
    self._git.checkout_head(strategy=pygit2.enums.CheckoutStrategy.FORCE)

  def _commit(
    self, program: Program, message: str, parents: list[pygit2.Oid], when: int
  ) -> pygit2.Oid:
    signature = pygit2.Signature(*AUTHOR, when, 0)
    tree = _tree(self._git, [(name.split('/'), text) for name, text in program.files])
    return self._git.create_commit(None, signature, signature, message, tree, parents)


def branch_name(tag: str) -> str:
  return f'autoresearch/{tag}'


def tag_of(name: str) -> str:
  """Returns a config's name without the characters that git refuses in branch names."""
  return re.sub(r'[^A-Za-z0-9_-]+', '-', name).strip('-') or 'run'


def _locked(path: pathlib.Path) -> int:
  """Acquires the lock until the process ends. Raises WorkspaceError if another one holds it."""
  descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    holder = os.read(descriptor, 64).decode(errors='replace').split()[-1:] or ['unknown']
    os.close(descriptor)
    raise WorkspaceError(
      f'{path.parent} is in use by the process with pid {holder[0]}. Stop that process first, or '
      f'use another --workdir.'
    ) from None
  os.ftruncate(descriptor, 0)
  os.write(descriptor, f'{LOCK_MARK} {os.getpid()}\n'.encode())
  return descriptor


def _open_repository(path: pathlib.Path, branch: str) -> pygit2.Repository:
  """Opens or creates the repository at `path` with HEAD on `branch`, and removes stale git locks.

  The caller holds the workspace's lock, so a git lock file belongs to a dead process.
  """
  ignore_user_configuration()
  git = path / '.git'
  if not git.exists() and path.exists() and any(path.iterdir()):
    raise ValueError(f'{path} has files, but no repository.')
  for stale in git.rglob('*.lock') if git.is_dir() else ():
    stale.unlink()
  repository = pygit2.init_repository(str(path), initial_head=branch)
  repository.config['core.autocrlf'] = 'false'
  if not (git / 'info' / 'attributes').exists():
    _replace(git / 'info' / 'attributes', ATTRIBUTES)
  if repository.lookup_reference('HEAD').target != f'refs/heads/{branch}':
    repository.set_head(f'refs/heads/{branch}')
  return repository


def ignore_user_configuration() -> None:
  """Makes libgit2 ignore system, global and XDG configuration, and skip its owner check."""
  level = pygit2.enums.ConfigLevel
  for where in (level.PROGRAMDATA, level.SYSTEM, level.XDG, level.GLOBAL):
    pygit2.settings.search_path[where] = ''
  pygit2.settings.owner_validation = False
  pygit2.settings.enable_fsync_gitdir(True)


def _point(repository: pygit2.Repository, name: str, commit: pygit2.Oid) -> None:
  if name not in repository.references or repository.references[name].target != commit:
    repository.references.create(name, commit, force=True)


def _tree(repository: pygit2.Repository, files: list[tuple[list[str], str]]) -> pygit2.Oid:
  """Writes a git tree of (path parts, text) pairs."""
  builder = repository.TreeBuilder()
  folders: dict[str, list[tuple[list[str], str]]] = {}
  for parts, text in files:
    if len(parts) == 1:
      blob = repository.create_blob(text.encode())
      builder.insert(parts[0], blob, pygit2.enums.FileMode.BLOB)
    else:
      folders.setdefault(parts[0], []).append((parts[1:], text))
  for name, inside in folders.items():
    builder.insert(name, _tree(repository, inside), pygit2.enums.FileMode.TREE)
  return builder.write()


def _message(trial: int, description: str, hypothesis: Hypothesis) -> str:
  lines = [one_line(description, 200) or f'Trial {trial}', '', one_line(hypothesis.claim), '']
  if hypothesis.mechanisms:
    lines.append(f'Mechanisms: {one_line(", ".join(hypothesis.mechanisms))}')
  if hypothesis.predicted_effect is not None:
    spread = '' if hypothesis.uncertainty is None else f' ± {hypothesis.uncertainty:g}'
    lines.append(f'Predicted-Effect: {hypothesis.predicted_effect:+g}{spread}')
  return '\n'.join([*lines, f'Trial: {trial}', ''])


def _replace(path: pathlib.Path, text: str) -> None:
  """Writes a file atomically and durably: under another name, which is then renamed."""
  path.parent.mkdir(parents=True, exist_ok=True)
  new = path.with_name(f'.{path.name}.new')
  with new.open('w', encoding='utf-8', newline='') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  new.replace(path)


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
  """Identifies a version of a file, to detect changes by other processes."""
  return found.st_ino, found.st_size, found.st_mtime_ns


def _free_name(path: pathlib.Path) -> pathlib.Path:
  count = 0
  while path.exists():
    count += 1
    path = path.with_name(f'{path.name.split(".")[0]}.broken.{count}')
  return path
