"""`load_model`: an exported model in this process, without the candidate's Python."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import msgspec
import numpy as np

from autoresearch_jax.artifact import reader
from autoresearch_jax.artifact.header import ArtifactError
from autoresearch_jax.artifact.unshared import unshared
from autoresearch_jax.config import Config
from autoresearch_jax.data.examples import PreparedInfo
from autoresearch_jax.data.tokenizer import Tokenizer
from autoresearch_jax.models import scoring
from autoresearch_jax.models.exported import (
  ARRAYS,
  MODELS,
  TOKENIZER,
  ModelError,
  ModelInfo,
  read_info,
)
from autoresearch_jax.runner.saved_state import ARTIFACT, read_parameters
from autoresearch_jax.types import from_builtins


@dataclasses.dataclass(frozen=True, repr=False)
class Model:
  """A trained model of a run. `ar.load_model` returns it.

  Attributes:
    folder: Its folder.
    info: Where it comes from, and what it scored.
    artifact: The traced program.
    parameters: The arrays that `predict` reads, by their index in the state.

  Example:
    >>> import autoresearch_jax as ar
    >>> run = ar.run('digits', 'runs/digits', max_trials=2, final_seeds=0)
    >>> model = ar.load_model('runs/digits/models/baseline')
    >>> model.info.trial, model.artifact.spec.num_classes
    (0, 10)
  """

  folder: pathlib.Path
  info: ModelInfo
  artifact: reader.Artifact
  parameters: dict[int, np.ndarray]

  def predict(self, inputs: Any) -> np.ndarray:
    """Returns the program's outputs: logits, or the construction.

    Args:
      inputs: Any number of rows. Language models: int `[rows, time]` with at most
        `sequence_length` tokens. Supervised problems: float `[rows, *input_shape]`, as they are in
        the user's data: they are standardised as in training. Constructions: none; pass `()`.

    Returns:
      float32: `[rows, time, vocab]`, `[rows, classes]` (see `classes`), in a regression `[rows,
      ...]` in the unit of the targets, or the construction's shape.

    Raises:
      ModelError: The inputs have another shape.
    """
    wanted = self._predict.in_avals[len(self.artifact.leaves)]
    if self.artifact.spec.kind == 'construction':
      return np.asarray(self._call(jnp.zeros(wanted.shape, wanted.dtype)))
    given = np.asarray(inputs)
    rows, *shape = given.shape or (0,)
    most, *full = wanted.shape
    is_text = self.artifact.spec.kind == 'language_model'
    fits = len(shape) == 1 and shape[0] <= full[0] if is_text else shape == full
    if not fits:
      sizes = ('at most ' if is_text else '') + ', '.join(map(str, full))
      raise ModelError(f'The inputs have the shape {list(given.shape)}; use [rows, {sizes}].')
    padded = np.zeros((-(-rows // most) * most, *full), wanted.dtype)
    padded[(slice(rows), *map(slice, shape))] = self._arrays_info.scaled(given) if rows else given
    outputs = [np.asarray(self._call(padded[i : i + most])) for i in range(0, len(padded), most)]
    if not outputs:
      return np.zeros((0, *self._predict.out_avals[0].shape[1:]), np.float32)
    whole = np.concatenate(outputs)[:rows]
    return whole[:, : shape[0]] if is_text else self._arrays_info.unscaled(whole)

  def next_logits(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns a language model's logits of the token after each row.

    Args:
      rows: Tokens, at least one each; of more than `sequence_length` the last ones count.

    Returns:
      float32 `[rows, vocab]`.
    """
    most, length = self._predict.in_avals[len(self.artifact.leaves)].shape
    found = []
    for first in range(0, len(rows), most):
      cut = [row[-length:] for row in rows[first : first + most]]
      inputs, ends = np.zeros((most, length), np.int32), np.zeros(most, np.int32)
      for index, row in enumerate(cut):
        inputs[index, : len(row)], ends[index] = row, len(row) - 1
      found.append(np.asarray(self._call_at(inputs, ends))[: len(cut)])
    return np.concatenate(found)

  def score(self, split: str = 'validation') -> dict[str, float]:
    """Returns the metrics of the model, measured as those of a trial, in a process of its own.

    Args:
      split: `validation` or `test`.

    Raises:
      ModelError: It cannot be scored here.
    """
    return scoring.score(self.folder, split)

  @functools.cached_property
  def tokenizer(self) -> Tokenizer:
    """The tokenizer of a language model. Raises ModelError for other models."""
    try:
      return Tokenizer.load(self.folder / TOKENIZER)
    except (OSError, ValueError):
      raise ModelError(f'{self.folder} has no tokenizer, so it is no language model.') from None

  @property
  def classes(self) -> tuple[str, ...]:
    """Labels of the classes of the user's own arrays, in the order of the logits; else ()."""
    return tuple(self._arrays_info.classes)

  @functools.cached_property
  def _arrays_info(self) -> PreparedInfo:
    path = self.folder / ARRAYS
    if not path.is_file():
      return PreparedInfo([], {})
    return msgspec.json.decode(path.read_bytes(), type=PreparedInfo)

  @property
  def sequence_length(self) -> int:
    """Tokens that a language model sees at once; 0 for other models."""
    return self.artifact.spec.sequence_length or 0

  @functools.cached_property
  def _predict(self) -> jax.export.Exported:
    exported = unshared(self.artifact.exported[-1], self.artifact.spec.num_devices)
    if self.artifact.platform == _here():
      return exported
    # Plain StableHLO runs on any platform; the reader has checked that it has no other operations.
    calls = {op.name for op in self.artifact.graphs[-1].ops()}
    if 'stablehlo.custom_call' in calls:
      raise ModelError(
        f'This model was traced for {self.artifact.platform} and uses kernels of that platform; '
        f'this machine has {_here()}.'
      )
    return dataclasses.replace(
      exported,
      disabled_safety_checks=(
        *exported.disabled_safety_checks, jax.export.DisabledSafetyCheck.platform(),
      ),
    )  # fmt: skip

  @functools.cached_property
  def _call(self) -> Any:
    return functools.partial(jax.jit(self._outputs), self._arrays)

  @functools.cached_property
  def _call_at(self) -> Any:
    """`_call`, but only at one position of each row: (inputs, positions) -> [rows, vocab]."""

    def call(arrays: dict[str, jax.Array], inputs: jax.Array, ends: jax.Array) -> jax.Array:
      return self._outputs(arrays, inputs)[jnp.arange(len(ends)), ends]

    return functools.partial(jax.jit(call), self._arrays)

  @functools.cached_property
  def _arrays(self) -> dict[str, jax.Array]:
    return {str(i): jnp.asarray(array) for i, array in self.parameters.items()}

  def _outputs(self, arrays: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    """What `predict` returns, float32. Leaves that it does not read are zeros."""
    state = [
      arrays[str(i)].astype(leaf.dtype) if str(i) in arrays else jnp.zeros(leaf.shape, leaf.dtype)
      for i, leaf in enumerate(self.artifact.leaves)
    ]
    return self._predict.call(*state, inputs).astype(jnp.float32)

  def __repr__(self) -> str:
    value = self.info.metrics.get(self.info.metric)
    return (
      f'Model({str(self.folder)!r}: trial {self.info.trial} of {self.info.run}, '
      f'{self.info.parameters:,} parameters, {self.info.metric} {value})'
    )


def load_model(path: str | os.PathLike[str]) -> Model:
  """Loads a model that a run or `autoresearch export-model` has written.

  No code of a candidate runs: the artifact is read with suspicion, and holds only StableHLO.

  Args:
    path: The model's folder, or that of a run for its best model.

  Raises:
    ModelError: There is no model, or it cannot be read.

  Example:
    >>> import autoresearch_jax as ar
    >>> run = ar.run('digits', 'runs/digits', max_trials=2, final_seeds=0)
    >>> model = ar.load_model('runs/digits/models/baseline')
    >>> model.predict([[0.0] * 64]).shape
    (1, 10)
  """
  folder = model_folder(pathlib.Path(path))
  info = read_info(folder)
  try:
    artifact = reader.read(folder / ARTIFACT, from_builtins(info.config, Config).limits)
    parameters = read_parameters(folder)
  except (ArtifactError, OSError, ValueError) as error:
    raise ModelError(f'The model in {folder} cannot be loaded: {error}') from None
  return Model(folder, info, artifact, parameters)


def model_folder(path: pathlib.Path) -> pathlib.Path:
  """Returns the folder of a model: the path, or the best model of the run in it."""
  if (path / 'ledger.db').is_file():
    found = (path / MODELS / name for name in ('best', 'baseline'))
    return next((folder for folder in found if folder.is_dir()), path)
  return path


def _here() -> str:
  platform = jax.default_backend()
  return 'cuda' if platform == 'gpu' else platform
