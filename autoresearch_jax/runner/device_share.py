"""How much of a train step several devices share, and why they do not share the rest.

XLA shares most programs among devices by itself. Where it cannot, each device computes everything,
and n devices are as fast as one. So the FLOPs of the compiled step on one device are compared with
those of the traced program.
"""

import dataclasses

from autoresearch_jax.artifact.matmuls import matmul_flops
from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.runner.hlo import Module

MAX_REPLICATED = 0.1  # of the products, if the cause is known; optimizers repeat this much
MAX_UNEXPLAINED = 0.5
# Kernels, which XLA does not partition: prefixes of the targets of their custom calls.
_KERNELS = ('tpu_custom_call', '__cudnn$', '__gpu$xla.gpu.triton', 'triton_kernel_call')


@dataclasses.dataclass(frozen=True)
class DeviceShare:
  """What one of several devices computes.

  Attributes:
    replicated: Fraction of the program's matrix products that every device computes, in [0, 1].
    note: A sentence on why, if it is much; else ''.
  """

  replicated: float
  note: str


def device_share(artifact: Artifact, index: int, text: str, num_devices: int) -> DeviceShare:
  """The share of each device in the train step of a phase.

  Args:
    artifact: The program.
    index: Number of the phase.
    text: The compiled step, as text.
    num_devices: Devices that share a batch; at least 2.
  """
  graph, module = artifact.graphs[1 + index], Module(text)
  total = sum(matmul_flops(graph, kernels=False).values())
  share = module.product_flops / total if total else 1 / num_devices
  replicated = min(1.0, max(0.0, (share - 1 / num_devices) / (1 - 1 / num_devices)))
  kernels = sorted(
    {
      target
      for op in graph.ops_outside_of_shares()
      if (target := dict(op.attributes).get('call_target_name', '').strip('"')).startswith(_KERNELS)
    }
  )
  gathers = sum(each.operation.opcode.startswith('all-gather') for each in module.executed())
  begin = f'Each of the {num_devices} devices computes '
  if kernels:
    return DeviceShare(
      replicated,
      f'{begin}all rows in the kernel {kernels[0]!r:.60}, which XLA cannot share; use '
      'autoresearch_jax.ops.attention, or call it in jax.shard_map.',
    )
  if gathers and replicated > MAX_REPLICATED:
    return DeviceShare(
      replicated,
      f'{begin}{replicated:.0%} of the matrix products for all rows: XLA cannot share a loop over '
      f'the rows of the batch, and gathers them ({gathers} all-gathers). Scan over micro-batches '
      f'[parts, rows, ...] whose rows are a multiple of {num_devices}, or use jax.vmap.',
    )
  if replicated > MAX_UNEXPLAINED:
    return DeviceShare(
      replicated,
      f'{begin}{replicated:.0%} of the matrix products in full; they do not depend on the rows of '
      'the batch (an optimizer, say), so more devices do not make them faster.',
    )
  return DeviceShare(replicated, '')
