"""Members live on several islands, each once."""

import numpy as np

from autoresearch_jax.search.membership import Membership


def test_members_join_islands_and_leave_them():
  living = Membership().joined(7, range(3)).joined(8, (1,)).joined(7, (2, 1))
  assert living.on(1).tolist() == [7, 8]
  assert living.homes(7) == (0, 1, 2)
  assert len(living) == 4
  left = living.kept(np.array([False, True, True, True]))
  assert left.homes(7) == (1, 2)
  assert left.on(0).tolist() == []
