"""Structural edits of the kernel for small products."""

from autoresearch_jax.programs.structural_edits import Alternative, Alternatives, EditPrior

EDITS = (
  Alternatives(
    'small products',
    'products',
    'return',
    (
      Alternative(
        "jnp.einsum('bnk,bkm->bnm', left, right)", 'einsum', 'XLA knows what an einsum means.'
      ),
      Alternative(
        'jnp.sum(left[:, :, :, None] * right[:, None, :, :], axis=2)',
        'multiply and sum',
        'One loop nest has no calls for each small product.',
      ),
      Alternative(
        'outer_products(left, right)',
        'outer products',
        'Unrolled sums of outer products need no reduction.',
      ),
      Alternative(
        'batch_last(left, right)',
        'batch last',
        'With the batch as the last axis every operation is vectorised.',
      ),
    ),
    EditPrior(('layout',), weight=1.0, effect=(0.1, 0.3)),
  ),
  Alternatives(
    'blocks of products',
    'all_products',
    'return',
    (
      Alternative('products(left, right)', 'all at once', 'One operation has the least overhead.'),
      Alternative(
        'in_blocks(left, right)',
        'in blocks',
        'A block that stays in the cache is read from memory once.',
      ),
    ),
    EditPrior(('tiling',), weight=1.0, effect=(0.05, 0.2)),
  ),
)
