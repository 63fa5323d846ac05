"""Which parts of a prompt fit into a number of tokens, and the sentence on what was left out.

A section of rank 0 is there whole, or there is no prompt. Of the others every section first gets
its first few items, by rank, and then the rest, as long as there is room: a short prompt loses
old trials before it loses a kind of knowledge.
"""

import dataclasses
import math
from collections.abc import Collection, Sequence

from autoresearch_jax.proposers.prompt.quoting import SEPARATOR, Part, Quote, rendered, size

BYTES_PER_TOKEN = 3.5  # of English and Python together; tokenizers need about 4 and 3
FIRST = 3  # items that every section gets before any gets more


class TooSmall(ValueError):
  """What must be in the prompt does not fit; the sentence says how much it needs."""


@dataclasses.dataclass(frozen=True)
class Prompt:
  """What a language model is shown: its system instruction and the user's turn."""

  system: str
  user: str


@dataclasses.dataclass(frozen=True)
class Item:
  """A piece of data. trial: the one it describes; no trial is described twice in a prompt.

  label: of a block of its own; items without one share their section's block.
  """

  text: str
  trial: int | None = None
  label: str = ''


@dataclasses.dataclass(frozen=True)
class Section:
  """title and intro are our words; items are data, the most important first.

  rank: 0 must be there; the larger, the sooner it goes. label: of the items' common block.
  more: how many items there are besides, too many to be looked at.
  """

  title: str
  intro: str
  items: tuple[Item, ...] = ()
  rank: int = 0
  label: str = ''
  more: int = 0

  def parts(self, items: Sequence[Item]) -> list[Part]:
    head = f'## {self.title}'
    found: list[Part] = [f'{head}{SEPARATOR}{self.intro}' if self.intro else head]
    found += [Quote(item.label, item.text) for item in items if item.label]
    if together := [item.text for item in items if not item.label]:
      found.append(Quote(self.label, '\n'.join(together)))
    return found

  def left_out(self, number: int) -> str:
    return f'"{self.title}": {number} of {len(self.items) + self.more}'


def estimate(text: str) -> int:
  """Tokens of a text: its UTF-8 bytes / 3.5, rounded up."""
  return math.ceil(len(text.encode('utf-8')) / BYTES_PER_TOKEN)


def fitted(
  system: str, sections: Sequence[Section], left_out: str, closing: str, tokens: int
) -> Prompt:
  """The prompt of at most `tokens` by `estimate`, sections in their order.

  left_out: how the sentence on what does not fit begins. closing: the last words. Raises TooSmall.
  """
  return _Fitting(system, sections, left_out, closing, tokens).prompt()


class _Fitting:
  """The items that are in so far, by section, and the bytes that are left."""

  def __init__(
    self, system: str, sections: Sequence[Section], left_out: str, closing: str, tokens: int
  ):
    self.system, self.opening, self.closing = system, left_out, closing
    # A section without data says nothing, unless it is in our words alone.
    self.sections = [s for s in sections if s.items or s.rank == 0]
    self.taken: list[set[int]] = [set() for _ in self.sections]
    self.described: set[int] = set()
    for section, taken in zip(self.sections, self.taken, strict=True):
      if section.rank == 0:
        taken.update(range(len(section.items)))
        self.described |= {item.trial for item in section.items if item.trial is not None}
    everything = [len(s.items) + s.more if s.rank else 0 for s in self.sections]
    needed = self._bytes(self._parts() + self._note(everything))
    allowed = math.floor((tokens - 1) * BYTES_PER_TOKEN)  # one is lost to rounding each up
    self.room = allowed - needed
    if self.room < 0:
      raise TooSmall(
        f'about {math.ceil(needed / BYTES_PER_TOKEN) + 1} tokens are needed at least, and {tokens} '
        'are allowed'
      )

  def prompt(self) -> Prompt:
    order = sorted((s.rank, i) for i, s in enumerate(self.sections) if s.rank)
    for most in (FIRST, None):
      for _, index in order:
        self._take(index, most)
    left = [
      section.more
      + sum(
        i not in taken and (item.trial is None or item.trial not in self.described)
        for i, item in enumerate(section.items)
      )
      for section, taken in zip(self.sections, self.taken, strict=True)
    ]
    return Prompt(self.system, rendered([*self._parts(), *self._note(left), self.closing]))

  def _take(self, index: int, most: int | None) -> None:
    section, taken = self.sections[index], self.taken[index]
    for i, item in enumerate(section.items):
      if most is not None and len(taken) >= most:
        return
      if i in taken or (item.trial is not None and item.trial in self.described):
        continue
      cost = _cost(section, item, taken)
      if cost <= self.room:
        self.room -= cost
        taken.add(i)
        if item.trial is not None:
          self.described.add(item.trial)

  def _parts(self) -> list[Part]:
    return [
      part
      for section, taken in zip(self.sections, self.taken, strict=True)
      if taken or section.rank == 0
      for part in section.parts([section.items[i] for i in sorted(taken)])
    ]

  def _note(self, left: Sequence[int]) -> list[Part]:
    """What was left out; nothing where everything is there."""
    missing = [s.left_out(n) for s, n in zip(self.sections, left, strict=True) if n]
    return [f'{self.opening} {"; ".join(missing)}.'] if missing else []

  def _bytes(self, parts: Sequence[Part]) -> int:
    return len(self.system.encode('utf-8')) + size([*parts, self.closing])


def _cost(section: Section, item: Item, taken: Collection[int]) -> int:
  """Bytes that an item adds to the prompt, with the head of its section where it is the first."""
  shared = not item.label and any(not section.items[i].label for i in taken)
  if shared:
    return len(item.text.encode('utf-8')) + 1  # a line more in the block
  block = size([Quote(item.label or section.label, item.text)]) + len(SEPARATOR)
  return block if taken else block + size(section.parts([])) + len(SEPARATOR)
