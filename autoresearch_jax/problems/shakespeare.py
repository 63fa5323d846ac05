"""Tiny Shakespeare by characters, as in nanoGPT; without a network, as much text of Python's.

Source: A. Karpathy, char-rnn, 2015 (https://github.com/karpathy/char-rnn): 1,115,394 characters of
Shakespeare's plays.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import requests

from autoresearch_jax.data import cache as caching
from autoresearch_jax.data import corpus
from autoresearch_jax.problems.base import PROBLEMS, Problem
from autoresearch_jax.problems.text import Text
from autoresearch_jax.types import Dataset, Direction

URL = 'https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt'
SHA256 = '86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed'
BYTES = 1_115_394
FOLDER, PLAYS, OTHER = 'shakespeare', 'shakespeare.txt', 'python.txt'
TIMEOUT = 10.0  # seconds without an answer


@PROBLEMS.register('shakespeare')
@dataclasses.dataclass(frozen=True)
class Shakespeare(Problem):
  """Tiny Shakespeare; a token is a byte, which for this text is a character.

  Attributes:
    source: `download` (once, checked), `python` (as much text of Python's own library), or `auto`:
      the download, and Python's text where it fails, and from then on, so that a run resumes with
      the text that it began with. Scores on the two do not compare.
    url: Where the text is.
    sequence_length: Characters that a row predicts.
    validation_fraction: Share of the text, at its end, that is held out for validation.
    test_fraction: Share, after that, that is scored only at the end of a run.
    evaluation_batch: Rows per call of `predict`.
  """

  source: Literal['auto', 'download', 'python'] = 'auto'
  url: str = URL
  sequence_length: int = 256
  validation_fraction: float = 0.1
  test_fraction: float = 0.05
  evaluation_batch: int = 32

  def __post_init__(self) -> None:
    self._text(pathlib.Path(OTHER))  # checks the options

  def shapes(self) -> dict[str, Any]:
    return self._text(pathlib.Path(OTHER)).shapes()

  def metrics(self) -> Mapping[str, Direction]:
    return self._text(pathlib.Path(OTHER)).metrics()

  def prepare(self, cache: pathlib.Path, say: Callable[[str], None]) -> Dataset:
    """Downloads the text on first use, or writes the other one, and makes rows of it.

    Raises:
      ValueError: The text at `url` is another one.
      OSError: It cannot be downloaded, and `source` is `download`.
    """
    folder = cache / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    stays = self.source == 'auto' and (folder / OTHER).exists() and not (folder / PLAYS).exists()
    if stays:
      say(
        f'The text is that of the library that ships with Python, since {folder / OTHER} is there. '
        "Set config.data.source to 'download' for tiny Shakespeare."
      )
    if self.source == 'python' or stays or not self._has_plays(folder, say):
      return self._text(_python_text(folder)).prepare(cache, say)
    return self._text(folder / PLAYS).prepare(cache, say)

  def hidden(self) -> tuple[pathlib.Path, ...]:
    home = caching.directory()
    return (*corpus.PythonLibrary().hidden(), home / FOLDER, home / 'text')

  def _text(self, path: pathlib.Path) -> Text:
    return Text(
      path=str(path),
      sequence_length=self.sequence_length,
      split='end',
      validation_fraction=self.validation_fraction,
      test_fraction=self.test_fraction,
      evaluation_batch=self.evaluation_batch,
    )

  def _has_plays(self, folder: pathlib.Path, say: Callable[[str], None]) -> bool:
    """Downloads the plays unless they are there; returns whether they are."""
    path = folder / PLAYS
    if path.exists():
      _require_plays(path.read_bytes(), str(path), 'Delete that file')
      return True
    try:
      answer = requests.get(self.url, timeout=TIMEOUT)
      answer.raise_for_status()
    except requests.RequestException as error:
      if self.source == 'download':
        raise OSError(
          f'Tiny Shakespeare could not be downloaded ({error}). Use a network, put the file at '
          f"{path}, or set config.data.source to 'python'."
        ) from None
      say(
        'Tiny Shakespeare could not be downloaded, so this is as much text of the library that '
        'ships with Python; its scores do not compare with published ones.'
      )
      return False
    _require_plays(answer.content, self.url, 'Correct config.data.url')
    _write(path, answer.content)
    return True


def _require_plays(content: bytes, where: str, remedy: str) -> None:
  """Raises ValueError for another text than tiny Shakespeare."""
  if (found := hashlib.sha256(content).hexdigest()) != SHA256:
    raise ValueError(
      f'The text at {where} has the SHA-256 {found[:16]}..., not that of tiny Shakespeare '
      f'({SHA256[:16]}...). {remedy}.'
    )


def _python_text(folder: pathlib.Path) -> pathlib.Path:
  """Writes as much text of Python's library as there is Shakespeare; returns the file."""
  path = folder / OTHER
  if not path.exists():
    text = '\n'.join(corpus.PythonLibrary().train()).encode()[:BYTES]
    _write(path, text.decode(errors='ignore').encode())
  return path


def _write(path: pathlib.Path, content: bytes) -> None:
  """Writes a file atomically."""
  partial = path.with_suffix(f'.{os.getpid()}')
  partial.write_bytes(content)
  partial.replace(path)
