"""The trusted side of a candidate strategy, whose Python runs in a sandboxed process.

A strategy is pure, so its state is a text that goes out with every call and comes back. The process
gets nothing else: no instance, no optimum, no file and no score.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import select
import signal
import site
import socket
import subprocess
import sys
from typing import Any, Self

import msgspec
import numpy as np

from autoresearch_jax.clock import ActiveTimer
from autoresearch_jax.config import Limits
from autoresearch_jax.messages import one_line
from autoresearch_jax.meta.server import MAX_MESSAGE_BYTES, Call, StartRequest
from autoresearch_jax.sandbox import tracer_policy
from autoresearch_jax.search import Strategy
from autoresearch_jax.types import (
  GUIDANCE,
  Isolation,
  Objective,
  Operation,
  Proposal,
  Status,
  Trial,
)

MAX_REPLY_BYTES = 2**20  # of a reply, and so of a state
MAX_REASON = 500
MAX_PARENTS, MAX_CONTEXT, MAX_SEEDS = 8, 1000, 16
MAX_SEED = 2**32
# Shorter trials have no fixed costs in a simulation, but in earnest they do.
MIN_FIDELITY = 0.1
CALL_SHARE = 0.25  # of the seconds of a game that one call may take
REPLAYED = 12  # calls of a game that another process must answer in the same way
START_SECONDS = 60.0  # for the server to start, or to fork
_CLOCK_TICKS = os.sysconf('SC_CLK_TCK')


class StrategyError(Exception):
  """A candidate breaks the contract, or a limit.

  Attributes:
    status: Status of its trial.
  """

  def __init__(self, reason: str, status: Status = Status.INVALID):
    super().__init__(reason)
    self.status = status


class ServerError(Exception):
  """The sandbox cannot be entered here, or its server has ended: no candidate is to blame."""


class _Reply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """What a child replies to a call."""

  state: msgspec.Raw = msgspec.Raw(b'')
  proposal: Proposal | None = None
  error: str = ''


class _Started(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
  """A child's first line."""

  isolation: Isolation | None = None
  sandbox: str = ''


@dataclasses.dataclass(frozen=True)
class SandboxedState:
  """The state of a candidate: a text that only its own process reads.

  Attributes:
    json: The text.
  """

  json: str


class StrategyServer:
  """A fork server of candidates.

  Args:
    limits: Of a candidate's process; `trace_seconds` and `trace_cpu_seconds` are those of a game.
    hidden: Paths that a candidate must never read.
    hash_seed: Order of sets of text in its processes.
  """

  def __init__(self, limits: Limits, hidden: tuple[pathlib.Path, ...], hash_seed: int):
    self.limits = limits
    self._hidden = tuple(map(str, hidden))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    self._socket = ours
    self._socket.settimeout(START_SECONDS)
    with theirs:
      self._process = subprocess.Popen(
        [sys.executable, '-m', 'autoresearch_jax.meta.server', str(theirs.fileno())],
        pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True, env=_environment(hash_seed),
      )  # fmt: skip

  def start(self, folder: pathlib.Path, entry: str) -> 'StrategyProcess':
    """Starts a candidate's process.

    Args:
      folder: With the program's files.
      entry: Name of the entry file.

    Raises:
      StrategyError: Its file cannot be imported.
      ServerError: The sandbox cannot be entered.
    """
    policy = tracer_policy.TracerPolicy(
      level=self.limits.isolation,
      readable=(str(folder),),
      hidden=self._hidden,
      cpu_seconds=max(1, round(self.limits.trace_cpu_seconds)),
      memory_bytes=min(self.limits.trace_bytes, tracer_policy.max_memory_bytes()),
      file_bytes=0,
    )
    theirs_calls, calls = os.pipe()
    replies, theirs_replies = os.pipe()
    message = msgspec.json.encode({'start': StartRequest(str(folder), entry, policy)})
    try:
      socket.send_fds(self._socket, [message], [theirs_calls, theirs_replies])
      pid = self._receive()['pid']
    except BaseException:
      os.close(calls)
      os.close(replies)
      raise
    finally:
      os.close(theirs_calls)
      os.close(theirs_replies)
    process = StrategyProcess(self, pid, entry, calls, replies)
    try:
      process.begin()
    except BaseException:
      process.close()
      raise
    return process

  def end(self, pid: int) -> int:
    """Kills a child, and returns its exit status, or minus the number of the signal.

    Raises:
      ServerError: The server has ended.
    """
    self._socket.send(msgspec.json.encode({'end': pid}))
    return self._receive()['exit_code']

  def close(self) -> None:
    """Ends the server and its children."""
    self._socket.close()
    with contextlib.suppress(ProcessLookupError):
      os.killpg(self._process.pid, signal.SIGKILL)
    self._process.wait()

  def _receive(self) -> dict[str, Any]:
    try:
      data = self._socket.recv(MAX_MESSAGE_BYTES)
    except OSError as error:
      raise ServerError(f'The server of the strategies did not reply: {error}.') from None
    if not data:
      raise ServerError('The server of the strategies has ended.')
    return msgspec.json.decode(data)


