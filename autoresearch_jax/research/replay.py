"""Recomputes the state of a run from its events."""

from collections.abc import Iterable

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.ledger.events import Record
from autoresearch_jax.messages import RESUME_ADVICE, ComponentError
from autoresearch_jax.research.actions import Settings
from autoresearch_jax.research.controller import Controller
from autoresearch_jax.search import Strategy


def replay(
  records: Iterable[Record], strategy: Strategy, acceptance: AcceptanceRule, settings: Settings
) -> Controller:
  """Returns the controller in the state after the last record.

  Raises:
    LedgerError: The strategy or acceptance rule decides differently than recorded, so its code or
      options have changed.
    ComponentError: One of them raised.
  """
  controller = Controller(strategy, acceptance, settings)
  for record in records:
    try:
      controller.apply(record)
    except ComponentError as error:
      what = f'Event {record.index} cannot be replayed. {error} {RESUME_ADVICE}'
      raise ComponentError(what) from error
  return controller
