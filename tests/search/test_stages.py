"""Four stages, each with its guidance, each handing its best on."""

import numpy as np
import pytest

from autoresearch_jax import types
from autoresearch_jax.search.stages import Stages
from autoresearch_jax.testing.strategies import OBJECTIVE, baseline, finished

OK, CRASH = types.Status.OK, types.Status.CRASH
DRAFT, IMPROVE, DEBUG = types.Operation.DRAFT, types.Operation.IMPROVE, types.Operation.DEBUG
SHORT = {'num_drafts': 2, 'stage2_max_iters': 2, 'stage3_max_iters': 2, 'stage4_max_iters': 2}


def play(strategy, *losses, state=None):
  """The proposals, one for each trial that follows; a loss of None is a crash."""
  state = state or strategy.tell(strategy.init(OBJECTIVE), baseline(1.0))
  proposals = []
  for number, loss in enumerate(losses, start=1):
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    proposals.append(proposal)
    outcome = (CRASH, False, 0.0) if loss is None else (OK, False, loss)
    state = strategy.tell(state, finished(number, proposal, outcome))
  return proposals


def test_the_stages_follow_each_other_and_start_again_with_tuning():
  proposals = play(Stages(**SHORT, debug_prob=0.0), *[2.0] * 12)
  guidance = ['', 'tuning', 'creative', 'ablation', 'tuning', 'creative']
  assert [p.guidance for p in proposals] == [word for word in guidance for _ in range(2)]
  assert [p.operation for p in proposals] == [DRAFT] * 2 + [IMPROVE] * 10


def test_the_defaults_are_those_of_the_papers_code():
  proposals = play(Stages(debug_prob=0.0), *[2.0] * 46)
  lengths = {word: [p.guidance for p in proposals].count(word) for word in ('', 'tuning')}
  assert lengths == {'': 3, 'tuning': 12 + 1}  # the last one is the second round's
  assert [p.guidance for p in proposals].count('ablation') == 18


def test_a_stage_goes_on_from_the_best_of_all_so_far():
  losses = [0.9, 3.0, 0.5, 0.4, 2.0, 0.3, 9.0, 9.0]
  parents = [p.parents for p in play(Stages(**SHORT, debug_prob=0.0), *losses)]
  assert parents == [(), (), (1,), (3,), (4,), (4,), (6,), (6,)]


def test_ablations_are_all_of_the_program_that_was_handed_on():
  strategy = Stages(
    num_drafts=0, stage2_max_iters=1, stage3_max_iters=1, stage4_max_iters=3, debug_prob=0.0
  )
  parents = [p.parents[0] for p in play(strategy, 0.9, 0.8, 0.1, 0.05, 0.7, 0.6)]
  assert parents == [0, 1, 2, 2, 2, 4]  # the next round starts from the best ablation


def test_the_first_stage_lasts_until_a_program_works():
  strategy = Stages(**SHORT, debug_prob=0.0)
  failed = finished(0, types.Proposal(DRAFT), (CRASH, False, 0.0))
  state = strategy.tell(strategy.init(OBJECTIVE), failed)
  proposals = play(strategy, None, None, None, 5.0, 6.0, state=state)
  assert [p.operation for p in proposals] == [DRAFT] * 4 + [IMPROVE]
  assert proposals[-1].parents == (4,)


def test_broken_leaves_of_the_stage_are_mended_with_its_guidance():
  strategy = Stages(
    num_drafts=0, stage2_max_iters=3, stage3_max_iters=2, stage4_max_iters=2, debug_prob=1.0
  )
  proposals = play(strategy, None, 2.0, None, 2.0)
  assert [(p.operation, *p.parents) for p in proposals] == [
    (IMPROVE, 0), (DEBUG, 1), (IMPROVE, 0), (IMPROVE, 0),
  ]  # fmt: skip
  assert [p.guidance for p in proposals] == ['tuning'] * 3 + ['creative']


@pytest.mark.parametrize(
  'option',
  ['num_drafts', 'stage2_max_iters', 'stage3_max_iters', 'stage4_max_iters', 'context_size'],
)
def test_a_length_below_zero_is_refused(option):
  with pytest.raises(ValueError, match=f'{option} of stages is -1; it must be at least 0'):
    Stages(**{option: -1})


def test_some_stage_must_have_trials():
  with pytest.raises(ValueError, match='are all 0'):
    Stages(stage2_max_iters=0, stage3_max_iters=0, stage4_max_iters=0)
