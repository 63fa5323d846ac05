"""Who lives on which island: pairs of a member (a trial id or a row of an archive) and an island.

A member may live on several islands: the first program of all does, and migrants do.
"""

import dataclasses
from collections.abc import Iterable
from typing import Self

import numpy as np

from autoresearch_jax.search.archive import Ints


@dataclasses.dataclass(frozen=True)
class Membership:
  """members, islands: one pair a place, in the order of joining."""

  members: Ints = dataclasses.field(default_factory=Ints)
  islands: Ints = dataclasses.field(default_factory=Ints)

  def __len__(self) -> int:
    return len(self.members)

  def on(self, island: int) -> np.ndarray:
    """The members that live on an island, in the order of joining. int64 [n]."""
    return self.members.array[self.islands.array == island]

  def homes(self, member: int) -> tuple[int, ...]:
    """The islands where a member lives, in the order of joining."""
    return tuple(self.islands.array[self.members.array == member].tolist())

  def joined(self, member: int, islands: Iterable[int]) -> Self:
    """With a member on more islands; where it already lives nothing changes."""
    homes = self.homes(member)
    new = [island for island in islands if island not in homes]
    both = np.array([[member] * len(new), new], np.int64)
    return type(self)(*(
      Ints(old.data + more.tobytes())
      for old, more in zip((self.members, self.islands), both, strict=True)
    ))  # fmt: skip

  def kept(self, places: np.ndarray) -> Self:
    """With only the pairs at these places: a bool for each, or their indices."""
    return type(self)(Ints.of(self.members.array[places]), Ints.of(self.islands.array[places]))