class StrategyProcess:
  """One candidate's process: calls go to it one at a time, each with the state as text.

  Attributes:
    isolation: What its sandbox enforces.
  """

  def __init__(self, server: StrategyServer, pid: int, entry: str, calls: int, replies: int):
    self.isolation = Isolation()
    self._server, self._pid, self._entry = server, pid, entry
    self._calls, self._replies = calls, replies
    self._seconds = 0.0  # waited for replies so far
    self._exit_code: int | None = None

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def begin(self) -> None:
    """Waits until the candidate is imported. Raises StrategyError, ServerError."""
    try:
      started = msgspec.json.decode(self._line(START_SECONDS), type=_Started)
    except (StrategyError, msgspec.DecodeError, RecursionError):
      started = _Started(sandbox='its process ended')
    if started.isolation is None:
      raise ServerError(f'A strategy could not enter its sandbox: {started.sandbox}')
    self.isolation = started.isolation
    self.decoded(self.call(b'{}'))

  def call(self, call: bytes) -> bytes:
    """Sends a call, and returns the reply as it came. Raises StrategyError."""
    if select.select([self._replies], [], [], 0)[0]:
      if not os.read(self._replies, 1):
        raise self._ended()
      raise self.broken('wrote a reply before it was called; only return values')
    rest = memoryview(call + b'\n')
    limit = CALL_SHARE * self._server.limits.trace_seconds
    timer = ActiveTimer()
    os.set_blocking(self._calls, False)
    try:
      while rest:
        if not select.select([], [self._calls], [], 0.5)[1]:
          if timer.seconds() > limit:
            raise self._late(limit)
          continue
        rest = rest[os.write(self._calls, rest) :]
    except BrokenPipeError:
      raise self._ended() from None
    return self._line(limit)

  def decoded(self, line: bytes) -> _Reply:
    """Returns a reply. Raises StrategyError if it is none, or an error."""
    try:
      reply = msgspec.json.decode(line, type=_Reply)
    except (msgspec.DecodeError, RecursionError) as error:
      what = one_line(str(error), 200).rstrip('.')
      raise self.broken(
        f'returned something that is no proposal or state ({what}); return a Proposal, and as the '
        'state numbers, texts, lists and dicts'
      ) from None
    if reply.error:
      raise StrategyError(one_line(reply.error, MAX_REASON))
    return reply

  def close(self) -> None:
    """Ends the process."""
    for pipe in (self._calls, self._replies):
      with contextlib.suppress(OSError):
        os.close(pipe)
    self._calls = self._replies = -1
    with contextlib.suppress(OSError, ServerError):
      self._end()

  def _end(self) -> int:
    if self._exit_code is None:
      self._exit_code = self._server.end(self._pid)
    return self._exit_code

  def _line(self, limit: float) -> bytes:
    """Reads one line of at most MAX_REPLY_BYTES within `limit` seconds. Raises StrategyError."""
    timer, data = ActiveTimer(), b''
    while True:
      if select.select([self._replies], [], [], 0.5)[0]:
        part = os.read(self._replies, MAX_REPLY_BYTES)
        if not part:
          raise self._ended()
        data += part
        if len(data) > MAX_REPLY_BYTES:
          raise self.broken(
            f'returned more than {MAX_REPLY_BYTES // 2**10} KiB from one call; keep less in the '
            'state'
          )
        if data.endswith(b'\n') and data.count(b'\n') == 1:
          break
        if b'\n' in data:
          raise self.broken('wrote more than one reply to a call; only return values')
      if timer.seconds() > limit:
        raise self._late(limit)
    self._seconds += timer.seconds()
    total = self._server.limits.trace_seconds
    if self._seconds > total:
      raise StrategyError(
        f'{self._entry}: the calls of one game took more than {total:g} s; compute less in them.',
        Status.TIMEOUT,
      )
    return data[:-1]

  def _late(self, limit: float) -> StrategyError:
    return StrategyError(
      f'{self._entry}: one call took more than {limit:g} s; compute less in it.', Status.TIMEOUT
    )

  def broken(self, what: str) -> StrategyError:
    return StrategyError(f'{self._entry}: the strategy {what}.')

  def _ended(self) -> StrategyError:
    """The error of a process that has ended by itself."""
    code = self._end()
    if code in (-signal.SIGXCPU, -signal.SIGKILL):  # the latter where it ignores the former
      seconds = self._server.limits.trace_cpu_seconds
      return StrategyError(
        f'{self._entry}: the strategy used more than {seconds:g} s of CPU time in one game, or all '
        'memory of the machine; compute less in its calls.',
        Status.TIMEOUT,
      )
    how = f'exit code {code}' if code >= 0 else signal.Signals(-code).name
    return self.broken(f'ended its process ({how}); return from each call')


