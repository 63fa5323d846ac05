"""What every acceptance rule must do. A new rule adds one line to ACCEPTANCE_CASES."""

import copy
import itertools

import pytest
from helpers.registered import ours
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.testing.acceptance import Stream

# (registered name, options to test it with)
ACCEPTANCE_CASES = [
  ('strict', {}),
  ('noise', {}),
  ('noise', {'threshold': 0.0, 'baseline_seeds': 2}),
  ('sequential', {}),
  (
    'sequential',
    {'looks': (1, 2, 4), 'spending_function': 'pocock', 'min_gain': 0.0, 'alpha': 0.5},
  ),
  ('sequential', {'looks': (1,), 'horizon': 1, 'alpha': 0.2}),
  ('simplicity', {}),
  ('simplicity', {'inner': 'strict', 'tolerance': 1.0, 'min_nodes_saved': 5}),
  ('simplicity', {'inner': 'sequential', 'inner_options': {'baseline_seeds': 4}}),
]

LOSS = types.Objective('val_loss', 'minimize')
ACCURACY = types.Objective('val_loss', 'maximize')
KEEP, DISCARD, CRASH = types.Decision.KEEP, types.Decision.DISCARD, types.Decision.CRASH

every_rule = pytest.mark.parametrize(('name', 'options'), ACCEPTANCE_CASES)
values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4)
# What runs give: far and near scores, equal ones, and failures of every kind.
runs = st.lists(
  st.one_of(
    st.floats(-1e6, 1e6),
    st.floats(-2, 2),
    st.sampled_from([-3.0, 0.0, float('nan')]),
    st.sampled_from([s for s in types.Status if s is not types.Status.OK]),
  ),
  min_size=1,
  max_size=40,
)
ZERO_IS_THE_INNER_RULES = {'simplicity'}  # baseline_seeds of rules around others, as documented
MAX_REPLICATIONS = 40  # of one challenger and its incumbent, whatever they give


def trial(number, *scores, status=types.Status.OK, reason=''):
  """A finished trial with one seed a score."""
  program = types.Program((('model.py', ''),), 'model.py')
  measurements = tuple(
    types.Measurement(seed, {'val_loss': score}, types.Cost()) for seed, score in enumerate(scores)
  )
  return types.Trial(
    number,
    types.Proposal(types.Operation.IMPROVE),
    types.Edit(program, 'an edit', types.Hypothesis('a claim')),
    types.Result(number, status, reason=reason, measurements=measurements),
  )


@every_rule
@pytest.mark.parametrize('status', [s for s in types.Status if s is not types.Status.OK])
def test_a_trial_that_did_not_end_well_is_a_crash_with_its_reason(name, options, status):
  rule = ACCEPTANCE.make(name, options)
  verdict, _ = rule.decide(
    rule.init(LOSS), trial(1, status=status, reason='It broke.'), trial(0, 1.0)
  )
  assert verdict.decision is CRASH
  assert 'It broke.' in verdict.reason and str(status) in verdict.reason


@every_rule
def test_a_trial_without_the_metric_is_a_crash_that_names_it(name, options):
  rule = ACCEPTANCE.make(name, options)
  verdict, _ = rule.decide(rule.init(types.Objective('val_bpb', 'minimize')), trial(1, 1.0), None)
  assert verdict.decision is CRASH
  assert 'val_bpb' in verdict.reason and 'val_loss' in verdict.reason


@every_rule
def test_the_first_score_is_kept_also_after_a_broken_baseline(name, options):
  rule = ACCEPTANCE.make(name, options)
  for incumbent in (None, trial(0, status=types.Status.CRASH)):
    verdict, _ = rule.decide(rule.init(LOSS), trial(1, 2.0), incumbent)
    assert verdict.decision is KEEP


@every_rule
@settings(max_examples=40, deadline=None)
@given(old=values, new=values)
def test_what_is_not_better_is_never_kept_and_directions_mirror(name, options, old, new):
  rule = ACCEPTANCE.make(name, options)
  for objective, sign in ((LOSS, 1.0), (ACCURACY, -1.0)):
    baseline, candidate = (trial(i, *(sign * v for v in vs)) for i, vs in enumerate((old, new)))
    first, state = rule.decide(rule.init(objective), baseline, None)
    verdict, _ = rule.decide(state, candidate, baseline)
    assert first.decision is KEEP
    if sum(new) / len(new) >= sum(old) / len(old):
      assert verdict.decision is DISCARD
    if objective is LOSS:
      minimized = verdict.decision
  assert verdict.decision is minimized


@every_rule
def test_a_gain_far_beyond_the_noise_is_kept_once_the_rule_is_sure(name, options):
  def measure(program, seed):
    return (0.5 if program else 1.0) + 0.01 * (-1) ** seed

  baseline = Stream.start(ACCEPTANCE.make(name, options), measure)
  end = baseline.step(measure).settled(measure)
  kept = end.trials[-1]
  assert kept.verdict.decision is KEEP
  assert '0.5' in kept.verdict.reason
  assert end.incumbent.id == kept.id


