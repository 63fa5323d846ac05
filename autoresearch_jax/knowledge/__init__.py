"""What a run has learned: hypotheses with their outcomes, lessons, retrieval, near-duplicates.

Everything here is a fold over the ledger: the same trials always give the same memory.
"""

from autoresearch_jax.knowledge.memory import Entry, Memory
from autoresearch_jax.knowledge.planner import Question

__all__ = ['Entry', 'Memory', 'Question']
