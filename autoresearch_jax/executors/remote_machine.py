"""A machine of a cluster as the controller sees it, and the connection to its `host` process."""

import abc
import collections
import contextlib
import dataclasses
import queue
from collections.abc import Mapping
from typing import Any

from autoresearch_jax.executors.host import HostReady
from autoresearch_jax.executors.request_queue import Part
from autoresearch_jax.runner.client import COMPILE_CACHE_SIZE
from autoresearch_jax.types import Budget, Program, TrialRequest


class HostLost(RuntimeError):
  """A machine cannot be reached or used; the message says why."""


class Link(abc.ABC):
  """A connection to the `host` process of a machine.

  `send` and `hang_up` may be called from any thread.
  """

  @abc.abstractmethod
  def send(self, message: Mapping[str, Any]) -> None:
    """Sends a message, without waiting until it has arrived."""

  @abc.abstractmethod
  def receive(self, timeout: float) -> dict[str, Any] | None:
    """Returns the next message, or None if there is none for so many seconds. Raises HostLost."""

  @abc.abstractmethod
  def hang_up(self) -> None:
    """Makes the process end, without waiting for that."""

  @abc.abstractmethod
  def close(self) -> None:
    """Ends the process and frees the connection. Called by the thread that receives."""


def _expected() -> collections.deque[str]:
  return collections.deque(maxlen=COMPILE_CACHE_SIZE)


@dataclasses.dataclass(eq=False)
class RemoteMachine:
  """What the controller knows of a machine. The executor's lock guards it.

  Attributes:
    name: Its name.
    link: The connection, or None.
    ready: What it offers; None while it cannot run trials.
    slots: Number of its working slots; 0 while it cannot run trials.
    parts: What it runs, by number.
    checks: Where the answers to its checks go, by number.
    compiled: Digests of the programs that it ran or traced lately.
    expected: Digests of the programs that it traced and that no machine has run yet.
    known: The fingerprints that it was told of, by budget.
    problem: Why it could not be used lately, a sentence.
    tried: Whether it has joined or failed once.
    leaving: Whether it is no longer on the list.
  """

  name: str
  link: Link | None = None
  ready: HostReady | None = None
  slots: int = 0
  parts: dict[int, Part] = dataclasses.field(default_factory=dict)
  checks: dict[int, queue.SimpleQueue[str]] = dataclasses.field(default_factory=dict)
  compiled: collections.deque[str] = dataclasses.field(default_factory=collections.deque)
  expected: collections.deque[str] = dataclasses.field(default_factory=_expected)
  known: dict[Budget, dict[str, int]] = dataclasses.field(default_factory=dict)
  problem: str = ''
  tried: bool = False
  leaving: bool = False

  @property
  def free(self) -> int:
    return self.slots - len(self.parts)

  def began(self) -> float:
    """Returns when the trial began that will probably end first; 0 if a slot is free."""
    return min((part.began for part in self.parts.values()), default=0.0) if not self.free else 0.0

  def has_compiled(self, program: Program) -> bool:
    return program.digest in self.compiled

  def remember(self, program: Program) -> None:
    """Marks a program as the one that it ran or traced last."""
    with contextlib.suppress(ValueError):
      self.compiled.remove(program.digest)
    self.compiled.append(program.digest)
    while len(self.compiled) > COMPILE_CACHE_SIZE * max(1, self.slots):
      self.compiled.popleft()

  def new_fingerprints(self, request: TrialRequest) -> dict[str, int]:
    """Returns those of the request's known fingerprints that it was not told of yet."""
    told = self.known.setdefault(request.budget, {})
    new = dict(request.known.items() - told.items())
    told.update(new)
    return new

  def send(self, message: Mapping[str, Any]) -> None:
    """Sends it a message, if there is a connection."""
    if self.link is not None:
      self.link.send(message)
