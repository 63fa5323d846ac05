"""The queue of an executor: which part of a trial a slot gets, and how results are merged."""

import pytest

from autoresearch_jax.executors.request_queue import RequestQueue
from autoresearch_jax.types import (
  Budget,
  Cost,
  Measurement,
  Program,
  Progress,
  ReferenceStep,
  Result,
  SeedResult,
  Status,
  TrialRequest,
)

PROGRAM = Program((('model.py', 'WIDTH = 64'),), 'model.py')
OTHER = Program((('model.py', 'WIDTH = 32'),), 'model.py')


def request(trial, seeds=(0,), program=PROGRAM, **fields):
  return TrialRequest(trial, program, seeds, Budget(1.0, 'steps'), **fields)


def take(queue, compiled=(), elsewhere=()):
  """The part that a slot gets which has compiled some programs, as another idle slot has others."""
  found = queue.find(lambda p: p in compiled, lambda p: p in elsewhere)
  return None if found is None else queue.take(found)


def ok(part):
  runs = tuple(Measurement(seed, {'loss': float(seed)}, Cost()) for seed in part.request.seeds)
  curves = {str(seed): [] for seed in part.request.seeds}
  facts = {'slot': part.order, 'curves': curves}
  return Result(part.request.trial, Status.OK, fingerprint='f', measurements=runs, facts=facts)


def failed(part, status=Status.DIVERGED):
  facts = {'looks': {str(part.request.seeds[-1]): []}}
  return Result(part.request.trial, status, f'seed {part.request.seeds[-1]}', facts=facts)


def training(part, **fields):
  return Progress(part.request.trial, 'train', part.request.seeds[-1], **fields)


def spread(seeds, slots):
  """A queue, and the parts of its one trial that so many idle slots got."""
  queue = RequestQueue()
  queue.add(request(1, seeds))
  parts = [take(queue)]
  assert take(queue) is None  # nothing spreads before the program is compiled
  assert queue.progress(parts[0], training(parts[0]))
  parts += [take(queue) for _ in range(slots - 1)]
  return queue, parts


def test_seeds_spread_once_the_first_one_trains():
  queue, parts = spread((7, 8, 9), 4)
  assert [part and part.request.seeds for part in parts] == [(7,), (8,), (9,), None]
  assert queue.finish(parts[1], ok(parts[1])) == (None, [])
  assert queue.finish(parts[2], ok(parts[2])) == (None, [])
  result, _ = queue.finish(parts[0], ok(parts[0]))
  assert (result.status, [m.seed for m in result.measurements]) == (Status.OK, [7, 8, 9])
  assert [*result.facts['curves']] == ['7', '8', '9'] and result.facts['slot'] == 0


def test_one_slot_runs_all_seeds_of_a_trial_itself():
  queue = RequestQueue(spread=False)
  queue.add(request(1, (7, 8, 9)))
  part = take(queue)
  assert part.request.seeds == (7, 8, 9)
  assert not queue.progress(part, training(part))
  assert take(queue) is None


def test_a_trial_that_waits_goes_before_seeds_of_another_program():
  queue, _ = spread((0, 1, 2), 1)
  queue.add(request(2, program=OTHER))
  assert take(queue).request.trial == 2
  assert take(queue).request.seeds == (1,)


def test_seeds_stay_where_their_program_is_compiled():
  queue, _ = spread((0, 1, 2), 1)
  queue.add(request(2, program=OTHER))
  assert take(queue, compiled=[PROGRAM]).request.seeds == (1,)
  assert take(queue, elsewhere=[PROGRAM, OTHER]) is None


def test_a_failure_hides_later_seeds_and_waits_for_earlier_ones():
  queue, parts = spread((0, 1, 2, 3), 3)
  assert queue.finish(parts[1], failed(parts[1])) == (None, [parts[2]])
  assert take(queue) is None  # seed 3
  assert queue.finish(parts[2], ok(parts[2])) == (None, [])
  result, _ = queue.finish(parts[0], ok(parts[0]))
  assert (result.status, result.reason) == (Status.DIVERGED, 'seed 1')
  assert [m.seed for m in result.measurements] == [0]
  assert result.facts['looks'] == {'1': []} and [*result.facts['curves']] == ['0']


def test_an_earlier_failure_wins():
  queue, parts = spread((0, 1), 2)
  assert queue.finish(parts[1], failed(parts[1])) == (None, [])
  result, _ = queue.finish(parts[0], failed(parts[0], Status.PRUNED))
  assert (result.status, result.reason) == (Status.PRUNED, 'seed 0')


@pytest.mark.parametrize('status', [Status.INVALID, Status.DUPLICATE, Status.OOM])
def test_a_program_that_does_not_train_ends_at_its_first_part(status):
  queue = RequestQueue()
  queue.add(request(1, (0, 1, 2)))
  part = take(queue)
  result, superfluous = queue.finish(part, failed(part, status))
  assert (result.status, superfluous, len(queue)) == (status, [], 0)


def test_the_first_part_brings_runs_of_an_earlier_session():
  done = (SeedResult(1, 'f', Measurement(1, {}, Cost())),)
  queue = RequestQueue()
  queue.add(request(1, (0, 1, 2), done=done))
  part = take(queue)
  assert (part.request.seeds, part.request.done) == ((0, 1), done)
  queue.progress(part, training(part))
  other = take(queue)
  assert (other.request.seeds, other.request.done) == ((2,), ())


def test_all_seeds_have_the_reference_of_the_first():
  queue = RequestQueue()
  queue.add(request(1, (0, 1), reference=ReferenceStep(PROGRAM)))
  part = take(queue)
  queue.progress(part, training(part, reference_seconds=0.25))
  assert take(queue).request.reference.step_seconds == 0.25


def test_a_part_whose_slot_failed_goes_to_the_next_one_with_what_is_done():
  queue, parts = spread((0, 1), 2)
  queue.put_back(parts[1])
  again = take(queue)
  assert (again, again.failures) == (parts[1], 1)


def test_cancelling_ends_what_runs_and_what_waits():
  queue, parts = spread((0, 1, 2), 2)
  assert queue.cancel(1) == (None, parts)
  assert take(queue) is None
  queue.finish(parts[0], failed(parts[0], Status.CANCELLED))
  result, _ = queue.finish(parts[1], failed(parts[1], Status.CANCELLED))
  assert result is None or result.status == Status.CANCELLED


def test_cancelling_between_two_parts_ends_the_trial():
  queue, (part,) = spread((0, 1), 1)
  assert queue.finish(part, ok(part)) == (None, [])
  result, superfluous = queue.cancel(1)
  assert (result.status, superfluous) == (Status.CANCELLED, [])
  assert take(queue) is None


def test_a_trial_that_has_not_begun_is_cancelled_alone():
  queue = RequestQueue()
  queue.add(request(1))
  queue.add(request(2))
  result, _ = queue.cancel(2)
  assert (result.trial, result.status) == (2, Status.CANCELLED)
  assert take(queue).request.trial == 1
