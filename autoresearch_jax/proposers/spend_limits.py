"""Limits on what calls of language models and agents may cost in a run."""

import dataclasses

from autoresearch_jax.types import Spend


@dataclasses.dataclass(frozen=True)
class SpendLimits:
  """Limits for the whole run, over all restarts and all proposers. 0 means no limit.

  Attributes:
    max_calls: Maximum number of calls.
    max_total_tokens: Maximum number of input and output tokens.
    max_dollars: Maximum cost in dollars.
  """

  max_calls: int = 0
  max_total_tokens: int = 0
  max_dollars: float = 0.0

  @property
  def title(self) -> str:
    """The limits in words, for the first line of the run."""
    limits = (
      (self.max_calls, f'{self.max_calls:,} call{"s" if self.max_calls != 1 else ""}'),
      (self.max_total_tokens, f'{self.max_total_tokens:,} tokens'),
      (self.max_dollars, f'${self.max_dollars:.2f}'),
    )
    words = ', '.join(text for limit, text in limits if limit)
    return f'at most {words}' if words else 'no spend limit'

  def refusal(self, spent: Spend, cost: Spend) -> str:
    """Returns why the next call must not be made, or '' if it may.

    Args:
      spent: What the run has spent so far.
      cost: The most that the next call can cost.
    """
    if self.max_calls and spent.calls + cost.calls > self.max_calls:
      return (
        f'Budget exhausted: {spent.calls:,} of {self.max_calls:,} calls made. Raise max_calls to '
        'continue.'
      )
    if self.max_total_tokens and spent.tokens + cost.tokens > self.max_total_tokens:
      return (
        f'Budget exhausted: {spent.tokens:,} of {self.max_total_tokens:,} tokens used, and the '
        f'next call may use {cost.tokens:,}. Raise max_total_tokens to continue.'
      )
    if self.max_dollars and spent.dollars + cost.dollars > self.max_dollars:
      return (
        f'Budget exhausted: {_dollars(spent.dollars)} of {_dollars(self.max_dollars)} spent, and '
        f'the next call may cost {_dollars(cost.dollars)}. Raise max_dollars to continue.'
      )
    return ''


def _dollars(amount: float) -> str:
  """Formats an amount with two to four decimals: '$4.90', '$0.0125'."""
  text = f'{amount:.4f}'
  return f'${text[:-2]}{text[-2:].rstrip("0")}'
