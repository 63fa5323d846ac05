"""What a run has learned: hypotheses and their outcomes, lessons, retrieval, duplicates, a planner.

Everything here is computed from the ledger's trials: the same trials always give the same answers.
May import `search` (its effect model and the reader of constants) and the root modules; never
`proposers` or `research`. The command line of `python -m autoresearch_jax.knowledge` is the one
module that also reads the ledger.
"""

from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome
from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.knowledge.planner import Question

__all__ = ['HypothesisOutcome', 'Memory', 'Question']
