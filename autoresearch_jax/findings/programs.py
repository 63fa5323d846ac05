"""Programs of findings: taken apart into blobs, put together again, and their patch."""

import difflib
import hashlib
import io
from collections.abc import Callable

from autoresearch_jax.findings.encoding import MAX_FILE_BYTES, MAX_PATCH
from autoresearch_jax.findings.finding import Finding, FindingError, FindingProgram
from autoresearch_jax.programs.patches import NOWHERE
from autoresearch_jax.programs.rebase import is_comparable
from autoresearch_jax.types import Program

Blobs = Callable[[str], bytes | None]  # returns the content with a SHA-256, or None


def sha256(data: bytes) -> str:
  """Returns the SHA-256 of some bytes, in hexadecimal."""
  return hashlib.sha256(data).hexdigest()


def files_of(program: Program) -> tuple[tuple[str, str], ...]:
  """Returns the names of a program's files and the SHA-256 of their contents."""
  return tuple((name, sha256(text.encode())) for name, text in program.files)


def patch_of(parent: Program, child: Program) -> str:
  """Returns the unified diffs of all files that differ.

  '' if they are too long for a finding, or if finding them would take minutes.
  """
  if not is_comparable(parent, child):
    return ''
  before, after = dict(parent.files), dict(child.files)
  parts: list[str] = []
  for name in sorted({*before} | {*after}):
    old, new = before.get(name), after.get(name)
    if old != new:
      first, second = (io.StringIO(text or '', newline='\n').readlines() for text in (old, new))
      names = (NOWHERE if old is None else f'a/{name}', NOWHERE if new is None else f'b/{name}')
      for line in difflib.unified_diff(first, second, names[0], names[1]):
        parts.append(line if line.endswith('\n') else f'{line}\n\\ No newline at end of file\n')
  patch = ''.join(parts)
  return patch if len(patch) <= MAX_PATCH else ''


def programs_of(finding: Finding, blobs: Blobs) -> tuple[Program, Program]:
  """Returns the parent and the child of a finding. They are not trusted: only a sandbox runs them.

  Args:
    finding: The finding.
    blobs: Of the store that it is from.

  Raises:
    FindingError: A blob is missing or wrong, or the finding's patch is not what differs.
  """
  parent, child = _program(finding.parent, blobs), _program(finding.child, blobs)
  if finding.is_signed and finding.patch != patch_of(parent, child):
    raise FindingError(
      f'The patch of finding {finding.id[:12]} is not the difference of its programs.'
    )
  return parent, child


def _program(reference: FindingProgram, blobs: Blobs) -> Program:
  if not reference.files:
    raise FindingError('The finding has no programs, only a description.')
  files: list[tuple[str, str]] = []
  for name, digest in reference.files:
    data = blobs(digest)
    if data is None:
      raise FindingError(f'The store lacks the file {name} ({digest[:12]}) of the finding.')
    if len(data) > MAX_FILE_BYTES or sha256(data) != digest:
      raise FindingError(f'The store has another file than {name} ({digest[:12]}).')
    try:
      files.append((name, data.decode()))
    except UnicodeDecodeError:
      raise FindingError(f'The file {name} ({digest[:12]}) of the finding is no text.') from None
  try:
    program = Program(tuple(files), reference.entry)
  except ValueError as error:
    raise FindingError(f'The finding has no valid program: {error}') from None
  if program.digest != reference.digest:
    raise FindingError('The digest of a program of the finding is that of another program.')
  return program
