"""Findings: portable, signed results of single edits, and the stores in which forks share them."""

from autoresearch_jax.findings.finding import (
  Finding,
  FindingError,
  FindingProgram,
  FindingSetting,
)

__all__ = ['Finding', 'FindingError', 'FindingProgram', 'FindingSetting']
