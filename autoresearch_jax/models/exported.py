"""A model folder: a program's parameters, its artifact, its text, and where they come from.

    model.json         `ModelInfo`
    program.artifact   the traced program: StableHLO modules, no Python
    parameters/        orbax checkpoint of the arrays that `predict` reads
    program/           the program's text, for reading; it is never run from here
    tokenizer.json     of a language model
    arrays.json        of the user's own arrays: names of classes, scales of inputs and targets

A run that ends writes `models/best` and `models/baseline` from what its runners have saved.
"""

import pathlib
import shutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from autoresearch_jax.data.examples import INFO as ARRAYS
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.models.states import TrainingRun, runs_of
from autoresearch_jax.registry import installed_versions
from autoresearch_jax.report.final_comparison import best_program
from autoresearch_jax.types import PARAMETERS, STATES, Dataset, Program, to_builtins

FORMAT = 1
INFO, ARTIFACT, TEXTS, TOKENIZER = 'model.json', 'program.artifact', 'program', 'tokenizer.json'
NAMES = {INFO, ARTIFACT, PARAMETERS, TEXTS, TOKENIZER, ARRAYS}  # in a model folder
MODELS = 'models'  # folder of a run with its models
WAIT_SECONDS = 30.0  # for a runner to finish writing
VERSIONS = ('autoresearch_jax', 'jax', 'jaxlib')


class ModelError(ValueError):
  """A model cannot be exported, loaded or used; the message says why, and what to do."""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
  """Where a model comes from, and what it scored: `model.json`.

  Attributes:
    format: Version of the folder's layout.
    run: Name of the run.
    trial: First trial with this program.
    seed: Seed of the training run.
    description: The last edit, in one line.
    metric: The run's metric.
    metrics: What this training run measured.
    retrained: Whether it was trained again for the export.
    steps: Train steps.
    tokens: Tokens (examples).
    parameters: Number of parameters.
    platform: The platform that it was traced for.
    dataset: Fingerprint of the data.
    config: The run's config, as far as it may be passed on.
    versions: Of the packages that wrote it.
  """

  format: int = FORMAT
  run: str
  trial: int
  seed: int
  description: str
  metric: str
  metrics: dict[str, float]
  retrained: bool
  steps: int
  tokens: int
  parameters: int
  platform: str
  dataset: str
  config: dict[str, Any]
  versions: dict[str, str]


def info_of(history: History, run: TrainingRun, metrics: Mapping[str, float] | None) -> ModelInfo:
  """Returns what is known of a training run.

  Args:
    history: The run that it belongs to.
    run: The training run.
    metrics: What it measured when it was trained again; None if it was not.
  """
  assert history.started is not None
  first, cost = history.original(run.trial), run.measurement.cost
  return ModelInfo(
    run=history.config.name,
    trial=first,
    seed=run.measurement.seed,
    description=history.edits[first].description,
    metric=history.objective.metric,
    metrics=dict(run.measurement.metrics if metrics is None else metrics),
    retrained=metrics is not None,
    steps=cost.steps,
    tokens=cost.tokens,
    parameters=cost.parameters,
    platform=history.config.platform,
    dataset=history.started.dataset,
    config=to_builtins(history.config.shareable()),
    versions=installed_versions(VERSIONS),
  )


def read_info(folder: pathlib.Path) -> ModelInfo:
  """Reads what a model folder says about itself. Raises ModelError."""
  try:
    info = msgspec.json.decode((folder / INFO).read_bytes(), type=ModelInfo)
  except OSError:
    raise ModelError(
      f'There is no model in {folder}: it has no {INFO}. `autoresearch export-model RUN_DIR` makes '
      'one from a run.'
    ) from None
  except msgspec.DecodeError as error:
    raise ModelError(f'{folder / INFO} cannot be read: {error}. Export the model again.') from None
  if info.format != FORMAT:
    raise ModelError(
      f'{folder} has format {info.format}, and this version reads {FORMAT}. Export it again.'
    )
  return info


