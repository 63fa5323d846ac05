"""Structural edits of the program that packs circles."""

from autoresearch_jax.programs.structural_edits import (
  Alternative,
  Alternatives,
  EditPrior,
)

EDITS = (
  Alternatives(
    'growth of the penalty',
    'penalty',
    'return',
    (
      Alternative(
        'PENALTY_START * (PENALTY_END / PENALTY_START) ** progress',
        'geometric',
        'A penalty that grows by a factor leaves the circles free for long.',
      ),
      Alternative(
        'PENALTY_START + (PENALTY_END - PENALTY_START) * progress',
        'linear',
        'Circles that may not overlap early on settle sooner.',
      ),
      Alternative(
        'PENALTY_START * (PENALTY_END / PENALTY_START) ** jnp.minimum(2 * progress, 1.0)',
        'geometric, over the first half',
        'A penalty that stands still lets the last steps finish the work.',
      ),
    ),
    EditPrior(('penalty', 'schedule'), weight=1.0, effect=(0.0, 0.01)),
  ),
  Alternatives(
    'cost of an overlap',
    'cost',
    'return',
    (
      Alternative('jnp.square(overlap)', 'square', 'Squares are smooth where circles touch.'),
      Alternative(
        'overlap ** 1.5', 'power 1.5', 'Small overlaps that cost more leave less to shrink.'
      ),
      Alternative(
        'overlap * jnp.minimum(overlap, 0.02)',
        'square, then linear',
        'Circles pass through each other when deep overlaps do not push harder.',
      ),
    ),
    EditPrior(('penalty', 'loss'), weight=1.0, effect=(0.0, 0.01)),
  ),
  Alternatives(
    'starting centres',
    'start_centres',
    'return',
    (
      Alternative(
        'jax.random.uniform(key, shape, minval=START_MARGIN, maxval=1 - START_MARGIN)',
        'uniform',
        'Uniform starts favour nothing.',
      ),
      Alternative(
        'START_MARGIN + (1 - 2 * START_MARGIN) * jax.random.beta(key, 0.7, 0.7, shape)',
        'denser at the sides',
        'Good packings have many circles along the sides.',
      ),
    ),
    EditPrior(('initialisation',), weight=0.6, effect=(0.0, 0.01)),
  ),
  Alternatives(
    'optimizer of the circles',
    'make_optimizer',
    'return',
    (
      Alternative('optax.adam(LEARNING_RATE, *ADAM_BETAS)', 'Adam', 'Adam is the safe choice.'),
      Alternative(
        'optax.nadam(LEARNING_RATE, *ADAM_BETAS)',
        'NAdam',
        'Looking one step ahead speeds short runs up.',
      ),
      Alternative(
        'optax.adabelief(LEARNING_RATE, *ADAM_BETAS)',
        'AdaBelief',
        'Steps shrink where gradients surprise, as they do where circles meet.',
      ),
    ),
    EditPrior(('optimizer',), weight=0.8, effect=(0.0, 0.01)),
  ),
)
