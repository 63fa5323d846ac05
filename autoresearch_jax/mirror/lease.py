"""The lease of a mirror: one controller at a time writes to it.

A lease is a file `lease/GENERATION.json`. Taking the lease creates the file of the next generation,
which the store lets only one controller do. The holder rewrites its own file every RENEW_SECONDS,
and has lost the lease once a later generation exists. Whatever a controller uploads carries its
generation, so what a superseded one still writes is ignored.
"""

import contextlib
import dataclasses
import os
import pathlib
import socket
import time
from collections.abc import Callable
from typing import Self

import msgspec

from autoresearch_jax.data.bucket import Bucket, BucketError

RENEW_SECONDS = 15.0
LEASE_SECONDS = 60.0  # without a renewal, after which the holder counts as gone
POLL_SECONDS = 1.0
FOLDER = 'lease'
TAKE_OVER = '--take_over'  # option of `autoresearch run`


class MirrorError(RuntimeError):
  """The mirror cannot be used; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Holder:
  """The controller that holds a lease.

  Attributes:
    host: Its host name.
    boot: Identifies the host's kernel since it booted, and the namespace of process ids.
    pid: Its process id.
    started: When the process started, in ticks since the boot; tells reused process ids apart.
    since: When it took the lease, in Unix seconds.
    renewed: When it last renewed the lease, in Unix seconds of its own clock.
    released: Whether it has given the lease back.
    session: Tells sessions of one process apart.
  """

  host: str
  boot: str
  pid: int
  started: int
  since: float
  renewed: float
  released: bool = False
  session: str = ''

  @classmethod
  def this(cls) -> Self:
    """Returns this process."""
    now = time.time()
    return cls(socket.gethostname(), _boot(), os.getpid(), _started(os.getpid()), now, now)

  @property
  def ended(self) -> bool:
    """Whether it has given the lease back, or was a process of this machine that has ended."""
    here = self.boot == _boot()
    return self.released or (here and _started(self.pid) != self.started)

  def __str__(self) -> str:
    since = time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(self.since))
    return f'the process {self.pid} on {self.host} since {since}'


class Lease:
  """A lease that this process has taken. One thread uses it.

  Attributes:
    bucket: The mirror's bucket.
    generation: Its number; higher than that of all earlier holders.
    holder: This process.
  """

  def __init__(self, bucket: Bucket, generation: int, holder: Holder):
    self.bucket, self.generation, self.holder = bucket, generation, holder

  @classmethod
  def take(
    cls,
    bucket: Bucket,
    say: Callable[[str], None],
    take_over: bool = False,
    session: str = '',
  ) -> Self:
    """Takes the lease.

    A holder that no longer renews its lease is waited for LEASE_SECONDS. Its renewals are watched,
    so a clock that is wrong cannot make two holders out of one.

    Args:
      bucket: The mirror's bucket.
      say: Is told that it waits.
      take_over: Whether to take it from a holder that may be alive.
      session: Recognises a lease of which an earlier call does not know that it was taken.

    Raises:
      MirrorError: Another controller holds it.
      BucketError: The bucket fails.
    """
    while True:
      generation, before = newest(bucket)
      if before is not None and session and before.session == session:
        return cls(bucket, generation, before)
      if before is not None and not (take_over or before.ended):
        before = _outwaited(bucket, generation, before, say)
        if before is None:
          continue
      holder = dataclasses.replace(Holder.this(), session=session)
      if bucket.create(_name(generation + 1), msgspec.json.encode(holder)):
        lease = cls(bucket, generation + 1, holder)
        if lease.lost() is None:
          lease.forget_earlier()
          return lease

  def lost(self) -> Holder | None:
    """Returns the controller that has taken a later lease, if any."""
    generation, holder = newest(self.bucket)
    return holder if generation > self.generation else None

  def renew(self) -> Holder | None:
    """Renews the lease; returns the controller that has taken it, if any."""
    if (other := self.lost()) is not None:
      return other
    self._write(dataclasses.replace(self.holder, renewed=time.time()))
    return None

  def release(self) -> None:
    """Gives the lease back, so that the next controller need not wait."""
    if self.lost() is None:
      self._write(dataclasses.replace(self.holder, renewed=time.time(), released=True))

  def forget_earlier(self) -> None:
    """Deletes the files of all but the last two generations."""
    with contextlib.suppress(BucketError):
      for name in self.bucket.names(FOLDER)[:-2]:
        self.bucket.delete(f'{FOLDER}/{name}')

  def _write(self, holder: Holder) -> None:
    self.bucket.write(_name(self.generation), msgspec.json.encode(holder))


def newest(bucket: Bucket) -> tuple[int, Holder | None]:
  """Returns the latest generation and its holder; 0 and None before the first."""
  names = [name for name in bucket.names(FOLDER) if name.endswith('.json')]
  if not names:
    return 0, None
  generation = int(names[-1].removesuffix('.json'))
  data = bucket.read(f'{FOLDER}/{names[-1]}')
  try:
    return generation, None if data is None else msgspec.json.decode(data, type=Holder)
  except msgspec.DecodeError:  # written by hand, say; the generation counts
    return generation, None


def _outwaited(
  bucket: Bucket, generation: int, holder: Holder, say: Callable[[str], None]
) -> Holder | None:
  """Waits until a holder is certainly gone.

  Returns None if somebody else has taken the lease. Raises MirrorError if the holder is alive.
  """
  age = max(0.0, time.time() - holder.renewed)
  # A live holder renews within this time, whatever its clock says.
  seconds = max(2 * RENEW_SECONDS, LEASE_SECONDS - age)
  say(f'{"mirror":<11}held by {holder}; waiting {seconds:.0f} s to see whether it is gone')
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline:
    time.sleep(POLL_SECONDS)
    latest, now = newest(bucket)
    if latest != generation:
      return None
    if now is not None and now.released:
      return now
    if now is not None and now.renewed != holder.renewed:
      raise MirrorError(
        f'{bucket.url} is the mirror of a run that {holder} carries out. Stop that process first, '
        f'or use another mirror. `{TAKE_OVER}` takes the run over, and that process then stops.'
      )
  return holder


def _name(generation: int) -> str:
  return f'{FOLDER}/{generation:06d}.json'


def _boot() -> str:
  try:
    boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    return f'{boot} {pathlib.Path("/proc/self/ns/pid").readlink()}'
  except OSError:
    return ''


def _started(pid: int) -> int:
  """Returns when a process of this machine started, in ticks since the boot; -1 if it has ended."""
  try:
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
  except OSError:
    return -1
  return -1 if fields[0] in 'ZX' else int(fields[19])
