"""Nothing but `python -m autoresearch_jax.problems.simulated.recorded`: `autoresearch table`."""
