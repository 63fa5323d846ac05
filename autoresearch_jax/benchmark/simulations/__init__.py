"""Simulated problems: search strategies are compared on them in microseconds per trial.

No accelerator, no language model and no jax: the program is a short text, the proposer is part of
the problem, and a trial is arithmetic. Only `engine` trains real programs.

Instance seeds below `HELD_OUT` are for tuning a strategy's options. Seeds from `HELD_OUT` on are
for reported results.

A budget of 1.0 is a full trial. A smaller budget is a lower fidelity: the metric is worse, noisier
and biased, and the trial is cheaper in proportion (see `measuring.py`).

Imports `types`, `registry` and `proposers`; numpy. scipy and scikit-learn are imported only when
`recorded` needs them, and the rest of the package only by `engine`.
"""

from autoresearch_jax.benchmark.simulations.base import (
  ENTRY,
  HELD_OUT,
  SIMULATED_SPEC,
  SIMULATIONS,
  Instance,
  SearchSpace,
  Simulation,
)

__all__ = [
  'ENTRY', 'HELD_OUT', 'SIMULATED_SPEC', 'SIMULATIONS', 'Instance', 'SearchSpace', 'Simulation',
]  # fmt: skip
