"""Which constants there are, how each moves, how often, and why: RULES and the coupled moves.

The first rule whose pattern fits a name is its rule. Weights are guesses made from what small
models trained for seconds to minutes are short of: optimizer steps first, so batch size and depth
go down more often than up; then learning rates, which nobody tuned for so few steps; then the
schedule. Effects are fractions of the metric.
"""

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from autoresearch_jax.programs.source import Source
from autoresearch_jax.programs.structural_edits import Rewrite, SourceEdit
from autoresearch_jax.proposers.mutate.steps import (
  Sizes,
  Step,
  by_type,
  complement,
  element,
  multiple,
  neighbour,
  pattern,
  power,
  scale,
  share,
  shorten,
)

RATES = ('*_LR', 'LEARNING_RATE', '*_LEARNING_RATE', 'LR')


@dataclasses.dataclass(frozen=True)
class Way:
  """One direction of a constant: how often it is tried, and the belief behind it."""

  weight: float
  claim: str


@dataclasses.dataclass(frozen=True)
class Rule:
  """How the constants with a fitting name move. effect: (mean, deviation), of the metric.

  needs: another constant that must be present and above 0, or this one does nothing.
  """

  names: tuple[str, ...]
  step: Step
  mechanisms: tuple[str, ...]
  up: Way
  down: Way
  effect: tuple[float, float] = (0.0, 0.02)
  needs: str = ''


