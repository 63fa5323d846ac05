"""Old import path of `Phase`, for programs in ledgers: `autoresearch_jax.programs.contract` now.

Traced programs read this file inside the sandbox, so it must stay in the package.
"""

from autoresearch_jax.programs.contract import Phase

__all__ = ['Phase']
