"""The original autoresearch's published figures, FLOPs of the GPT program, and its trace.

Does not import jax, so that a command can leave the accelerator to a runner. FLOPs follow from the
program's constants. karpathy/autoresearch (March 2026) counts per token of a training step

    6 N + Σ over layers 12 · heads · head_dim · min(window, time)

where N is the number of parameters in matmuls (blocks, value gates and head, not embeddings). This
counts a full window for every query, although the first ones have fewer keys. The original's 39.8 %
MFU uses this formula. `needed` counts only the keys that a query can see.
"""

import dataclasses
import pathlib

from autoresearch_jax.config import Config
from autoresearch_jax.programs.start import constants_of
from autoresearch_jax.research.build import build_task
from autoresearch_jax.tracer.client import TracerClient
from autoresearch_jax.types import Isolation, Program, Spec, Status

ORIGINAL_MFU = 39.8  # percent, of an H100's 989.5 TFLOP/s: README of the original
ORIGINAL_STEPS = 953  # in 300 s
ORIGINAL_BATCH_TOKENS = 2**19
ORIGINAL_PEAK_MIB = 45060.2
ORIGINAL_BPB = 0.9979
TARGET_MFU = 45.0  # percent


@dataclasses.dataclass(frozen=True)
class GptShape:
  """Sizes of the GPT program.

  `windows` has the number of positions that each layer looks back.
  """

  width: int
  heads: int
  mlp_ratio: float
  gate_channels: int
  valued_layers: int
  windows: tuple[int, ...]
  vocab: int
  time: int
  batch_size: int

  @classmethod
  def of(cls, program: Program, spec: Spec) -> 'GptShape':
    """Reads the constants of a GPT program. Raises KeyError if one is missing."""
    c = constants_of(program)
    depth, head, time = c['DEPTH'], c['HEAD_DIM'], spec.sequence_length or 0
    width = -(-depth * c['ASPECT_RATIO'] // head) * head
    pattern = [c['WINDOW_PATTERN'][i % len(c['WINDOW_PATTERN'])] for i in range(depth - 1)]
    return cls(
      width=width,
      heads=width // head,
      mlp_ratio=c['MLP_RATIO'],
      gate_channels=c['VALUE_GATE_CHANNELS'],
      valued_layers=(depth + 1) // 2,
      windows=(*(time // 2 if letter == 'S' else time for letter in pattern), time),
      vocab=spec.vocab_size or 0,
      time=time,
      batch_size=c['BATCH_SIZE'],
    )

  @property
  def step_tokens(self) -> int:
    return self.batch_size * self.time

  @property
  def matmul_parameters(self) -> float:
    """N: parameters of the blocks, the value gates and the head."""
    blocks = len(self.windows) * (4 + 2 * self.mlp_ratio) * self.width**2
    gates = self.valued_layers * self.gate_channels * self.heads
    return blocks + gates + self.width * self.vocab

  @property
  def parameters(self) -> float:
    """All parameters, including embeddings and the two scalars of each layer."""
    embeddings = (1 + self.valued_layers) * self.vocab * self.width
    return self.matmul_parameters + embeddings + 2 * len(self.windows)

  def original(self) -> float:
    """Returns the FLOPs of one training step by the original's formula."""
    seen = sum(min(window, self.time) for window in self.windows)
    return self.step_tokens * (6 * self.matmul_parameters + 12 * self.width * seen)

  def needed(self) -> float:
    """Returns the FLOPs of one training step, counting only visible keys."""
    return 6 * self.matmul_parameters * self.step_tokens + self.attention()

  def attention(self) -> float:
    """Returns the part of `needed` in attention: two matmuls forward, four backward."""
    return 12 * self.width * self.batch_size * sum(self._pairs(w) for w in self.windows)

  def _pairs(self, window: int) -> int:
    """Number of (query, key) pairs of one sequence: position i sees min(i, window) + 1 keys."""
    back = min(window, self.time - 1)
    return (back + 1) * self.time - back * (back + 1) // 2


class TraceError(Exception):
  """The program does not trace; the message is the tracer's."""


def trace(config: Config, program: Program, num_devices: int, out: pathlib.Path) -> Isolation:
  """Traces a program as a trial does.

  Args:
    config: The run.
    program: The program.
    num_devices: Devices that share a batch.
    out: File for the artifact.

  Returns:
    The isolation that the tracer achieved.

  Raises:
    TraceError: The program does not trace.
  """
  task = build_task(config)
  tracer = TracerClient(config.limits, task.problem.hidden(), out.parent / 'traces')
  spec = dataclasses.replace(task.spec, num_devices=num_devices)
  try:
    result = tracer.trace(program, spec, config.data['evaluation_batch'], out)
  finally:
    tracer.close()
  if result.status is not Status.OK:
    raise TraceError(f'The {config.platform} variant does not trace: {result.reason}')
  return result.isolation
