"""Reads stores of findings in a thread of its own, so that no trial waits for a network."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from autoresearch_jax.findings.claims import WorkClaim
from autoresearch_jax.findings.finding import Finding, FindingError, latest
from autoresearch_jax.findings.signing import Key
from autoresearch_jax.findings.store import FindingStore
from autoresearch_jax.messages import one_line

CLAIM_SECONDS = 3600


@dataclasses.dataclass(frozen=True)
class StoreContent:
  """What was read of a store.

  Attributes:
    store: The store; None if it could not be opened.
    findings: One of each comparison; those of the last success if it cannot be read now.
    problem: Why it cannot be read now, a sentence; '' if it was.
    claimed: Fingerprints of what somebody tries now.
  """

  store: FindingStore | None
  findings: tuple[Finding, ...] = ()
  problem: str = ''
  claimed: frozenset[str] = frozenset()


class StoreReader:
  """Reads stores now and again. Start it by `with`.

  A store that cannot be read is tried again at the next turn, and nothing is ever raised.
  """

  def __init__(
    self, addresses: Sequence[str], open_store: Callable[[str], FindingStore], seconds: float
  ):
    """Makes a reader.

    Args:
      addresses: The stores.
      open_store: Opens one of them. May raise FindingError.
      seconds: Pause between two turns.
    """
    self._addresses, self._open, self._seconds = tuple(addresses), open_store, seconds
    self._contents: dict[str, StoreContent] = {}
    self._lock = threading.Lock()
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._run, name='findings', daemon=True)

  def __enter__(self) -> 'StoreReader':
    if self._addresses:
      self._thread.start()
    return self

  def __exit__(self, *_: object) -> None:
    self._ended.set()  # the thread may wait for a network, so nobody waits for it

  def contents(self) -> Mapping[str, StoreContent]:
    """Returns what was read last, by address; without those that were not read yet."""
    with self._lock:
      return dict(self._contents)

  def read(self) -> None:
    """Reads all stores once."""
    for address in self._addresses:
      if self._ended.is_set():
        return
      found = self._read(address)
      with self._lock:
        self._contents[address] = found

  def claim(self, fingerprint: str) -> None:
    """Tells the stores that this run tries something now. Returns at once; failures are ignored."""
    threading.Thread(target=self._claim, args=(fingerprint,), daemon=True).start()

  def _claim(self, fingerprint: str) -> None:
    for content in self.contents().values():
      with contextlib.suppress(FindingError, OSError):
        if content.store is not None:
          content.store.claim(WorkClaim.of(fingerprint, Key.load(), time.time(), CLAIM_SECONDS))

  def _read(self, address: str) -> StoreContent:
    before = self._contents.get(address, StoreContent(None))
    try:
      store = before.store or self._open(address)
      found = tuple(latest(store.findings(lambda why: None)))
      return StoreContent(store, found, '', frozenset(c.fingerprint for c in store.claims()))
    except FindingError as error:
      problem = str(error)
    except Exception as error:  # of a network or of a file system: the run goes on
      problem = f'{type(error).__name__}: {error}'
    return dataclasses.replace(before, problem=one_line(problem, 300))

  def _run(self) -> None:
    while not self._ended.is_set():
      self.read()
      self._ended.wait(self._seconds)
