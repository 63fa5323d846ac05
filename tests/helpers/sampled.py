"""Plays a strategy that samples constants against a loss of theirs."""

import numpy as np

from autoresearch_jax import types


def drawn(strategy, start, loss, trials):
  """Values of the constants, float64 [trials, constants], the baseline included.

  start: a program of `NAME = value` lines. loss: of one row of values.
  """
  state, values = strategy.init(types.Objective('loss', 'minimize')), []
  proposal, edit = (
    types.Proposal(types.Operation.DRAFT),
    types.Edit(start, '', types.Hypothesis('')),
  )
  for number in range(trials):
    if number:
      proposal, state = strategy.ask(state, np.random.default_rng(number))
      edit = proposal.edit
    lines = edit.program.text().splitlines()
    values.append([float(line.split()[2]) for line in lines])
    measured = types.Measurement(0, {'loss': float(loss(np.array(values[-1])))}, types.Cost())
    result = types.Result(number, types.Status.OK, measurements=(measured,))
    state = strategy.tell(state, types.Trial(number, proposal, edit, result))
  return np.array(values)
