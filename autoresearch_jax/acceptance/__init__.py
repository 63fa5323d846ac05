"""Acceptance rules: keep or discard a trial, given its measurements and their noise.

A rule is one file and one `ACCEPTANCE.register` line.

Imports `types` and `registry`; numpy and scipy. Rules are pure: no jax, no input or output.
"""

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule

__all__ = ['ACCEPTANCE', 'AcceptanceRule']
