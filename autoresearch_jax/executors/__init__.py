"""Executors: where trials run.

`base` has the interface, `local` runs trials on this machine in `slot`s with equal shares of it
(`sharing`). May import `tracer`, `runner` and what is below them; never jax.
"""

from autoresearch_jax.executors.base import (
  COLLABORATORS,
  EXECUTORS,
  EventQueue,
  Executor,
  ExecutorEvent,
  Unavailable,
  finished,
  outside_trials,
)

__all__ = [
  'COLLABORATORS',
  'EXECUTORS',
  'EventQueue',
  'Executor',
  'ExecutorEvent',
  'Unavailable',
  'finished',
  'outside_trials',
]
