"""The interface of a verifier, which scores a construction in float64.

A problem of kind `construction` names its verifier in its `Dataset`, and the runner calls it on
what `predict` returned, so no candidate code is involved. A verifier is registered by name in
`VERIFIERS`, in the file of its problem. No jax here: a score must not depend on a compiler's
rounding.
"""

import abc

import numpy as np

from autoresearch_jax.registry import Registry

VERIFIERS = Registry('verifier', 'autoresearch_jax.problems')


class InvalidConstruction(Exception):
  """The array is no valid construction; the message says why, and what to return instead."""


class Verifier(abc.ABC):
  """Scores constructions. Pure, deterministic and exact."""

  @abc.abstractmethod
  def verify(self, construction: np.ndarray) -> dict[str, float]:
    """The metrics of a construction.

    The input is untrusted: numbers may be huge, infinite or NaN. What is scored must satisfy every
    constraint exactly, not within a tolerance.

    Args:
      construction: What `predict` returned, float64 `[*spec.output_shape]`.

    Raises:
      InvalidConstruction: The array is no valid construction.
    """
