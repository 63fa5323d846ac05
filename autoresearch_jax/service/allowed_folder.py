"""Reads programs below one folder only, for clients that are not trusted with the rest of the disk.

A path that leads out of the folder, also through a symbolic link, is refused, and so is what is not
a regular file of reasonable size. Files are checked after they are open, so that a file that is
exchanged in between does not get around that.
"""

import os
import pathlib
import stat

from autoresearch_jax.config import Config
from autoresearch_jax.messages import describe_os_error, one_line
from autoresearch_jax.programs.siblings import with_siblings
from autoresearch_jax.types import Program

MAX_PATH = 1024  # characters
MAX_FILE_BYTES = 2**20
MAX_FILES = 200


class Refusal(ValueError):
  """A call that is not carried out; the message is a sentence."""


class AllowedFolder:
  """The folder below which programs may be read.

  Args:
    root: The folder.

  Raises:
    Refusal: There is no such folder.
  """

  def __init__(self, root: pathlib.Path):
    try:
      self.root = root.resolve(strict=True)
    except (OSError, ValueError):
      raise Refusal(f'There is no folder {str(root)!r}; name one that exists.') from None
    if not self.root.is_dir():
      raise Refusal(f'{str(root)!r} is not a folder; name one.')

  def program(self, path: str, config: Config) -> Program:
    """Reads the program in a folder.

    Args:
      path: The program's folder, absolute or relative to the root.
      config: Names the program's files.

    Raises:
      Refusal: The path leads elsewhere, or a file cannot be read.
    """
    folder = self._folder(path)
    names = config.program_files
    texts = {name: self._text(folder, name) for name in names}
    siblings = with_siblings(folder, names)
    if len(siblings) > MAX_FILES:
      raise Refusal(f'The program has more than {MAX_FILES} files; make it smaller.')
    texts |= {name: self._text(folder, name) for name in siblings if name not in texts}
    return Program(tuple(texts.items()), config.entry)

  def _folder(self, path: str) -> pathlib.Path:
    require_line(path, 'program', MAX_PATH)
    try:
      folder = (self.root / path).resolve(strict=True)
      self._require_inside(folder)
      if folder.is_dir():
        return folder
    except OSError:
      pass
    raise Refusal(
      f'program is {one_line(path, 100)!r}, which is not a folder below {self.root}; name one with '
      'a program. `autoresearch start` writes one.'
    )

  def _text(self, folder: pathlib.Path, name: str) -> str:
    """Reads a file of a program."""
    try:
      descriptor = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
      with os.fdopen(descriptor, 'rb') as file:
        self._require_inside(pathlib.Path(f'/proc/self/fd/{descriptor}').resolve())
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
          raise Refusal(f'{name} is not a regular file; make it one.')
        data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
      raise Refusal(
        f'{name} of the program cannot be read: {describe_os_error(error, "")}. `autoresearch '
        'start` writes a folder with a program.'.replace('..', '.')
      ) from None
    if len(data) > MAX_FILE_BYTES:
      raise Refusal(f'{name} is larger than {MAX_FILE_BYTES // 2**20} MiB; make it smaller.')
    try:
      return data.decode()
    except UnicodeDecodeError:
      raise Refusal(f'{name} is not UTF-8 text; make it so.') from None

  def _require_inside(self, path: pathlib.Path) -> None:
    if not path.is_relative_to(self.root):
      raise Refusal(
        f'The path leads out of {self.root}, below which programs are read; stay there.'
      )


def require_line(text: str, name: str, limit: int) -> None:
  """Raises Refusal unless an argument is one line of printable text.

  Args:
    text: Its value.
    name: Its name.
    limit: The most characters that it may have.
  """
  if len(text) > limit:
    raise Refusal(f'{name} has {len(text)} characters; at most {limit} are allowed.')
  if not text.isprintable():
    raise Refusal(f'{name} has line breaks or control characters; write one line without them.')
