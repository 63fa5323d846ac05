"""Edits that change several constants together, as data, and how their new values are drawn.

`constant_edits` turns them into edits of a file. In the packaged GPT program the width follows from
three constants, DEPTH x ASPECT_RATIO rounded up to a multiple of HEAD_DIM, so depth and width can
only be changed one at a time by changing several constants.
"""

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autoresearch_jax.proposers.mutate.constant_rules import LEARNING_RATES
from autoresearch_jax.proposers.mutate.steps import FactorRange, log_uniform

Constants = Mapping[str, Any]
Draw = Callable[[Constants, np.random.Generator, FactorRange], dict[str, Any] | None]


@dataclasses.dataclass(frozen=True)
class CoupledChange:
  """Constants that change together.

  Attributes:
    key: Identifies the change and its direction, for every step size.
    weight: Relative probability among the coupled changes.
    claim: The hypothesis, a sentence.
    mechanisms: Tags of the hypothesis.
    effect: Mean and standard deviation of the expected gain, as fractions of the metric.
    description: Format string: `{}` stands for all changes, `{NAME}` for the change of NAME.
    draw: Draws new values by name; None if the change does not apply to these constants.
  """

  key: str
  weight: float
  claim: str
  mechanisms: tuple[str, ...]
  effect: tuple[float, float]
  description: str
  draw: Draw


def width_is_tied(constants: Constants) -> bool:
  """Whether the width is DEPTH x ASPECT_RATIO rounded up to a multiple of HEAD_DIM."""
  names = ('DEPTH', 'ASPECT_RATIO', 'HEAD_DIM')
  return all(isinstance(constants.get(n), int) and constants[n] > 0 for n in names)


def _width(constants: Constants) -> int:
  head = constants['HEAD_DIM']
  return math.ceil(constants['DEPTH'] * constants['ASPECT_RATIO'] / head) * head


def _scaled_rates(constants: Constants, factor: float) -> dict[str, float]:
  """Returns all learning rates times `factor`, rounded to three significant digits."""
  return {
    name: float(f'{value * factor:.3g}')
    for name, value in constants.items()
    if isinstance(value, float) and any(fnmatch.fnmatchcase(name, p) for p in LEARNING_RATES)
  }


def _batch_and_rates(factor: float) -> Draw:
  """Scales the batch size by `factor` and all learning rates by its square root."""

  def draw(constants: Constants, rng: np.random.Generator, factors: FactorRange):
    del rng, factors
    batch, rates = constants.get('BATCH_SIZE'), _scaled_rates(constants, math.sqrt(factor))
    if not isinstance(batch, int) or batch * factor < 1 or (batch * factor) % 1 or not rates:
      return None
    return {'BATCH_SIZE': int(batch * factor), **rates}

  return draw


def _all_rates(direction: int) -> Draw:
  """Multiplies (1) or divides (-1) all learning rates by one factor."""

  def draw(constants: Constants, rng: np.random.Generator, factors: FactorRange):
    rates = _scaled_rates(constants, log_uniform(rng, factors) ** direction)
    return rates if len(rates) > 1 else None

  return draw


def _rates_and_warmdown(constants: Constants, rng: np.random.Generator, factors: FactorRange):
  """Raises all learning rates, and WARMDOWN_RATIO by 0.1 to 0.3."""
  warmdown = constants.get('WARMDOWN_RATIO')
  rates = _scaled_rates(constants, log_uniform(rng, factors))
  if not isinstance(warmdown, int | float) or warmdown >= 1 or not rates:
    return None
  longer = round(min(1.0, warmdown + rng.uniform(0.1, 0.3)), 2)
  return {**rates, 'WARMDOWN_RATIO': longer}


def _depth_at_fixed_width(direction: int) -> Draw:
  """Adds (1) or removes (-1) one or two layers."""

  def draw(constants: Constants, rng: np.random.Generator, factors: FactorRange):
    del factors
    if not width_is_tied(constants):
      return None
    depth = constants['DEPTH'] + direction * int(rng.integers(1, 3))
    if depth < 1:
      return None
    aspect = _width(constants) // depth
    return {'DEPTH': depth, 'ASPECT_RATIO': aspect} if aspect else None

  return draw


def _width_at_fixed_depth(direction: int) -> Draw:
  """Changes the number of heads by 10 to 50 % and at least 1, so that rounding keeps the change."""

  def draw(constants: Constants, rng: np.random.Generator, factors: FactorRange):
    del factors
    if not width_is_tied(constants):
      return None
    head, heads = constants['HEAD_DIM'], _width(constants) // constants['HEAD_DIM']
    change = max(1, round(heads * rng.uniform(0.1, 0.5)))
    aspect = (heads + direction * change) * head // constants['DEPTH']
    return {'ASPECT_RATIO': aspect} if aspect >= 1 else None

  return draw


COUPLED_CHANGES = (
  CoupledChange(
    'BATCH_SIZE and rates down',
    # The prior of BATCH_SIZE alone; lower rates make it safer where they were nearly too high.
    2.0,
    'Smaller batches give more steps; their noise calls for rates lower by the square root.',
    ('batch', 'learning rate'),
    (0.02, 0.04),
    'halve BATCH_SIZE {BATCH_SIZE}, learning rates / sqrt 2',
    _batch_and_rates(0.5),
  ),
  CoupledChange(
    'BATCH_SIZE and rates up',
    0.7,
    'Larger batches are less noisy and tolerate rates higher by the square root.',
    ('batch', 'learning rate'),
    (0.0, 0.03),
    'double BATCH_SIZE {BATCH_SIZE}, learning rates x sqrt 2',
    _batch_and_rates(2),
  ),
  CoupledChange(
    'all rates up',
    2.0,
    'With few steps, higher learning rates make more progress in every parameter group.',
    ('learning rate', 'optimizer'),
    (0.005, 0.02),
    'raise all learning rates: {}',
    _all_rates(1),
  ),
  CoupledChange(
    'all rates down',
    1.0,
    'Lower learning rates in every parameter group end closer to the minimum.',
    ('learning rate', 'optimizer'),
    (0.0, 0.02),
    'lower all learning rates: {}',
    _all_rates(-1),
  ),
  CoupledChange(
    'rates and warm-down up',
    1.5,
    'A higher peak makes more progress if a longer decay averages out its noise.',
    ('learning rate', 'schedule'),
    (0.005, 0.02),
    'raise learning rates with WARMDOWN_RATIO: {}',
    _rates_and_warmdown,
  ),
  CoupledChange(
    'DEPTH up at one width',
    0.8,
    'More layers of the same width compute more per embedding parameter.',
    ('depth',),
    (0.0, 0.02),
    'deeper at one width: {}',
    _depth_at_fixed_width(1),
  ),
  CoupledChange(
    'DEPTH down at one width',
    1.2,
    'Fewer layers of the same width take more steps within the budget.',
    ('depth',),
    (0.005, 0.02),
    'shallower at one width: {}',
    _depth_at_fixed_width(-1),
  ),
  CoupledChange(
    'width up',
    1.0,
    'A wider model learns more from each token.',
    ('width',),
    (0.0, 0.02),
    'wider: {}',
    _width_at_fixed_depth(1),
  ),
  CoupledChange(
    'width down',
    1.2,
    'A narrower model takes more steps within the budget.',
    ('width',),
    (0.0, 0.02),
    'narrower: {}',
    _width_at_fixed_depth(-1),
  ),
)
