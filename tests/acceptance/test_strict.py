"""The original's rule: any gain is kept."""

from autoresearch_jax import types
from autoresearch_jax.acceptance.strict import Strict

PROGRAM = types.Program((('model.py', ''),), 'model.py')


def trial(number, value):
  return types.Trial(
    number,
    types.Proposal(types.Operation.IMPROVE),
    types.Edit(PROGRAM, 'an edit', types.Hypothesis('a claim')),
    types.Result(
      number,
      types.Status.OK,
      measurements=(types.Measurement(0, {'val_bpb': value}, types.Cost()),),
    ),
  )


def decide(new, old, direction='minimize'):
  rule = Strict()
  state = rule.init(types.Objective('val_bpb', direction))
  return rule.decide(state, trial(1, new), trial(0, old))[0]


def test_the_smallest_gain_is_kept_and_an_equal_score_is_not():
  assert decide(0.999999, 1.0).decision is types.Decision.KEEP
  assert decide(1.0, 1.0).decision is types.Decision.DISCARD
  assert decide(1.1, 1.0).decision is types.Decision.DISCARD
  assert decide(1.1, 1.0, 'maximize').decision is types.Decision.KEEP


def test_the_sentence_has_both_numbers():
  reason = decide(0.9, 1.0).reason
  for part in ('val_bpb 0.900000', '1.000000 (trial 0)', 'better by 0.1'):
    assert part in reason
