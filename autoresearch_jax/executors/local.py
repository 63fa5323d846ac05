"""Trials on this machine, one in each slot: each has its own devices, runner and tracer.

Requests wait in one line, and all news go out by one door. A slot that fails leaves the others
alone: a dead or late runner is replaced, and one that cannot be is given up for this session, which
is said; its trial goes to another slot. When none is left the executor is unavailable, and at once
where the operating system fails, as with a full disk: no other slot would do better.
"""

import dataclasses
import pathlib
import queue
import sys
import threading
from collections.abc import Sequence

from autoresearch_jax.config import Limits
from autoresearch_jax.executors import EXECUTORS, Unavailable, sharing
from autoresearch_jax.executors.artifacts import Artifacts
from autoresearch_jax.executors.slot import Site, Slot
from autoresearch_jax.messages import of_machine
from autoresearch_jax.types import (
  Budget,
  Dataset,
  Program,
  Progress,
  Result,
  Spec,
  Status,
  TrialRequest,
)


@EXECUTORS.register('local')
@dataclasses.dataclass
class Local:
  """As many trials at once as there are slots, which share the devices of this machine alike.

  slots: 1: one trial has all devices; 0: each device is a slot; else so many, which share the
  devices, on a CPU the cores (see `sharing`). Afterwards how many there are.
  spec: of the problem at full budget. hidden: what a tracer must never read. scratch: folder for
  traces, artifacts and logs. cache: folder for compiled programs, shared between runs.
  compile_ahead: whether what `check` has traced is compiled while another trial trains. None: on a
  TPU, where the host compiles and the chip trains. Not on a CPU, whose cores the training wants
  (set it where there are cores to spare), nor on a GPU, where XLA tries kernels out on the device
  to choose among them: that takes time from the training, which in turn is in the way of a good
  choice. Read it is beside a training in any case: a tenth of a second of one core.
  """

  spec: Spec
  dataset: Dataset
  hidden: tuple[pathlib.Path, ...]
  limits: Limits
  scratch: pathlib.Path
  cache: pathlib.Path
  slots: int = 1
  compile_ahead: bool | None = None

  def __post_init__(self) -> None:
    shares = sharing.shares(self.spec.platform, self.slots)
    self.slots = len(shares)
    self.scratch.mkdir(parents=True, exist_ok=True)
    self._news: queue.SimpleQueue[Progress | Result | Unavailable] = queue.SimpleQueue()
    site = Site(
      self.spec, self.dataset, self.hidden, self.limits, self.scratch, self.cache,
      Artifacts(self.scratch / 'artifacts'), self._news,
    )  # fmt: skip
    self._all = [
      Slot(site, share, i, {'slot': i, 'slot_has': share.name} if len(shares) > 1 else {})
      for i, share in enumerate(shares)
    ]
    self._all[0].tracer.check()
    self._changed = threading.Condition()  # over all that follows, and what trial each slot has
    self._waiting: list[TrialRequest] = []
    self._living = list(self._all)
    self._idle: list[Slot] = []
    self._returned: set[int] = set()  # trials whose slot failed
    self._closing = False
    self._threads = [
      threading.Thread(target=self._work, args=(slot,), name=f'slot {i}', daemon=True)
      for i, slot in enumerate(self._all)
    ]
    for thread in self._threads:
      thread.start()

  def submit(self, request: TrialRequest) -> None:
    with self._changed:
      self._waiting.append(request)
      self._changed.notify_all()

  def check(self, program: Program, budget: Budget) -> str:
    slots = list(self._living)
    if not slots:
      return ''
    free = [slot for slot in slots if not slot.tracing] or slots
    traced = free[0].check(program, budget)
    if traced is None:
      return ''
    if traced.status == Status.OK:
      self._prepare(program, budget, slots)
    return traced.reason if traced.status == Status.INVALID else ''

  @property
  def _compiles_ahead(self) -> bool:
    return self.spec.platform == 'tpu' if self.compile_ahead is None else self.compile_ahead

  def _prepare(self, program: Program, budget: Budget, slots: Sequence[Slot]) -> None:
    """Where it will run, as it seems: in the slot that had its trial for the longest time.

    Not in one that has prepared more than others. Where another slot takes it after all, that reads
    it anew, and finds in the cache on disk what was compiled.
    """
    if not any(slot.is_warm(program) for slot in slots):
      idle_first = min(slots, key=lambda s: (s.prepared, s.request is not None, s.began))
      idle_first.prepare(program, budget, self._compiles_ahead)

  def wait(self, timeout: float) -> list[Progress | Result]:
    news: list[Progress | Result] = []
    try:
      item = self._news.get(timeout=timeout)
      while not isinstance(item, Unavailable):
        news.append(item)
        item = self._news.get_nowait()
    except queue.Empty:
      return news
    if news:
      self._news.put(item)  # what came before it is told first
      return news
    raise item

  def cancel(self, trial: int) -> None:
    with self._changed:  # no slot goes on to another trial meanwhile
      for request in [r for r in self._waiting if r.trial == trial]:
        self._waiting.remove(request)
        reason = 'The trial was cancelled before it began.'
        self._news.put(Result(trial, Status.CANCELLED, reason))
      for slot in self._living:
        if slot.request is not None and slot.request.trial == trial:
          slot.cancel()

  def pids(self) -> dict[str, int | None]:
    """Process ids of each slot's runner and tracer, for whoever watches them."""
    return {
      f'{name} {i}' if i else name: part.pid
      for i, slot in enumerate(self._all)
      for name, part in (('runner', slot.runner), ('tracer', slot.tracer))
    }

  def close(self) -> None:
    with self._changed:
      self._closing = True
      self._changed.notify_all()
    for slot in self._all:
      slot.end()
    for thread in self._threads:
      thread.join(timeout=30)

  def _work(self, slot: Slot) -> None:
    try:
      slot.start()
      while self._take(slot):
        self._finish(slot, slot.trial())
    except Unavailable as error:
      self._give_up(slot, str(error))
    except OSError as error:
      self._give_up(slot, f'No trial can be run here. {of_machine(error)}', others=False)
    except Exception as error:  # else the caller would wait for ever
      self._give_up(slot, f'The executor failed: {type(error).__name__}: {error}')
    finally:
      slot.close()

  def _take(self, slot: Slot) -> bool:
    """Waits until the slot has a trial; False when there will be none."""
    with self._changed:
      self._idle.append(slot)
      while not self._closing and self._next(slot) is None:
        self._changed.wait()
      self._idle.remove(slot)
      request = None if self._closing else self._next(slot)
      if request is not None:
        slot.take(request)
        self._waiting.remove(request)
        self._changed.notify_all()  # what was left to this slot is for others now
      return request is not None

  def _next(self, slot: Slot) -> TrialRequest | None:
    """The first trial that waits, but for those whose program another idle slot has compiled."""
    others = [other for other in self._idle if other is not slot]
    for request in self._waiting:
      if slot.is_warm(request.program) or not any(o.is_warm(request.program) for o in others):
        return request
    return None

  def _finish(self, slot: Slot, result: Result) -> None:
    with self._changed:
      slot.request = None
      if not self._closing:
        self._news.put(result)

  def _give_up(self, slot: Slot, reason: str, others: bool = True) -> None:
    """others: whether they may go on."""
    with self._changed:
      self._living.remove(slot)
      self.slots = len(self._living)
      request, slot.request = slot.request, None
      if self._closing:
        return
      if not (others and self._living):
        self._news.put(Unavailable(reason))
      elif request is not None and slot.cancelled:
        self._news.put(Result(request.trial, Status.CANCELLED, 'The trial was cancelled.'))
      elif request is not None:
        self._return(request, reason)
      self._changed.notify_all()
    if others and self._living:
      left = 'One slot goes on' if self.slots == 1 else f'{self.slots} slots go on'
      text = f'The slot with {slot.share.name} is given up: {reason} {left}.'
      print(text, file=sys.stderr, flush=True)

  def _return(self, request: TrialRequest, reason: str) -> None:
    """Has another slot run the trial, once: a program that ends slots shall not end them all."""
    if request.trial in self._returned:
      self._news.put(Result(request.trial, Status.CRASH, f'Two slots failed with it: {reason}'))
    else:
      self._returned.add(request.trial)
      self._waiting.insert(0, request)
