"""Plays candidate search strategies on benchmark instances: the executor of the problem `meta`.

Each slot has a player, a process that knows the instances and plays a program in a sandboxed
process of its own (`meta/`). The player is started by name: its code is above this layer.
"""

import contextlib
import dataclasses
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from autoresearch_jax.config import Limits
from autoresearch_jax.executors.base import (
  EXECUTORS,
  EventQueue,
  Executor,
  ExecutorEvent,
  Unavailable,
)
from autoresearch_jax.sandbox import tracer_policy
from autoresearch_jax.types import (
  Dataset,
  Isolation,
  Measurement,
  Platform,
  Progress,
  Result,
  SeedResult,
  Spec,
  Status,
  TrialRequest,
  from_builtins,
)

MAX_SLOTS = 256
PLAY_FOLDER = 'play-'  # prefix of the folders with the programs that are played
PLAYER = 'autoresearch_jax.meta.player'


class PlayerDied(Exception):
  """The player has ended, by itself or because it was killed."""


class PlayerClient:
  """One player. `kill` may be called from other threads.

  Args:
    setup: What the player is sent first; see `PlayerSetup` in meta/player.py.
    log: File for what it writes to stderr.
  """

  def __init__(self, setup: dict[str, Any], log: pathlib.Path):
    self._setup, self._log = setup, log
    self._process: subprocess.Popen[bytes] | None = None

  @property
  def pid(self) -> int | None:
    """The player's process id."""
    return self._process.pid if self._process else None

  def play(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the player's messages, the last of which has `done`. Raises PlayerDied."""
    if self._process is None or self._process.poll() is not None:
      self._start()
    self._send({'play': request})
    while True:
      message = self._receive()
      yield message
      if 'done' in message:
        return

  def kill(self) -> None:
    """Ends the process and its children; the next `play` starts another one."""
    process = self._process
    if process is not None and process.poll() is None:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

  def close(self) -> None:
    """Ends the process, and waits for that."""
    self.kill()
    process, self._process = self._process, None
    if process is not None:
      process.wait()
      for pipe in filter(None, (process.stdin, process.stdout)):
        with contextlib.suppress(OSError):
          pipe.close()

  def _start(self) -> None:
    self.close()
    with self._log.open('ab') as log:
      self._process = subprocess.Popen(
        [sys.executable, '-m', PLAYER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        start_new_session=True, env=_environment(),
      )  # fmt: skip
    self._send({'setup': self._setup})
    self._receive()

  def _send(self, message: dict[str, Any]) -> None:
    process = self._process
    assert process is not None and process.stdin is not None
    try:
      process.stdin.write(msgspec.json.encode(message) + b'\n')
      process.stdin.flush()
    except OSError:
      raise self._died() from None

  def _receive(self) -> dict[str, Any]:
    process = self._process
    assert process is not None and process.stdout is not None
    if line := process.stdout.readline():
      return msgspec.json.decode(line)
    raise self._died()

  def _died(self) -> PlayerDied:
    """Waits until the process has ended: its pipes close a moment before."""
    self.close()
    return PlayerDied(f'The process that plays strategies has ended; see {self._log}.')


@EXECUTORS.register('play')
@dataclasses.dataclass
class PlayExecutor(Executor):
  """Plays as many strategies at once as there are slots.

  Attributes:
    spec: The problem, at full budget.
    dataset: Has the folder of the secret.
    hidden: Paths that candidates must never read.
    limits: Limits of a candidate.
    scratch: Folder for temporary files and logs.
    cache: Unused: nothing is compiled.
    problem: Name and options of the problem.
    slots: Trials that run at the same time, each on one core.
  """

  spec: Spec
  dataset: Dataset
  hidden: tuple[pathlib.Path, ...]
  limits: Limits
  scratch: pathlib.Path
  cache: pathlib.Path
  problem: tuple[str, dict[str, Any]] = ('meta', {})
  slots: int = 1

  @classmethod
  def require_options(cls, platform: Platform, options: Mapping[str, Any]) -> None:
    slots = options.get('slots', cls.slots)
    if platform != 'cpu':
      raise ValueError(
        f"config.platform is {platform!r}, but strategies are played on a CPU; set it to 'cpu'."
      )
    if not 1 <= slots <= MAX_SLOTS:
      raise ValueError(f'config.executor_options.slots is {slots}; set it to 1 to {MAX_SLOTS}.')

  def __post_init__(self) -> None:
    tracer_policy.check(self.limits.isolation)
    self.scratch.mkdir(parents=True, exist_ok=True)
    self._remove_files()
    self._events = EventQueue()
    self._requests: queue.SimpleQueue[TrialRequest | None] = queue.SimpleQueue()
    self._lock = threading.Lock()  # guards the two below
    self._running: dict[int, PlayerClient] = {}
    self._cancelled: set[int] = set()
    self._closing = False
    setup = {
      'options': dict(self.problem[1]),
      'folder': self.dataset.validation,
      'limits': self.limits,
      'hidden': tuple(map(str, self.hidden)),
      'scratch': str(self.scratch.resolve()),
    }
    self._players = [
      PlayerClient(setup, self.scratch / f'player-{slot}.log') for slot in range(self.slots)
    ]
    self._threads = [
      threading.Thread(target=self._run, args=(player,), daemon=True) for player in self._players
    ]
    for thread in self._threads:
      thread.start()

  def submit(self, request: TrialRequest) -> None:
    self._requests.put(request)

  def wait(self, timeout: float) -> list[ExecutorEvent]:
    return self._events.wait(timeout)

  def cancel(self, trial: int) -> None:
    with self._lock:
      self._cancelled.add(trial)
      if trial in self._running:
        self._running[trial].kill()

  def pids(self) -> dict[str, int | None]:
    """Process ids of the players."""
    return {f'player {i}' if i else 'player': player.pid for i, player in enumerate(self._players)}

  def close(self) -> None:
    self._closing = True
    for player in self._players:
      self._requests.put(None)
      player.kill()
    for thread in self._threads:
      thread.join(timeout=30)
    self._remove_files()

  def _remove_files(self) -> None:
    """Removes what a killed player left."""
    for folder in self.scratch.glob(f'{PLAY_FOLDER}*'):
      shutil.rmtree(folder, ignore_errors=True)

  def _run(self, player: PlayerClient) -> None:
    """The thread of a slot."""
    try:
      while (request := self._requests.get()) is not None and not self._closing:
        with self._lock:
          self._running[request.trial] = player
        result = self._result(player, request)
        with self._lock:
          self._running.pop(request.trial, None)
          cancelled = request.trial in self._cancelled
          self._cancelled.discard(request.trial)
        if cancelled and result.status is not Status.OK:
          result = Result(request.trial, Status.CANCELLED, 'The trial was cancelled.')
        if not self._closing:
          self._events.put(result)
    except Unavailable as error:
      if not self._closing:
        self._events.put(error)
    except Exception as error:  # otherwise the caller would wait for ever
      if not self._closing:
        self._events.put(Unavailable(f'The executor failed: {type(error).__name__}: {error}'))
    finally:
      player.close()

  def _result(self, player: PlayerClient, request: TrialRequest) -> Result:
    """Plays a trial. Raises Unavailable if this machine cannot."""
    if request.trial in self._cancelled:
      return Result(request.trial, Status.CANCELLED, 'The trial was cancelled.')
    runs = {run.measurement.seed: run.measurement for run in request.done}
    sent = {
      'program': request.program,
      'seeds': [seed for seed in request.seeds if seed not in runs],
      'budget': request.budget.amount,
      'on_test': request.on_test,
      'known': dict(request.known),
    }
    try:
      for message in player.play(sent):
        if found := message.get('progress'):
          phase = found.get('phase', 'train')
          self._events.put(Progress(request.trial, phase, found['seed'], found['fraction']))
        elif 'run' in message:
          run = from_builtins(message['run'], Measurement)
          runs[run.seed] = run
          self._events.put(SeedResult(request.trial, message['fingerprint'], run))
        elif 'done' in message:
          return self._finished(request, message['done'], runs)
    except PlayerDied as error:
      return Result(request.trial, Status.CRASH, str(error))
    raise AssertionError('a player ends its messages with `done`')

  def _finished(
    self, request: TrialRequest, reply: dict[str, Any], runs: dict[int, Measurement]
  ) -> Result:
    if reply['machine']:
      raise Unavailable(f'No strategy can be played here: {reply["reason"]}')
    status, fingerprint = Status(reply['status']), reply['fingerprint']
    reason, first = reply['reason'], None
    if status is Status.DUPLICATE:
      first = request.known[fingerprint]
      reason = (
        'This change has no effect: the strategy proposes the same trials as its parent, trial '
        f'{first}.'
        if first in request.parents
        else f'The strategy of trial {first} proposes the same trials.'
      )
    isolation = reply['isolation'] and from_builtins(reply['isolation'], Isolation)
    measured = tuple(runs[seed] for seed in request.seeds if seed in runs)
    return Result(
      request.trial,
      status,
      reason,
      fingerprint,
      first,
      measured if status is Status.OK else (),
      isolation or None,
    )


def _environment() -> dict[str, str]:
  """One thread a player: a slot has one core."""
  return {**os.environ, 'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}
