"""A cluster whose machines are played: they answer at once, and fail when a test says so."""

import dataclasses
import pathlib
import queue

import msgspec

from autoresearch_jax.config import Limits
from autoresearch_jax.executors.cluster import ClusterExecutor
from autoresearch_jax.executors.host import HostReady
from autoresearch_jax.executors.remote_machine import HostLost, Link
from autoresearch_jax.types import (
  Cost,
  Dataset,
  Hardware,
  Measurement,
  Program,
  Progress,
  Result,
  SeedResult,
  Status,
  TrialRequest,
)
from helpers.tiny_language import SPEC, STEPS

LOST = object()
CPU = Hardware('cpu', 2)


class PlayedLink(Link):
  """The connection to a machine; it plays both ends.

  Attributes:
    requests: Trials that it was sent and that have no result, by number.
    sent: All messages that it was sent, as JSON reads them.
  """

  def __init__(self, ready: HostReady, refuses: str = ''):
    self.ready, self.refuses = ready, refuses
    self.requests: dict[int, TrialRequest] = {}
    self.sent: list[dict] = []
    self.inbox: queue.SimpleQueue = queue.SimpleQueue()

  def send(self, message) -> None:
    message = msgspec.json.decode(msgspec.json.encode(message))
    self.sent.append(message)
    if 'start' in message:
      self.answer({'refused': self.refuses} if self.refuses else {'ready': self.ready})
    elif 'submit' in message:
      request = msgspec.convert(message['submit'], TrialRequest)
      self.requests[request.trial] = request
      self.answer({'progress': Progress(request.trial, 'train', request.seeds[0])})
    elif 'cancel' in message:
      request = self.requests.pop(message['cancel'])
      self.answer({'result': Result(request.trial, Status.CANCELLED, 'The trial was cancelled.')})

  def answer(self, message) -> None:
    self.inbox.put(msgspec.json.decode(msgspec.json.encode(message)))

  def finish_seed(self, number: int, seed: int) -> None:
    run = Measurement(seed, {'val_bpb': float(seed)}, Cost())
    self.answer({'seed': SeedResult(number, 'f', run)})

  def finish(self, number: int) -> None:
    request = self.requests.pop(number)
    done = {run.measurement.seed for run in request.done}
    for seed in request.seeds:
      if seed not in done:
        self.finish_seed(number, seed)
    runs = tuple(Measurement(seed, {'val_bpb': float(seed)}, Cost()) for seed in request.seeds)
    self.answer({'result': Result(number, Status.OK, fingerprint='f', measurements=runs)})

  def receive(self, timeout):
    try:
      message = self.inbox.get(timeout=timeout)
    except queue.Empty:
      return None
    if message is LOST:
      raise HostLost('The connection was closed.')
    return message

  def hang_up(self) -> None:
    self.inbox.put(LOST)

  def close(self) -> None:
    pass


@dataclasses.dataclass
class PlayedCluster(ClusterExecutor):
  """An executor whose machines are played.

  Attributes:
    machines: Links to come, by name; a machine without one cannot be reached.
    links: The latest link of each machine.
  """

  machines: dict[str, list[PlayedLink]] = dataclasses.field(default_factory=dict)
  links: dict[str, PlayedLink] = dataclasses.field(default_factory=dict)

  def names(self):
    return list(self.machines)

  def connect(self, name):
    if not self.machines[name]:
      raise HostLost('It cannot be reached.')
    self.links[name] = self.machines[name].pop(0)
    return self.links[name]


def link(slots: int = 1, hardware: Hardware = CPU, refuses: str = '') -> PlayedLink:
  return PlayedLink(HostReady(slots, hardware), refuses)


def played(folder: pathlib.Path, **machines: list[PlayedLink]) -> PlayedCluster:
  return PlayedCluster(
    spec=SPEC,
    dataset=Dataset('language_model', fingerprint='test'),
    hidden=(),
    limits=Limits(),
    scratch=folder / 'scratch',
    cache=folder / 'cache',
    problem=('tiny_language', {}),
    machines=machines,
  )


def request(trial: int, seeds=(0,), text: str = 'WIDTH = 64', **fields) -> TrialRequest:
  return TrialRequest(trial, Program((('model.py', text),), 'model.py'), seeds, STEPS, **fields)
