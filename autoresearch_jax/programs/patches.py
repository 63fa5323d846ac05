"""Unified diffs, as git and `diff -u` write them: parsed strictly and applied to programs.

Binary files, links, renames and paths that leave the program are refused when the patch is parsed.
A hunk is applied at its line number if the lines match there, else at the only other place where
they match. (libgit2 parses git's own patches, but not those of plain `diff -u`.)

The text before the diff is the patch's message: a summary line, a paragraph that says why, and the
trailers `Claim:`, `Mechanisms:` and `Predicted-Effect:`, as in the commits of a run's repository.
The headers of `git format-patch` are understood.
"""

import dataclasses
import email
import email.policy
import pathlib
import re

from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Hypothesis, Program

NOWHERE = '/dev/null'
_HUNK = re.compile(r'@@ -(\d{1,9})(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@')
_NOT_TEXT = ('Binary files ', 'GIT binary patch')
_MOVES = ('rename ', 'copy ')
_MODES = ('new file mode ', 'new mode ', 'deleted file mode ', 'old mode ')
_IGNORED_HEADERS = ('diff ', 'index ', 'similarity ', 'dissimilarity ')
_TRAILER = re.compile(r'(Claim|Mechanisms|Predicted-Effect|Trial):(.*)')
_NUMBER = r'\d+(?:\.\d*)?(?:e[-+]?\d{1,2})?'
_EFFECT = re.compile(rf'([-+]?{_NUMBER})(?: *± *({_NUMBER}))?')


class PatchError(ValueError):
  """The text is not a valid patch of a program; the message names the line."""


@dataclasses.dataclass(frozen=True)
class Hunk:
  """One hunk of a unified diff.

  Attributes:
    start: Line, from 0, at which `old` begins.
    old: Lines that are replaced, with their newlines.
    new: Lines that replace them, with their newlines.
  """

  start: int
  old: tuple[str, ...]
  new: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class FileChange:
  """What a patch does to one file.

  Attributes:
    name: The file.
    hunks: In order.
    adds: Whether the patch creates the file.
    removes: Whether the patch deletes the file.
  """

  name: str
  hunks: tuple[Hunk, ...]
  adds: bool = False
  removes: bool = False


@dataclasses.dataclass(frozen=True)
class Patch:
  """A parsed patch.

  Attributes:
    description: One line; '' if the message has none.
    hypothesis: From the message and its trailers.
    changes: One per file.
  """

  description: str
  hypothesis: Hypothesis
  changes: tuple[FileChange, ...]


def parse(text: str) -> Patch:
  """Reads a patch. Raises PatchError."""
  lines = text.removesuffix('\n').split('\n')
  first = next((i for i in range(len(lines)) if _begins(lines, i)), None)
  if first is None:
    raise PatchError('It has no unified diff: no lines that begin with --- and +++.')
  changes = _DiffReader(lines, first).changes()
  names = [change.name for change in changes]
  if len(set(names)) < len(names):
    raise PatchError('It changes a file in two places of the diff; put them together.')
  return Patch(*_message(lines[:first]), changes)


def apply_patch(patch: Patch, program: Program) -> Program | None:
  """Returns the program after the patch; None if the lines to change are missing."""
  files = dict(program.files)
  for change in patch.changes:
    before = files.pop(change.name, None)
    if change.adds != (before is None):
      return None
    after = _replaced(change.hunks, _lines(before or ''))
    if after is None or (change.removes and after):
      return None
    if not change.removes:
      files[change.name] = after
  return Program(tuple(files.items()), program.entry) if program.entry in files else None


def _replaced(hunks: tuple[Hunk, ...], lines: list[str]) -> str | None:
  done, drift, parts = 0, 0, []
  for hunk in hunks:
    at = _place(hunk, lines, done, hunk.start + drift)
    if at is None:
      return None
    parts += [*lines[done:at], *hunk.new]
    done, drift = at + len(hunk.old), at - hunk.start
  return ''.join([*parts, *lines[done:]])


def _place(hunk: Hunk, lines: list[str], first: int, expected: int) -> int | None:
  """Returns where the old lines of a hunk are, from `first` on; None unless that is unique."""
  size = len(hunk.old)
  found = [i for i in range(first, len(lines) - size + 1) if (*lines[i : i + size],) == hunk.old]
  if expected in found:
    return expected
  return found[0] if len(found) == 1 else None


def _lines(text: str) -> list[str]:
  return re.findall(r'[^\n]*\n|[^\n]+', text)


def _begins(lines: list[str], at: int) -> bool:
  if lines[at].startswith('diff --git '):
    return True
  return lines[at].startswith('--- ') and lines[at + 1 : at + 2] != [] and (
    lines[at + 1].startswith('+++ ')
  )  # fmt: skip


