"""Fits a prompt into a number of tokens, and says in it what was left out.

A section of rank 0 is included as a whole, or there is no prompt. Every other section first gets a
few items, in the order of ranks, and then the rest as long as there is space. So a short prompt
loses old trials before it loses a kind of knowledge.
"""

import dataclasses
import math
from collections.abc import Collection, Sequence

from autoresearch_jax.proposers.prompt.quoting import (
  SEPARATOR,
  DataBlock,
  PromptPart,
  num_bytes,
  render,
)

BYTES_PER_TOKEN = 3.5  # of English and Python mixed, which have about 4 and 3
FIRST_ITEMS = 3  # that every section gets before any section gets more


class PromptTooLong(ValueError):
  """The mandatory sections do not fit; the message says how many tokens they need."""


@dataclasses.dataclass(frozen=True)
class Prompt:
  """What a language model is shown.

  Attributes:
    system: The system instruction.
    user: The user's turn.
  """

  system: str
  user: str


@dataclasses.dataclass(frozen=True)
class PromptItem:
  """A piece of data in a section.

  Attributes:
    text: The data.
    trial: Id of the trial that it describes. A prompt describes no trial twice.
    label: Label of its own data block. Items without one share the section's block.
  """

  text: str
  trial: int | None = None
  label: str = ''


@dataclasses.dataclass(frozen=True)
class PromptSection:
  """A section of a prompt: a heading and an introduction in our words, and data.

  Attributes:
    title: The heading.
    intro: Text below it.
    items: Data, most important first.
    rank: 0 if the section is mandatory; otherwise larger ranks are dropped first.
    label: Label of the data block that items share.
    more: Number of further items that exist but are not in `items`.
  """

  title: str
  intro: str
  items: tuple[PromptItem, ...] = ()
  rank: int = 0
  label: str = ''
  more: int = 0

  def parts(self, items: Sequence[PromptItem]) -> list[PromptPart]:
    """Returns the section with these of its items."""
    head = f'## {self.title}'
    parts: list[PromptPart] = [f'{head}{SEPARATOR}{self.intro}' if self.intro else head]
    parts += [DataBlock(item.label, item.text) for item in items if item.label]
    if shared := [item.text for item in items if not item.label]:
      parts.append(DataBlock(self.label, '\n'.join(shared)))
    return parts

  def left_out(self, number: int) -> str:
    """Returns how many of the items were left out, in words."""
    return f'"{self.title}": {number} of {len(self.items) + self.more}'


def estimate_tokens(text: str) -> int:
  """Returns the number of tokens of a text: its UTF-8 bytes / 3.5, rounded up."""
  return math.ceil(len(text.encode('utf-8')) / BYTES_PER_TOKEN)


def fit(
  system: str,
  sections: Sequence[PromptSection],
  left_out: str,
  closing: str,
  max_tokens: int,
) -> Prompt:
  """Returns the prompt with as many items as fit.

  Args:
    system: The system instruction.
    sections: Sections of the user's turn, in order.
    left_out: Start of the sentence on what was left out.
    closing: Last line of the user's turn.
    max_tokens: Maximum length by `estimate_tokens`, system instruction included.

  Raises:
    PromptTooLong: The mandatory sections do not fit.
  """
  return _Fitter(system, sections, left_out, closing, max_tokens).fit()


class _Fitter:
  """The items included so far, by section, and the bytes that are left."""

  def __init__(
    self,
    system: str,
    sections: Sequence[PromptSection],
    left_out: str,
    closing: str,
    max_tokens: int,
  ):
    self.system, self.left_out, self.closing = system, left_out, closing
    # A section without data says nothing, unless it is mandatory.
    self.sections = [s for s in sections if s.items or s.rank == 0]
    self.included: list[set[int]] = [set() for _ in self.sections]
    self.described: set[int] = set()  # trials
    for section, included in zip(self.sections, self.included, strict=True):
      if section.rank == 0:
        included.update(range(len(section.items)))
        self.described |= {item.trial for item in section.items if item.trial is not None}
    everything = [len(s.items) + s.more if s.rank else 0 for s in self.sections]
    needed = self._bytes(self._parts() + self._note(everything))
    allowed = math.floor((max_tokens - 1) * BYTES_PER_TOKEN)  # one is lost to rounding up twice
    self.remaining = allowed - needed
    if self.remaining < 0:
      raise PromptTooLong(
        f'it needs about {math.ceil(needed / BYTES_PER_TOKEN) + 1} tokens at least, and '
        f'{max_tokens} are allowed'
      )

  def fit(self) -> Prompt:
    order = sorted((s.rank, i) for i, s in enumerate(self.sections) if s.rank)
    for limit in (FIRST_ITEMS, None):
      for _, index in order:
        self._include(index, limit)
    left = [
      section.more
      + sum(
        i not in included and (item.trial is None or item.trial not in self.described)
        for i, item in enumerate(section.items)
      )
      for section, included in zip(self.sections, self.included, strict=True)
    ]
    return Prompt(self.system, render([*self._parts(), *self._note(left), self.closing]))

  def _include(self, index: int, limit: int | None) -> None:
    """Includes items of a section that fit, until it has `limit` of them."""
    section, included = self.sections[index], self.included[index]
    for i, item in enumerate(section.items):
      if limit is not None and len(included) >= limit:
        return
      if i in included or (item.trial is not None and item.trial in self.described):
        continue
      cost = _added_bytes(section, item, included)
      if cost <= self.remaining:
        self.remaining -= cost
        included.add(i)
        if item.trial is not None:
          self.described.add(item.trial)

  def _parts(self) -> list[PromptPart]:
    return [
      part
      for section, included in zip(self.sections, self.included, strict=True)
      if included or section.rank == 0
      for part in section.parts([section.items[i] for i in sorted(included)])
    ]

  def _note(self, left: Sequence[int]) -> list[PromptPart]:
    """Returns the sentence on what was left out; nothing if all is there."""
    missing = [s.left_out(n) for s, n in zip(self.sections, left, strict=True) if n]
    return [f'{self.left_out} {"; ".join(missing)}.'] if missing else []

  def _bytes(self, parts: Sequence[PromptPart]) -> int:
    return len(self.system.encode('utf-8')) + num_bytes([*parts, self.closing])


def _added_bytes(section: PromptSection, item: PromptItem, included: Collection[int]) -> int:
  """Returns the bytes that an item adds, with its section's heading if it is the first item."""
  shared = not item.label and any(not section.items[i].label for i in included)
  if shared:
    return len(item.text.encode('utf-8')) + 1  # one more line in the block
  block = num_bytes([DataBlock(item.label or section.label, item.text)]) + len(SEPARATOR)
  return block if included else block + num_bytes(section.parts([])) + len(SEPARATOR)
