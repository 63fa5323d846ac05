"""Runs trials on the nodes of a Ray cluster: an actor holds the `host` of each node.

Ray says which nodes there are and carries the messages; it schedules nothing. Needs the extra
`cluster`. Whoever reaches a Ray port can run code on all nodes, hence the token authentication.
"""

import contextlib
import dataclasses
import importlib
import os
import queue
import threading
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.executors.cluster import ClusterExecutor
from autoresearch_jax.executors.host import SILENCE_SECONDS, Host
from autoresearch_jax.executors.remote_machine import HostLost, Link
from autoresearch_jax.types import Platform

AUTH_MODE = 'RAY_AUTH_MODE'
RESOURCE_SHARE = 0.001  # of a custom resource, which nobody else uses
# An actor without GPUs of its own may use all of the node's: slots share them, see `sharing`.
ENVIRONMENT = {'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0'}
CLOSE_SECONDS = 20.0


@EXECUTORS.register('ray')
@dataclasses.dataclass
class RayExecutor(ClusterExecutor):
  """Runs trials on the nodes of a Ray cluster. See `cluster`.

  Attributes:
    address: The cluster's address, as in `ray.init`.
    resource: Custom resource of the nodes that take part, as in `ray start --resources`; '' for all
      nodes.
    require_token: Whether to refuse a cluster without token authentication.
  """

  address: str = 'auto'
  resource: str = ''
  require_token: bool = True

  @classmethod
  def require_options(cls, platform: Platform, options: Mapping[str, Any]) -> None:
    super().require_options(platform, options)
    try:
      importlib.import_module('ray')
    except ImportError:
      raise ValueError(
        "The executor ray needs the package ray: pip install 'autoresearch_jax[cluster]'."
      ) from None
    if options.get('require_token', cls.require_token) and os.environ.get(AUTH_MODE) != 'token':
      raise ValueError(
        f'The Ray cluster must have token authentication, since its ports run any code: set '
        f'{AUTH_MODE}=token on all nodes and here, with the token of `ray get-auth-token`. On a '
        'network that nobody else reaches, set the option require_token to False.'
      )

  def __post_init__(self) -> None:
    ray: Any = importlib.import_module('ray')  # an extra
    self._ray = ray
    self._began = not ray.is_initialized()
    if self._began:
      ray.init(address=self.address, log_to_driver=False, logging_level='ERROR')
    self._actor = ray.remote(
      num_cpus=0,
      resources={self.resource: RESOURCE_SHARE} if self.resource else None,
      max_concurrency=4,
      runtime_env={'env_vars': ENVIRONMENT},
    )(HostActor)
    super().__post_init__()

  def names(self) -> Sequence[str]:
    return list(self._nodes())

  def connect(self, name: str) -> Link:
    strategies: Any = importlib.import_module('ray.util.scheduling_strategies')
    node = self._nodes().get(name)
    if node is None:
      raise HostLost('It is no longer a node of the Ray cluster.')
    affinity = strategies.NodeAffinitySchedulingStrategy(node, soft=False)
    with _explained(self._ray):
      return RayLink(self._ray, self._actor.options(scheduling_strategy=affinity).remote())

  def close(self) -> None:
    super().close()
    if self._began:
      self._ray.shutdown()

  def _nodes(self) -> dict[str, str]:
    """The ids of the nodes that take part, by name."""
    return {
      f'{node["NodeManagerHostname"]}-{node["NodeID"][:8]}': node['NodeID']
      for node in self._ray.nodes()
      if node['Alive'] and (not self.resource or self.resource in node['Resources'])
    }


class HostActor:
  """The actor of a node. Ray may run calls in another order than they were made in."""

  def __init__(self) -> None:
    self._host = Host()
    self._lock = threading.Lock()
    self._next = 0
    self._early: dict[int, bytes] = {}

  def send(self, number: int, message: bytes) -> None:
    """Handles a message, once all with lower numbers are handled."""
    with self._lock:
      self._early[number] = message
      while (data := self._early.pop(self._next, None)) is not None:
        self._next += 1
        self._host.handle(msgspec.json.decode(data))

  def receive(self, timeout: float) -> list[bytes]:
    """Returns the host's messages; waits for the first one."""
    messages = []
    try:
      message = self._host.messages.get(timeout=timeout)
      while message is not None:
        messages.append(msgspec.json.encode(message))
        message = self._host.messages.get_nowait()
    except queue.Empty:
      return messages
    return messages

  def close(self) -> None:
    """Ends the host."""
    self._host.close()


class RayLink(Link):
  """A connection to the actor of a node.

  Args:
    ray: The package.
    actor: The actor's handle.
  """

  def __init__(self, ray: Any, actor: Any):
    self._ray, self._actor = ray, actor
    self._lock = threading.Lock()
    self._sent = 0
    self._received: list[bytes] = []
    self._ended = False

  def send(self, message: Mapping[str, Any]) -> None:
    with self._lock, contextlib.suppress(self._ray.exceptions.RayError):  # `receive` reports it
      self._actor.send.remote(self._sent, msgspec.json.encode(message))
      self._sent += 1

  def receive(self, timeout: float) -> dict[str, Any] | None:
    if self._ended:
      raise HostLost('The connection was closed.')
    if not self._received:
      with _explained(self._ray):
        messages = self._actor.receive.remote(timeout)
        self._received = self._ray.get(messages, timeout=SILENCE_SECONDS)
    return msgspec.json.decode(self._received.pop(0)) if self._received else None

  def hang_up(self) -> None:
    self._ended = True

  def close(self) -> None:
    with contextlib.suppress(self._ray.exceptions.RayError):
      self._ray.get(self._actor.close.remote(), timeout=CLOSE_SECONDS)
    with contextlib.suppress(self._ray.exceptions.RayError):
      self._ray.kill(self._actor)


@contextlib.contextmanager
def _explained(ray: Any) -> typing.Iterator[None]:
  """Turns Ray's errors into HostLost."""
  try:
    yield
  except ray.exceptions.RayError as error:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else ''
    raise HostLost(f'Ray reports {type(error).__name__}: {reason}'.rstrip(': ')) from None
