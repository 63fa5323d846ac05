"""Splits operations over the devices that share a batch, where XLA would not.

XLA partitions most of a program once its batch is sharded. It does not partition custom calls, such
as attention kernels, nor loops over the sharded axis: each device then computes all rows. The
operations of this package therefore run under `jax.shard_map` on an abstract mesh, so a process
without the devices can trace them.

The tracer sets the number of devices with `sharing`. With one device nothing changes.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax import lax
from jax.sharding import AbstractMesh, PartitionSpec

AXIS = 'batch'  # of the mesh; the runner's mesh has the same

_devices: contextvars.ContextVar[int] = contextvars.ContextVar('devices', default=1)


@contextlib.contextmanager
def sharing(num_devices: int) -> Iterator[None]:
  """Sets the number of devices that share a batch, while a program is traced."""
  token = _devices.set(num_devices)
  try:
    yield
  finally:
    _devices.reset(token)


def num_shares(rows: int) -> int:
  """Number of devices that share an array with so many rows: all of them, or 1 if it is uneven."""
  devices = _devices.get()
  own_mesh = not jax.sharding.get_abstract_mesh().empty  # the program shards by itself
  return 1 if own_mesh or rows % devices else devices


def mesh() -> AbstractMesh:
  """The mesh of the devices that share a batch."""
  return AbstractMesh((_devices.get(),), (AXIS,))


def by_rows(function: Callable[..., Any], *arrays: jax.Array) -> Any:
  """Applies a function to each device's rows of the arrays, which it must treat independently.

  Args:
    function: From arrays to an array, all with rows along axis 0.
    *arrays: Arrays with equally many rows.
  """
  if num_shares(arrays[0].shape[0]) == 1:
    return function(*arrays)
  return shard(function, (True,) * len(arrays), True)(*arrays)


def mean_over_devices(function: Callable[..., Any], params: Any, batch: Any) -> Any:
  """Applies a function to each device's rows of a batch, and averages the results.

  Gradients that are accumulated in micro-batches are then summed over devices once, where XLA would
  sum those of each micro-batch.

  Args:
    function: (params, batch) -> arrays that are means over the rows of the batch.
    params: Arrays that each device has in full.
    batch: Arrays with equally many rows along axis 0.
  """
  devices = num_shares(jax.tree.leaves(batch)[0].shape[0])
  if devices == 1:
    return function(params, batch)

  def own(params: Any, batch: Any) -> Any:
    return jax.tree.map(lambda x: lax.psum(x, AXIS) / devices, function(params, batch))

  return shard(own, (False, True), False)(params, batch)


def shard(function: Callable[..., Any], inputs: Any, outputs: Any) -> Callable[..., Any]:
  """`jax.shard_map` over the devices that share a batch.

  Args:
    function: Computes one device's share; it may sum over devices with `jax.lax.psum(x, AXIS)`.
    inputs: For each argument, whether its rows (axis 0) are split; otherwise each device has all.
    outputs: The same for each result.
  """

  def specs(split: Any) -> Any:
    return jax.tree.map(lambda each: PartitionSpec(AXIS) if each else PartitionSpec(), split)

  # Not checked here: the reader of artifacts checks that what is not split is equal everywhere.
  return jax.shard_map(
    function, mesh=mesh(), in_specs=specs(inputs), out_specs=specs(outputs), check_vma=False
  )
