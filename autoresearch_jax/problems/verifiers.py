"""Verifiers: what a construction is worth, found in float64 by code that no candidate can reach.

A problem of the kind `construction` names its verifier in its Dataset. The runner calls it on what
`predict` returned. It is registered by name in `VERIFIERS`, best in the file of its problem.
No jax here: a score must not depend on a compiler's rounding.
"""

from typing import Protocol

import numpy as np

from autoresearch_jax.registry import Registry

# A verifier lies beside its problem, so this is the problems' room.
VERIFIERS = Registry('verifier', 'autoresearch_jax.problems')


class Refused(Exception):
  """The construction is none; the sentence says what is wrong with it and what to return."""


class Verifier(Protocol):
  """The contract of a verifier: pure, deterministic, and true to the last bit."""

  def verify(self, construction: np.ndarray) -> dict[str, float]:
    """The metrics of a construction, float64 [*spec.output_shape]. Raises Refused.

    It believes nothing: numbers may be of any size, infinite or NaN. What is scored must fulfil
    every constraint exactly, not within a tolerance.
    """
    ...
