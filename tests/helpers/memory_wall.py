"""Plays a strategy that samples constants against a loss that wants more memory than there is."""

import math

import numpy as np

from autoresearch_jax import types
from autoresearch_jax.search.samplers import study
from autoresearch_jax.search.samplers.base import SamplerState

TEXT = (
  'WIDTH = 256  # in [64, 2048], log\nBATCH = 64  # in [8, 512], log\nRATE = 0.1\nDECAY = 0.01\n'
)
START = types.Program((('model.py', TEXT),), 'model.py')
DEVICE = 2**32


def needed_bytes(values):
  """What is there in any case, parameters, activations."""
  width, batch = values['WIDTH'], values['BATCH']
  return 2**28 + 2**9 * width**2 + 2**16 * width * batch


def loss(values):
  """Smaller for what is larger."""
  rates = abs(math.log10(values['RATE'])) + abs(math.log10(values['DECAY']) + 1.5)
  return rates - math.log(values['WIDTH']) - 0.5 * math.log(values['BATCH'])


def played(strategy, trials, seed=0, device=DEVICE, says=True, rebuilt=False):
  """(state, statuses) after so many trials.

  says: whether what does not fit says by how much. rebuilt: whether each state goes through JSON
  and is asked by a process that remembers nothing.
  """
  state, statuses = strategy.init(types.Objective('loss', 'minimize')), []
  proposal = types.Proposal(types.Operation.DRAFT)
  edit = types.Edit(START, '', types.Hypothesis(''))
  for number in range(trials):
    if number:
      if rebuilt:
        study._cache.clear()
        state = types.from_json(types.to_json(state), SamplerState)
      proposal, state = strategy.ask(state, np.random.default_rng((seed, number)))
      edit = proposal.edit
    result = measured(number, edit.program, device, says)
    statuses.append(result.status)
    state = strategy.tell(state, types.Trial(number, proposal, edit, result))
  return state, statuses


def measured(number, edited, device, says):
  values: dict = {}
  exec(edited.text(), values)
  needed = needed_bytes(values)
  if needed > device:
    facts = {'needed_bytes': needed, 'device_bytes': device} if says else {}
    return types.Result(number, types.Status.OOM, 'It does not fit.', facts=facts)
  cost = types.Cost(analysis_bytes=needed, peak_bytes=needed)
  metrics = {'loss': loss(values)}
  return types.Result(number, types.Status.OK, measurements=(types.Measurement(0, metrics, cost),))