def write_model(
  folder: pathlib.Path, state: pathlib.Path, info: ModelInfo, program: Program, dataset: Dataset
) -> None:
  """Writes a model folder, at once: under another name, which is then renamed.

  Args:
    folder: The folder; a model in it is replaced.
    state: Folder with artifact and parameters, from a runner.
    info: Where they come from.
    program: The program's text.
    dataset: Its data, for the tokenizer, or for names and scales.

  Raises:
    ModelError: The folder exists and has something else than a model.
    OSError: It cannot be written.
  """
  folder = folder.absolute()
  require_replaceable(folder)
  new = folder.with_name(f'.{folder.name}.new')
  shutil.rmtree(new, ignore_errors=True)
  try:
    shutil.copytree(state, new)
    program.write(new / TEXTS)
    for kind, name in (('language_model', TOKENIZER), ('supervised', ARRAYS)):
      beside = pathlib.Path(dataset.train).parent / name
      if dataset.kind == kind and beside.is_file():
        shutil.copyfile(beside, new / name)
    (new / INFO).write_bytes(msgspec.json.format(msgspec.json.encode(info), indent=1) + b'\n')
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
  except OSError:  # as a full disk, on which half a model must not stay
    shutil.rmtree(new, ignore_errors=True)
    raise


def require_replaceable(folder: pathlib.Path) -> None:
  """Raises ModelError for a folder with something else than a model, which would be lost."""
  lost = folder.is_symlink() or (folder.exists() and not folder.is_dir())
  if not lost and folder.exists():
    names = {path.name for path in folder.iterdir()}
    lost = bool(names) and not {INFO, ARTIFACT} <= names <= NAMES
  if lost:
    raise ModelError(f'{folder} has other files; name a new folder.')


def default_folder(directory: pathlib.Path, history: History, program: int) -> pathlib.Path:
  """Returns the folder of a program's model inside a run: best, baseline, or that of a trial."""
  if program == BASELINE:
    return directory / MODELS / 'baseline'
  best = best_program(history) == program
  return directory / MODELS / ('best' if best else f'trial_{program}')


def export_saved(
  directory: pathlib.Path, history: History, dataset: Dataset, say: Callable[[str], None]
) -> None:
  """Exports best program and baseline, where their parameters were saved. Failures are said.

  Args:
    directory: The run's folder, whose runners may still be writing.
    history: The run.
    dataset: Its data.
    say: Receives a line for each model.
  """
  best = best_program(history)
  for program in (BASELINE,) if best is None else (best, BASELINE):
    run = next((run for run in runs_of(history, program) if run.state), None)
    folder = default_folder(directory, history, program)
    if run is None or _is_current(folder, program, run):
      continue
    state = directory / 'scratch' / STATES / run.state
    if not wait_for(state):
      say(
        f'The {folder.name} model was not exported, since its parameters are not on disk: '
        f'`autoresearch export-model {directory} --trial={program}` trains it again.'
      )
      continue
    try:
      info = info_of(history, run, None)
      write_model(folder, state, info, history.edits[program].program, dataset)
      say(f'{folder.name} model: {folder} (trial {program}, seed {run.measurement.seed})')
    except (OSError, ModelError) as error:
      say(f'The {folder.name} model was not exported: {error}')


def wait_for(state: pathlib.Path) -> bool:
  """Waits until a runner has written a state; returns whether it has."""
  deadline = time.monotonic() + WAIT_SECONDS
  while not (state / PARAMETERS).is_dir() and state.is_dir() and time.monotonic() < deadline:
    time.sleep(0.1)
  return (state / PARAMETERS).is_dir()


def _is_current(folder: pathlib.Path, program: int, run: TrainingRun) -> bool:
  try:
    info = read_info(folder)
  except ModelError:
    return False
  return (info.trial, info.seed, info.metrics) == (
    program, run.measurement.seed, run.measurement.metrics,
  )  # fmt: skip
