"""Nothing but `python -m autoresearch_jax.repair`, an older name of `autoresearch repair`."""
