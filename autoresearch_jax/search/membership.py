"""Which programs live on which island, as an immutable list of (member, island) pairs.

A member may live on several islands: the first program does, and so do migrants.
"""

import dataclasses
from collections.abc import Iterable
from typing import Self

import numpy as np

from autoresearch_jax.search.archive import IntColumn


@dataclasses.dataclass(frozen=True)
class IslandMembership:
  """One pair per row, in order of joining.

  Attributes:
    members: Trial ids or rows of an archive, as the strategy decides.
    islands: Island of each pair.
  """

  members: IntColumn = dataclasses.field(default_factory=IntColumn)
  islands: IntColumn = dataclasses.field(default_factory=IntColumn)

  def __len__(self) -> int:
    return len(self.members)

  def members_of(self, island: int) -> np.ndarray:
    """Returns the members of an island, in order of joining. int64 [n]."""
    return self.members.array[self.islands.array == island]

  def islands_of(self, member: int) -> tuple[int, ...]:
    """Returns the islands where a member lives, in order of joining."""
    return tuple(self.islands.array[self.members.array == member].tolist())

  def add(self, member: int, islands: Iterable[int]) -> Self:
    """Returns the membership with a member on more islands; where it lives already, no change."""
    present = self.islands_of(member)
    new = [island for island in islands if island not in present]
    both = np.array([[member] * len(new), new], np.int64)
    return type(self)(*(
      IntColumn(old.data + added.tobytes())
      for old, added in zip((self.members, self.islands), both, strict=True)
    ))  # fmt: skip

  def select(self, pairs: np.ndarray) -> Self:
    """Returns only these pairs: a boolean mask [pairs], or their indices."""
    members, islands = self.members.array[pairs], self.islands.array[pairs]
    return type(self)(IntColumn.of(members), IntColumn.of(islands))