class SandboxedStrategy(Strategy):
  """A candidate as a strategy: its functions run in its process, and its answers are checked.

  Args:
    process: The candidate's process.
    rng: Chooses the calls that another process repeats; not known to the candidate.

  Attributes:
    failure: The first error, which a simulation may report in other words.
    sample: (call, reply) of some calls, drawn at random.
    proposals: Hash of all proposals so far.
  """

  def __init__(self, process: StrategyProcess, rng: np.random.Generator):
    self.process = process
    self.failure: StrategyError | None = None
    self.sample: list[tuple[bytes, bytes]] = []
    self.proposals = hashlib.sha256()
    self._rng = rng
    self._told: set[int] = set()
    self._count = 0

  def init(self, objective: Objective) -> SandboxedState:
    return self._state(self._call(Call('init', objective=objective)))

  def ask(self, state: SandboxedState, rng: np.random.Generator) -> tuple[Proposal, SandboxedState]:
    # Hashed, since numbers of a generator may reveal its later ones.
    drawn = hashlib.sha256(rng.bytes(32)).digest()
    entropy = tuple(int(word) for word in np.frombuffer(drawn, np.uint32))
    reply = self._call(Call('ask', msgspec.Raw(state.json.encode()), entropy=entropy))
    if reply.proposal is None:
      raise self._failed('ask returned no Proposal')
    try:
      self.require_valid(reply.proposal)
    except ValueError as error:
      raise self._failed(f'ask proposed a trial that {error}') from None
    self.proposals.update(msgspec.json.encode(reply.proposal))
    return reply.proposal, self._state(reply)

  def tell(self, state: SandboxedState, trial: Trial) -> SandboxedState:
    self._told.add(trial.id)
    return self._state(self._call(Call('tell', msgspec.Raw(state.json.encode()), trial=trial)))

  def require_valid(self, proposal: Proposal) -> None:
    """Raises ValueError, whose message completes a sentence, unless a run can try the proposal."""
    if unknown := [t for t in (*proposal.parents, *proposal.context) if t not in self._told]:
      raise ValueError(f'refers to trial {unknown[0]}, which has not finished')
    if len(proposal.parents) > MAX_PARENTS or len(set(proposal.context)) < len(proposal.context):
      raise ValueError(f'has more than {MAX_PARENTS} parents, or a trial in its context twice')
    if len(proposal.context) > MAX_CONTEXT:
      raise ValueError(f'shows more than {MAX_CONTEXT} trials')
    needed = {Operation.DRAFT: 0, Operation.IMPROVE: 0, Operation.MERGE: 2}
    if len(proposal.parents) < needed.get(proposal.operation, 1):
      raise ValueError(f'has too few parents for the operation {proposal.operation.value!r}')
    if not MIN_FIDELITY <= proposal.fidelity <= 1:
      raise ValueError(f'has the fidelity {proposal.fidelity}; it must be {MIN_FIDELITY:g} to 1')
    seeds = proposal.seeds
    if not 1 <= len(seeds) <= MAX_SEEDS or len(set(seeds)) < len(seeds):
      raise ValueError(f'has {len(seeds)} seeds; give 1 to {MAX_SEEDS} different ones')
    if not all(0 <= seed < MAX_SEED for seed in seeds):
      raise ValueError(f'has a seed that is not in 0 to {MAX_SEED - 1}')
    if proposal.guidance not in ('', *GUIDANCE):
      raise ValueError(f'has the guidance {proposal.guidance!r:.40}; there are: {GUIDANCE}')
    if proposal.edit is not None:
      raise ValueError('carries an edit of its own; leave edits to the proposer')

  def _call(self, call: Call) -> _Reply:
    if self.failure is not None:
      raise self.failure
    sent = msgspec.json.encode(call)
    try:
      received = self.process.call(sent)
      reply = self.process.decoded(received)
    except StrategyError as error:
      self.failure = error
      raise
    self._remember(sent, received)
    return reply

  def _remember(self, sent: bytes, received: bytes) -> None:
    """Keeps each call with the same probability."""
    self._count += 1
    if len(self.sample) < REPLAYED:
      self.sample.append((sent, received))
    elif (place := int(self._rng.integers(self._count))) < REPLAYED:
      self.sample[place] = sent, received

  def _state(self, reply: _Reply) -> SandboxedState:
    if not reply.state:
      raise self._failed('a function returned no state')
    try:
      return SandboxedState(bytes(reply.state).decode())
    except UnicodeDecodeError:
      raise self._failed('a state is not valid text') from None

  def _failed(self, what: str) -> StrategyError:
    self.failure = self.process.broken(f'broke its contract: {what}')
    return self.failure


