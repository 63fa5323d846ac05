"""ShinkaEvolve against its published formulas: arXiv 2509.19349."""

import collections
import math

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.shinka import ALL_ISLANDS, Shinka, parent_probabilities
from autoresearch_jax.testing.strategies import OBJECTIVE, START, baseline, finished

OK, MERGE = types.Status.OK, types.Operation.MERGE
FREE = types.Proposal(types.Operation.IMPROVE, (0,), context=(0,))


def edit(line):
  text = START.text() + f'{line}\n'
  return types.Edit(START.with_text(text), 'an edit', types.Hypothesis(''))


def grown(strategy, *losses, lines=None, proposal=FREE):
  """Trials 1, 2, ..., each with another line added, unless `lines` names them."""
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  for number, loss in enumerate(losses, start=1):
    line = lines[number - 1] if lines else f'LINE_{"x" * number} = 1'
    state = strategy.tell(state, finished(number, proposal, (OK, False, loss), edit(line)))
  return state


def asked(strategy, state, draws=2000):
  return [strategy.ask(state, np.random.default_rng(seed))[0] for seed in range(draws)]


def members(state):
  return [int(state.trials.ids.array[member.row]) for member in state.members]


def test_parents_weigh_by_their_score_and_their_children():
  # Median 2, MAD 1: logistic of -10, 0 and 10, the last one halved for its child.
  weights = np.array([4.5398e-5, 0.5, 0.9999546 / 2])
  found = parent_probabilities(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1]))
  assert found == pytest.approx(weights / weights.sum(), rel=1e-4)


def test_without_a_deviation_the_better_half_is_far_above():
  found = parent_probabilities(np.array([2.0, 2.0, 2.0, 3.0]), np.zeros(4))
  assert found == pytest.approx(np.array([0.5, 0.5, 0.5, 1]) / 2.5)


def test_parents_are_drawn_by_it_from_the_archive():
  strategy = Shinka(num_islands=1, migration_interval=1000)
  state = grown(strategy, 0.9, 0.7, 0.6)
  counts = collections.Counter(proposal.parents[0] for proposal in asked(strategy, state))
  expected = parent_probabilities(np.array([-1.0, -0.9, -0.7, -0.6]), np.zeros(4))
  assert [counts[n] / 2000 for n in range(4)] == pytest.approx(expected, abs=0.04)


def test_operations_have_their_shares():
  strategy = Shinka(num_islands=1)
  proposals = asked(strategy, grown(strategy, 0.9, 0.8), draws=4000)
  kinds = collections.Counter(
    'cross' if p.operation is MERGE else p.guidance or 'diff' for p in proposals
  )
  assert [kinds[k] / 4000 for k in ('diff', 'rewrite', 'cross')] == pytest.approx(
    [0.6, 0.3, 0.1], abs=0.025
  )
  assert all(len(set(p.parents)) == 2 for p in proposals if p.operation is MERGE)


def test_a_child_under_way_counts():
  strategy = Shinka(num_islands=1)
  _, state = strategy.ask(grown(strategy), np.random.default_rng(0))
  assert state.trials.num_children.array.tolist() == [1]


def test_near_duplicates_do_not_enter_the_archive():
  strategy = Shinka()
  state = grown(strategy, 0.9, 0.5, 0.8, lines=['A = 0.123', 'A = 0.1204', 'A = 0.2'])
  assert members(state) == [0, 1, 3]


def test_a_full_archive_gives_up_its_worst_for_a_better_one():
  strategy = Shinka(archive_size=3)
  assert members(grown(strategy, 0.9, 0.8, 0.7)) == [1, 2, 3]
  assert members(grown(strategy, 0.9, 0.8, 0.7, 0.9)) == [1, 2, 3]


def test_the_largest_lessons_come_first_in_the_context_and_are_renewed():
  strategy = Shinka(
    migration_interval=4,
    meta_max_recommendations=2,
    num_top_k_inspirations=0,
    num_archive_inspirations=0,
  )
  state = grown(strategy, 0.9, 7.0, 0.5)  # gains against the start: 0.1, -6, 0.5
  assert state.scratchpad == (2, 3)
  assert strategy.ask(state, np.random.default_rng(0))[0].context[:2] == (2, 3)
  state = grown(strategy, 0.9, 7.0, 0.5, 0.6, 0.7, 0.8, 0.95)
  assert state.scratchpad == (4, 5)


def test_the_best_are_shown_then_others_of_the_archive():
  strategy = Shinka(migration_interval=1000, num_islands=1)
  state = grown(strategy, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
  for proposal in asked(strategy, state, 50):
    assert proposal.context[:2] == tuple(n for n in (7, 6, 5) if n != proposal.parents[0])[:2]
    assert len(proposal.context) == 6
    assert proposal.parents[0] not in proposal.context


def test_members_move_to_the_next_island_but_an_islands_best_never():
  strategy = Shinka(migration_interval=12, migration_rate=0.3)
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  for number in range(1, 12):
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    outcome = (OK, False, 0.9 - number / 100)
    state = strategy.tell(
      state, finished(number, proposal, outcome, edit(f'LINE_{"x" * number} = 1'))
    )
  before = {member.row: member.island for member in state.members}
  _, state = strategy.ask(state, np.random.default_rng(99))
  moved = {m.row for m in state.members if m.island != before[m.row]}
  scores = state.trials.scores.array
  assert moved
  for island in (0, 1):
    own = [row for row, home in before.items() if home == island]
    assert max(own, key=lambda row: scores[row]) not in moved
    assert len(moved & set(own)) == min(len(own) - 1, max(1, round(0.3 * len(own))))
  assert before[0] == ALL_ISLANDS and 0 not in moved


@pytest.mark.parametrize(
  'options',
  [
    {'archive_size': 0},
    {'full_patch_prob': 0.9, 'cross_patch_prob': 0.2},
    {'migration_rate': -0.1},
    {'code_embed_sim_threshold': math.nan},
    {'num_top_k_inspirations': -1},
    {'num_archive_inspirations': -1},
    {'meta_max_recommendations': -1},
  ],
)
def test_options_that_do_not_fit_are_refused(options):
  with pytest.raises(ValueError, match='of shinka'):
    Shinka(**options)
