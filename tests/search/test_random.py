"""Random search always edits the root, and shows no history."""

import numpy as np

from autoresearch_jax import types
from autoresearch_jax.search.random import Random


def test_whatever_was_kept_the_root_is_edited():
  strategy = Random()
  state = strategy.init(types.Objective('val_bpb', 'minimize'))
  program = types.Program((('model.py', ''),), 'model.py')
  edit = types.Edit(program, 'an edit', types.Hypothesis('a claim'))
  for number in (0, 1, 2):
    state = strategy.tell(
      state,
      types.Trial(
        number,
        types.Proposal(types.Operation.IMPROVE),
        edit,
        types.Result(number, types.Status.OK),
        types.Verdict(types.Decision.KEEP, ''),
      ),
    )
    proposal, state = strategy.ask(state, np.random.default_rng(number))
    assert proposal.parents == (0,)
    assert proposal.context == ()
