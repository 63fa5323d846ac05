"""MAP-Elites over num_islands: cells, the three kinds of parents, migration and the limit."""

import collections
import dataclasses
import math

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.map_elites import MapElites, bin_index, fitness_probabilities
from autoresearch_jax.testing.strategies import OBJECTIVE, START, baseline, finished

OK = types.Status.OK
FREE = types.Proposal(types.Operation.IMPROVE, (0,), context=(0,))


def added(strategy, state, number, loss, lines=0, island=None):
  """With a trial whose program has so many lines more; on all islands, or asked for on one."""
  text = START.text() + ''.join(f'{"x" * 40} = {n}\n' for n in range(lines))
  edit = types.Edit(START.with_text(text), 'an edit', types.Hypothesis(''))
  if island is not None:
    state = dataclasses.replace(state, pending=state.pending.add(FREE, island))
  return strategy.tell(state, finished(number, FREE, (OK, False, loss), edit))


def grown(strategy, *programs):
  """programs: (loss, lines) or (loss, lines, island) of trials 1, 2, ..."""
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  for number, program in enumerate(programs, start=1):
    state = added(strategy, state, number, *program)
  return state


def shares(strategy, state, draws=3000):
  asked = [strategy.ask(state, np.random.default_rng(seed))[0] for seed in range(draws)]
  counts = collections.Counter(proposal.parents[0] for proposal in asked)
  return {trial: count / draws for trial, count in counts.items()}


def test_features_are_cut_in_equal_bins():
  assert bin_index(np.array([10, 14, 15, 19.9, 20]), 10).tolist() == [0, 4, 5, 9, 9]
  assert bin_index(np.array([3, 3]), 10).tolist() == [0, 0]


def test_fitness_is_in_proportion_to_the_score():
  assert fitness_probabilities(np.array([-3.0, -2.0, -1.0])) == pytest.approx(
    np.array([0.001, 0.5, 1]) / 1.501
  )


# Trials 0, 1 are short, 2, 3 long: two cells of one island, whose elites are 1 and 3.
TWO_CELLS = ((0.5, 0), (0.8, 30), (0.3, 30))


def test_each_cell_has_its_best_program_as_elite():
  strategy = MapElites(num_islands=1, diversity_reference_size=1)
  rows, homes = strategy.elites(grown(strategy, *TWO_CELLS))
  assert rows.tolist() == [3, 1] and homes.tolist() == [0, 0]
  rows, homes = MapElites(num_islands=2, diversity_reference_size=1).elites(
    grown(MapElites(num_islands=2, diversity_reference_size=1), (0.5, 0, 0), (0.4, 0, 1))
  )
  assert sorted(zip(rows.tolist(), homes.tolist(), strict=True)) == [(1, 0), (2, 1)]


def test_parents_are_explored_exploited_and_drawn_by_fitness():
  strategy = MapElites(num_islands=1, archive_size=1, diversity_reference_size=1)
  state = grown(strategy, *TWO_CELLS)
  # Scores -1, -0.5, -0.8, -0.3: the lowest quarter is -0.8, so on its scale 0, 0.6, 0, 1.
  fit = np.array([0.001, 0.6, 0.001, 1.0]) / 1.602
  expected = 0.2 * np.array([0, 0.5, 0, 0.5]) + 0.7 * np.array([0, 0, 0, 1]) + 0.1 * fit
  found = shares(strategy, state)
  assert [found.get(trial, 0.0) for trial in range(4)] == pytest.approx(expected, abs=0.025)


def test_the_archive_prefers_the_island_whose_turn_it_is():
  strategy = MapElites(num_islands=2, archive_size=2, exploration_ratio=0.0, exploitation_ratio=1.0)
  first = grown(strategy, (0.5, 0, 0), (0.4, 0, 1))
  assert shares(strategy, first, 50) == {1: 1.0}
  _, second = strategy.ask(first, np.random.default_rng(0))
  assert shares(strategy, second, 50) == {2: 1.0}
  # With one place in the archive, the first island has none of its own in it.
  assert shares(dataclasses.replace(strategy, archive_size=1), first, 50) == {2: 1.0}


def test_top_programs_are_shown_before_diverse_ones_and_the_parent_is_not():
  strategy = MapElites(
    num_islands=1,
    num_top_programs=1,
    num_diverse_programs=1,
    exploration_ratio=1.0,
    exploitation_ratio=0.0,
  )
  state = grown(strategy, (0.9, 20), (0.8, 40), (0.7, 60), (0.6, 80))
  for seed in range(20):
    proposal, _ = strategy.ask(state, np.random.default_rng(seed))
    best = 4 if proposal.parents != (4,) else 3
    assert proposal.context[0] == best and len(proposal.context) == 2
    assert proposal.parents[0] not in proposal.context


def test_the_best_tenth_moves_to_both_neighbours_on_the_ring():
  strategy = MapElites(num_islands=5, migration_interval=3)
  state = strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  state = added(strategy, state, 1, 0.5, island=0)
  assert state.islands.islands_of(1) == (0,)
  state = added(strategy, state, 2, 0.6, island=2)
  assert sorted(state.islands.islands_of(1)) == [0, 1, 4]
  assert sorted(state.islands.islands_of(2)) == [1, 2, 3]


def test_beyond_the_population_the_worst_is_given_up_but_no_islands_best():
  strategy = MapElites(num_islands=2, population_size=4)
  state = grown(strategy, (0.5, 0, 0), (0.9, 0, 0), (2.0, 0, 1), (0.8, 0, 0))
  # On island 1 the start, with a loss of 1, is the best; trial 3 there was the worst of all.
  assert [sorted(state.islands.members_of(island).tolist()) for island in (0, 1)] == [
    [1, 2, 4],
    [0],
  ]


@pytest.mark.parametrize(
  'options',
  [
    {'exploration_ratio': 0.5},
    {'exploration_ratio': -0.1},
    {'population_size': 4},
    {'feature_bins': 0},
    {'exploration_ratio': math.nan},
    {'num_top_programs': -1},
    {'num_diverse_programs': -1},
    {'migration_rate': 1.5},
  ],
)
def test_options_that_do_not_fit_are_refused(options):
  with pytest.raises(ValueError, match='of map_elites'):
    MapElites(**options)
