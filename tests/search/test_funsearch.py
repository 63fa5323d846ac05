"""FunSearch against its published formulas: `programs_database.py` of google-deepmind/funsearch."""

import collections
import dataclasses

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.funsearch import (
  FunSearch,
  cluster_probabilities,
  length_probabilities,
  signature_of,
)
from autoresearch_jax.testing.strategies import OBJECTIVE, START, baseline, finished

OK = types.Status.OK
MERGE, IMPROVE = types.Operation.MERGE, types.Operation.IMPROVE


def asked(strategy, state, draws=400):
  return [strategy.ask(state, np.random.default_rng(seed))[0] for seed in range(draws)]


def started(strategy, value=1.0):
  return strategy.tell(strategy.init(OBJECTIVE), baseline(value))


def long(number, proposal, loss, length):
  """A trial whose program has so many characters more than the start."""
  text = START.text() + '#' * length
  edit = types.Edit(START.with_text(text), 'an edit', types.Hypothesis(''))
  return finished(number, proposal, (OK, False, loss), edit)


def test_the_temperature_falls_to_the_end_of_a_period_and_starts_over():
  found = [FunSearch().temperature(n) for n in (0, 7500, 15_000, 29_999, 30_000)]
  assert found == pytest.approx([0.1, 0.075, 0.05, 0.1 / 30_000, 0.1])


def test_clusters_are_drawn_by_the_softmax_of_their_scores():
  weights = np.exp([-10.0, -5.0, 0.0])
  assert cluster_probabilities(np.array([-3.0, -2.0, -1.0]), 0.1) == pytest.approx(
    weights / weights.sum()
  )


def test_short_programs_are_preferred_in_a_cluster():
  # Normalised lengths: 0, (150 - 100) / 200, (200 - 100) / 200.
  weights = np.exp([0.0, -0.25, -0.5])
  assert length_probabilities(np.array([100, 150, 200])) == pytest.approx(
    weights / weights.sum(), rel=1e-6
  )


def test_programs_with_equal_rounded_metrics_are_one_cluster():
  one, other = {'a': 0.12345, 'b': 2.0}, {'a': 0.12349, 'b': 2.0}
  assert signature_of(one, 3) == signature_of(other, 3)
  assert signature_of(one, 5) != signature_of(other, 5)
  strategy = FunSearch(num_islands=1)
  state = started(strategy)
  for number, length in ((1, 0), (2, 400)):  # the same score, which is far better than the start's
    state = strategy.tell(state, long(number, types.Proposal(IMPROVE, (0,)), 0.5, length))
  counts = collections.Counter(proposal.parents[0] for proposal in asked(strategy, state, 2000))
  lengths = np.array([len(START.text()), len(START.text()) + 400])
  assert counts[1] / counts.total() == pytest.approx(length_probabilities(lengths)[0], abs=0.03)


def test_the_better_of_two_samples_is_edited_and_shown_last():
  strategy = FunSearch(
    num_islands=1, cluster_sampling_temperature_init=100.0
  )  # both clusters are about as likely
  state = strategy.tell(started(strategy), long(1, types.Proposal(IMPROVE, (0,)), 0.5, 9))
  proposals = asked(strategy, state)
  merges = [proposal for proposal in proposals if proposal.operation is MERGE]
  assert len(merges) == pytest.approx(200, abs=40)
  assert {(p.parents, p.context) for p in merges} == {((1, 0), (0, 1))}
  alone = {p.parents for p in proposals if p.operation is IMPROVE}
  assert alone == {(0,), (1,)}  # drawn twice, so improved alone


def grown(strategy, losses):
  """A state in which island i has the start and one trial with losses[i]; trial ids are i + 1."""
  state = started(strategy)
  for island, loss in enumerate(losses):
    pending = dataclasses.replace(state.pending, proposals=())
    proposal = types.Proposal(IMPROVE, (0,), context=(0,))
    state = dataclasses.replace(state, pending=pending.add(proposal, island))
    state = strategy.tell(state, finished(island + 1, proposal, (OK, False, loss)))
  return state


def test_a_trial_joins_the_island_it_was_asked_for():
  strategy = FunSearch(num_islands=3)
  state = started(strategy)
  for number in range(1, 20):
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    island = state.pending.proposals[-1].label
    state = strategy.tell(state, finished(number, proposal, (OK, False, 1.0 / number)))
    assert state.islands.islands_of(number) == (island,)
  assert state.islands.islands_of(0) == (0, 1, 2)  # the baseline is on all


def test_the_worse_half_of_the_islands_is_founded_anew_by_the_best_of_the_others():
  strategy = FunSearch(num_islands=4, reset_period=5)
  state = grown(strategy, [0.9, 0.2, 0.8, 0.1])
  _, state = strategy.ask(state, np.random.default_rng(0))
  rows = [state.islands.members_of(island).tolist() for island in range(4)]
  assert rows[1] == [0, 2] and rows[3] == [0, 4]
  assert len(rows[0]) == len(rows[2]) == 1
  assert {rows[0][0], rows[2][0]} <= {2, 4}
  assert state.num_since_reset == 0


def test_failed_trials_are_on_no_island():
  strategy = FunSearch()
  state = started(strategy)
  proposal, state = strategy.ask(state, np.random.default_rng(0))
  state = strategy.tell(state, finished(1, proposal, (types.Status.OOM, False, 0.0)))
  assert len(state.archive) == 1 and state.pending.proposals == ()


@pytest.mark.parametrize(
  'options',
  [{'num_islands': 0}, {'cluster_sampling_temperature_init': 0.0}, {'signature_digits': 0}],
)
def test_options_that_do_not_fit_are_refused(options):
  with pytest.raises(ValueError, match='must be'):
    FunSearch(**options)
