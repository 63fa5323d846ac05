"""Members live on several islands, each once."""

import numpy as np

from autoresearch_jax.search.membership import IslandMembership


def test_members_join_islands_and_leave_them():
  living = IslandMembership().add(7, range(3)).add(8, (1,)).add(7, (2, 1))
  assert living.members_of(1).tolist() == [7, 8]
  assert living.islands_of(7) == (0, 1, 2)
  assert len(living) == 4
  left = living.select(np.array([False, True, True, True]))
  assert left.islands_of(7) == (1, 2)
  assert left.members_of(0).tolist() == []
