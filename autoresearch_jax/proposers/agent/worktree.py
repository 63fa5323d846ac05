"""The folder that an agent works in, and what is read back from it.

    FOLDER/program/    a git repository of its own: one commit, the program that is edited
    FOLDER/prompt.md   the task
    FOLDER/home/       the agent's HOME;  FOLDER/tmp/  its TMPDIR

It is a repository of its own and not a `git worktree` of the run's: such a worktree shares the
run's `.git`, so whoever may commit in it can also write the run's references, configuration and
hooks. The agent may use git in its own as it likes. Nothing of that is ever read: the edit is what
the files are, taken as plain text, with no link followed and nothing but regular files opened.
"""

import os
import pathlib
import secrets
import stat
import tempfile
from collections.abc import Iterator

import pygit2

from autoresearch_jax.types import Program

HYPOTHESIS = 'hypothesis.json'  # beside the program's files, where the agent may leave it
LARGEST = 2**20  # bytes of a file that is read back
_PREFIX = 'agent-'  # of the folders, each with the process id of its controller
_ENOUGH, _MAX_FOLDERS = 5, 1000  # names in a sentence; folders that are looked into
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Refused(Exception):
  """What the agent left can not be taken; the sentence says why, for the agent too."""


class Worktree:
  """A folder for one proposal. Nobody else writes in it but the agent, while that runs."""

  def __init__(self, scratch: pathlib.Path | None, program: Program):
    """Makes it below `scratch`, or where temporary files go. Raises OSError, pygit2.GitError."""
    if scratch is not None:
      scratch.mkdir(parents=True, exist_ok=True)
      _clear(scratch)
    made = tempfile.mkdtemp(prefix=f'{_PREFIX}{os.getpid()}-', dir=scratch)
    self.folder = pathlib.Path(made).resolve()
    self.program, self.prompt = self.folder / 'program', self.folder / 'prompt.md'
    self.home, self.temporary = self.folder / 'home', self.folder / 'tmp'
    for folder in (self.program, self.home, self.temporary):
      folder.mkdir()
    program.write(self.program)
    _commit(self.program, [name for name, _ in program.files])

  def edited(self, parent: Program, editable: tuple[str, ...]) -> Program:
    """The program as the agent left it. Raises Refused when more than `editable` differs."""
    files, wrong = dict(parent.files), list(self._strangers(parent, editable))
    for name, text in parent.files:
      if name not in editable and self._text_or_none(name) != text:
        wrong.append(name)
    if wrong:
      shown = ', '.join(map(repr, wrong[:_ENOUGH])) + (' and more' if len(wrong) > _ENOUGH else '')
      raise Refused(
        f'The agent changed, added or removed {shown}; only {", ".join(editable)} may be changed.'
      )
    for name in editable:
      if name in files or self._exists(name):
        files[name] = self.text(name)
    return Program(tuple(files.items()), parent.entry)

  def text(self, name: str, most: int = LARGEST) -> str:
    """A file's text. Raises Refused when it is not there, no plain file, too large or not UTF-8."""
    try:
      data = _read(self.program, name, most)
    except FileNotFoundError:
      raise Refused(f'The agent removed {name}.') from None
    except OSError as error:
      raise Refused(
        f'{name} is no plain file any more ({error.strerror}); links are not followed.'
      ) from None
    if len(data) > most:
      raise Refused(f'{name} has become larger than {most >> 10} KiB.')
    try:
      return data.decode()
    except UnicodeDecodeError as error:
      raise Refused(f'{name} is no UTF-8 text any more (byte {error.start}).') from None

  def remove(self) -> None:
    """Removes the folder, whatever is in it; what can not be removed stays."""
    remove(self.folder)

  def _text_or_none(self, name: str) -> str | None:
    try:
      return self.text(name)
    except Refused:
      return None

  def _exists(self, name: str) -> bool:
    return os.path.lexists(self.program / name)

  def _strangers(self, parent: Program, editable: tuple[str, ...]) -> Iterator[str]:
    """Files that are none of the program's; caches and hidden files of tools are let pass."""
    known = {*dict(parent.files), *editable, HYPOTHESIS}
    waiting, folders = [''], 0
    while waiting and folders < _MAX_FOLDERS:
      inside, folders = waiting.pop(), folders + 1
      for name, is_folder in _entries(self.program, inside):
        path = f'{inside}{name}'
        if name.startswith('.') or name == '__pycache__' or path in known:
          continue
        if is_folder:
          waiting.append(f'{path}/')
        else:
          yield path
    if waiting:
      yield waiting[0]


