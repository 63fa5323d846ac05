"""Sentences that cite the trials behind them, of which the story of a run is made."""

import dataclasses
from collections.abc import Iterable, Sequence

MAX_CITED = 6  # trials that a sentence names


@dataclasses.dataclass(frozen=True)
class StorySentence:
  """A sentence and the trials behind it.

  Attributes:
    text: The sentence. It names trials as 'trial 7' or 'trials 7 and 9'.
    trials: All trials that it rests on, also those that it only counts.
  """

  text: str
  trials: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class StoryParagraph:
  """A paragraph: a heading, and sentences."""

  heading: str
  sentences: tuple[StorySentence, ...]

  @property
  def text(self) -> str:
    return ' '.join(sentence.text for sentence in self.sentences)


def cite(trials: Iterable[int]) -> str:
  """Returns 'trial 7', 'trials 7 and 9', or 'trials 1, 2, 3, 4, 5, 6, …'."""
  numbers = list(trials)
  named = [str(number) for number in numbers[:MAX_CITED]]
  shown = join(named) if len(numbers) <= MAX_CITED else ', '.join([*named, '…'])
  return f'trial{"s" if len(numbers) > 1 else ""} {shown}'


def join(words: Sequence[str]) -> str:
  """Returns 'a', 'a and b', or 'a, b and c'."""
  return ' and '.join(filter(None, [', '.join(words[:-1]), *words[-1:]]))


def span(trials: Sequence[int]) -> str:
  """Returns 'trials 3 to 40', or the trials as `cite` names them if they are few."""
  if len(trials) > MAX_CITED:
    return f'trials {min(trials)} to {max(trials)}'
  return cite(trials)


def count(number: int, one: str, many: str) -> str:
  """Returns '1 edit' or '7 edits'."""
  return f'{number} {one if number == 1 else many}'
