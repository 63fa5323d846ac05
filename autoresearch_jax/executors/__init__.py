"""Executors: where trials run.

`base` has the interface, `local` runs trials on this machine in `slot`s with equal shares of it
(`sharing`). May import `tracer`, `runner` and what is below them; never jax.
"""

from autoresearch_jax.executors.base import EXECUTORS, Executor, Unavailable, finished

__all__ = ['EXECUTORS', 'Executor', 'Unavailable', 'finished']
