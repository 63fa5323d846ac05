"""Writes commits as patches, as `git format-patch` does, for `git am` or `patch -p1`."""

import email.utils
import pathlib
import re
from collections.abc import Sequence

import pygit2

from autoresearch_jax.finalize.branch import AUTHOR
from autoresearch_jax.finalize.commits import FinalizeError, Step
from autoresearch_jax.types import Program

MAX_NAME = 52  # characters of a subject in a file's name


def write_patches(
  folder: pathlib.Path, original: Program, steps: Sequence[Step], when: float, inside: str = ''
) -> list[pathlib.Path]:
  """Writes a patch for each step into a new or empty folder, and returns the files.

  Args:
    folder: The folder.
    original: The user's program.
    steps: The commits.
    when: Date of the patches, in Unix seconds.
    inside: Folder of the program in its repository, for the paths in the patches.

  Raises:
    FinalizeError: The folder has files.
  """
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise FinalizeError(f'--to is {str(folder)!r}, which is not an empty folder; name a new one.')
  folder.mkdir(parents=True, exist_ok=True)
  before, written = original, []
  for number, step in enumerate(steps, 1):
    name = re.sub(r'[^A-Za-z0-9_.]+', '-', step.subject).strip('-.')[:MAX_NAME]
    path = folder / f'{number:04d}-{name}.patch'
    text = _patch(before, step, number, len(steps), when, inside)
    path.write_text(text, encoding='utf-8', newline='')
    written.append(path)
    before = step.program
  return written


def _patch(before: Program, step: Step, number: int, count: int, when: float, inside: str) -> str:
  subject, _, body = step.message.partition('\n\n')
  return (
    f'From {"0" * 40} Mon Sep 17 00:00:00 2001\n'
    f'From: {AUTHOR[0]} <{AUTHOR[1]}>\n'
    f'Date: {email.utils.formatdate(when)}\n'
    f'Subject: [PATCH {number}/{count}] {subject}\n'
    'MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n'
    f'\n{body}---\n{program_diff(before, step.program, inside)}-- \nautoresearch_jax\n\n'
  )


def program_diff(before: Program, after: Program, inside: str = '') -> str:
  """Returns the difference of two programs in git's format."""
  old, new = dict(before.files), dict(after.files)
  parts = []
  for name in sorted({*old, *new}):
    texts = [files[name].encode() if name in files else None for files in (old, new)]
    if texts[0] != texts[1]:
      path = f'{inside}/{name}' if inside else name
      patch = pygit2.Patch.create_from(
        texts[0] or b'', texts[1] or b'', old_as_path=path, new_as_path=path
      )
      parts.append(_header_of_whole_file(patch.text or '', texts))
  return ''.join(parts)


def _header_of_whole_file(text: str, sides: list[bytes | None]) -> str:
  """Marks a file as added or removed; libgit2 only sees an empty one."""
  if None not in sides:
    return text
  added = sides[0] is None
  text = re.sub(r'^(index .*?)(?: \d+)?$', r'\1', text, count=1, flags=re.MULTILINE)
  mark = 'new file mode 100644' if added else 'deleted file mode 100644'
  text = text.replace('\nindex ', f'\n{mark}\nindex ', 1)
  pattern = r'^--- .*$' if added else r'^\+\+\+ .*$'
  nowhere = '--- /dev/null' if added else '+++ /dev/null'
  return re.sub(pattern, nowhere, text, count=1, flags=re.MULTILINE)