def remove(folder: pathlib.Path) -> None:
  """Removes a tree of any depth and no link's target: subfolders are moved up, then emptied."""
  try:
    top = _open_folder(folder, '')
  except OSError:
    return
  try:
    waiting = _emptied(top, top)
    while waiting:
      name = waiting.pop()
      try:
        os.chmod(name, 0o700, dir_fd=top)
        inner = os.open(name, _READ | os.O_DIRECTORY, dir_fd=top)
      except OSError:
        continue
      try:
        waiting += _emptied(inner, top)
      finally:
        os.close(inner)
      try:
        os.rmdir(name, dir_fd=top)
      except OSError:
        continue
  finally:
    os.close(top)
  try:
    folder.rmdir()
  except OSError:
    return


def _emptied(inner: int, top: int) -> list[str]:
  """Removes a folder's files; its subfolders go to `top`, under new names, which are returned."""
  names = []
  for name in os.listdir(inner):
    try:
      if stat.S_ISDIR(os.stat(name, dir_fd=inner, follow_symlinks=False).st_mode):
        new = secrets.token_hex(8)  # a name that the agent could not take before
        os.chmod(name, 0o700, dir_fd=inner)
        os.rename(name, new, src_dir_fd=inner, dst_dir_fd=top)
        names.append(new)
      else:
        os.unlink(name, dir_fd=inner)
    except OSError:
      continue
  return names


def _read(root: pathlib.Path, name: str, most: int) -> bytes:
  """Up to `most` + 1 bytes of a regular file below `root`. Raises OSError."""
  folder, _, last = name.rpartition('/')
  inside = _open_folder(root, folder)
  try:
    descriptor = os.open(last, _READ, dir_fd=inside)
  finally:
    os.close(inside)
  with os.fdopen(descriptor, 'rb') as file:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
      raise OSError(0, 'not a regular file')
    return file.read(most + 1)


def _entries(root: pathlib.Path, inside: str) -> list[tuple[str, bool]]:
  """Names in a folder below `root`, each with whether it is a folder (a link is none)."""
  try:
    descriptor = _open_folder(root, inside)
  except OSError:
    return []
  try:
    with os.scandir(descriptor) as entries:
      return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
  finally:
    os.close(descriptor)


def _open_folder(root: pathlib.Path, path: str) -> int:
  """A descriptor of a folder, through no link, `root` itself included. Raises OSError."""
  descriptor = os.open(root, _READ | os.O_DIRECTORY)
  for part in filter(None, path.split('/')):
    try:
      inner = os.open(part, _READ | os.O_DIRECTORY, dir_fd=descriptor)
    finally:
      os.close(descriptor)
    descriptor = inner
  return descriptor


def _commit(folder: pathlib.Path, names: list[str]) -> None:
  repository = pygit2.init_repository(str(folder))
  for name in names:
    repository.index.add(name)
  repository.index.write()
  author = pygit2.Signature('autoresearch', 'autoresearch@localhost')
  tree = repository.index.write_tree()
  repository.create_commit('HEAD', author, author, 'The program to edit\n', tree, [])


def _clear(scratch: pathlib.Path) -> None:
  """Removes folders whose controller was killed."""
  for folder in scratch.glob(f'{_PREFIX}*'):
    owner = folder.name.removeprefix(_PREFIX).partition('-')[0]
    if owner.isdigit() and not pathlib.Path('/proc', owner).exists():
      remove(folder)
