"""A store of findings in a git repository: the branch `findings`, with a commit per share.

A local repository is read and written in place; its other branches and its work tree are left
alone. Of a remote one there is a bare copy in the cache, which the `git` command fetches before
reading and pushes after writing, with the user's own access. If another one has pushed meanwhile,
the union is pushed.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator, Mapping

import filelock
import pygit2

from autoresearch_jax.data import cache
from autoresearch_jax.findings.finding import Finding, FindingError
from autoresearch_jax.findings.index import Index
from autoresearch_jax.findings.store import FileStore, Say, Write
from autoresearch_jax.ledger.git_repo import AUTHOR, ignore_user_configuration
from autoresearch_jax.messages import one_line

BRANCH = 'findings'
_REFERENCE = f'refs/heads/{BRANCH}'
_URL = re.compile(r'(git\+)?((https?|ssh|git|file)://\S+|\w[\w.-]*@\w[\w.-]*:\S+)')
_NETWORK_SECONDS = 120.0  # limit of a fetch or a push
_PUSHES = 5  # tries while others push, too
_BROKEN = (pygit2.GitError, KeyError, ValueError, OSError)
_MODES = (pygit2.enums.FileMode.BLOB, pygit2.enums.FileMode.BLOB_EXECUTABLE)


def url_of(address: str) -> str:
  """Returns the URL that git gets for an address; '' if it is not that of a remote repository."""
  found = _URL.fullmatch(address)
  if found is None:
    return ''
  is_git = found[1] or found[2].endswith('.git') or found[3] not in ('http', 'https', 'file')
  return found[2] if is_git else ''


class GitStore(FileStore):
  """The findings in a git repository.

  Args:
    address: A folder with a repository, one that ends in `.git` and is made when something is
      added, or a URL.
    index: Remembers which findings were verified.
  """

  def __init__(self, address: str, index: Index | None = None):
    super().__init__(address, index)
    self._url = url_of(address)
    self._folder = pathlib.Path(address)
    if self._url:
      key = hashlib.sha256(self._url.encode()).hexdigest()[:32]
      self._folder = cache.directory() / 'findings' / f'{key}.git'
    self._is_fetched, self._problem = False, ''
    self._opened: pygit2.Repository | None = None

  def findings(self, refused: Say) -> Iterator[Finding]:
    self._is_fetched = False
    self._fetch(refused)
    yield from super().findings(refused)

  def names(self, folder: str) -> Iterator[str]:
    self._fetch(lambda _: None)
    with _explained(self.address):
      tree = self._tree()
      found = tree[folder] if tree is not None and folder in tree else None
      for group in found if isinstance(found, pygit2.Tree) else ():
        for entry in group if isinstance(group, pygit2.Tree) else ():
          yield f'{folder}/{group.name}/{entry.name}'

  def read(self, name: str, limit: int) -> bytes | None:
    self._fetch(lambda _: None)
    with _explained(self.address):
      tree = self._tree()
      try:
        found = tree[name] if tree is not None else None
      except KeyError:
        return None
      if not isinstance(found, pygit2.Blob) or found.filemode not in _MODES:
        return None
      if found.size > limit:
        raise FindingError(f'It has more than {limit} bytes.')
      return found.data

  @contextlib.contextmanager
  def writing(self) -> Iterator[Write]:
    self._fetch(None)
    with _explained(self.address):
      if not self._exists():
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._initialised()
      repository = self._repository()
      new: dict[str, pygit2.Oid] = {}

      def write(name: str, content: bytes) -> None:
        new[name] = repository.create_blob(content)

      yield write
      for attempt in range(_PUSHES if new else 0):
        with filelock.FileLock(pathlib.Path(repository.path) / 'findings.lock', timeout=60):
          self._commit(repository, new)
        if not self._url or self._pushed(attempt == _PUSHES - 1):
          break
        self._is_fetched = False
        self._fetch(None)

  def _exists(self) -> bool:
    return (self._folder / '.git').exists() or (self._folder / 'HEAD').is_file()

  def _initialised(self) -> None:
    ignore_user_configuration()
    pygit2.init_repository(str(self._folder), bare=True, initial_head=BRANCH)

  def _repository(self) -> pygit2.Repository:
    if self._opened is None:
      ignore_user_configuration()
      self._opened = pygit2.Repository(str(self._folder))
    return self._opened

  def _tree(self) -> pygit2.Tree | None:
    if not self._exists():
      return None
    repository = self._repository()
    if _REFERENCE not in repository.references:
      return None
    return repository.references[_REFERENCE].peel(pygit2.Commit).tree

  def _commit(self, repository: pygit2.Repository, new: Mapping[str, pygit2.Oid]) -> None:
    """Moves the branch to a commit that has the files of its head, and the new ones."""
    head = None
    if _REFERENCE in repository.references:
      head = repository.references[_REFERENCE].peel(pygit2.Commit)
    files = [(name.split('/'), oid) for name, oid in new.items()]
    tree = _with_files(repository, None if head is None else head.tree, files)
    signature = pygit2.Signature(*AUTHOR, int(time.time()), 0)
    added = sum(name.startswith('findings/') for name in new)
    message = f'Add {added} finding{"" if added == 1 else "s"}\n' if added else 'Add a claim\n'
    parents = [] if head is None else [head.id]
    commit = repository.create_commit(None, signature, signature, message, tree, parents)
    repository.references.create(_REFERENCE, commit, force=True)

  def _fetch(self, warn: Say | None) -> None:
    """Fetches from the remote repository, once.

    Args:
      warn: Receives a sentence if it cannot be reached and there is an earlier copy. With None, it
        must be reached.
    """
    if not self._url or self._is_fetched:
      if warn is None and self._problem:
        raise FindingError(self._problem)
      return
    self._is_fetched, self._problem = True, ''
    had = self._exists() and self._tree() is not None
    if not self._exists():
      with _explained(self.address):
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._initialised()
    done = self._git(
      'fetch', '--quiet', '--no-tags', '--', self._url, f'+{_REFERENCE}:{_REFERENCE}'
    )
    if done.returncode == 0 or "couldn't find remote ref" in done.stderr:
      return
    why = one_line(done.stderr, 200) or 'git failed'
    self._problem = (
      f'{self.address} cannot be fetched: {why}. Check the address and that '
      f'`git ls-remote {self._url}` works.'
    )
    if warn is None or not had:
      raise FindingError(self._problem)
    warn(f'{self.address} cannot be fetched ({why}); this is the copy of the last time.')

  def _pushed(self, is_last: bool) -> bool:
    """Pushes the branch. Returns False if somebody else was faster; raises FindingError."""
    done = self._git('push', '--quiet', '--', self._url, f'{_REFERENCE}:{_REFERENCE}')
    if done.returncode == 0:
      return True
    if not is_last and re.search(
      r'fetch first|non-fast-forward|stale info|cannot lock', done.stderr
    ):
      return False
    raise FindingError(
      f'{self.address} cannot be pushed: {one_line(done.stderr, 200)}. Check that you may push to '
      f'its branch {BRANCH}; sharing again then adds what is missing.'
    )

  def _git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ('core.hooksPath=/dev/null', 'fetch.fsckObjects=true', 'protocol.ext.allow=never',
               'gc.auto=0')  # fmt: skip
    command = ['git', '--git-dir', str(self._folder)]
    for option in options:
      command += ['-c', option]
    environment = {
      **{
        k: v for k, v in os.environ.items() if not k.startswith('GIT_') or k.startswith('GIT_SSH')
      },
      'GIT_TERMINAL_PROMPT': '0',
      'LC_ALL': 'C',
    }
    try:
      return subprocess.run(
        [*command, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors='replace',
        timeout=_NETWORK_SECONDS,
        check=False,
      )
    except FileNotFoundError:
      raise FindingError(
        'The command git is missing; a remote repository needs it. Install git, or share to a '
        'folder.'
      ) from None
    except subprocess.TimeoutExpired:
      return subprocess.CompletedProcess(command, 1, '', f'no answer in {_NETWORK_SECONDS:g} s')


def _with_files(
  repository: pygit2.Repository,
  tree: pygit2.Tree | None,
  files: list[tuple[list[str], pygit2.Oid]],
) -> pygit2.Oid:
  """Writes a tree with further files, given as (parts of the path, blob)."""
  builder = repository.TreeBuilder() if tree is None else repository.TreeBuilder(tree)
  folders: dict[str, list[tuple[list[str], pygit2.Oid]]] = {}
  for parts, blob in files:
    if len(parts) == 1:
      builder.insert(parts[0], blob, pygit2.enums.FileMode.BLOB)
    else:
      folders.setdefault(parts[0], []).append((parts[1:], blob))
  for name, inside in folders.items():
    below = tree[name] if tree is not None and name in tree else None
    below = below if isinstance(below, pygit2.Tree) else None
    builder.insert(name, _with_files(repository, below, inside), pygit2.enums.FileMode.TREE)
  return builder.write()


@contextlib.contextmanager
def _explained(address: str) -> Iterator[None]:
  try:
    yield
  except FindingError:
    raise
  except _BROKEN as error:
    raise FindingError(
      f'The repository of {address} cannot be used: {one_line(str(error), 200)}. `git fsck` says '
      'whether it is damaged; see also that it is writable.'
    ) from error
