"""Results of others that are no findings: the original's results.tsv, and one-line results.

    commit  val_bpb  memory_gb  status  description          (results.tsv, separated by tabs)
    commit:1a2b3c4 platform:H100 val_bpb:0.9932 vram_gb:44.2 | a higher learning rate

Nobody has signed them, and they say neither the seed nor the noise, so they are read as unsigned
findings without a standard error. They can be learned from and not be shared.
"""

import abc
import itertools
import json
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pygit2

from autoresearch_jax.findings.encoding import MAX_FILE_BYTES, MAX_NAME, MAX_NUMBER
from autoresearch_jax.findings.finding import (
  UNSIGNED,
  Finding,
  FindingError,
  FindingProgram,
  FindingSetting,
  FindingStatus,
  gain_of,
)
from autoresearch_jax.findings.programs import files_of, patch_of, sha256
from autoresearch_jax.findings.store import FindingStore, Say
from autoresearch_jax.ledger.git_repo import ignore_user_configuration
from autoresearch_jax.types import Budget, Direction, Hypothesis, Program

RESULTS, PROGRAM = 'results.tsv', 'train.py'
PROBLEM = 'original_autoresearch'
_BUDGET = Budget(300.0, 'seconds', 'wall')  # the original's
_COLUMNS = ('memory_gb', 'status', 'description')
_STATUSES: dict[str, FindingStatus] = {'keep': 'gain', 'discard': 'no_gain', 'crash': 'failed'}
_MAX_BYTES = 32 * 2**20
_COMMIT = re.compile(r'[0-9a-f]{4,40}')
_FIELD = re.compile(r'(\w+)\s*[:=]\s*(\S+)')
_KNOWN = {'commit', 'platform', 'device', 'gpu', 'vram_gb', 'memory_gb', 'status', 'parent', 'mfu'}


class ForeignStore(FindingStore):
  """Results in a file of another program.

  Args:
    path: The file.
  """

  def __init__(self, path: pathlib.Path):
    self.address, self.path = str(path), path
    self._contents: dict[str, bytes] = {}

  def findings(self, refused: Say) -> Iterator[Finding]:
    yield from self._read(_text(self.path), int(self.path.stat().st_mtime), refused)

  def blob(self, digest: str) -> bytes | None:
    if digest not in self._contents:
      for _ in self.findings(lambda _: None):
        pass
    return self._contents.get(digest)

  @abc.abstractmethod
  def _read(self, text: str, created: int, refused: Say) -> Iterable[Finding]:
    """Returns the findings in the file's text."""


class ResultsTable(ForeignStore):
  """The original's results.tsv, with the programs if a git repository has its commits."""

  def _read(self, text: str, created: int, refused: Say) -> Iterator[Finding]:
    header, *lines = text.split('\n')
    columns = header.rstrip('\r').split('\t')
    if len(columns) != 5 or tuple(columns[2:]) != _COLUMNS:
      raise FindingError(
        f'{self.path} has the columns {", ".join(columns)[:80]!a}; a results.tsv of the original '
        'has commit, a metric, memory_gb, status and description.'
      )
    rows = [*self._rows(lines, refused)]
    direction = _direction(columns[1], [value for _, value, status, _ in rows if status == 'keep'])
    setting = FindingSetting(PROBLEM, columns[1][:MAX_NAME], direction, _BUDGET, 'gpu')
    repository = _repository_of(self.path.parent)
    before: tuple[FindingProgram, Program | None] | None = None
    for number, (commit, value, status, description) in enumerate(rows):
      program = None if repository is None else _program_in(repository, commit)
      values = () if status == 'crash' else ((0, value),)
      after = self._reference(program, values), program
      if before is not None:
        yield _finding(setting, before, after, _STATUSES[status], description, created + number)
      if status == 'keep':
        before = after

  def _rows(self, lines: Iterable[str], refused: Say) -> Iterator[tuple[str, float, str, str]]:
    for number, line in enumerate(lines, 2):
      cells = line.rstrip('\r').split('\t', 4)
      if not line.strip():
        continue
      try:
        commit, value, _, status, description = cells
        if status not in _STATUSES:
          raise ValueError
        yield commit, _number(value), status, description
      except ValueError:
        refused(f'{self.path}, row {number}: it is no row of a results.tsv.')

  def _reference(
    self, program: Program | None, values: tuple[tuple[int, float], ...]
  ) -> FindingProgram:
    if program is None:
      return FindingProgram(values=values)
    for _, text in program.files:
      self._contents[sha256(text.encode())] = text.encode()
    return FindingProgram(
      program.digest, entry=program.entry, files=files_of(program), values=values
    )


