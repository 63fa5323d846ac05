"""Writes commits into the user's own repository, on a new branch.

Only objects and one reference are added: working tree, index and current branch are not touched.
"""

import dataclasses
import itertools
import pathlib
import time
from collections.abc import Callable, Sequence

import pygit2

from autoresearch_jax.finalize.commits import FinalizeError, Step
from autoresearch_jax.types import Program

MAX_COMMITS = 1000  # that are searched for the starting program
AUTHOR = ('autoresearch', 'autoresearch@localhost')


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a program lives in a repository.

  Attributes:
    repository: The repository.
    folder: The program's folder relative to its root; '' for the root.
    base: The commit to branch from.
  """

  repository: pygit2.Repository
  folder: str
  base: pygit2.Commit

  @property
  def is_head(self) -> bool:
    return self.repository.head.target == self.base.id

  @property
  def is_dirty(self) -> bool:
    """Whether tracked files have changes that are not committed."""
    flags = pygit2.enums.FileStatus
    quiet = (flags.CURRENT, flags.IGNORED, flags.WT_NEW)
    return any(status not in quiet for status in self.repository.status().values())


def find_place(
  folder: pathlib.Path, program: Program, is_start: Callable[[Program], bool]
) -> Place:
  """Finds the latest commit in which the program is as it was when the run started.

  Args:
    folder: The program's folder.
    program: The starting program, for the names of its files.
    is_start: Whether a program is the starting one, apart from the run's constants.

  Raises:
    FinalizeError: The folder is in no repository, or no commit has the program.
  """
  found = pygit2.discover_repository(str(folder.absolute()))
  remedy = 'Use --to=FOLDER for patches.'
  if found is None:
    raise FinalizeError(f'{folder} is not in a git repository. {remedy}')
  repository = pygit2.Repository(found)
  if repository.is_bare or repository.head_is_unborn:
    raise FinalizeError(f'The repository of {folder} has no commit yet. {remedy}')
  inside = folder.absolute().resolve().relative_to(pathlib.Path(repository.workdir).resolve())
  name = '' if str(inside) == '.' else inside.as_posix()
  seen: dict[tuple[pygit2.Oid, ...], bool] = {}
  for commit in itertools.islice(repository.walk(repository.head.target), MAX_COMMITS):
    files = _files(commit, name, [file for file, _ in program.files])
    if files is None:
      continue
    blobs = tuple(blob.id for blob in files.values())
    if blobs not in seen:
      seen[blobs] = is_start(_program(files, program))
    if seen[blobs]:
      return Place(repository, name, commit)
  names = ', '.join(file for file, _ in program.files)
  raise FinalizeError(
    f'None of the last commits has {names} as it was when the run started. Commit that version '
    f'first, or use --to=FOLDER for patches.'
  )


def original_of(place: Place, program: Program) -> Program:
  """Returns the user's program at the commit to branch from."""
  files = _files(place.base, place.folder, [name for name, _ in program.files])
  assert files is not None
  return _program(files, program)


def write_branch(place: Place, name: str, steps: Sequence[Step]) -> list[pygit2.Oid]:
  """Commits the steps on a new branch and returns the commits. Raises FinalizeError."""
  repository = place.repository
  if f'refs/heads/{name}' in repository.references:
    raise FinalizeError(
      f'The branch {name} exists in {repository.workdir}. Delete it, or choose another one with '
      '--branch=NAME.'
    )
  if not pygit2.reference_is_valid_name(f'refs/heads/{name}'):
    raise FinalizeError(f'{name!r} is no valid name of a branch; choose one with --branch=NAME.')
  signature = _signature(repository)
  parent, commits = place.base, []
  before = dict(original_of(place, steps[0].program).files)
  for step in steps:
    after, tree = dict(step.program.files), parent.tree
    for file in sorted({*before, *after}):
      if before.get(file) != after.get(file):
        text = after.get(file)
        parts = [*filter(None, place.folder.split('/')), *file.split('/')]
        blob = None if text is None else repository.create_blob(text.encode())
        tree = repository[_with_file(repository, tree, parts, blob)].peel(pygit2.Tree)
    commit = repository.create_commit(
      None, signature, signature, step.message, tree.id, [parent.id]
    )
    commits.append(commit)
    parent, before = repository[commit].peel(pygit2.Commit), after
  try:
    repository.references.create(f'refs/heads/{name}', commits[-1])
  except (pygit2.GitError, ValueError) as error:
    raise FinalizeError(f'The branch {name} cannot be made: {error}.') from None
  return commits


def _signature(repository: pygit2.Repository) -> pygit2.Signature:
  try:
    return repository.default_signature
  except (KeyError, pygit2.GitError):  # the user has set no name
    return pygit2.Signature(*AUTHOR, int(time.time()), 0)


def _files(
  commit: pygit2.Commit, folder: str, names: Sequence[str]
) -> dict[str, pygit2.Blob] | None:
  """Returns the blobs of files in a commit; None if one is missing."""
  found: dict[str, pygit2.Blob] = {}
  for name in names:
    try:
      entry = commit.tree[f'{folder}/{name}' if folder else name]
    except KeyError:
      return None
    if not isinstance(entry, pygit2.Blob):
      return None
    found[name] = entry
  return found


def _program(files: dict[str, pygit2.Blob], program: Program) -> Program:
  texts = tuple((name, blob.data.decode(errors='replace')) for name, blob in files.items())
  return Program(texts, program.entry)


def _with_file(
  repository: pygit2.Repository,
  tree: pygit2.Tree | None,
  parts: Sequence[str],
  blob: pygit2.Oid | None,
) -> pygit2.Oid:
  """Returns a tree with one file replaced, added, or removed if `blob` is None."""
  builder = repository.TreeBuilder(tree) if tree is not None else repository.TreeBuilder()
  name, *rest = parts
  entry = tree[name] if tree is not None and name in tree else None
  if rest:
    below = entry if isinstance(entry, pygit2.Tree) else None
    inner = _with_file(repository, below, rest, blob)
    builder.insert(name, inner, pygit2.enums.FileMode.TREE)
  elif blob is not None:
    mode = pygit2.enums.FileMode.BLOB if entry is None else entry.filemode
    builder.insert(name, blob, mode)
  elif entry is not None:
    builder.remove(name)
  return builder.write()