@dataclasses.dataclass
class _DiffReader:
  """Reads a diff line by line.

  Attributes:
    lines: The lines.
    at: Index of the next line.
  """

  lines: list[str]
  at: int

  def changes(self) -> tuple[FileChange, ...]:
    found = []
    while self.at < len(self.lines):
      line = self._line()
      if line.startswith('--- ') and self._line(1).startswith('+++ '):
        found.append(self._change())
      elif line.startswith('-- '):  # format-patch ends with git's version
        break
      else:
        self._header(line)
        self.at += 1
    if not found:
      raise self._error('the diff changes no lines of any file.')
    return tuple(found)

  def _header(self, line: str) -> None:
    """Raises PatchError for a header that is unknown or not allowed."""
    if line.startswith(_NOT_TEXT):
      raise self._error('it changes a binary file; programs are text.')
    if line.startswith(_MOVES):
      raise self._error('it renames or copies a file; remove and add it instead.')
    if line.startswith(_MODES):
      if not line.rsplit(maxsplit=1)[-1].startswith('100'):
        raise self._error('it creates something other than a regular file.')
    elif line and not line.startswith(_IGNORED_HEADERS):
      raise self._error(f'{one_line(line, 40)!r} is not part of a unified diff.')

  def _change(self) -> FileChange:
    old, new = (_path(self._line(n)[4:]) for n in (0, 1))
    name = self._name(old, new)
    self.at += 2
    hunks = []
    while self._line().startswith('@@'):
      hunks.append(self._hunk(adds=old == NOWHERE))
    if not hunks:
      raise self._error(f'{name} has no hunk, such as @@ -1,2 +1,2 @@ and lines below it.')
    return FileChange(name, tuple(hunks), old == NOWHERE, new == NOWHERE)

  def _name(self, old: str, new: str) -> str:
    if old.startswith(('a/', NOWHERE)) and new.startswith(('b/', NOWHERE)):
      old, new = old.removeprefix('a/'), new.removeprefix('b/')
    name = old if new == NOWHERE else new
    if NOWHERE not in (old, new) and old != new:
      raise self._error(f'{one_line(old, 60)!r} becomes {one_line(new, 60)!r}: a rename.')
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts or name != str(path) or not name.isprintable():
      raise self._error(f'{one_line(name, 60)!r} is not a plain path inside the program.')
    return name

  def _hunk(self, adds: bool) -> Hunk:
    match = _HUNK.match(self._line())
    if match is None:
      raise self._error(f'{one_line(self._line(), 40)!r} is not the beginning of a hunk.')
    start, *sizes = (1 if number is None else int(number) for number in match.groups())
    sides = self._sides(*sizes)
    if not sides[0] and not adds:
      raise self._error(
        'the hunk has no lines of the file, so its place is ambiguous; add context lines.'
      )
    return Hunk(max(start - 1, 0), *sides)

  def _sides(self, size_before: int, size_after: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the old and the new lines, as many as the hunk header says."""
    self.at += 1
    before: list[str] = []
    after: list[str] = []
    while len(before) < size_before or len(after) < size_after:
      line = self._line()
      sign, content = line[:1] or ' ', line[1:]  # editors strip the space before an empty line
      if sign not in ' -+' or self.at >= len(self.lines):
        raise self._error('the hunk has fewer lines than its header says.')
      without = '' if self._line(1).startswith('\\') else '\n'
      for side in {' ': (before, after), '-': (before,), '+': (after,)}[sign]:
        side.append(content + without)
      self.at += 1 if without else 2
    more = self._line().startswith((' ', '-', '+')) and not self._line().startswith(('-- ', '--- '))
    if more or len(before) > size_before or len(after) > size_after:
      raise self._error('the hunk has more lines than its header says.')
    return tuple(before), tuple(after)

  def _line(self, offset: int = 0) -> str:
    """Returns the line `offset` after the next one; '' beyond the end."""
    return (self.lines[self.at + offset : self.at + offset + 1] or [''])[0]

  def _error(self, what: str) -> PatchError:
    return PatchError(f'Line {min(self.at + 1, len(self.lines))}: {what}')


def _path(text: str) -> str:
  """Removes the timestamp that `diff -u` appends after a tab."""
  return text.split('\t', maxsplit=1)[0].rstrip()


def _message(lines: list[str]) -> tuple[str, Hypothesis]:
  """Parses the text before the diff into (description, hypothesis)."""
  paragraphs = [' '.join(p.split('\n')) for p in re.split(r'\n\s*\n', _body(lines))]
  trailers = {m[1]: m[2].strip() for line in lines if (m := _TRAILER.match(line))}
  texts = [one_line(p) for p in paragraphs if p.strip() and not _TRAILER.match(p.strip())]
  description, claim, *_ = (*texts, '', '')
  tags = tuple(filter(None, (one_line(t) for t in trailers.get('Mechanisms', '').split(','))))
  claim = one_line(trailers.get('Claim', '')) or claim or description
  return description, Hypothesis(_sentence(claim), tags, *_effect(trailers))


def _body(lines: list[str]) -> str:
  """Returns the commit message, without the mail headers and diffstat of format-patch."""
  text = '\n'.join(lines[: lines.index('---')] if '---' in lines else lines)
  if not text.startswith('From '):
    return text
  mail = email.message_from_string(text, policy=email.policy.default)
  return f'{re.sub(r"^ *.PATCH[^]]*. *", "", str(mail["Subject"] or ""))}\n\n{mail.get_payload()}'


def _effect(trailers: dict[str, str]) -> tuple[float | None, float | None]:
  match = _EFFECT.fullmatch(trailers.get('Predicted-Effect', ''))
  if match is None:
    return None, None
  return float(match[1]), float(match[2]) if match[2] else None


def _sentence(text: str) -> str:
  return text if not text or text.endswith(('.', '!', '?')) else f'{text}.'