RULES = (
  Rule(
    ('BATCH_SIZE',),
    power(high=2**20),
    ('batch',),
    Way(1.0, 'Larger batches use the device better and their gradients are less noisy.'),
    # Few steps fit a short budget: more steps are the largest gain there is.
    Way(5.0, 'Smaller batches give more optimizer steps within the same budget.'),
    effect=(0.02, 0.05),
  ),
  Rule(
    ('MICRO_BATCH_SIZE',),
    power(high=2**20),
    ('batch', 'memory'),
    # Mathematics stay the same: only speed and memory move, and only above one micro-batch.
    Way(0.1, 'Fewer, larger micro-batches waste less of the device.'),
    Way(0.1, 'Smaller micro-batches fit the caches.'),
    effect=(0.0, 0.005),
  ),
  Rule(
    ('MATRIX_LR', 'LEARNING_RATE', 'LR'),
    scale(1e-6, 2.0),
    ('learning rate', 'optimizer'),
    # The rate of most parameters, and short budgets want it higher than long ones.
    Way(3.0, 'In few steps, larger ones get farther.'),
    Way(1.5, 'Smaller steps end closer to the minimum.'),
    effect=(0.005, 0.02),
  ),
  Rule(
    RATES,
    scale(1e-6, 5.0),
    ('learning rate', 'optimizer'),
    Way(1.5, 'These parameters learn too slowly for so few steps.'),
    Way(1.0, 'These parameters move too fast and disturb the others.'),
    effect=(0.002, 0.01),
  ),
  Rule(
    ('WARMDOWN_RATIO', 'COOLDOWN_*'),
    share(0.0, 1.0, first=0.3),
    ('schedule',),
    # A long way down is the cheapest noise reduction there is at the end of a short run.
    Way(2.5, 'A longer way down of the learning rate ends closer to the minimum.'),
    Way(1.0, 'A longer stretch at the full learning rate gets farther.'),
    effect=(0.003, 0.01),
  ),
  Rule(
    ('WARMUP_RATIO', 'WARMUP_*FRAC*'),
    share(0.0, 0.5, first=0.03),
    ('schedule',),
    Way(0.8, 'The first steps are the wildest; a short rise lets a higher peak be used.'),
    Way(0.5, 'The rise wastes steps.'),
    effect=(0.0, 0.005),
  ),
  Rule(
    ('FINAL_LR_FRAC',),
    share(0.0, 0.5, first=0.05),
    ('schedule',),
    Way(0.7, 'The last steps still learn when the rate does not go to nothing.'),
    Way(0.7, 'The last steps only average when the rate goes to nothing.'),
    effect=(0.0, 0.004),
    needs='WARMDOWN_RATIO',
  ),
  Rule(
    ('*_LR_FRAC',),
    scale(1e-4, 10.0),
    ('learning rate', 'optimizer'),
    Way(0.3, 'These parameters learn too slowly for so few steps.'),
    Way(0.2, 'These parameters move too fast and disturb the others.'),
    effect=(0.0, 0.004),
  ),
  Rule(
    ('MOMENTUM_STEPS',),
    scale(1, 10_000),
    ('momentum', 'optimizer'),
    # The original's ramp of 300 steps is longer than a whole short run.
    Way(0.5, 'A slower ramp of the momentum keeps the first steps nimble.'),
    Way(1.0, 'The ramp of the momentum should end within the run.'),
    effect=(0.002, 0.006),
  ),
  Rule(
    ('*MOMENTUM*',),
    complement(0.3, 0.999),
    ('momentum', 'optimizer'),
    Way(0.6, 'More momentum averages the noise of the gradients.'),
    Way(1.0, 'Less momentum reacts faster, which counts when steps are few.'),
    effect=(0.0, 0.006),
  ),
  Rule(
    ('ADAM_BETAS', '*_BETAS', 'BETAS'),
    element(complement(0.3, 0.9999)),
    ('optimizer',),
    Way(0.5, 'Longer averages of the moments are less noisy.'),
    Way(1.0, 'Shorter averages of the moments settle within few steps.'),
    effect=(0.0, 0.006),
  ),
  Rule(
    ('*BETA1', '*BETA2', '*BETA', '*_DECAY_RATE'),
    complement(0.3, 0.9999),
    ('optimizer',),
    Way(0.4, 'A longer average is less noisy.'),
    Way(0.6, 'A shorter average settles within few steps.'),
    effect=(0.0, 0.005),
  ),
  Rule(
    ('*_EPS', 'EPS*', 'EPSILON'),
    scale(1e-15, 1e-2, first=1e-8, reach=2),
    ('optimizer',),
    # Hardly ever matters.
    Way(0.1, 'A larger epsilon damps parameters with tiny gradients.'),
    Way(0.1, 'A smaller epsilon lets parameters with tiny gradients move.'),
    effect=(0.0, 0.002),
  ),
  Rule(
    ('*WEIGHT_DECAY',),
    scale(0.0, 1.0, first=0.01, reach=2),
    ('regularisation', 'optimizer'),
    Way(0.6, 'Decay keeps matrices small, so that each step turns them farther.'),
    # No short run overfits, and decay pulls back what little was learnt.
    Way(0.8, 'A short run has nothing to unlearn.'),
    effect=(0.0, 0.005),
  ),
  Rule(
    ('*DROPOUT*',),
    share(0.0, 0.7, first=0.1),
    ('regularisation',),
    Way(1.0, 'Dropped activations keep units from relying on each other.'),
    Way(1.0, 'Dropped activations slow learning more than they help.'),
    effect=(0.0, 0.02),
  ),
  Rule(
    ('LABEL_SMOOTHING',),
    share(0.0, 0.3, first=0.02),
    ('regularisation', 'loss'),
    Way(0.3, 'Softer targets keep the logits of what is known already from growing.'),
    Way(0.5, 'Softer targets bias the probabilities that are scored.'),
    effect=(-0.01, 0.02),
  ),
  Rule(
    ('DEPTH', '*_LAYERS', 'NUM_LAYERS'),
    neighbour(1, 64),
    ('depth',),
    Way(0.8, 'One more layer computes what fewer cannot.'),
    # With the width tied to depth, a layer less makes steps much cheaper.
    Way(1.5, 'A shallower model takes more steps within the budget.'),
    effect=(0.0, 0.03),
  ),
  Rule(
    ('ASPECT_RATIO',),
    scale(4, 512),
    ('width',),
    Way(1.0, 'A wider model learns more from each token.'),
    Way(1.5, 'A narrower model takes more steps within the budget.'),
    effect=(0.0, 0.02),
  ),
  Rule(
    ('WIDTH', 'HIDDEN*', '*_WIDTH', 'MODEL_DIM', 'EMBED_DIM'),
    multiple(8, 8, 4096),
    ('width',),
    Way(1.5, 'A wider layer learns more from each example.'),
    Way(0.8, 'A narrower layer takes cheaper steps and overfits less.'),
    effect=(0.0, 0.03),
  ),
  Rule(
    ('HEAD_DIM',),
    power(16, 256, far=0.0),
    ('attention',),
    Way(0.7, 'Fewer, wider heads make larger matrix products.'),
    Way(0.7, 'More, narrower heads attend to more places at once.'),
    effect=(0.0, 0.01),
  ),
  Rule(
    ('WINDOW_PATTERN',),
    pattern('SL'),
    ('attention', 'window'),
    Way(0.7, 'More layers should see the whole context.'),
    Way(1.0, 'Short windows are cheaper, and the last layer sees everything anyway.'),
    effect=(0.0, 0.01),
  ),
  Rule(
    ('MLP_RATIO',),
    neighbour(1, 16),
    ('mlp', 'width'),
    Way(0.8, 'The matrix products of a wide MLP are the best use of the device.'),
    Way(1.2, 'A narrower MLP takes more steps within the budget.'),
    effect=(0.0, 0.015),
  ),
  Rule(
    ('VALUE_GATE_CHANNELS',),
    power(4, 64),
    ('value embeddings',),
    Way(0.15, 'Gates that see more of the position choose better.'),
    Way(0.15, 'Gates need to see little.'),
    effect=(0.0, 0.003),
  ),
  Rule(
    ('ROTARY_BASE', 'ROPE_BASE', 'ROPE_THETA'),
    scale(10.0, 1e7, reach=2),
    ('attention', 'position'),
    Way(0.2, 'Slower rotations leave more of the head for content.'),
    Way(0.6, 'The context is short: faster rotations tell its positions apart.'),
    effect=(0.0, 0.006),
  ),
  Rule(
    ('LOGIT_CAP', '*SOFTCAP*'),
    # Below 5 no token can be made likely; the chunked loss takes no maximum off, so not above 60.
    scale(5.0, 60.0),
    ('head', 'loss'),
    Way(0.4, 'A higher cap lets certain predictions be certain.'),
    Way(0.4, 'A lower cap keeps early predictions from overshooting.'),
    effect=(0.0, 0.004),
  ),
  Rule(
    ('RESIDUAL_INIT', 'SKIP_INIT'),
    scale(0.001, 4.0),
    ('residual', 'initialisation'),
    Way(0.4, 'More of the stream should reach the next block from the start.'),
    Way(0.4, 'Less of the stream should reach the next block at the start.'),
    effect=(0.0, 0.006),
  ),
  Rule(
    ('*_STD', '*_INIT', '*INIT_SCALE'),
    scale(1e-6, 10.0, first=0.01, reach=2),
    ('initialisation',),
    Way(0.4, 'Larger values at the start break the symmetry sooner.'),
    Way(0.5, 'Smaller values at the start have less to be unlearnt.'),
    effect=(0.0, 0.006),
  ),
  Rule(
    ('*PENALTY*',),
    scale(1e-6, 1e9, reach=2),
    ('penalty', 'loss'),
    Way(1.0, 'A heavier penalty leaves less of the constraints to be repaired at the end.'),
    Way(1.0, 'A lighter penalty lets the state pass through what is forbidden to a better place.'),
    effect=(0.0, 0.02),
  ),
  Rule(
    ('POLAR_EXPRESS',),
    shorten(3),
    ('optimizer', 'orthogonalisation'),
    Way(0.0, ''),
    Way(0.8, 'A rougher orthogonalisation is as good and leaves time for more steps.'),
    effect=(0.001, 0.004),
  ),
)

