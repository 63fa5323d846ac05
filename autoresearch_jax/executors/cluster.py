"""Runs trials on many machines, each with a `host` process. `ssh` and `ray` carry the messages.

Machines come and go while the run goes on. A machine that is lost is tried again, with growing
delays. What ran there runs elsewhere, except for the seeds that are done. No program is blamed,
unless its trial was under way on several machines when they were lost. A machine with another
version, other data or other devices than the run's is refused, with a sentence.

The executor is unavailable when no machine could be used at the start, or when there was none for
`patience_seconds`.
"""

import abc
import contextlib
import dataclasses
import functools
import itertools
import pathlib
import queue
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from autoresearch_jax.clock import ActiveTimer
from autoresearch_jax.config import Limits
from autoresearch_jax.executors import EventQueue, Executor, ExecutorEvent, Unavailable
from autoresearch_jax.executors.host import (
  ALIVE_SECONDS,
  SILENCE_SECONDS,
  HostReady,
  HostSetup,
  versions,
)
from autoresearch_jax.executors.remote_machine import HostLost, Link, RemoteMachine
from autoresearch_jax.executors.request_queue import Part, RequestQueue
from autoresearch_jax.messages import one_line, say
from autoresearch_jax.types import (
  Budget,
  Dataset,
  Hardware,
  Platform,
  Program,
  Progress,
  Result,
  SeedResult,
  Spec,
  Status,
  TrialRequest,
  from_builtins,
)

MIN_DELAY_SECONDS, MAX_DELAY_SECONDS = 2.0, 60.0  # before a lost machine is tried again
MAX_LOSSES = 3  # of machines that ran a trial, without a finished seed, until it counts as a crash
MAX_START_SECONDS = 300.0  # for which machines that are ready wait for others
POLL_SECONDS = 2.0  # between looks at the list of machines


