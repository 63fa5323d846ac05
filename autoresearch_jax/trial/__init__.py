"""Nothing but `python -m autoresearch_jax.trial`, an older name of `autoresearch trial`."""
