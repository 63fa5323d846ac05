"""Parameters of a finished training run on disk: those leaves of its state that `predict` reads.

A folder with `program.artifact`, the traced program, and `parameters`, an orbax checkpoint of the
leaves by their index in the state. Optimizer state is not saved: it is twice as large, and no
score depends on it. The folder is complete once `parameters` exists.
"""

import contextlib
import math
import pathlib
import shutil
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from autoresearch_jax.artifact.reader import Artifact
from autoresearch_jax.runner.checkpoint import restored_leaves
from autoresearch_jax.runner.compile import CompiledProgram, prng_key_data
from autoresearch_jax.runner.evaluate import evaluate
from autoresearch_jax.runner.own_metrics import OwnMetrics
from autoresearch_jax.types import PARAMETERS, Dataset

ARTIFACT = 'program.artifact'


class StateSaver:
  """Writes states in a background thread, one at a time."""

  def __init__(self) -> None:
    self._thread: threading.Thread | None = None

  def save(self, artifact: Artifact, leaves: Any, folder: pathlib.Path) -> None:
    """Copies what `predict` reads to the host, and writes it later. Failures are printed.

    Args:
      artifact: The traced program.
      leaves: Leaves of the trained state, on the devices.
      folder: Where to write; what is there is replaced.
    """
    self.wait()
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # as a full disk, which ends the writing, too
      folder.mkdir(parents=True, exist_ok=True)  # now, since others wait for what comes into it
    arrays = {str(i): np.array(leaf) for i, leaf in _read_leaves(artifact, leaves).items()}
    self._thread = threading.Thread(
      target=_write, args=(artifact, arrays, folder), name='save', daemon=True
    )
    self._thread.start()

  def wait(self) -> None:
    """Waits until the last state is written."""
    if self._thread is not None:
      self._thread.join()
      self._thread = None


def restore(artifact: Artifact, initial: Any, folder: pathlib.Path) -> Any:
  """Reads saved parameters.

  Args:
    artifact: The traced program.
    initial: Leaves as `init` returns them, for the rest of the state.
    folder: Where they were saved.

  Raises:
    FileNotFoundError: The folder has no parameters.
    ValueError: They are of another program.
  """
  leaves, tree = jax.tree.flatten(initial)
  wanted = _read_leaves(artifact, leaves)
  saved = read_parameters(folder)
  if {*saved} != {*wanted}:
    raise ValueError(f'The parameters in {folder} are not those that the program reads.')
  names = sorted(wanted)
  read = restored_leaves([wanted[i] for i in names], [saved[i] for i in names])
  for index, leaf in zip(names, read, strict=True):
    leaves[index] = leaf
  return jax.tree.unflatten(tree, leaves)


def evaluate_saved(
  compiled: CompiledProgram,
  folder: pathlib.Path,
  dataset: Dataset,
  on_test: bool,
  heartbeat: Callable[[], None],
  own: OwnMetrics | None = None,
) -> dict[str, float]:
  """Evaluates saved parameters, with the checks of a trial. Arguments are those of `evaluate`.

  The time of `predict` is not checked again. Raises as `restore` and `evaluate` do.
  """
  return evaluate(
    compiled,
    restore(compiled.artifact, compiled.init(prng_key_data(0)), folder),
    dataset,
    np.random.default_rng(),
    heartbeat,
    training_seconds=math.inf,
    training_tokens=1,
    on_test=on_test,
    own=own,
  )


def read_parameters(folder: pathlib.Path) -> dict[int, np.ndarray]:
  """Returns saved leaves by their index in the state. Raises FileNotFoundError."""
  path = folder / PARAMETERS
  if not path.is_dir():
    raise FileNotFoundError(f'{folder} has no parameters.')
  import orbax.checkpoint as ocp  # noqa: PLC0415 - takes a second, and few processes need it

  with ocp.PyTreeCheckpointer() as checkpointer:
    metadata = checkpointer.metadata(path.absolute()).item_metadata
    kinds = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in metadata}
    found = checkpointer.restore(path.absolute(), restore_args=kinds)
  return {int(name): np.asarray(array) for name, array in found.items()}


def _read_leaves(artifact: Artifact, leaves: Any) -> dict[int, Any]:
  """Those leaves that `predict` reads, by index. Orbax stores no empty arrays."""
  flat = jax.tree.leaves(leaves)
  return {
    i: flat[i] for i in artifact.exported[-1].module_kept_var_idx if i < len(flat) and flat[i].size
  }


def _write(artifact: Artifact, arrays: dict[str, np.ndarray], folder: pathlib.Path) -> None:
  try:
    import orbax.checkpoint as ocp  # noqa: PLC0415

    artifact.write(folder / ARTIFACT)
    with ocp.PyTreeCheckpointer() as checkpointer:
      checkpointer.save((folder / PARAMETERS).absolute(), arrays)
  except Exception as error:  # a full disk must not end a trial
    print(f'The parameters cannot be written to {folder}: {error!r}')
    shutil.rmtree(folder, ignore_errors=True)