@dataclasses.dataclass
class ClusterExecutor(Executor):
  """Base class of executors for many machines; a subclass lists them and connects to them.

  Attributes:
    spec: The problem, at full budget.
    dataset: Data of the problem, of which the machines must have the same.
    hidden: Not used: each machine hides its own files.
    limits: Limits of a trial.
    scratch: Folder for logs.
    cache: Not used: each machine has its own.
    problem: Name and options of the problem, with which the machines prepare their data.
    slots: Slots of each machine, as in `LocalExecutor`. After construction: the number of working
      slots on all machines.
    compile_ahead: As in `LocalExecutor`.
    remote_folder: Folder for scratch files on each machine; '' for one in its cache.
    patience_seconds: How long the run waits when no machine is left.
    checkpoint_seconds: As in `LocalExecutor`. A machine's checkpoints end with its host process.
  """

  spec: Spec
  dataset: Dataset
  hidden: tuple[pathlib.Path, ...]
  limits: Limits
  scratch: pathlib.Path
  cache: pathlib.Path
  problem: tuple[str, Mapping[str, Any]]
  slots: int = 1
  compile_ahead: bool | None = None
  remote_folder: str = ''
  patience_seconds: float = 600.0
  checkpoint_seconds: float = 300.0

  @classmethod
  def require_options(cls, platform: Platform, options: Mapping[str, Any]) -> None:
    del platform
    if options.get('slots', cls.slots) < 0:
      raise ValueError('slots must be at least 1, or 0 for one slot per device of a machine.')

  def __post_init__(self) -> None:
    self.scratch.mkdir(parents=True, exist_ok=True)
    name, data = self.problem
    self._setup = HostSetup(
      versions(), name, data, self.dataset.fingerprint, self.spec, self.limits, self.slots,
      self.compile_ahead, self.remote_folder, self.checkpoint_seconds,
    )  # fmt: skip
    self.slots = 0
    self._events = EventQueue()
    self._condition = threading.Condition()  # guards what follows
    self._queue = RequestQueue()
    self._machines: dict[str, RemoteMachine] = {}
    self._hardware: Hardware | None = None  # of a slot, of all machines
    self._numbers = itertools.count()
    self._closing = threading.Event()
    self._threads: list[threading.Thread] = []
    self._idle = ActiveTimer()  # since there was a machine
    self._has_failed = False
    self._follow_list()
    self._wait_for_first_machines()
    keeper = threading.Thread(target=self._keep, name='keeper', daemon=True)
    keeper.start()
    self._threads.append(keeper)

  @abc.abstractmethod
  def names(self) -> Sequence[str]:
    """Returns the names of the machines that may take part now. Called every few seconds."""

  @abc.abstractmethod
  def connect(self, name: str) -> Link:
    """Starts the `host` process on a machine. Raises HostLost."""

  # The interface of an executor.

  def submit(self, request: TrialRequest) -> None:
    with self._condition:
      self._queue.add(request)
      self._dispatch()

  def wait(self, timeout: float) -> list[ExecutorEvent]:
    return self._events.wait(timeout)

  def hardware(self) -> Hardware | None:
    return self._hardware

  def check(self, program: Program, budget: Budget) -> str:
    answer: queue.SimpleQueue[str] = queue.SimpleQueue()
    with self._condition:
      machine = self._machine_to_check(program)
      if machine is None:
        return ''
      number = next(self._numbers)
      machine.checks[number] = answer
      machine.remember(program)
      machine.expected.append(program.digest)
      machine.send({'check': number, 'program': program, 'budget': budget})
    return answer.get()

  def cancel(self, trial: int) -> None:
    with self._condition:
      self._end(*self._queue.cancel(trial))

  def close(self) -> None:
    with self._condition:
      self._closing.set()
      self._condition.notify_all()
      links = [machine.link for machine in self._machines.values() if machine.link]
    for link in links:
      link.hang_up()
    for thread in self._threads:
      thread.join(timeout=30)

  # The list of machines.

  def _follow_list(self) -> None:
    """Starts a thread for each new machine, and lets go of those that left the list."""
    names = list(self.names())
    with self._condition:
      for name in names:
        if name not in self._machines:
          machine = self._machines[name] = RemoteMachine(name)
          thread = threading.Thread(
            target=self._run_machine, args=(machine,), name=name, daemon=True
          )
          self._threads.append(thread)
          thread.start()
      gone = [machine for name, machine in self._machines.items() if name not in names]
      for machine in gone:
        machine.leaving = True
        del self._machines[machine.name]
    for machine in gone:
      if machine.link is not None:
        machine.link.hang_up()

  def _wait_for_first_machines(self) -> None:
    """Waits until each machine has joined or failed, so that decisions know the number of slots.

    Once there is a machine, late ones are waited for for MAX_START_SECONDS.
    """
    with self._condition:
      began = time.monotonic()
      while not all(machine.tried for machine in self._machines.values()):
        if self.slots and time.monotonic() - began > MAX_START_SECONDS:
          break
        self._condition.wait(POLL_SECONDS)
      if not self.slots:
        self._fail('No machine can be used')

  def _keep(self) -> None:
    """The thread that keeps connections alive and follows the list of machines."""
    sent = time.monotonic()
    while not self._closing.wait(POLL_SECONDS):
      with contextlib.suppress(OSError):  # the list is being written, say
        self._follow_list()
      with self._condition:
        if time.monotonic() - sent > ALIVE_SECONDS:
          sent = time.monotonic()
          for machine in self._machines.values():
            machine.send({'alive': True})
        if self.slots:
          self._idle = ActiveTimer()
        elif self._idle.seconds() > self.patience_seconds:
          self._fail(f'No machine could be used for {self.patience_seconds:g} s')

  def _fail(self, what: str) -> None:
    if not self._has_failed:
      self._has_failed = True
      problems = ' '.join(f'{m.name}: {m.problem}' for m in self._machines.values() if m.problem)
      self._events.put(
        Unavailable(f'{what}. {problems} Fix this and start the same command again.')
      )

  # A machine.

  def _run_machine(self, machine: RemoteMachine) -> None:
    """The thread of a machine."""
    delay = MIN_DELAY_SECONDS
    while not (self._closing.is_set() or machine.leaving):
      try:
        self._serve(machine)
      except HostLost as error:
        delay = MIN_DELAY_SECONDS if machine.ready else min(2 * delay, MAX_DELAY_SECONDS)
        self._lose(machine, str(error))
      except Exception as error:
        self._lose(machine, f'The connection failed: {type(error).__name__}: {error}')
      self._closing.wait(delay)

  def _serve(self, machine: RemoteMachine) -> None:
    """Connects to a machine and handles its messages until it is lost. Raises HostLost."""
    link = self.connect(machine.name)
    with contextlib.closing(link):
      with self._condition:
        machine.link = link
        machine.send({'start': self._setup})
      heard = ActiveTimer()
      while not (self._closing.is_set() or machine.leaving):
        message = link.receive(POLL_SECONDS)
        if message is not None:
          heard = ActiveTimer()
          self._handle(machine, message)
        elif heard.seconds() > SILENCE_SECONDS:
          raise HostLost(f'It has been silent for {SILENCE_SECONDS:g} s.')
    if machine.leaving:
      raise HostLost('It is no longer on the list.')

  def _handle(self, machine: RemoteMachine, message: Mapping[str, Any]) -> None:
    for kind, value in message.items():
      match kind:
        case 'refused' | 'unavailable':
          raise HostLost(value)
        case 'say':
          say(f'{machine.name}: {one_line(value)}', file=sys.stderr)
        case 'ready':
          self._join(machine, from_builtins(value, HostReady))
        case 'slots':
          self._change_slots(machine, value)
        case 'checked':
          with self._condition:
            answer = machine.checks.pop(value)
          answer.put(message['reason'])
        case 'result':
          self._finish(machine, value)
        case 'progress':
          self._report(machine, from_builtins(value, Progress))
        case 'seed':
          with contextlib.suppress(msgspec.ValidationError):  # the result will be a crash
            self._report(machine, from_builtins(value, SeedResult))

  def _join(self, machine: RemoteMachine, ready: HostReady) -> None:
    with self._condition:
      self._hardware = self._hardware or ready.hardware
      if str(ready.hardware) != str(self._hardware):
        raise HostLost(
          f'Its devices differ: a slot has {ready.hardware}, those of the others '
          f'{self._hardware}. Scores of different devices do not compare; use machines of one kind.'
        )
      machine.ready, machine.problem = ready, ''
      machine.compiled.clear()
      machine.known.clear()
    self._change_slots(machine, ready.slots)
    count = 'one slot' if ready.slots == 1 else f'{ready.slots} slots'
    say(f'{machine.name} joined with {count} of {ready.hardware}.', file=sys.stderr)

  def _change_slots(self, machine: RemoteMachine, slots: int) -> None:
    with self._condition:
      machine.slots, machine.tried = slots, True
      self.slots = sum(other.slots for other in self._machines.values())
      self._dispatch()
      self._condition.notify_all()

  def _lose(self, machine: RemoteMachine, reason: str) -> None:
    """Lets the trials of a lost machine run elsewhere."""
    with self._condition:
      parts, machine.parts = machine.parts, {}
      checks, machine.checks = machine.checks, {}
      had_joined, known = machine.ready is not None, machine.problem == reason
      machine.link, machine.ready, machine.problem = None, None, reason
      for answer in checks.values():
        answer.put('')
      if self._closing.is_set():
        return
      machine.expected.clear()
      for part in reversed(parts.values()):
        self._return(part, machine)
      self._change_slots(machine, 0)
      slots = self.slots
    if had_joined or not known:
      left = f' {slots} slots are left.' if had_joined else ''
      say(f'{machine.name}: {one_line(reason)}{left}', file=sys.stderr)

  def _return(self, part: Part, machine: RemoteMachine) -> None:
    if part.done or part.failures + 1 < MAX_LOSSES:
      self._queue.put_back(part)
    else:
      reason = f'It ran on {MAX_LOSSES} machines that were lost; the last one was {machine.name}.'
      self._end(*self._queue.finish(part, Result(part.request.trial, Status.CRASH, reason)))

  # Trials.

  def _dispatch(self) -> None:
    """Gives waiting parts to free slots: those of the machines that do the least, first."""
    while len(self._queue):
      free = [machine for machine in self._machines.values() if machine.free > 0]
      for machine in sorted(free, key=lambda m: len(m.parts) / m.slots):
        others = [other for other in free if other is not machine]
        found = self._queue.find(machine.has_compiled, functools.partial(_compiled, others))
        if found is not None:
          self._give(machine, self._queue.take(found))
          break
      else:
        return

  def _give(self, machine: RemoteMachine, part: Part) -> None:
    number = next(self._numbers)
    machine.parts[number] = part
    part.began = time.monotonic()
    machine.remember(part.request.program)
    for other in self._machines.values():
      with contextlib.suppress(ValueError):
        other.expected.remove(part.request.program.digest)
    known = machine.new_fingerprints(part.request) if part.request.known else {}
    # Parameters stay where they are made, so none are saved on other machines.
    request = dataclasses.replace(part.request, trial=number, known=known, save=None)
    machine.send({'submit': request, 'compare': bool(part.request.known)})

  def _report(self, machine: RemoteMachine, news: Progress | SeedResult) -> None:
    with self._condition:
      part = machine.parts.get(news.trial)
      if part is None:
        return
      news = dataclasses.replace(news, trial=part.request.trial)
      self._events.put(news)
      if isinstance(news, SeedResult):
        part.done = (*part.done, news)
      elif self._queue.progress(part, news):
        self._dispatch()

  def _finish(self, machine: RemoteMachine, value: Mapping[str, Any]) -> None:
    with self._condition:
      part = machine.parts.pop(value['trial'], None)
      if part is None:
        return
      trial = part.request.trial
      try:
        result = dataclasses.replace(from_builtins(value, Result), trial=trial)
        result.facts['host'] = machine.name
      except msgspec.ValidationError as error:
        reason = f'The executor returned a result that cannot be recorded: {error!r:.300}'
        result = Result(trial, Status.CRASH, reason)
      self._end(*self._queue.finish(part, result))
      self._dispatch()

  def _end(self, result: Result | None, superfluous: Sequence[Part]) -> None:
    """Reports a trial's result, if it has one, and cancels these parts."""
    if result is not None:
      self._events.put(result)
    for machine in self._machines.values():
      for number, part in machine.parts.items():
        if part in superfluous:
          machine.send({'cancel': number})

  def _machine_to_check(self, program: Program) -> RemoteMachine | None:
    """The machine that will probably run a program: of those with the fewest, the next free one."""
    usable = [machine for machine in self._machines.values() if machine.slots]
    having = [machine for machine in usable if machine.has_compiled(program)]
    return min(having or usable, key=lambda m: (len(m.expected), m.began()), default=None)


def _compiled(machines: Sequence[RemoteMachine], program: Program) -> bool:
  return any(machine.has_compiled(program) for machine in machines)