# Low, because nothing is known of what such a constant does.
UNKNOWN = Rule(
  ('*',),
  by_type,
  ('constant',),
  Way(0.3, 'A larger value may suit this budget better.'),
  Way(0.3, 'A smaller value may suit this budget better.'),
)


def moves(source: Source, sizes: Sizes) -> list[SourceEdit]:
  """All moves of single constants and of coupled ones that this file offers."""
  constants = source.constants
  tied = _width_is_tied(constants)
  found = [
    move
    for name, value in constants.items()
    if not (tied and name == 'ASPECT_RATIO')
    for move in _single(source, name, value, sizes)
  ]
  return [*found, *_coupled(source, sizes)]


def rule_of(name: str) -> Rule:
  fitting = (r for r in RULES if any(fnmatch.fnmatchcase(name, n) for n in r.names))
  return next(fitting, UNKNOWN)


def _single(source: Source, name: str, value: Any, sizes: Sizes) -> Iterator[SourceEdit]:
  rule = rule_of(name)
  if rule.needs and not source.constants.get(rule.needs, 1):
    return
  for direction, way in ((1, rule.up), (-1, rule.down)):
    if way.weight:

      def make(rng: np.random.Generator, direction: int = direction) -> Rewrite | None:
        new = rule.step(value, direction, rng, sizes)
        if new is None or _same_windows(name, value, new, source.constants):
          return None
        return Rewrite(source.with_constants({name: new}), describe(name, value, new))

      word = 'up' if direction > 0 else 'down'
      tags = (*rule.mechanisms,)
      yield SourceEdit(
        f'{name} {word}', 'constant', way.weight, way.claim, tags, *rule.effect, make
      )


