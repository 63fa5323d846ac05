"""Text corpora: the standard library that ships with Python, and ClimbMix.

`python` is the corpus of CPU runs: a few megabytes of Python source and reference text, present on
every machine, so nothing has to be downloaded. Another Python version is another corpus with
another fingerprint. `climbmix` is the original's corpus, read from parquet shards that
`autoresearch prepare` has downloaded. Used by the language-model problem.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib.util
import os
import pathlib
import sys
import sysconfig
from collections.abc import Iterator
from typing import Protocol

from autoresearch_jax.data import shards

# A document is cut where a top-level statement begins once it has SOFT characters, at a blank
# line once it has HARD, and at any line beyond MAX: code that belongs together stays together.
SOFT, HARD, MAX = 3_000, 8_000, 10_000

# Held out: modules that are alike in kind to the rest, exist in CPython 3.11 to 3.14 however it
# was installed, and that nothing a candidate imports depends on (a test blocks them and imports
# jax, flax, optax, scipy and more). About 750 kB, of which some may be absent.
VALIDATION = (
  '_pyio.py',
  'filecmp.py',
  'ftplib.py',
  'imaplib.py',
  'mailbox.py',
  'modulefinder.py',
  'netrc.py',
  'pickletools.py',
  'poplib.py',
  'sched.py',
  'shelve.py',
  'smtplib.py',
  'trace.py',
  'turtle.py',
  'wave.py',
  'xmlrpc',
)
MIN_VALIDATION_BYTES = 300_000

# Left out: what some distributions strip (so that fewer machines differ), what is generated or
# depends on the machine, and `encodings`, which is character tables rather than text.
LEFT_OUT = frozenset({
  '__phello__',
  '__pycache__',
  'dist-packages',
  'distutils',
  'encodings',
  'ensurepip',
  'idlelib',
  'lib-dynload',
  'lib2to3',
  'pydoc_data',
  'site-packages',
  'sitecustomize.py',
  'test',
  'tests',
  'tkinter',
  'turtledemo',
})  # fmt: skip
GENERATED = ('_sysconfigdata', '_sysconfig_vars', 'config-', 'build-details')


class Corpus(Protocol):
  """Training and validation documents, disjoint."""

  def train(self) -> Iterator[str]: ...

  def validation(self) -> Iterator[str]: ...

  def fingerprint(self) -> str:
    """SHA-256 over all text and its split; cheap enough to compute at every start."""
    ...

  def hidden(self) -> tuple[pathlib.Path, ...]:
    """Files and folders outside the cache that contain text of either split."""
    ...


@dataclasses.dataclass(frozen=True)
class PythonLibrary:
  """The standard library's source and reference text.

  Documents are ordered by digest: the same order on every machine, and well mixed.

  Attributes:
    root: The standard library's folder.
  """

  root: pathlib.Path = pathlib.Path(sysconfig.get_path('stdlib'))

  def train(self) -> Iterator[str]:
    return iter(_documents(self.root)[0])

  def validation(self) -> Iterator[str]:
    return iter(_documents(self.root)[1])

  def fingerprint(self) -> str:
    digest = hashlib.sha256()
    for split in _documents(self.root):
      for text in split:
        digest.update(hashlib.sha256(text.encode()).digest())
      digest.update(b'end of split')
    return digest.hexdigest()

  def hidden(self) -> tuple[pathlib.Path, ...]:
    """All sources, packages and reference text of both splits, with their bytecode.

    A candidate that could read the training text while it is traced would train outside of its
    budget. Bytecode is listed even if it does not exist yet, since a later import may write it.
    Compiled extensions, `encodings` and installed packages stay readable: they hold no corpus text.
    """
    found = {self.root / '__pycache__', self.root / 'pydoc_data'}
    for path in self.root.iterdir():
      if not _left_out(path.name) and (path.suffix in ('.py', '.pyc') or path.is_dir()):
        found.add(path)
    for name in VALIDATION:
      found.add((self.root / name).with_suffix('.pyc'))
    if sys.pycache_prefix:
      found.add(_cached(self.root))
    return tuple(sorted(found))


@dataclasses.dataclass(frozen=True)
class ClimbMix:
  """Karpathy's shuffled ClimbMix-400B: some training shards, and the last shard for validation.

  Attributes:
    folder: Folder of the shards.
    count: Number of training shards.

  Its methods raise shards.MissingShards if shards are missing.
  """

  folder: pathlib.Path
  count: int = 10

  def train(self) -> Iterator[str]:
    for path in self._paths()[:-1]:
      yield from shards.texts(path)

  def validation(self) -> Iterator[str]:
    yield from shards.texts(self._paths()[-1])

  def fingerprint(self) -> str:
    records = shards.Manifest.read(self.folder).records
    digest = hashlib.sha256(b'climbmix')
    for path in self._paths():
      digest.update(f'{path.name} {records[path.name].sha256}\n'.encode())
    return digest.hexdigest()

  def hidden(self) -> tuple[pathlib.Path, ...]:
    return ()

  def _paths(self) -> list[pathlib.Path]:
    return shards.present(shards.CLIMBMIX, self.folder, self.count)


def split(text: str) -> list[str]:
  """Cuts a text into documents of at most MAX characters or one line; their join is the text."""
  documents, lines, size, blank = [], [], 0, True
  for line in text.splitlines(keepends=True):
    fits = size + len(line) <= MAX
    statement = blank and not line[0].isspace()
    if lines and (not fits or (size >= SOFT and statement) or (size >= HARD and blank)):
      documents.append(''.join(lines))
      lines, size = [], 0
    lines.append(line)
    size += len(line)
    blank = not line.strip()
  if lines:
    documents.append(''.join(lines))
  return documents


@functools.cache
def _documents(root: pathlib.Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Training and validation documents of a library; no text is in both, or twice in one."""
  held_out, kept = set(VALIDATION), []
  validation: dict[bytes, str] = {}
  for path in _sources(root):
    if path.relative_to(root).parts[0] in held_out:
      validation |= _by_digest(split(_read(path)))
    else:
      kept.append(path)
  size = sum(len(text.encode()) for text in validation.values())
  if size < MIN_VALIDATION_BYTES:
    raise ValueError(
      f'The Python library at {root} has {size:,} bytes of the held-out modules; at least '
      f'{MIN_VALIDATION_BYTES:,} are needed. It was stripped of its sources: use a complete '
      "CPython, or config.data.corpus = 'climbmix'."
    )
  training: dict[bytes, str] = {}
  for path in kept:
    training |= _by_digest(split(_read(path)))
  training |= _by_digest(_reference(root))
  for digest in validation:
    training.pop(digest, None)
  return _in_order(training), _in_order(validation)


