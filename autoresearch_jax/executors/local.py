"""Runs trials on this machine, in slots that share its devices; each has a runner and a tracer.

Slots share one request queue and one event queue. A trial's seeds spread over idle slots, see
`request_queue`. Slots fail independently: a dead or late runner is
restarted. A slot whose runner cannot be restarted is retired for the rest of the session, with a
message, and its trial is retried in another slot. The executor is unavailable once no slot is left,
or at once if the operating system fails, for example with a full disk, since no other slot would
do better.
"""

import dataclasses
import pathlib
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from autoresearch_jax.config import Limits
from autoresearch_jax.executors import (
  EXECUTORS,
  EventQueue,
  Executor,
  ExecutorEvent,
  Unavailable,
  sharing,
)
from autoresearch_jax.executors.artifacts import ArtifactStore
from autoresearch_jax.executors.request_queue import CANCELLED, Part, RequestQueue, SpreadTrial
from autoresearch_jax.executors.slot import Slot, SlotContext
from autoresearch_jax.messages import describe_os_error, say
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
)


@EXECUTORS.register('local')
@dataclasses.dataclass
class LocalExecutor(Executor):
  """Runs as many trials at once as there are slots, which have equal shares of this machine.

  Attributes:
    spec: The problem, at full budget.
    dataset: Data of the problem.
    hidden: Paths that a tracer must never read.
    limits: Limits of a trial.
    scratch: Folder for traces, artifacts and logs.
    cache: Folder for compiled programs, shared between runs.
    slots: Number of slots, which share the devices, or on a CPU the cores (see `sharing`). 1: a
      trial has all devices. 0: each device is a slot. After construction: the number of working
      slots.
    compile_ahead: Whether a program that `check` has traced is compiled while another trial trains.
      It is always loaded then, which takes a tenth of a second on one core. None: on a TPU only,
      where the host compiles and the chip trains. On a CPU compiling takes cores from training;
      set it where there are spare cores. On a GPU, XLA's autotuning runs kernels on the device,
      which slows down training, and training distorts the autotuning.
    checkpoint_seconds: Seconds between two checkpoints of a training run, from which it continues
      when its process or its machine is lost. Runs of less than three times this have none. 0: no
      checkpoints.
  """

  spec: Spec
  dataset: Dataset
  hidden: tuple[pathlib.Path, ...]
  limits: Limits
  scratch: pathlib.Path
  cache: pathlib.Path
  slots: int = 1
  compile_ahead: bool | None = None
  checkpoint_seconds: float = 300.0

  @classmethod
  def require_options(cls, platform: Platform, options: Mapping[str, Any]) -> None:
    sharing.partition(platform, options.get('slots', cls.slots))

  def __post_init__(self) -> None:
    shares = sharing.partition(self.spec.platform, self.slots)
    self.slots = len(shares)
    self.scratch.mkdir(parents=True, exist_ok=True)
    self._events = EventQueue()
    self._condition = threading.Condition()  # guards what follows, and the trial of each slot
    context = SlotContext(
      self.spec, self.dataset, self.hidden, self.limits, self.scratch, self.cache,
      ArtifactStore(self.scratch / 'artifacts'), self._report, self.checkpoint_seconds,
    )  # fmt: skip
    self._all_slots = [
      Slot(context, share, i, {'slot': i, 'slot_has': share.name} if len(shares) > 1 else {})
      for i, share in enumerate(shares)
    ]
    self._all_slots[0].tracer.check_isolation()
    self._queue = RequestQueue(spread=len(shares) > 1)
    self._working_slots = list(self._all_slots)
    self._idle_slots: list[Slot] = []
    self._parts: dict[Slot, Part] = {}  # what each slot runs
    self._closing = False
    self._threads = [
      threading.Thread(target=self._run_slot, args=(slot,), name=f'slot {i}', daemon=True)
      for i, slot in enumerate(self._all_slots)
    ]
    for thread in self._threads:
      thread.start()

  def submit(self, request: TrialRequest) -> None:
    with self._condition:
      self._queue.add(request)
      self._condition.notify_all()

  def hardware(self) -> Hardware | None:
    return self._all_slots[0].hardware()

  def check(self, program: Program, budget: Budget) -> str:
    slots = list(self._working_slots)
    if not slots:
      return ''
    free = [slot for slot in slots if not slot.tracing] or slots
    traced = free[0].check(program, budget)
    if traced is None:
      return ''
    if traced.status == Status.OK:
      self._prefetch(program, budget, slots)
    return traced.reason if traced.status == Status.INVALID else ''

  @property
  def _compiles_ahead(self) -> bool:
    return self.spec.platform == 'tpu' if self.compile_ahead is None else self.compile_ahead

  def _prefetch(self, program: Program, budget: Budget, slots: Sequence[Slot]) -> None:
    """Prefetches a program in the slot that will probably run it.

    That is the slot whose trial has run for the longest time, among those with the fewest
    prefetches. If another slot runs it after all, that slot loads it again, and finds the compiled
    program in the cache on disk.
    """
    if not any(slot.has_compiled(program) for slot in slots):
      slot = min(slots, key=lambda s: (s.prefetches, s.request is not None, s.began))
      slot.prefetch(program, budget, self._compiles_ahead)

  def wait(self, timeout: float) -> list[ExecutorEvent]:
    return self._events.wait(timeout)

  def cancel(self, trial: int) -> None:
    with self._condition:  # so that no slot moves on to another trial meanwhile
      self._end(*self._queue.cancel(trial))

  def _end(self, result: Result | None, superfluous: Sequence[Part]) -> None:
    """Reports a trial's result, if it has one, and cancels the slots that run these parts."""
    if result is not None:
      self._events.put(result)
    for slot, part in self._parts.items():
      if part in superfluous:
        slot.cancel()

  def pids(self) -> dict[str, int | None]:
    """Process ids of the runner and the tracer of each slot."""
    return {
      f'{name} {i}' if i else name: process.pid
      for i, slot in enumerate(self._all_slots)
      for name, process in (('runner', slot.runner), ('tracer', slot.tracer))
    }

  def close(self) -> None:
    with self._condition:
      self._closing = True
      self._condition.notify_all()
    # Together, since a runner may take 10 s to save its run and to release its devices.
    stopping = [threading.Thread(target=slot.stop) for slot in self._all_slots]
    for thread in stopping:
      thread.start()
    for thread in (*stopping, *self._threads):
      thread.join(timeout=30)

  def _report(self, news: Progress | SeedResult) -> None:
    """Receives what a slot reports, in the slot's thread."""
    self._events.put(news)
    if isinstance(news, Progress) and news.phase == 'train':
      with self._condition:
        for part in list(self._parts.values()):
          running = (part.request.trial, news.seed in part.request.seeds)
          if running == (news.trial, True) and self._queue.progress(part, news):
            self._condition.notify_all()

  def _run_slot(self, slot: Slot) -> None:
    """The thread of a slot."""
    try:
      slot.start()
      while self._assign_trial(slot):
        self._finish_trial(slot, slot.run_trial())
    except Unavailable as error:
      self._retire_slot(slot, str(error))
    except OSError as error:
      self._retire_slot(slot, f'No trial can be run here. {describe_os_error(error)}', others=False)
    except Exception as error:  # otherwise the caller would wait for ever
      self._retire_slot(slot, f'The executor failed: {type(error).__name__}: {error}')
    finally:
      slot.close()

  def _assign_trial(self, slot: Slot) -> bool:
    """Waits until the slot has a trial; returns False when the executor is closing."""
    with self._condition:
      self._idle_slots.append(slot)
      found = self._find(slot)
      while found is None and not self._closing:
        self._condition.wait()
        found = self._find(slot)
      self._idle_slots.remove(slot)
      if found is None or self._closing:
        return False
      part = self._parts[slot] = self._queue.take(found)
      slot.assign(part.request)
      self._condition.notify_all()  # requests that were left to this slot are for others now
      return True

  def _find(self, slot: Slot) -> SpreadTrial | Part | None:
    others = [other for other in self._idle_slots if other is not slot]
    return self._queue.find(
      slot.has_compiled, lambda program: any(other.has_compiled(program) for other in others)
    )

  def _finish_trial(self, slot: Slot, result: Result) -> None:
    with self._condition:
      slot.request = None
      part = self._parts.pop(slot)
      if not self._closing:
        self._end(*self._queue.finish(part, result))
        self._condition.notify_all()

  def _retire_slot(self, slot: Slot, reason: str, others: bool = True) -> None:
    """Retires a slot that failed. others: whether the other slots can go on."""
    with self._condition:
      self._working_slots.remove(slot)
      self.slots = len(self._working_slots)
      request, slot.request = slot.request, None
      part = self._parts.pop(slot, None)
      if self._closing:
        return
      if not (others and self._working_slots):
        self._events.put(Unavailable(reason))
      elif part is not None and request is not None:
        part.done = request.done
        self._retry(part, slot.cancelled, reason)
      self._condition.notify_all()
    if others and self._working_slots:
      left = 'One slot is left' if self.slots == 1 else f'{self.slots} slots are left'
      text = f'The slot with {slot.share.name} is retired: {reason} {left}.'
      say(text, file=sys.stderr)

  def _retry(self, part: Part, cancelled: bool, reason: str) -> None:
    """Retries a trial in another slot, once: a program that ends slots must not end them all."""
    trial = part.request.trial
    if cancelled:
      result = Result(trial, Status.CANCELLED, CANCELLED)
    elif part.failures:
      result = Result(trial, Status.CRASH, f'It failed in two slots: {reason}')
    else:
      self._queue.put_back(part)
      return
    self._end(*self._queue.finish(part, result))