def describe(name: str, old: Any, new: Any) -> str:
  """For instance `halve BATCH_SIZE 32 -> 16`."""
  if isinstance(old, tuple) and len(new) < len(old):
    return f'shorten {name} to its first {len(new)} of {len(old)}'
  return f'{_verb(old, new)} {name} {_short(old)} -> {_short(new)}'


def _verb(old: Any, new: Any) -> str:
  if isinstance(old, bool) or not isinstance(old, int | float):
    return 'set'
  if old and new == 2 * old:
    return 'double'
  if old and new == old / 2:
    return 'halve'
  return 'raise' if new > old else 'lower'


def _short(value: Any) -> str:
  return repr(value).replace("'", '') if isinstance(value, str) else f'{value}'


def _same_windows(name: str, old: Any, new: Any, constants: Mapping[str, Any]) -> bool:
  """Whether two window patterns give the same layers, the last of which always sees everything."""
  depth = constants.get('DEPTH')
  if not name.endswith('WINDOW_PATTERN') or not isinstance(depth, int):
    return False
  layers = range(depth - 1)
  return all(old[i % len(old)] == new[i % len(new)] for i in layers)


@dataclasses.dataclass(frozen=True)
class Coupled:
  """Constants that move together. draw: the new values for what `constants` are, or None."""

  key: str
  weight: float
  claim: str
  mechanisms: tuple[str, ...]
  effect: tuple[float, float]
  text: str
  draw: Callable[[Mapping[str, Any], np.random.Generator, Sizes], dict[str, Any] | None]


def _rates(constants: Mapping[str, Any], factor: float) -> dict[str, float]:
  """All learning rates times `factor`, with three digits, so that going back ends near by."""
  return {
    name: float(f'{value * factor:.3g}')
    for name, value in constants.items()
    if isinstance(value, float) and any(fnmatch.fnmatchcase(name, p) for p in RATES)
  }


def _batch_and_rates(factor: float) -> Callable[..., dict[str, Any] | None]:
  def draw(constants: Mapping[str, Any], rng: np.random.Generator, sizes: Sizes):
    del rng, sizes
    batch, rates = constants.get('BATCH_SIZE'), _rates(constants, math.sqrt(factor))
    if not isinstance(batch, int) or batch * factor < 1 or (batch * factor) % 1 or not rates:
      return None
    return {'BATCH_SIZE': int(batch * factor), **rates}

  return draw


def _all_rates(direction: int) -> Callable[..., dict[str, Any] | None]:
  def draw(constants: Mapping[str, Any], rng: np.random.Generator, sizes: Sizes):
    factor = np.exp(rng.uniform(np.log(sizes.smallest), np.log(sizes.largest))) ** direction
    rates = _rates(constants, factor)
    return rates if len(rates) > 1 else None

  return draw


def _peak_and_warmdown(constants: Mapping[str, Any], rng: np.random.Generator, sizes: Sizes):
  warmdown = constants.get('WARMDOWN_RATIO')
  rates = _rates(constants, np.exp(rng.uniform(np.log(sizes.smallest), np.log(sizes.largest))))
  if not isinstance(warmdown, int | float) or warmdown >= 1 or not rates:
    return None
  longer = round(min(1.0, warmdown + rng.uniform(0.1, 0.3)), 2)
  return {**rates, 'WARMDOWN_RATIO': longer}


def _depth_at_width(change: int) -> Callable[..., dict[str, Any] | None]:
  def draw(constants: Mapping[str, Any], rng: np.random.Generator, sizes: Sizes):
    del sizes
    if not _width_is_tied(constants):
      return None
    depth = constants['DEPTH'] + change * int(rng.integers(1, 3))
    if depth < 1:
      return None
    aspect = _width(constants) // depth
    return {'DEPTH': depth, 'ASPECT_RATIO': aspect} if aspect else None

  return draw


