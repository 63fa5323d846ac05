"""The folder that an agent works in, and how its edit is read back.

    FOLDER/program/    a git repository of its own: one commit, the program to edit
    FOLDER/prompt.md   the task
    FOLDER/home/       the agent's HOME;  FOLDER/tmp/  its TMPDIR

This is a separate repository, not a `git worktree` of the run's: such a worktree shares the run's
`.git`, so whoever may commit in it can also write the run's references, configuration and hooks.
The agent may use git in its own repository freely, but nothing of that is ever read. The edit is
the content of the files, read as plain text; links are not followed, and only regular files are
opened.
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
MAX_FILE_BYTES = 2**20  # of a file that is read back
_PREFIX = 'agent-'  # of the folders, followed by the process id of the controller
_MAX_NAMES, _MAX_FOLDERS = 5, 1000  # names in a message; folders that are searched
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class AgentEditError(Exception):
  """The agent's edit is refused; the message says why and is also sent to the agent."""


class AgentWorktree:
  """The folder of one proposal. Only the agent writes in it while it runs.

  Attributes:
    folder: The folder.
    program: Folder with the program.
    prompt: File with the task.
    home: HOME of the agent.
    temporary: TMPDIR of the agent.
    packages: Folder of its PYTHONPATH.
    task: File with the problem, for `autoresearch check`.
  """

  def __init__(self, scratch: pathlib.Path | None, program: Program):
    """Makes the folder and writes the program into it.

    Args:
      scratch: Where to make it; None for the system's folder of temporary files.
      program: The program to edit.

    Raises:
      OSError: The folder cannot be made.
      pygit2.GitError: The repository cannot be made.
    """
    if scratch is not None:
      scratch.mkdir(parents=True, exist_ok=True)
      _clear(scratch)
    made = tempfile.mkdtemp(prefix=f'{_PREFIX}{os.getpid()}-', dir=scratch)
    self.folder = pathlib.Path(made).resolve()
    self.program, self.prompt = self.folder / 'program', self.folder / 'prompt.md'
    self.home, self.temporary = self.folder / 'home', self.folder / 'tmp'
    self.packages, self.task = self.folder / 'packages', self.folder / 'task.json'
    for folder in (self.program, self.home, self.temporary):
      folder.mkdir()
    program.write(self.program)
    _commit(self.program, [name for name, _ in program.files])

  def edited(self, parent: Program, editable: tuple[str, ...]) -> Program:
    """Returns the program as the agent left it.

    Args:
      parent: The program before the edit.
      editable: Names of the files that may change.

    Changes to other files are left out; see `stray_files`.

    Raises:
      AgentEditError: A file cannot be read as text.
    """
    files = dict(parent.files)
    for name in editable:
      if name in files or self._exists(name):
        files[name] = self.text(name)
    return Program(tuple(files.items()), parent.entry)

  def changed_others(self, parent: Program, editable: tuple[str, ...]) -> str:
    """Returns the names of the program's files that may not change and did, or ''."""
    others = (entry for entry in parent.files if entry[0] not in editable)
    return _listed([name for name, text in others if self._text_or_none(name) != text])

  def stray_files(self, parent: Program, editable: tuple[str, ...]) -> str:
    """Returns the names of other files that the agent changed or left, or ''.

    Caches and hidden files do not count. For the arguments see `edited`.
    """
    others, foreign = self.changed_others(parent, editable), self._foreign_files(parent, editable)
    return ', '.join(filter(None, (others, _listed(list(foreign)))))

  def text(self, name: str, max_bytes: int = MAX_FILE_BYTES) -> str:
    """Returns a file's text.

    Args:
      name: Path of the file below the program's folder.
      max_bytes: Maximum size of the file.

    Raises:
      AgentEditError: The file is missing, no regular file, too large or not UTF-8.
    """
    try:
      data = _read(self.program, name, max_bytes)
    except FileNotFoundError:
      raise AgentEditError(f'The agent removed {name}.') from None
    except OSError as error:
      raise AgentEditError(
        f'{name} is no regular file any more ({error.strerror}); links are not followed.'
      ) from None
    if len(data) > max_bytes:
      raise AgentEditError(f'{name} is now larger than {max_bytes >> 10} KiB.')
    try:
      return data.decode()
    except UnicodeDecodeError as error:
      raise AgentEditError(f'{name} is not UTF-8 text any more (byte {error.start}).') from None

  def remove(self) -> None:
    """Removes the folder, whatever is in it; what cannot be removed stays."""
    remove_tree(self.folder)

  def _text_or_none(self, name: str) -> str | None:
    try:
      return self.text(name)
    except AgentEditError:
      return None

  def _exists(self, name: str) -> bool:
    return os.path.lexists(self.program / name)

  def _foreign_files(self, parent: Program, editable: tuple[str, ...]) -> Iterator[str]:
    """Yields files that do not belong to the program; caches and hidden files are ignored."""
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


def _listed(names: list[str]) -> str:
  return ', '.join(map(repr, names[:_MAX_NAMES])) + (' and more' if len(names) > _MAX_NAMES else '')


def remove_tree(folder: pathlib.Path) -> None:
  """Removes a folder of any depth without following links: subfolders are moved up and emptied."""
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
  """Removes a folder's files and moves its subfolders to `top`; returns their new names."""
  names = []
  for name in os.listdir(inner):
    try:
      if stat.S_ISDIR(os.stat(name, dir_fd=inner, follow_symlinks=False).st_mode):
        new = secrets.token_hex(8)  # a name that the agent cannot have used
        os.chmod(name, 0o700, dir_fd=inner)
        os.rename(name, new, src_dir_fd=inner, dst_dir_fd=top)
        names.append(new)
      else:
        os.unlink(name, dir_fd=inner)
    except OSError:
      continue
  return names


def _read(root: pathlib.Path, name: str, max_bytes: int) -> bytes:
  """Reads up to `max_bytes` + 1 bytes of a regular file below `root`. Raises OSError."""
  folder, _, last = name.rpartition('/')
  inside = _open_folder(root, folder)
  try:
    descriptor = os.open(last, _READ, dir_fd=inside)
  finally:
    os.close(inside)
  with os.fdopen(descriptor, 'rb') as file:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
      raise OSError(0, 'not a regular file')
    return file.read(max_bytes + 1)


def _entries(root: pathlib.Path, inside: str) -> list[tuple[str, bool]]:
  """Returns (name, whether it is a folder) of a folder's entries; links are no folders."""
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
  """Opens a folder without following links, `root` included. Raises OSError."""
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
  """Removes the folders of controllers that were killed."""
  for folder in scratch.glob(f'{_PREFIX}*'):
    owner = folder.name.removeprefix(_PREFIX).partition('-')[0]
    if owner.isdigit() and not pathlib.Path('/proc', owner).exists():
      remove_tree(folder)
