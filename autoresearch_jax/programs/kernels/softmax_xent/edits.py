"""Structural edits of the kernel for cross-entropies."""

from autoresearch_jax.programs.structural_edits import Alternative, Alternatives, EditPrior

EDITS = (
  Alternatives(
    'formula of the cross-entropy',
    'cross_entropy',
    'return',
    (
      Alternative(
        'log_softmax_of_all(logits, labels)', 'log-softmax', 'XLA fuses what is not needed away.'
      ),
      Alternative(
        'log_of_sum(logits, labels)',
        'logarithm of the sum',
        'One logarithm a row is enough, and no array of all probabilities.',
      ),
    ),
    EditPrior(('formula',), weight=1.0, effect=(0.1, 0.2)),
  ),
  Alternatives(
    'sum of a row',
    'total',
    'return',
    (
      Alternative('jnp.sum(x, axis=1)', 'in one piece', 'XLA reduces rows well by itself.'),
      Alternative(
        'jnp.sum(jnp.sum(x.reshape(x.shape[0], -1, LANES), axis=1), axis=1)',
        'partial sums',
        'Partial sums side by side fill vector registers, one sum waits for each addition.',
      ),
      Alternative(
        'x @ jnp.ones(x.shape[1], x.dtype)',
        'as a matrix product',
        'Matrix products are vectorised where reductions are not.',
      ),
    ),
    EditPrior(('reduction',), weight=1.0, effect=(0.1, 0.2)),
  ),
  Alternatives(
    'largest value of a row',
    'largest',
    'return',
    (
      Alternative('jnp.max(x, axis=1)', 'in one piece', 'XLA reduces rows well by itself.'),
      Alternative(
        'jnp.max(jnp.max(x.reshape(x.shape[0], -1, LANES), axis=1), axis=1)',
        'partial maxima',
        'Partial maxima side by side fill vector registers.',
      ),
    ),
    EditPrior(('reduction',), weight=1.0, effect=(0.1, 0.2)),
  ),
  Alternatives(
    'order of the blocks',
    'each_block',
    'return',
    (
      Alternative(
        'jax.vmap(cross_entropy)(logits, labels)',
        'all at once',
        'One operation over all rows has the least overhead.',
      ),
      Alternative(
        'jax.lax.map(lambda block: cross_entropy(*block), (logits, labels))',
        'one after the other',
        'A block that stays in the cache is read from memory once.',
      ),
    ),
    EditPrior(('tiling',), weight=1.0, effect=(0.05, 0.2)),
  ),
)
