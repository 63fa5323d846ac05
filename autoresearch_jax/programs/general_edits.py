"""Structural edits that fit any program with an `activation`, a schedule or an optax optimizer.

Weights are high where small models trained for a short time are known to gain, low where an edit
mostly trades quality for speed.
"""

from autoresearch_jax.programs.structural_edits import (
  Alternative,
  Alternatives,
  EditPrior,
)

ACTIVATION = Alternatives(
  'activation',
  'activation',
  'return',
  (
    Alternative(
      'jnp.square(jax.nn.relu(x))',
      'squared ReLU',
      'Squared ReLU is sparse and steep, which was best in the search behind Primer.',
    ),
    Alternative('jax.nn.gelu(x)', 'GELU', 'GELU lets small negative inputs through.'),
    Alternative('jax.nn.silu(x)', 'SiLU', 'SiLU is smooth, so that larger steps stay stable.'),
    Alternative('jax.nn.relu(x)', 'ReLU', 'ReLU is the cheapest, and keeps the scale of x.'),
    Alternative(
      'jnp.square(jax.nn.leaky_relu(x, 0.5))',
      'squared leaky ReLU',
      'Units that are off still learn, and the output stays steep.',
    ),
    Alternative(
      'x * jax.nn.relu(x) + 0.1 * x',
      'squared ReLU with a linear leak',
      'A linear path through every unit carries gradients early on.',
    ),
    Alternative('jnp.tanh(x)', 'tanh', 'A bounded activation bears higher rates.', 0.3),
  ),
  EditPrior(('activation', 'mlp'), weight=0.5, effect=(0.0, 0.01)),
)

SCHEDULES = (
  Alternative(
    'jnp.minimum(left, 1.0)', 'linear', 'A linear way down needs no tuning and ends at nothing.'
  ),
  Alternative(
    '(0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(left, 1.0)))',
    'cosine',
    'A cosine spends longer at high and at low rates than a line does.',
  ),
  Alternative(
    '(1 - jnp.sqrt(1 - jnp.minimum(left, 1.0)))',
    '1 - sqrt',
    'A steep start of the way down and a long tail suit short cool-downs (arXiv 2405.18392).',
  ),
  Alternative(
    'jnp.square(jnp.minimum(left, 1.0))',
    'square',
    'Low rates for longer average more of the noise away.',
  ),
  Alternative(
    'jnp.sqrt(jnp.minimum(left, 1.0))',
    'square root',
    'High rates for longer get farther before the end.',
  ),
)

EDITS = (
  ACTIVATION,
  Alternatives(
    'schedule',
    'schedule',
    '',
    SCHEDULES,
    EditPrior(('schedule',), weight=0.6, effect=(0.001, 0.005)),
    needs=('WARMDOWN_RATIO',),
  ),
  Alternatives(
    'AdamW',
    'make_optimizer',
    '',
    (
      Alternative('optax.adamw', 'AdamW', 'Plain AdamW is the safe choice.'),
      Alternative('optax.nadamw', 'NAdamW', 'Looking one step ahead speeds short runs up.'),
      Alternative('optax.lion', 'Lion', 'Steps of equal size need no second moment.', 0.3),
    ),
    EditPrior(('optimizer',), weight=0.8, effect=(0.005, 0.03)),
  ),
  Alternatives(
    'Adam',
    'make_optimizer',
    'adam =',
    (
      Alternative(
        'optax.scale_by_adam(ADAM_BETA1, ADAM_BETA2, ADAM_EPS)',
        'Adam',
        'Plain Adam is the safe choice.',
      ),
      Alternative(
        'optax.scale_by_adam(ADAM_BETA1, ADAM_BETA2, ADAM_EPS, nesterov=True)',
        'NAdam',
        'Looking one step ahead speeds short runs up.',
      ),
      Alternative(
        'optax.scale_by_belief(ADAM_BETA1, ADAM_BETA2, ADAM_EPS)',
        'AdaBelief',
        'Steps adapt to how gradients surprise.',
        0.5,
      ),
    ),
    EditPrior(('optimizer',), weight=0.4, effect=(0.001, 0.005)),
  ),
)