def replay(process: StrategyProcess, calls: list[tuple[bytes, bytes]]) -> None:
  """Repeats calls in a process that has seen none of them, in this order.

  Raises:
    StrategyError: An answer differs: the strategy is not a pure function of its arguments.
  """
  for sent, received in calls:
    if process.call(sent) != received:
      name = msgspec.json.decode(sent, type=Call).function
      raise process.broken(
        f'is not pure: {name} answered the same call differently in another process; use only the '
        'state and the generator, no globals, clocks, hashes or other randomness'
      )


def _environment(hash_seed: int) -> dict[str, str]:
  """A clean environment: no keys, no variables of the user, one thread."""
  package = pathlib.Path(__file__).resolve().parents[2]
  inherited = [entry for entry in os.environ.get('PYTHONPATH', '').split(os.pathsep) if entry]
  return {
    'PATH': '/usr/bin:/bin',
    'LANG': 'C.UTF-8',
    'HOME': '/nonexistent',
    'OPENBLAS_NUM_THREADS': '1',
    'OMP_NUM_THREADS': '1',
    'MALLOC_ARENA_MAX': '4',
    'PYTHONPATH': os.pathsep.join([*inherited, str(package)]),
    'PYTHONUSERBASE': site.getuserbase(),
    'PYTHONSAFEPATH': '1',
    'PYTHONHASHSEED': str(hash_seed),
    **{name: os.environ[name] for name in ('LD_LIBRARY_PATH',) if name in os.environ},
  }
