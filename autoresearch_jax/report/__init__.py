"""What a person looks at: the live view and the progress plot, from the ledger alone."""

from typing import Protocol

from autoresearch_jax.ledger.events import Record
from autoresearch_jax.ledger.history import History
from autoresearch_jax.types import Progress


class View(Protocol):
  """What the research loop shows its news to. It looks and never answers."""

  def record(self, record: Record, history: History) -> None:
    """An event was added to the ledger; `history` has it already."""
    ...

  def progress(self, progress: Progress) -> None:
    """A running trial moved on."""
    ...

  def tick(self) -> None:
    """Called a few times a second, so that clocks can move."""
    ...
