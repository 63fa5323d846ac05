"""Loads and compiles artifacts, keeps the latest ones in memory, and prefetches later trials'.

A prefetch loads, and may compile, an artifact in a background thread while a trial trains. It has
no effect before the artifact is loaded for its own trial. In particular, whatever is wrong with it
is reported only then.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import gc
import pathlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from autoresearch_jax.artifact import reader
from autoresearch_jax.artifact.fingerprint import fingerprint
from autoresearch_jax.artifact.header import ArtifactError
from autoresearch_jax.artifact.unshared import for_one_device
from autoresearch_jax.config import Limits
from autoresearch_jax.runner import devices
from autoresearch_jax.runner.client import COMPILE_CACHE_SIZE, RunnerError
from autoresearch_jax.runner.compile import (
  CompiledProgram,
  ExecutableTemplate,
  IndivisibleBatch,
  OutOfDeviceMemory,
  compile_template,
)
from autoresearch_jax.types import Status

T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class LoadedArtifact:
  """An artifact that was read and checked.

  Attributes:
    artifact: The artifact.
    description: Its `fingerprint` and its `facts`.
  """

  artifact: reader.Artifact
  description: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Prefetch:
  """An artifact that is loaded, and possibly compiled, in the background."""

  loading: Future[LoadedArtifact]
  compiling: Future[CompiledProgram] | None


class ProgramCache:
  """The compiled programs of a runner. One thread calls it; any thread may call `prefetch`.

  Args:
    runner_devices: Devices to compile for.
    limits: Limits of artifacts and of device memory.
  """

  def __init__(self, runner_devices: Sequence[devices.Device], limits: Limits):
    self._devices = runner_devices
    self._limits = limits
    self._compiled: collections.OrderedDict[str, CompiledProgram] = collections.OrderedDict()
    self._templates: collections.OrderedDict[str, ExecutableTemplate] = collections.OrderedDict()
    self._prefetches: collections.OrderedDict[str, Prefetch] = collections.OrderedDict()
    self._lock = threading.Lock()  # guards these three
    self._loaded: LoadedArtifact | None = None
    self._prefetched: Future[CompiledProgram] | None = None  # the loaded artifact's, if any
    self._current: ExecutableTemplate | None = None  # of the present trial; never evicted
    self._executor = concurrent.futures.ThreadPoolExecutor(1, 'prefetch')
    self._compile_lock = threading.Lock()  # held so that prefetches do not start to compile

  def load(self, path: str, any_devices: bool = False) -> dict[str, Any]:
    """Reads and checks an artifact, and computes its fingerprint.

    Args:
      path: The artifact.
      any_devices: Whether it may have been traced for another number of devices.

    Returns:
      Its `fingerprint` and `facts`.

    Raises:
      RunnerError: the artifact is rejected.
    """
    with self._lock:
      prefetch = self._prefetches.pop(path, None)
    self._loaded = self._prefetched = None
    if prefetch:
      self._loaded, self._prefetched = _result_if_started(prefetch.loading), prefetch.compiling
    self._loaded = self._loaded or self._read(path, any_devices)
    return self._loaded.description

  def compile(self) -> CompiledProgram:
    """The loaded artifact's executables with its constants bound, from the cache if possible.

    Raises:
      RunnerError: it does not fit on the devices.
    """
    assert self._loaded is not None
    if self._prefetched:
      _result_if_started(self._prefetched)
    template = self._current = self._template(self._loaded.artifact)
    if self._prefetched or template.cache_key not in self._compiled:
      # Memory that only evicted programs hold must not count as the new program's.
      gc.collect()
    with self._before_prefetches():
      compiled = self._compile(template)
    return compiled.bind(template)

  def compile_other(self, path: str) -> CompiledProgram:
    """An artifact's executables with its constants bound, without making it the loaded one.

    Raises:
      RunnerError: the artifact is rejected, or does not fit on the devices.
    """
    artifact = self._read(path).artifact
    template = self._templates.get(artifact.digest) or ExecutableTemplate.from_artifact(artifact)
    compiled = self._compiled.get(template.cache_key) or self._compile_new(template)
    return compiled.bind(template)

  def prefetch(self, path: str, compile: bool, on_done: Callable[[], None]) -> None:
    """Loads an artifact in the background, and compiles it if `compile`; then calls `on_done`.

    If it fails, or has not started when the artifact is loaded for its trial, `load` and `compile`
    do the work instead, and report errors.
    """

    def load() -> LoadedArtifact:
      loaded = self._read(path)
      self._template(loaded.artifact)
      return loaded

    def compile_loaded() -> CompiledProgram:
      template = self._template(loading.result().artifact)
      with self._compile_lock:
        return self._compile(template)

    loading = self._executor.submit(load)
    prefetch = Prefetch(loading, self._executor.submit(compile_loaded) if compile else None)
    (prefetch.compiling or loading).add_done_callback(lambda _: on_done())
    with self._lock:
      _put(self._prefetches, path, prefetch)

  def memory_limit(self) -> int:
    """Bytes that a program may use on each device."""
    return self._limits.device_bytes or devices.memory_limit(self._devices[0])

  def _read(self, path: str, any_devices: bool = False) -> LoadedArtifact:
    try:
      artifact = reader.read(pathlib.Path(path), self._limits)
    except ArtifactError as error:
      raise RunnerError(Status.INVALID, str(error)) from None
    platform = 'gpu' if artifact.platform == 'cuda' else artifact.platform
    if platform != self._devices[0].platform:
      raise RunnerError(
        Status.INVALID,
        f'The artifact is for {platform}, but this runner has {self._devices[0].platform}.',
      )
    shares = max(graph.num_devices for graph in artifact.graphs)
    if shares not in (1, len(self._devices)) and any_devices:
      artifact = for_one_device(artifact)
    elif shares not in (1, len(self._devices)):
      raise RunnerError(
        Status.INVALID,
        f'The artifact shares its batch among {shares} devices, but this runner has '
        f'{len(self._devices)}; trace the program again.',
      )
    description = {'fingerprint': fingerprint(artifact), 'facts': artifact.facts()}
    return LoadedArtifact(artifact, description)

  def _template(self, artifact: reader.Artifact) -> ExecutableTemplate:
    # Keyed by digest, not by fingerprint: programs that only report other metrics share that.
    template = self._templates.get(artifact.digest) or ExecutableTemplate.from_artifact(artifact)
    with self._lock:
      current = self._current and self._current.artifact.digest
      _put(self._templates, artifact.digest, template, current)
    return template

  @contextlib.contextmanager
  def _before_prefetches(self) -> Iterator[None]:
    """Keeps prefetches from starting to compile; does not wait for one that has started."""
    acquired = self._compile_lock.acquire(blocking=False)
    try:
      yield
    finally:
      if acquired:
        self._compile_lock.release()

  def _compile(self, template: ExecutableTemplate) -> CompiledProgram:
    compiled = self._compiled.get(template.cache_key) or self._compile_new(template)
    with self._lock:
      _put(self._compiled, template.cache_key, compiled, self._current and self._current.cache_key)
    return compiled

  def _compile_new(self, template: ExecutableTemplate) -> CompiledProgram:
    limit = self.memory_limit()
    try:
      return compile_template(template, self._devices, limit)
    except OutOfDeviceMemory as error:
      facts = {'needed_bytes': error.needed, 'device_bytes': error.limit}
      raise RunnerError(Status.OOM, str(error), facts) from None
    except IndivisibleBatch as error:
      raise RunnerError(Status.INVALID, str(error)) from None


def _put(
  cache: collections.OrderedDict[str, Any], key: str, value: Any, current: str | None = None
) -> None:
  """Inserts a value and evicts the least recently used ones, but never that with key `current`."""
  cache[key] = value
  cache.move_to_end(key)
  if current in cache:
    cache.move_to_end(current)
  while len(cache) > COMPILE_CACHE_SIZE:
    cache.popitem(last=False)


def _result_if_started(future: Future[T]) -> T | None:
  """Waits for a result; None if the work has not started, which cancels it, or has failed."""
  if future.cancel():
    return None
  try:
    return future.result()
  except Exception:
    return None
