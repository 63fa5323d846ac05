"""Structural edits of the MLP program."""

from autoresearch_jax.programs.structural_edits import (
  Alternative,
  Alternatives,
  EditPrior,
  Replacement,
  Toggle,
)

EDITS = (
  Alternatives(
    'hidden layers',
    'MLP.__call__',
    'x =',
    (
      Alternative('activation(layer(x))', 'plain', 'Layers of their own are all it takes.'),
      Alternative(
        'activation(layer(x)) + (x if i else 0)',
        'residual',
        'A path around each layer carries the gradients to the first one.',
      ),
      Alternative(
        'activation(jax.nn.standardize(layer(x)))',
        'layer norm before the activation',
        'Normed inputs keep all units in use and bear higher rates.',
      ),
    ),
    EditPrior(('residual', 'norm'), weight=1.0, effect=(0.01, 0.05)),
  ),
  Alternatives(
    'initial weights',
    'Linear.__init__',
    '',
    (
      Alternative('(2 / inputs) ** 0.5', 'He', 'He keeps the scale of activations under ReLU.'),
      Alternative('(1 / inputs) ** 0.5', 'LeCun', 'Smaller weights start simpler.'),
      Alternative('(4 / inputs) ** 0.5', 'twice He', 'Larger weights tell inputs apart sooner.'),
    ),
    EditPrior(('initialisation',), weight=0.5, effect=(0.0, 0.03)),
  ),
  Toggle(
    'input noise',
    (
      Replacement(
        'train_step',
        'jax.value_and_grad(mean_loss)(state.model, batch, dropout_key)',
        'jax.value_and_grad(mean_loss)(state.model, {**batch, '
        "'inputs': batch['inputs'] + 0.1 * jax.random.normal(key, batch['inputs'].shape)}, "
        'dropout_key)',
      ),
    ),
    'Noise on the inputs makes more examples out of few.',
    'Noise on the inputs hides what tells the classes apart.',
    EditPrior(('regularisation', 'data'), weight=0.6, effect=(0.01, 0.04)),
  ),
)
