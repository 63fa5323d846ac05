"""The smallest real simulation, to test the benchmark on: count the ones in a string of bits."""

import dataclasses
import hashlib

import numpy as np

from autoresearch_jax import types
from autoresearch_jax.benchmark.simulations import SIMULATIONS, Instance, Simulation
from autoresearch_jax.proposers import NothingToPropose


@SIMULATIONS.register('onemax')
@dataclasses.dataclass(frozen=True)
class OneMax(Simulation):
  """Counts bits.

  Attributes:
    bits: Length of the string.
    noise: Half the range of a measurement's uniform noise.
    crash: Share of the programs that diverge.
    maximize: Whether the metric is the number of ones (maximised) or of zeros (minimised).
  """

  bits: int = 12
  noise: float = 0.0
  crash: float = 0.0
  maximize: bool = False

  def __post_init__(self):
    if self.bits < 2:
      raise ValueError(f'bits is {self.bits}; it must be 2 or more.')

  def instance(self, seed):
    start = ''.join(np.random.default_rng(seed).choice(['0', '1'], self.bits - 1)) + '0'
    return Bits(self, types.Program((('model.py', start),), 'model.py'))


@dataclasses.dataclass
class Bits(Instance):
  """Flips one bit that gives a new string; a run takes a second and one for each digit counted."""

  options: OneMax
  first: types.Program
  reads_text = False

  @property
  def start(self):
    return self.first

  @property
  def objective(self):
    return types.Objective('val_loss', 'maximize' if self.options.maximize else 'minimize')

  @property
  def optimum(self):
    return float(self.options.bits * self.options.maximize)

  def propose(self, proposal, context, rng):
    text = context.parents[0].text()
    for place in rng.permutation(len(text)):
      edited = text[:place] + '10'[int(text[place])] + text[place + 1 :]
      program = context.parents[0].with_text(edited)
      if program.digest not in context.tried:
        return types.Edit(program, f'flip {place}', types.Hypothesis('It is wrong.'))
    raise NothingToPropose('Every neighbour was tried.')

  def measure(self, request):
    value = self.value(request.program)
    if value is None:
      return types.Result(request.trial, types.Status.DIVERGED, 'It broke.')
    return types.Result(
      request.trial,
      types.Status.OK,
      measurements=tuple(self._measured(request, value, seed) for seed in request.seeds),
    )

  def value(self, program):
    if program != self.start and _luck(program, 'crash') < self.options.crash:
      return None
    return float(program.text().count('1' if self.options.maximize else '0'))

  def _measured(self, request, value, seed):
    noise = self.options.noise * (2 * _luck(request.program, seed) - 1)
    seconds = (1 + value) * request.budget.amount
    return types.Measurement(seed, {'val_loss': value + noise}, types.Cost(total_seconds=seconds))


def _luck(program, salt):
  return int(hashlib.sha256(f'{program.text()} {salt}'.encode()).hexdigest(), 16) / 2**256
