"""Which program climbs next: algorithm 2 of the ASHA paper, arXiv 1810.05934."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_jax.search.promotion import RungResults, RungSchedule

LADDER = RungSchedule(3, 3)


def published(rungs, promoted, eta):
  """The algorithm, word by word: rungs[k] is a list of (config, score), None for a failure."""
  for k in reversed(range(len(rungs) - 1)):
    worst = float('-inf')
    ranked = sorted(rungs[k], key=lambda pair: -(worst if pair[1] is None else pair[1]))
    candidates = ranked[: len(rungs[k]) // eta]
    next_promotion = [c for c, s in candidates if (c, k) not in promoted and s is not None]
    if next_promotion:
      return next_promotion[0], k + 1
  return None


@given(st.lists(st.one_of(st.none(), st.integers(0, 6)), max_size=40), st.integers(2, 4))
def test_it_promotes_as_the_published_algorithm_does(scores, eta):
  ladder, rungs = RungSchedule(eta, 3), RungResults()
  table, promoted = [[], [], []], set()
  for config, score in enumerate(scores):
    rungs = rungs.add(config, 0, score)
    table[0].append((config, score))
    while (expected := published(table, promoted, eta)) is not None:
      found = rungs.next_promotion(ladder)
      assert found is not None and (found.config, found.rung) == expected
      rungs = rungs.mark_promoted(found).add(found.config, found.rung, scores[found.config])
      promoted.add((found.config, found.rung - 1))
      table[found.rung].append((found.config, scores[found.config]))
    assert rungs.next_promotion(ladder) is None


@given(st.lists(st.one_of(st.none(), st.integers(0, 6)), max_size=40), st.integers(2, 4))
def test_given_up_is_what_is_not_among_the_first_of_its_rung(scores, eta):
  ladder, rungs, climbed, gone = RungSchedule(eta, 2), RungResults(), set(), set()
  for config, score in enumerate(scores):
    rungs = rungs.add(config, 0, score)
    over, rungs = rungs.stop_outside_top(ladder, 0)
    assert not gone & set(over) and not climbed & set(over)
    gone |= set(over)
    while (found := rungs.next_promotion(ladder)) is not None:
      rungs, _ = rungs.mark_promoted(found), climbed.add(found.config)
    known = [(c, s) for c, s in enumerate(scores[: config + 1]) if s is not None]
    ranked = [c for c, _ in sorted(known, key=lambda pair: -pair[1])]
    first = set(ranked[: -(-(config + 1) // eta)])
    waiting = set(ranked) - gone - climbed
    assert waiting <= first and len(waiting) <= 1


def test_brackets_do_not_mix():
  rungs = RungResults().add(1, 0, 1.0).add(2, 0, 2.0).add(3, 1, 3.0, bracket=1)
  assert rungs.next_promotion(LADDER, 0) is None  # two of three that a promotion needs
  assert [rungs.bracket_of(config) for config in (1, 3, 9)] == [0, 1, -1]


def test_budgets_grow_by_the_reduction():
  assert [LADDER.fidelity(k) for k in range(3)] == pytest.approx([1 / 9, 1 / 3, 1])
  assert [LADDER.rung_of(f) for f in (1 / 9, 1 / 3, 1.0, 0.5)] == [0, 1, 2, None]


@pytest.mark.parametrize('options', [(1, 3), (3, 0)])
def test_a_ladder_that_leads_nowhere_is_refused(options):
  with pytest.raises(ValueError, match=r'(at least|between) [12]'):
    RungSchedule(*options)
