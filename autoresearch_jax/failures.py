"""What is said when a strategy or an acceptance rule raises: a sentence for whoever can mend it.

They may be anybody's, so whatever comes out of them ends the session and leaves the ledger as it
is. Unlike a proposer's failure it cannot be passed over: their states are folded over all events.
"""

import contextlib
import traceback
from collections.abc import Iterator

from autoresearch_jax.wording import one_line

STRATEGY, RULE = 'strategy', 'acceptance rule'
ADVICE = (
  'The ledger is whole: mend it and give the same command, which goes on from there; if its '
  'options are wrong, change them and name another --workdir.'
)


class PartError(RuntimeError):
  """A strategy or an acceptance rule raised, or gave what cannot be recorded."""


@contextlib.contextmanager
def blaming(role: str, part: object, when: str) -> Iterator[None]:
  """Turns exceptions out of `part` into PartErrors. when: what it was doing, as in 'when asked'."""
  try:
    yield
  except PartError:
    raise
  except Exception as error:
    raise PartError(_sentence(role, part, when, error)) from error


def _sentence(role: str, part: object, when: str, error: Exception) -> str:
  kind = type(part)
  last = traceback.extract_tb(error.__traceback__)[-1]
  what = one_line(f'{type(error).__name__}: {error}', 400).rstrip('.')
  return (
    f'The {role} {kind.__name__} of {kind.__module__} failed {when}: {what} ({last.filename}, line '
    f'{last.lineno}).'
  )
