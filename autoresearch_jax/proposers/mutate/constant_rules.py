"""The prior over edits of single constants: how each may change, how often, and with what claim.

The first rule whose patterns match a constant's name applies. Weights are guesses for small models
that train for seconds to minutes. Such runs lack optimizer steps, so batch size and depth go down
more often than up; learning rates come second, since nobody tuned them for so few steps; the
schedule comes third.
"""

import dataclasses
import fnmatch

from autoresearch_jax.proposers.mutate.steps import (
  ValueStep,
  by_type,
  fraction,
  integer,
  letters,
  multiple_of,
  one_element,
  one_minus,
  power_of_two,
  scale,
  shorten,
)

LEARNING_RATES = ('*_LR', 'LEARNING_RATE', '*_LEARNING_RATE', 'LR')  # name patterns


@dataclasses.dataclass(frozen=True)
class Direction:
  """Raising or lowering a constant.

  Attributes:
    weight: Relative probability among the edits of single constants; 0 for never.
    claim: The hypothesis of such an edit, a sentence.
  """

  weight: float
  claim: str


@dataclasses.dataclass(frozen=True)
class ConstantRule:
  """How constants whose names match may change.

  Attributes:
    names: Patterns of names, as in `fnmatch`.
    step: Draws the new value.
    mechanisms: Tags of the hypothesis.
    up: Raising the constant.
    down: Lowering it.
    effect: Mean and standard deviation of the expected gain, as fractions of the metric.
    needs: A constant without which this one does nothing: if the program has it, it must not be 0.
  """

  names: tuple[str, ...]
  step: ValueStep
  mechanisms: tuple[str, ...]
  up: Direction
  down: Direction
  effect: tuple[float, float] = (0.0, 0.02)
  needs: str = ''


