"""What a run has read of stores of findings, and which of their edits could not be tried."""

from autoresearch_jax.ledger.events import Event, ImportRefused, StoreRead


class ImportLog:
  """The part of a run's state that is about findings of others, without the imported trials.

  An imported trial is known by `Edit.imported`.

  Attributes:
    stores: The last time that each store was read, by address.
    refused: Findings that were chosen and became no trial, by id.
  """

  def __init__(self) -> None:
    self.stores: dict[str, StoreRead] = {}
    self.refused: dict[str, ImportRefused] = {}

  def apply(self, event: Event) -> None:
    """Adds the next event; most kinds change nothing."""
    match event:
      case StoreRead():
        self.stores[event.address] = event
      case ImportRefused():
        self.refused[event.claim.finding] = event
