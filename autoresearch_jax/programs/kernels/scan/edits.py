"""Structural edits of the kernel for linear recurrences."""

from autoresearch_jax.programs.structural_edits import Alternative, Alternatives, EditPrior

EDITS = (
  Alternatives(
    'order of the recurrence',
    'recurrence',
    'return',
    (
      Alternative(
        'in_order(decay, inputs)', 'in order', 'One pass reads and writes each number once.'
      ),
      Alternative(
        'in_blocks(decay, inputs)',
        'in blocks',
        'XLA compiles a loop over little memory to one function, without calls for each step.',
      ),
      Alternative(
        'as_tree(decay, inputs)', 'as a tree', 'A tree has few steps, each over many numbers.'
      ),
    ),
    EditPrior(('loop',), weight=1.0, effect=(0.1, 0.3)),
  ),
)