class ResultLines(ForeignStore):
  """One-line results of a message board: plain text, or its messages as JSON.

  They name no program that was edited, so they have a value and no gain.
  """

  def _read(self, text: str, created: int, refused: Say) -> Iterator[Finding]:
    for number, line in enumerate(_messages(text)):
      head, bar, description = line.partition('|')
      fields = dict(_FIELD.findall(head))
      metrics = [name for name in fields if name not in _KNOWN]
      try:
        if 'commit' not in fields or len(metrics) != 1 or not bar:
          raise ValueError
        value = _number(fields[metrics[0]])
      except ValueError:
        refused(f'{self.path}: {line[:60]!a} is no result.')
        continue
      device = fields.get('platform') or fields.get('device') or fields.get('gpu') or ''
      setting = FindingSetting(
        PROBLEM, metrics[0][:MAX_NAME], _direction(metrics[0], []), _BUDGET, 'gpu',
        device[:MAX_NAME],
      )  # fmt: skip
      child = FindingProgram(values=((0, value),))
      status: FindingStatus = 'undecided'
      if re.search(r'\b(discard|no[ _]gain|worse)', description, re.IGNORECASE):
        status = 'no_gain'
      yield Finding(
        setting, FindingProgram(), child, status, description.strip()[:MAX_NAME],
        Hypothesis(''), created=created + number, source=f'{UNSIGNED}:message',
      )  # fmt: skip


def _messages(text: str) -> Iterator[str]:
  """Yields the lines of a text, or those in the messages of a board's JSON."""
  found: list[Any] = []
  try:
    data = json.loads(text)
    found = data if isinstance(data, list) else [data]
  except (ValueError, RecursionError):
    for line in text.split('\n'):
      try:
        found.append(json.loads(line) if line.startswith('{') else line)
      except (ValueError, RecursionError):
        found.append(line)
  for message in found:
    content = message.get('content', '') if isinstance(message, dict) else message
    for line in str(content).split('\n'):
      if line.strip():
        yield line


def _finding(
  setting: FindingSetting,
  before: tuple[FindingProgram, Program | None],
  after: tuple[FindingProgram, Program | None],
  status: FindingStatus,
  description: str,
  created: int,
) -> Finding:
  (parent, old), (child, new) = before, after
  failed = status == 'failed'
  return Finding(
    setting, parent, child, status, description[:MAX_NAME], Hypothesis(''),
    patch_of(old, new) if old and new else '',
    None if failed else gain_of(parent, child, setting.direction, paired=False),
    failure='crash' if failed else '',
    created=created,
    source=f'{UNSIGNED}:{RESULTS}',
  )  # fmt: skip


def _number(text: str) -> float:
  """Returns the number in a text. Raises ValueError for one that is not finite or too large."""
  if not abs(value := float(text)) <= MAX_NUMBER:
    raise ValueError(text)
  return value


def _direction(metric: str, kept: list[float]) -> Direction:
  """Returns the direction in which kept values move, or else that of the metric's name."""
  steps = [after - before for before, after in itertools.pairwise(kept)]
  if steps and min(steps) > 0:
    return 'maximize'
  if steps and max(steps) < 0:
    return 'minimize'
  return 'maximize' if re.search(r'acc|score|reward|f1', metric) else 'minimize'


def _repository_of(folder: pathlib.Path) -> pygit2.Repository | None:
  ignore_user_configuration()
  try:
    return pygit2.Repository(str(folder)) if (folder / '.git').exists() else None
  except pygit2.GitError:
    return None


def _program_in(repository: pygit2.Repository, commit: str) -> Program | None:
  """Returns the program of a commit; None if the repository does not have it."""
  if not _COMMIT.fullmatch(commit):
    return None
  try:
    found = repository.revparse_single(commit).peel(pygit2.Commit).tree[PROGRAM]
    if isinstance(found, pygit2.Blob) and found.size <= MAX_FILE_BYTES:
      return Program(((PROGRAM, found.data.decode()),), PROGRAM)
  except (pygit2.GitError, KeyError, ValueError):
    pass
  return None


def _text(path: pathlib.Path) -> str:
  try:
    if not path.is_file():
      raise FindingError(f'{path} is no file.')
    if path.stat().st_size > _MAX_BYTES:
      raise FindingError(f'{path} has more than {_MAX_BYTES} bytes.')
    return path.read_text(encoding='utf-8')
  except UnicodeDecodeError:
    raise FindingError(f'{path} is no UTF-8 text.') from None