def _sources(root: pathlib.Path) -> Iterator[pathlib.Path]:
  for folder, folders, files in os.walk(root):
    folders[:] = sorted(name for name in folders if not _left_out(name))
    for name in sorted(files):
      if name.endswith('.py') and not _left_out(name):
        yield pathlib.Path(folder, name)


def _left_out(name: str) -> bool:
  return name in LEFT_OUT or name.startswith(GENERATED)


def _read(path: pathlib.Path) -> str:
  """A source as text with plain line ends; the few that are not UTF-8 count as empty."""
  try:
    text = path.read_text(encoding='utf-8')
  except UnicodeDecodeError:
    return ''
  return text if '\0' not in text else ''


def _reference(root: pathlib.Path) -> list[str]:
  """The language reference that `help()` shows: one document a topic."""
  path = root / 'pydoc_data' / 'topics.py'
  if not path.exists():
    return []
  constants = (n for n in ast.walk(ast.parse(_read(path))) if isinstance(n, ast.Constant))
  topics = [n.value for n in constants if isinstance(n.value, str) and '\n' in n.value]
  return [document for topic in topics for document in split(topic)]


def _by_digest(documents: list[str]) -> dict[bytes, str]:
  return {hashlib.sha256(text.encode()).digest(): text for text in documents if text.strip()}


def _in_order(documents: dict[bytes, str]) -> tuple[str, ...]:
  return tuple(text for _, text in sorted(documents.items()))


def _cached(root: pathlib.Path) -> pathlib.Path:
  """The folder below `sys.pycache_prefix` for sources in `root`."""
  return pathlib.Path(importlib.util.cache_from_source(str(root / 'x.py'))).parent
