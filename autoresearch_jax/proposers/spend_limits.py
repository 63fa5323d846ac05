"""What the calls of models and agents may cost in a run."""

import dataclasses

from autoresearch_jax.types import Spend


@dataclasses.dataclass(frozen=True)
class Caps:
  """For the whole run, over all restarts and all proposers; 0: none."""

  calls: int = 0
  tokens: int = 0
  dollars: float = 0.0

  @property
  def title(self) -> str:
    """In words, for the first line of the run."""
    said = (
      (self.calls, f'{self.calls:,} call{"s" if self.calls != 1 else ""}'),
      (self.tokens, f'{self.tokens:,} tokens'),
      (self.dollars, f'${self.dollars:.2f}'),
    )
    most = ', '.join(words for cap, words in said if cap)
    return f'at most {most}' if most else 'calls without a cap'

  def refusal(self, spent: Spend, most: Spend) -> str:
    """Why a call that costs `most` must not be made; '' where it may."""
    for cap, word in ((self.calls, 'calls'), (self.tokens, 'tokens'), (self.dollars, 'dollars')):
      already, further = getattr(spent, word), getattr(most, word)
      if cap and already + further > cap:
        return (
          f'The cap of {cap:g} {word} is reached: {already:g} are spent, and one more call may '
          f'take {further:g}; raise max_{word} to go on.'
        )
    return ''
