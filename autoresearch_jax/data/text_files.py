"""Text of the user: a file, a folder of files, or a column of a Parquet file, in documents.

Used by the problem `text`.
"""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import Literal

from autoresearch_jax.data import corpus

TextSplit = Literal['auto', 'documents', 'end']
MIN_DOCUMENTS = 20  # with fewer, each one's end is held out
NEAR = 200  # characters in which a cut looks for the end of a line
MAX_BYTES = 1 << 30  # of text, which is read as a whole
COLUMN_NAMES = ('text', 'content', 'document')
SPLITS = ('train', 'validation', 'test')


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
  """The files of a text, sorted: all that are not hidden. Raises ValueError."""
  if not path.exists():
    raise ValueError(
      f'There is no file or folder {str(path)!r} (from {pathlib.Path.cwd()}); set config.data.path '
      'to a text file, a folder of them, or a Parquet file.'
    )
  if path.is_file():
    return [path]
  found = sorted(
    file
    for file in path.rglob('*')
    if file.is_file() and not any(p.startswith('.') for p in file.relative_to(path).parts)
  )
  if not found:
    raise ValueError(f'{path} has no files; name a folder with text in config.data.path.')
  return found


def read_documents(path: pathlib.Path, column: str) -> tuple[list[str], list[str]]:
  """Returns the documents at a path, and the names of files that hold no UTF-8 text.

  Args:
    path: A file, a folder, or a Parquet file, of which each row is a document.
    column: The column of a Parquet file; '' for one with a common name.

  Raises:
    ValueError: There is no text, or too much for the memory.
  """
  files = files_of(path)
  if (size := sum(file.stat().st_size for file in files)) > MAX_BYTES:
    raise ValueError(
      f'{path} has {size / 2**30:.1f} GiB, and the problem text reads up to '
      f'{MAX_BYTES / 2**30:g} GiB; use a part of it.'
    )
  documents, skipped = [], []
  for file in files:
    if file.suffix in ('.parquet', '.pq'):
      documents += _column(file, column)
      continue
    data = file.read_bytes()
    try:
      text = data.decode('utf-8-sig').replace('\r\n', '\n')
      if '\0' in text:
        raise ValueError('it has NUL bytes')
      documents.append(text)
    except ValueError as error:
      if path.is_file():
        raise ValueError(
          f'{path} is not UTF-8 text ({error}); convert it, for instance with iconv -t UTF-8.'
        ) from None
      skipped.append(file.relative_to(path).as_posix())
  documents = [text for text in documents if text.strip()]
  if not documents:
    raise ValueError(f'{path} holds no text; name another file or folder in config.data.path.')
  return documents, skipped


def divide(
  documents: list[str], kind: TextSplit, fractions: dict[str, float]
) -> dict[str, list[str]]:
  """Returns the documents of `train`, and of `validation` and `test` with a fraction above 0.

  Args:
    documents: All of them.
    kind: `documents` holds out whole documents, chosen by their digest, so that equal ones are in
      one split; `end` the end of each; `auto` documents if there are MIN_DOCUMENTS.
    fractions: Of `validation` and `test`.

  Raises:
    ValueError: A split would be empty.
  """
  if kind == 'auto':
    kind = 'documents' if len(documents) >= MIN_DOCUMENTS else 'end'
  found: dict[str, list[str]] = {'train': []}
  found |= {split: [] for split in SPLITS[1:] if fractions[split] > 0}
  for text in documents:
    if kind == 'end':
      for split, part in _cut(text, fractions).items():
        found[split] += [part] if part.strip() else []
    else:
      share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'big') / 2**64
      in_test = share < fractions['test']
      held_out = share < fractions['test'] + fractions['validation']
      found['test' if in_test else 'validation' if held_out else 'train'].append(text)
  for split, texts in found.items():
    if not texts:
      raise ValueError(
        f'The {split} split has no text: there are {len(documents)} documents. Use more text, '
        "other fractions, or set config.data.split to 'end'."
      )
  return {
    split: [piece for text in texts for piece in corpus.split(text)]
    for split, texts in found.items()
  }


def _cut(text: str, fractions: dict[str, float]) -> dict[str, str]:
  """Cuts a text into training, validation and test, at ends of lines where one is near."""
  ends = [1 - fractions['validation'] - fractions['test'], 1 - fractions['test']]
  first, second = (_line_end(text, round(share * len(text))) for share in ends)
  parts = {'train': text[:first], 'validation': text[first:second], 'test': text[second:]}
  if not fractions['test']:
    parts['validation'] += parts.pop('test')
  return parts


def _line_end(text: str, position: int) -> int:
  found = text.find('\n', position, position + NEAR)
  return position if found < 0 else found + 1


def _column(file: pathlib.Path, column: str) -> Iterator[str]:
  from pyarrow import parquet  # noqa: PLC0415 - slow to import, and few need it

  names = parquet.read_schema(file).names
  wanted = column or next((name for name in COLUMN_NAMES if name in names), '')
  if wanted not in names:
    raise ValueError(
      f'{file} has no column {wanted or "text"!r}; set config.data.column to one of '
      f'{", ".join(names[:12])}.'
    )
  for value in parquet.read_table(file, columns=[wanted])[wanted].to_pylist():
    if not isinstance(value, str):
      raise ValueError(
        f'{file}: the column {wanted!r} holds {type(value).__name__}, not text; set '
        'config.data.column to a column of text.'
      )
    yield value
