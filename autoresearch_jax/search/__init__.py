"""Search strategies: which program to edit next, and how.

A strategy is one file, named after its paper, and one `STRATEGIES.register` line. `samplers/` has
those that sample constants through Optuna, `wrappers/` those that modify another strategy.

Imports `types`, `registry` and `messages`; numpy, and Optuna in `samplers/`. Strategies never
import jax, and never do input or output.
"""

from autoresearch_jax.search.base import STRATEGIES, Strategy

__all__ = ['STRATEGIES', 'Strategy']
