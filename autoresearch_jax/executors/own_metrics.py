"""Exports metrics of the user's own, and tries them before they are believed.

The file is traced in the sandbox, as a program is: it becomes the `predict` of a small one, whose
inputs are outputs and targets. A runner then tries the metrics on made-up outputs. Both happen once
for a file, a dataset, a platform and a version of JAX; the result lies in the cache. Once the
baseline is trained, its metric is compared with that of constant predictions.
"""

import dataclasses
import math
import pathlib
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence

import msgspec

from autoresearch_jax.config import ConfigError, Limits
from autoresearch_jax.data import cache, loader, own_metrics
from autoresearch_jax.runner.client import RunnerClient, RunnerError, RunnerSetup
from autoresearch_jax.tracer.client import TracerClient
from autoresearch_jax.types import (
  OWN_METRICS_FILE,
  Budget,
  Dataset,
  Measurement,
  Objective,
  Platform,
  Program,
  Spec,
  Status,
)

ENTRY = 'model.py'
CONSTANT = 'constant.json'  # values of the metrics for constant predictions
WRAPPER = '''"""Calls the functions of own_metrics.py on the outputs and targets of a split."""

import jax.numpy as jnp

import own_metrics

BATCH_SIZE = 1
NAMES = {names}
EXAMPLES, OUTPUTS, TARGETS = {examples}, {outputs}, {targets}  # a number and two shapes


def init(key, spec):
  return jnp.zeros(())


def train_step(state, batch, progress):
  return state + 0 * batch['inputs'].sum(), {{'loss': state}}


def predict(state, inputs):
  width = inputs.shape[2] - {target_width}
  outputs = inputs[0, :, :width].reshape(EXAMPLES, *OUTPUTS)
  targets = inputs[0, :, width:].reshape(EXAMPLES, *TARGETS)
  targets = targets.astype(jnp.{dtype})
  values = []
  for name in NAMES:
    value = jnp.asarray(getattr(own_metrics, name)(outputs, targets))
    if value.shape != ():
      raise ValueError(f'{{name}} returns an array of shape {{list(value.shape)}}; return a scalar')
    values.append(value.astype(jnp.float32))
  return jnp.stack(values)[None] + 0 * state
'''


def require_own_metrics(
  dataset: Dataset,
  spec: Spec,
  limits: Limits,
  hidden: tuple[pathlib.Path, ...],
  say: Callable[[str], None],
) -> Dataset:
  """Exports the metrics of a dataset and tries them, unless that was done before.

  Args:
    dataset: Names the metrics and their folder; nothing is done if it has none.
    spec: The problem as programs see it.
    limits: Limits of a trace.
    hidden: What the file must not read.
    say: Receives progress messages.

  Returns:
    The dataset, with the folder of the exported metrics.

  Raises:
    ConfigError: The file cannot be traced, or a metric cannot be used.
  """
  if not dataset.own_metrics:
    return dataset
  exported = own_metrics.exported(dataset, spec.platform)

  def make(folder: pathlib.Path) -> None:
    say(f'Tracing and trying metrics of your own: {", ".join(dict(dataset.own_metrics))}')
    shutil.copy(pathlib.Path(dataset.own_metrics_folder) / OWN_METRICS_FILE, folder)
    made = dataclasses.replace(dataset, own_metrics_folder=str(folder))
    with tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as scratch:
      tracer = TracerClient(limits, hidden, pathlib.Path(scratch))
      try:
        for on_test in (False, True) if made.test else (False,):
          _export(tracer, made, spec, on_test)
      finally:
        tracer.close()
      values = _try(made, spec.platform, limits, pathlib.Path(scratch))
      (folder / CONSTANT).write_bytes(msgspec.json.encode(values))

  final = pathlib.Path(exported.own_metrics_folder)
  cache.folder(final.parent, final.name, make, say)
  return exported


def _export(tracer: TracerClient, dataset: Dataset, spec: Spec, on_test: bool) -> None:
  """Traces the file for one split. Raises ConfigError."""
  folder = pathlib.Path(dataset.own_metrics_folder)
  examples = loader.held_out_examples(dataset, on_test)
  outputs = (spec.output_shape or ()) if spec.is_regression else (spec.num_classes or 0,)
  targets = outputs if spec.is_regression else ()
  text = WRAPPER.format(
    names=tuple(name.removeprefix('val_') for name, _ in dataset.own_metrics),
    examples=examples,
    outputs=outputs,
    targets=targets,
    target_width=math.prod(targets),
    dtype='float32' if spec.is_regression else 'int32',
  )
  program = Program(
    ((ENTRY, text), (OWN_METRICS_FILE, (folder / OWN_METRICS_FILE).read_text())), ENTRY
  )
  traced = Spec(
    'supervised',
    spec.platform,
    1,
    Budget(1.0, 'steps'),
    input_shape=(examples, math.prod(outputs) + math.prod(targets)),
    output_shape=(len(dataset.own_metrics),),
  )
  out = pathlib.Path(dataset.own_metrics_artifact(on_test))
  result = tracer.trace(program, traced, 1, out)
  if result.status is not Status.OK:
    raise ConfigError(
      f'config.data.own_metrics_file cannot be used as metrics: {result.reason}'.rstrip('.')
      + '. Each must be a function (outputs, targets) -> scalar of jax.numpy.'
    )


def doubts_about_metric(
  dataset: Dataset, objective: Objective, measurements: Sequence[Measurement]
) -> list[str]:
  """Returns why a metric of the user's own may say nothing about learning, in sentences.

  Args:
    dataset: As `require_own_metrics` returns it.
    objective: The run's metric and its direction.
    measurements: The baseline's training runs.
  """
  metric = objective.metric
  values = [run.metrics[metric] for run in measurements if metric in run.metrics]
  if metric not in dict(dataset.own_metrics) or not values:
    return []
  found, mean = [], statistics.fmean(values)
  if len(values) > 1 and len(set(values)) == 1:
    found.append(
      f'{metric} is {mean:.6g} on all {len(values)} seeds of the baseline, so it may not move with '
      'training; use a metric that does, or one of finer resolution.'
    )
  try:
    path = pathlib.Path(dataset.own_metrics_folder) / CONSTANT
    constant = msgspec.json.decode(path.read_bytes(), type=dict[str, float]).get(metric)
  except (OSError, msgspec.DecodeError):
    return found
  if constant is not None and objective.score_of(constant) >= objective.score_of(mean):
    found.append(
      f'Constant predictions have {metric} {constant:.6g}, no worse than the baseline with '
      f'{mean:.6g}: a program that learns nothing is as good. Train longer, or change the metric.'
    )
  return found


def _try(
  dataset: Dataset, platform: Platform, limits: Limits, scratch: pathlib.Path
) -> dict[str, float]:
  """Runs the metrics on made-up outputs in a runner.

  Returns:
    Their values for constant predictions.

  Raises:
    ConfigError: One cannot be used.
  """
  setup = RunnerSetup(platform, dataset, limits, str(cache.directory()))
  runner = RunnerClient(setup, scratch / 'runner.log')
  try:
    runner.start()
    runner.wait_until_ready()
    return runner.request('try_metrics', limits.compile_seconds) or {}
  except RunnerError as error:
    raise ConfigError(f'A metric of config.data.own_metrics cannot be used: {error}') from None
  finally:
    runner.close()