@every_rule
def test_a_lucky_replicate_of_the_incumbent_is_not_kept(name, options):
  stream = Stream.start(ACCEPTANCE.make(name, options), lambda program, seed: 1 + 0.01 * seed)
  stream = stream.step(lambda program, seed: -9.0).settled(lambda program, seed: -9.0)
  kept = stream.incumbent.id
  assert kept > 0
  for parent in {kept, stream.trials[kept].proposal.parents[0] or kept}:
    wish = types.Proposal(types.Operation.REPLICATE, (parent,), seeds=(77,))
    verdict = stream.ran(wish, lambda program, seed: -99.0).trials[-1].verdict
    assert verdict.decision is DISCARD
    assert 'incumbent' in verdict.reason


@every_rule
def test_the_state_is_plain_data_that_decide_and_ask_do_not_change(name, options):
  rule = ACCEPTANCE.make(name, options)
  baseline = trial(0, 1.0, 1.1, 0.9)
  _, state = rule.decide(rule.init(LOSS), baseline, None)
  for number, score in enumerate((0.8, 0.2, 0.9), start=1):
    before, encoded = copy.deepcopy(state), types.to_json(state)
    _, after = rule.decide(state, trial(number, score), baseline)
    rule.ask(after)
    assert state == before and types.to_json(state) == encoded
    assert types.to_json(types.from_json(types.to_json(after), type(after))) == types.to_json(after)
    state = after


@every_rule
@settings(max_examples=40, deadline=None)
@given(outcomes=runs)
def test_whatever_comes_back_asking_ends_and_every_wish_can_be_run(name, options, outcomes):
  draws = itertools.cycle(outcomes)
  stream = Stream.start(ACCEPTANCE.make(name, options), lambda program, seed: float(seed))
  for _ in range(12):
    stream = stream.step(lambda program, seed: next(draws))
    replications = stream.replications(lambda program, seed: next(draws))
    for count, later in enumerate(replications, start=1):
      stream = later
      require_replication(stream.trials[-1].proposal, stream)
      assert count <= MAX_REPLICATIONS
    assert not stream.rule.undecided(stream.state, stream.trials[-1])


@every_rule
@settings(max_examples=40, deadline=None)
@given(outcomes=runs, order=st.randoms(use_true_random=False), slots=st.integers(2, 4))
def test_with_trials_side_by_side_asking_ends_too(name, options, outcomes, order, slots):
  """Wishes are handed out before earlier ones came back, and these come back in any order."""
  draws = itertools.cycle(outcomes)
  stream = Stream.start(ACCEPTANCE.make(name, options), lambda program, seed: float(seed))
  for turn in range(200):
    stream, wanted = stream.asked()
    if wanted or (len(stream.flying) < slots and turn < 30):
      assert len(stream.flying) < 200, 'it never stops asking'
      stream = stream.submitted(wanted or stream.challenge())
    elif stream.flying:
      stream = stream.came_back(order.choice(stream.flying), lambda program, seed: next(draws))
    else:
      break
  assert not stream.flying and stream.rule.ask(stream.state)[0] is None


def require_replication(proposal, stream):
  """Asserts that the loop can run it, and that it tells something new."""
  assert proposal.operation is types.Operation.REPLICATE
  assert proposal.fidelity == 1 and proposal.edit is None
  assert len(proposal.parents) == 1 and proposal.parents[0] < stream.trials[-1].id
  assert proposal.seeds and len(set(proposal.seeds)) == len(proposal.seeds)
  assert min(proposal.seeds) >= 0
  assert types.from_json(types.to_json(proposal), types.Proposal) == proposal


@every_rule
@pytest.mark.parametrize('number', [0, -1])
def test_the_baseline_is_run_at_least_once(name, options, number):
  rule = ACCEPTANCE.make(name, options)
  assert rule.baseline_seeds >= 1
  asked = {**options, 'baseline_seeds': number}
  if number == 0 and name in ZERO_IS_THE_INNER_RULES:
    assert ACCEPTANCE.make(name, asked) == rule
    return
  with pytest.raises(ValueError, match=f'baseline_seeds is {number}'):
    ACCEPTANCE.make(name, asked)


@every_rule
def test_every_rule_takes_baseline_seeds_since_configs_set_it_whatever_the_rule(name, options):
  options = {**options, 'baseline_seeds': 5}
  options.pop('inner_options', None)  # may have the number
  assert ACCEPTANCE.make(name, options).baseline_seeds == 5


def test_every_registered_rule_is_in_the_battery():
  assert {name for name, _ in ACCEPTANCE_CASES} == ours(ACCEPTANCE)
