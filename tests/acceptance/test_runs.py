"""What is known of a program adds up over its trials; a seed counts once."""

from autoresearch_jax import types
from autoresearch_jax.acceptance.program_runs import ProgramRuns, original_of
from autoresearch_jax.testing.acceptance import OBJECTIVE, finished

IMPROVE = types.Proposal(types.Operation.IMPROVE, (0,))


def replicate(parent, *seeds):
  return types.Proposal(types.Operation.REPLICATE, (parent,), seeds=seeds)


def test_a_replicate_belongs_to_its_first_parent():
  assert original_of(finished(7, replicate(3, 1), lambda p, s: 0.0)) == 3
  assert original_of(finished(7, IMPROVE, lambda p, s: 0.0)) == 7


def test_runs_are_pooled_and_a_seed_counts_once():
  runs = ProgramRuns(3)
  for trial in (
    finished(3, types.Proposal(types.Operation.IMPROVE), lambda p, s: 1.0),
    finished(4, replicate(3, 1, 2), lambda p, s: 1.0 + s),
    finished(5, replicate(3, 2, 3), lambda p, s: 100.0 if s == 2 else 4.0),
  ):
    runs = runs.add(runs.new_values(OBJECTIVE, trial))
  assert (runs.seeds, runs.values) == ((0, 1, 2, 3), (1.0, 2.0, 3.0, 4.0))
  assert runs.mean == 2.5


def test_what_failed_is_no_news_and_is_not_tried_again():
  runs = ProgramRuns(3, (0,), (1.0,), (0,)).request((1, 2))
  assert runs.is_pending
  broken = finished(4, replicate(3, 1, 2), lambda p, s: types.Status.TIMEOUT)
  assert runs.new_values(OBJECTIVE, broken) == []
  assert runs.fail().next_seeds(3, ProgramRuns(0)) == (3, 4)


def test_seeds_that_pair_with_the_other_program_come_first():
  runs = ProgramRuns(3, (5,), (1.0,), (5,))
  assert runs.next_seeds(4, ProgramRuns(0, (0, 5, 9), (1.0, 1.0, 1.0))) == (0, 9, 1)
  assert runs.next_seeds(1, ProgramRuns(0, (0, 5, 9))) == ()
