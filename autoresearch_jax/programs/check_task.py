"""The problem that `autoresearch check` traces a program for, as a file.

A coding agent's sandbox has no config and no data. The proposer writes this file for it and names
it in the environment variable AUTORESEARCH_TASK.
"""

import dataclasses
import os
import pathlib

import msgspec

from autoresearch_jax.types import Spec

TASK_VARIABLE = 'AUTORESEARCH_TASK'
EVALUATION_BATCH = 32  # rows of a call of `predict`, where the data is not known


@dataclasses.dataclass(frozen=True)
class CheckTask:
  """A problem and the files of its programs.

  Attributes:
    spec: The problem as programs see it.
    entry: The file that defines `init`, `train_step` and `predict`.
    files: All files that a program must have.
    evaluation_batch: Rows (examples) of the batch that `predict` is traced for.
  """

  spec: Spec
  entry: str
  files: tuple[str, ...]
  evaluation_batch: int = EVALUATION_BATCH

  def write(self, path: pathlib.Path) -> None:
    """Writes the task to a file."""
    path.write_bytes(msgspec.json.encode(self))

  @classmethod
  def from_environment(cls) -> 'CheckTask | None':
    """Returns the task that AUTORESEARCH_TASK names; None if it is not set.

    Raises:
      OSError: The file cannot be read.
      ValueError: It holds no task.
    """
    path = os.environ.get(TASK_VARIABLE)
    return msgspec.json.decode(pathlib.Path(path).read_bytes(), type=cls) if path else None