def _width_by_heads(direction: int) -> Callable[..., dict[str, Any] | None]:
  """At one depth: the width by one head or by up to half, so that every step has an effect."""

  def draw(constants: Mapping[str, Any], rng: np.random.Generator, sizes: Sizes):
    del sizes
    if not _width_is_tied(constants):
      return None
    head, heads = constants['HEAD_DIM'], _width(constants) // constants['HEAD_DIM']
    change = max(1, round(heads * rng.uniform(0.1, 0.5)))
    aspect = (heads + direction * change) * head // constants['DEPTH']
    return {'ASPECT_RATIO': aspect} if aspect >= 1 else None

  return draw


def _width_is_tied(constants: Mapping[str, Any]) -> bool:
  """Whether the width is DEPTH x ASPECT_RATIO rounded up to a multiple of HEAD_DIM."""
  names = ('DEPTH', 'ASPECT_RATIO', 'HEAD_DIM')
  return all(isinstance(constants.get(n), int) and constants[n] > 0 for n in names)


def _width(constants: Mapping[str, Any]) -> int:
  head = constants['HEAD_DIM']
  return math.ceil(constants['DEPTH'] * constants['ASPECT_RATIO'] / head) * head


COUPLED = (
  Coupled(
    'BATCH_SIZE and rates down',
    # As for BATCH_SIZE alone; with the rates it is safer where these are at their edge already.
    2.0,
    'Smaller batches give more steps; their noise wants rates lower by the square root.',
    ('batch', 'learning rate'),
    (0.02, 0.04),
    'halve BATCH_SIZE {BATCH_SIZE}, learning rates / sqrt 2',
    _batch_and_rates(0.5),
  ),
  Coupled(
    'BATCH_SIZE and rates up',
    0.7,
    'Larger batches are less noisy and bear rates higher by the square root.',
    ('batch', 'learning rate'),
    (0.0, 0.03),
    'double BATCH_SIZE {BATCH_SIZE}, learning rates x sqrt 2',
    _batch_and_rates(2),
  ),
  Coupled(
    'all rates up',
    2.0,
    'In few steps, larger ones get farther, for every group of parameters.',
    ('learning rate', 'optimizer'),
    (0.005, 0.02),
    'raise all learning rates: {}',
    _all_rates(1),
  ),
  Coupled(
    'all rates down',
    1.0,
    'Smaller steps of every group of parameters end closer to the minimum.',
    ('learning rate', 'optimizer'),
    (0.0, 0.02),
    'lower all learning rates: {}',
    _all_rates(-1),
  ),
  Coupled(
    'rates and warm-down up',
    1.5,
    'A higher peak gets farther when the longer way down takes its noise away.',
    ('learning rate', 'schedule'),
    (0.005, 0.02),
    'raise learning rates with WARMDOWN_RATIO: {}',
    _peak_and_warmdown,
  ),
  Coupled(
    'DEPTH up at one width',
    0.8,
    'More layers of the same width compute more for each parameter in the embeddings.',
    ('depth',),
    (0.0, 0.02),
    'deeper at one width: {}',
    _depth_at_width(1),
  ),
  Coupled(
    'DEPTH down at one width',
    1.2,
    'Fewer layers of the same width take more steps within the budget.',
    ('depth',),
    (0.005, 0.02),
    'shallower at one width: {}',
    _depth_at_width(-1),
  ),
  Coupled(
    'width up',
    1.0,
    'A wider model learns more from each token.',
    ('width',),
    (0.0, 0.02),
    'wider: {}',
    _width_by_heads(1),
  ),
  Coupled(
    'width down',
    1.2,
    'A narrower model takes more steps within the budget.',
    ('width',),
    (0.0, 0.02),
    'narrower: {}',
    _width_by_heads(-1),
  ),
)


def _coupled(source: Source, sizes: Sizes) -> Iterator[SourceEdit]:
  for coupled in COUPLED:
    trial_draw = coupled.draw(source.constants, np.random.default_rng(0), sizes)
    if trial_draw is None:
      continue

    def make(rng: np.random.Generator, coupled: Coupled = coupled) -> Rewrite | None:
      values = coupled.draw(source.constants, rng, sizes)
      if values is None or all(source.constants[n] == v for n, v in values.items()):
        return None
      changed = {n: f'{_short(source.constants[n])} -> {_short(v)}' for n, v in values.items()}
      every = ', '.join(f'{n} {c}' for n, c in changed.items())
      return Rewrite(source.with_constants(values), coupled.text.format(every, **changed))

    yield SourceEdit(
      coupled.key,
      'coupled',
      coupled.weight,
      coupled.claim,
      coupled.mechanisms,
      *coupled.effect,
      make,
    )
