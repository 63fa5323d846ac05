"""Autonomous machine-learning research as a JAX library; README.md is the way in."""