RULES = (
  ConstantRule(
    ('BATCH_SIZE',),
    power_of_two(high=2**20),
    ('batch',),
    Direction(1.0, 'Larger batches use the device better and have less gradient noise.'),
    # A short budget fits few steps: taking more is the largest single gain.
    Direction(5.0, 'Smaller batches give more optimizer steps within the same budget.'),
    effect=(0.02, 0.05),
  ),
  ConstantRule(
    ('MICRO_BATCH_SIZE',),
    power_of_two(high=2**20),
    ('batch', 'memory'),
    # Changes speed and memory only, and only with more than one micro-batch.
    Direction(0.1, 'Fewer, larger micro-batches use the device better.'),
    Direction(0.1, 'Smaller micro-batches fit into the caches.'),
    effect=(0.0, 0.005),
  ),
  ConstantRule(
    ('MATRIX_LR', 'LEARNING_RATE', 'LR'),
    scale(1e-6, 2.0),
    ('learning rate', 'optimizer'),
    # The learning rate of most parameters; short budgets need a higher one than long ones.
    Direction(3.0, 'With few steps, a higher learning rate makes more progress.'),
    Direction(1.5, 'A lower learning rate ends closer to the minimum.'),
    effect=(0.005, 0.02),
  ),
  ConstantRule(
    LEARNING_RATES,
    scale(1e-6, 5.0),
    ('learning rate', 'optimizer'),
    Direction(1.5, 'These parameters learn too slowly for so few steps.'),
    Direction(1.0, 'These parameters change too fast, which destabilizes the others.'),
    effect=(0.002, 0.01),
  ),
  ConstantRule(
    ('WARMDOWN_RATIO', 'COOLDOWN_*'),
    fraction(0.0, 1.0, first=0.3),
    ('schedule',),
    # A long decay is the cheapest way to reduce noise at the end of a short run.
    Direction(2.5, 'A longer learning-rate decay ends closer to the minimum.'),
    Direction(1.0, 'More steps at the full learning rate make more progress.'),
    effect=(0.003, 0.01),
  ),
  ConstantRule(
    ('WARMUP_RATIO', 'WARMUP_*FRAC*'),
    fraction(0.0, 0.5, first=0.03),
    ('schedule',),
    Direction(0.8, 'Warmup stabilizes the first steps and allows a higher peak learning rate.'),
    Direction(0.5, 'Warmup wastes steps.'),
    effect=(0.0, 0.005),
  ),
  ConstantRule(
    ('FINAL_LR_FRAC',),
    fraction(0.0, 0.5, first=0.05),
    ('schedule',),
    Direction(0.7, 'The last steps still learn if the learning rate stays above 0.'),
    Direction(0.7, 'A learning rate that decays to 0 averages out the noise of the last steps.'),
    effect=(0.0, 0.004),
    needs='WARMDOWN_RATIO',
  ),
  ConstantRule(
    ('*_LR_FRAC',),
    scale(1e-4, 10.0),
    ('learning rate', 'optimizer'),
    Direction(0.3, 'These parameters learn too slowly for so few steps.'),
    Direction(0.2, 'These parameters change too fast, which destabilizes the others.'),
    effect=(0.0, 0.004),
  ),
  ConstantRule(
    ('MOMENTUM_STEPS',),
    scale(1, 10_000),
    ('momentum', 'optimizer'),
    # The original's ramp of 300 steps outlasts a short run.
    Direction(0.5, 'A slower momentum ramp lets the first steps react faster.'),
    Direction(1.0, 'The momentum ramp should end within the run.'),
    effect=(0.002, 0.006),
  ),
  ConstantRule(
    ('*MOMENTUM*',),
    one_minus(0.3, 0.999),
    ('momentum', 'optimizer'),
    Direction(0.6, 'More momentum averages out gradient noise.'),
    Direction(1.0, 'Less momentum reacts faster, which matters with few steps.'),
    effect=(0.0, 0.006),
  ),
  ConstantRule(
    ('ADAM_BETAS', '*_BETAS', 'BETAS'),
    one_element(one_minus(0.3, 0.9999)),
    ('optimizer',),
    Direction(0.5, 'Longer moment averages are less noisy.'),
    Direction(1.0, 'Shorter moment averages settle within few steps.'),
    effect=(0.0, 0.006),
  ),
  ConstantRule(
    ('*BETA1', '*BETA2', '*BETA', '*_DECAY_RATE'),
    one_minus(0.3, 0.9999),
    ('optimizer',),
    Direction(0.4, 'A longer average is less noisy.'),
    Direction(0.6, 'A shorter average settles within few steps.'),
    effect=(0.0, 0.005),
  ),
  ConstantRule(
    ('*_EPS', 'EPS*', 'EPSILON'),
    scale(1e-15, 1e-2, first=1e-8, exponent=2),
    ('optimizer',),
    # Rarely matters.
    Direction(0.1, 'A larger epsilon damps updates with tiny gradients.'),
    Direction(0.1, 'A smaller epsilon lets parameters with tiny gradients train.'),
    effect=(0.0, 0.002),
  ),
  ConstantRule(
    ('*WEIGHT_DECAY',),
    scale(0.0, 1.0, first=0.01, exponent=2),
    ('regularisation', 'optimizer'),
    Direction(0.6, 'Weight decay keeps weights small, so each step changes their direction more.'),
    # Short runs do not overfit.
    Direction(0.8, 'A short run does not overfit, so weight decay only slows it down.'),
    effect=(0.0, 0.005),
  ),
  ConstantRule(
    ('*DROPOUT*',),
    fraction(0.0, 0.7, first=0.1),
    ('regularisation',),
    Direction(1.0, 'Dropout keeps units from co-adapting.'),
    Direction(1.0, 'Dropout slows learning more than it helps.'),
    effect=(0.0, 0.02),
  ),
  ConstantRule(
    ('LABEL_SMOOTHING',),
    fraction(0.0, 0.3, first=0.02),
    ('regularisation', 'loss'),
    Direction(0.3, 'Softer targets keep the logits of confident predictions from growing.'),
    Direction(0.5, 'Softer targets bias the probabilities that are scored.'),
    effect=(-0.01, 0.02),
  ),
  ConstantRule(
    ('DEPTH', '*_LAYERS', 'NUM_LAYERS'),
    integer(1, 64),
    ('depth',),
    Direction(0.8, 'A deeper model is more expressive.'),
    # Where the width is tied to depth, one layer less makes steps much cheaper.
    Direction(1.5, 'A shallower model takes more steps within the budget.'),
    effect=(0.0, 0.03),
  ),
  ConstantRule(
    ('ASPECT_RATIO',),
    scale(4, 512),
    ('width',),
    Direction(1.0, 'A wider model learns more from each token.'),
    Direction(1.5, 'A narrower model takes more steps within the budget.'),
    effect=(0.0, 0.02),
  ),
  ConstantRule(
    ('WIDTH', 'HIDDEN*', '*_WIDTH', 'MODEL_DIM', 'EMBED_DIM'),
    multiple_of(8, 8, 4096),
    ('width',),
    Direction(1.5, 'A wider layer learns more from each example.'),
    Direction(0.8, 'A narrower layer makes steps cheaper and overfits less.'),
    effect=(0.0, 0.03),
  ),
  ConstantRule(
    ('HEAD_DIM',),
    power_of_two(16, 256, second_probability=0.0),
    ('attention',),
    Direction(0.7, 'Fewer, wider heads make larger matmuls.'),
    Direction(0.7, 'More, narrower heads attend to more positions at once.'),
    effect=(0.0, 0.01),
  ),
  ConstantRule(
    ('WINDOW_PATTERN',),
    letters('SL'),
    ('attention', 'window'),
    Direction(0.7, 'More layers should attend to the full context.'),
    Direction(1.0, 'Short windows are cheaper, and the last layer has the full context anyway.'),
    effect=(0.0, 0.01),
  ),
  ConstantRule(
    ('MLP_RATIO',),
    integer(1, 16),
    ('mlp', 'width'),
    Direction(0.8, 'The matmuls of a wide MLP use the device best.'),
    Direction(1.2, 'A narrower MLP takes more steps within the budget.'),
    effect=(0.0, 0.015),
  ),
  ConstantRule(
    ('VALUE_GATE_CHANNELS',),
    power_of_two(4, 64),
    ('value embeddings',),
    Direction(0.15, 'Gates with more input channels select better.'),
    Direction(0.15, 'Gates need few input channels.'),
    effect=(0.0, 0.003),
  ),
  ConstantRule(
    ('ROTARY_BASE', 'ROPE_BASE', 'ROPE_THETA'),
    scale(10.0, 1e7, exponent=2),
    ('attention', 'position'),
    Direction(0.2, 'Slower rotations leave more of the head for content.'),
    Direction(0.6, 'The context is short: faster rotations separate its positions better.'),
    effect=(0.0, 0.006),
  ),
  ConstantRule(
    ('LOGIT_CAP', '*SOFTCAP*'),
    # Below 5 no token can become likely. The chunked loss subtracts no maximum: 60 cannot overflow.
    scale(5.0, 60.0),
    ('head', 'loss'),
    Direction(0.4, 'A higher cap allows more confident predictions.'),
    Direction(0.4, 'A lower cap keeps early predictions from being overconfident.'),
    effect=(0.0, 0.004),
  ),
  ConstantRule(
    ('RESIDUAL_INIT', 'SKIP_INIT'),
    scale(0.001, 4.0),
    ('residual', 'initialisation'),
    Direction(0.4, 'More of the residual stream should reach the next block at initialization.'),
    Direction(0.4, 'Less of the residual stream should reach the next block at initialization.'),
    effect=(0.0, 0.006),
  ),
  ConstantRule(
    ('*_STD', '*_INIT', '*INIT_SCALE'),
    scale(1e-6, 10.0, first=0.01, exponent=2),
    ('initialisation',),
    Direction(0.4, 'Larger initial values break the symmetry sooner.'),
    Direction(0.5, 'Smaller initial values leave less to unlearn.'),
    effect=(0.0, 0.006),
  ),
  ConstantRule(
    ('*PENALTY*',),
    scale(1e-6, 1e9, exponent=2),
    ('penalty', 'loss'),
    Direction(1.0, 'A larger penalty leaves fewer constraint violations to repair at the end.'),
    Direction(1.0, 'A smaller penalty lets the state cross infeasible regions to better optima.'),
    effect=(0.0, 0.02),
  ),
  ConstantRule(
    ('*UNROLL', '*CHUNK', '*BLOCK', 'BLOCK_*', 'TILE_*', 'ROWS', 'LANES'),
    power_of_two(high=2**16),
    ('tiling',),
    Direction(1.0, 'Larger parts have less overhead.'),
    Direction(1.0, 'Smaller parts fit into registers and caches.'),
    effect=(0.05, 0.1),
  ),
  ConstantRule(
    ('*_PROB', '*_PROBABILITY'),
    fraction(),
    ('probability',),
    Direction(1.0, 'This should happen more often.'),
    Direction(1.0, 'This should happen less often.'),
    effect=(0.0, 0.05),
  ),
  ConstantRule(
    ('POLAR_EXPRESS',),
    shorten(3),
    ('optimizer', 'orthogonalisation'),
    Direction(0.0, ''),
    Direction(0.8, 'Fewer Polar Express steps are accurate enough and leave more train steps.'),
    effect=(0.001, 0.004),
  ),
)

# Low weights: nothing is known about such a constant.
DEFAULT_RULE = ConstantRule(
  ('*',),
  by_type,
  ('constant',),
  Direction(0.3, 'A larger value may suit this budget better.'),
  Direction(0.3, 'A smaller value may suit this budget better.'),
)


def rule_for(name: str) -> ConstantRule:
  """Returns the first rule that matches the name of a constant, or `DEFAULT_RULE`."""
  matching = (r for r in RULES if any(fnmatch.fnmatchcase(name, n) for n in r.names))
  return next(matching, DEFAULT_RULE)
