"""Programs that are, or nearly are, what was tried: found from their text, before any trace."""

from autoresearch_jax.types import Program


class Twins:
  """Remembers programs by trial. near: relative difference below which numbers count as equal."""

  def __init__(self, near: float = 0.02):
    self.near = near

  def add(self, trial: int, program: Program) -> None:
    raise NotImplementedError

  def find(self, program: Program) -> tuple[int, bool] | None:
    """(trial, whether the two are exactly the same program, comments and layout aside), or None."""
    raise NotImplementedError
