"""Problems: what is researched, with its data, its metrics, and the verifier of a construction.

May import `types`, `registry`, `messages` and `data`.
"""

from autoresearch_jax.problems.base import PROBLEMS, Problem

__all__ = ['PROBLEMS', 'Problem']
