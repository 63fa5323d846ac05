"""A program, the edit and hypothesis that made it, and the claim of another run behind an edit."""

import dataclasses
import hashlib
import pathlib
from typing import Self

import msgspec


@dataclasses.dataclass(frozen=True)
class Program:
  """An immutable snapshot of a program's files.

  Attributes:
    files: (name, text) pairs sorted by name; names are relative POSIX paths.
    entry: Name of the file that defines `init`, `train_step` and `predict`.

  Example:
    >>> import autoresearch_jax as ar
    >>> program = ar.Program((('model.py', 'WIDTH = 64'),), entry='model.py')
    >>> program.with_text('WIDTH = 32').text()
    'WIDTH = 32'
  """

  files: tuple[tuple[str, str], ...]
  entry: str

  def __post_init__(self) -> None:
    names = [name for name, _ in self.files]
    if self.entry not in names:
      raise ValueError(f'The program has no entry file {self.entry!r}; its files are {names}.')
    for name in names:
      path = pathlib.PurePosixPath(name)
      if path.is_absolute() or '..' in path.parts or name != str(path):
        raise ValueError(f'{name!r} is not a plain relative path inside the program.')
    if names != sorted(set(names)):
      object.__setattr__(self, 'files', tuple(sorted(dict(self.files).items())))

  @classmethod
  def read(cls, directory: pathlib.Path, names: tuple[str, ...], entry: str) -> Self:
    """Reads `names` below `directory`. Raises FileNotFoundError, UnicodeDecodeError."""
    return cls(tuple((n, (directory / n).read_text(encoding='utf-8')) for n in names), entry)

  def write(self, directory: pathlib.Path) -> None:
    """Writes all files below `directory`, which is created if missing."""
    for name, text in self.files:
      path = directory / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text, encoding='utf-8')

  def text(self, name: str | None = None) -> str:
    """Returns the text of a file; by default, of the entry. Raises KeyError."""
    return dict(self.files)[name or self.entry]

  def with_text(self, text: str, name: str | None = None) -> 'Program':
    """Returns the program with another text of a file; by default, of the entry."""
    return Program(tuple({**dict(self.files), (name or self.entry): text}.items()), self.entry)

  @property
  def digest(self) -> str:
    """SHA-256 of names and texts. Semantic equality is the artifact fingerprint's business."""
    return hashlib.sha256(msgspec.json.encode([self.entry, self.files])).hexdigest()


@dataclasses.dataclass(frozen=True)
class Hypothesis:
  """A proposer's prediction of what its edit does.

  Attributes:
    claim: One sentence.
    mechanisms: Tags such as 'optimizer' or 'attention'.
    predicted_effect: On the score (larger is better), in the metric's unit.
    uncertainty: Standard deviation of that prediction.

  Example:
    >>> import autoresearch_jax as ar
    >>> ar.Hypothesis('A smaller WIDTH makes more steps.', predicted_effect=0.02).mechanisms
    ()
  """

  claim: str
  mechanisms: tuple[str, ...] = ()
  predicted_effect: float | None = None
  uncertainty: float | None = None


@dataclasses.dataclass(frozen=True)
class ImportedClaim:
  """What another run says of an edit. It decides what is tried here, and never what is kept.

  Attributes:
    finding: Id of the finding.
    source: Who published it.
    change: Equal for findings of the same edit.
    gain: Claimed improvement in the metric's unit; above 0 is better.
    standard_error: Of the claimed gain; None if the source gives none.
    similarity: How much the setting resembles this run's, from 0 to 1.
  """

  finding: str
  source: str
  change: str
  gain: float
  standard_error: float | None = None
  similarity: float = 1.0


@dataclasses.dataclass(frozen=True)
class Edit:
  """A proposed program with its one-line description and its hypothesis.

  Attributes:
    program: The complete new program, not a diff.
    description: One line, shown in results.tsv.
    hypothesis: What it is expected to do.
    author: The model or agent that wrote it.
    role: The role in which that model was prompted.
    imported: The claim of another run, whose edit this is; None for an edit of this run's own.

  Example:
    >>> import autoresearch_jax as ar
    >>> program = ar.Program((('model.py', 'WIDTH = 32'),), entry='model.py')
    >>> ar.Edit(program, 'halve WIDTH', ar.Hypothesis('WIDTH is too large.')).description
    'halve WIDTH'
  """

  program: Program
  description: str
  hypothesis: Hypothesis
  author: str = ''
  role: str = ''
  imported: ImportedClaim | None = None
