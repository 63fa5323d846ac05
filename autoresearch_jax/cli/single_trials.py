"""Trials of single programs in this process, without a run: once, or against another program."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from autoresearch_jax.cli.trial_output import SCHEMA, block, progress_printer, show
from autoresearch_jax.config import Config
from autoresearch_jax.executors import Executor, finished
from autoresearch_jax.research.build import Task, build, build_task
from autoresearch_jax.research.program_comparison import CHALLENGER, ProgramComparison, compare
from autoresearch_jax.types import (
  Dataset,
  Measurement,
  Objective,
  Program,
  Result,
  TrialRequest,
  to_builtins,
)


def trained(config: Config, program: Program, seeds: tuple[int, ...]) -> Result:
  """Traces, trains and evaluates a program on some seeds, with progress on standard error."""
  task = build_task(config)
  with scratch_executor(task, task.prepare_data(show)) as executor:
    request = TrialRequest(0, program, seeds, config.budget)
    (result,) = finished(executor, request, each=progress_printer())
    return result


def compared(
  config: Config, program: Program, other: Program, seeds: tuple[int, ...] | None
) -> tuple[ProgramComparison, Objective]:
  """Compares a program with another one by the config's acceptance rule; see `compare`."""
  run = build(config)
  objective, programs = run.config.objective, (other, program)
  with scratch_executor(run, run.prepare_data(show)) as executor:

    def train(which: int, seed: int) -> Result:
      show(f'{"program" if which == CHALLENGER else "other program"}, seed {seed}')
      request = TrialRequest(which, programs[which], (seed,), config.budget)
      (result,) = finished(executor, request, each=progress_printer(phases=False))
      return result

    constraints = run.config.parsed_constraints()
    return compare(run.acceptance, objective, programs, train, seeds, constraints), objective


@contextlib.contextmanager
def scratch_executor(task: Task, dataset: Dataset) -> Iterator[Executor]:
  """The executor of a task on prepared data, started in a scratch folder."""
  with tempfile.TemporaryDirectory(prefix='autoresearch_jax_') as scratch:
    executor = task.start_executor(dataset, pathlib.Path(scratch))
    try:
      yield executor
    finally:
      executor.close()


def comparison_block(comparison: ProgramComparison, objective: Objective) -> str:
  """Returns the verdict on a program against another one as a block."""
  rows: dict[str, object] = {
    f'{objective.metric}': _values(comparison.own, objective.metric),
    'against': _values(comparison.against, objective.metric),
  }
  if (gain := comparison.gain(objective)) is not None:
    mean, error = gain
    pairs = len(comparison.gains(objective))
    rows['gain'] = f'{mean:+.6f}' + (f' ± {error:.6f}' if error is not None else '')
    rows['gain'] = f'{rows["gain"]} ({pairs} pair{"s" if pairs > 1 else ""}, above 0 is better)'
  rows['status'] = comparison.status
  rows['verdict'] = 'undecided' if comparison.undecided else comparison.decision
  rows['why'] = comparison.reason
  if comparison.missing:
    rows['missing'] = comparison.missing
  return block(rows)


def comparison_record(comparison: ProgramComparison, objective: Objective) -> dict[str, object]:
  """Returns the JSON of a comparison of two programs."""
  mean, error = comparison.gain(objective) or (None, None)
  return {
    'schema': SCHEMA,
    'metric': objective.metric,
    'direction': objective.direction,
    'status': comparison.status.value,
    'program': _runs(comparison.own),
    'against': _runs(comparison.against),
    'gain': {
      'mean': mean,
      'standard_error': error,
      'pairs': len(comparison.gains(objective)),
    },
    'verdict': {
      'decision': comparison.decision.value,
      'reason': comparison.reason,
      'undecided': comparison.undecided,
      'missing': comparison.missing,
    },
  }


def _runs(runs: dict[int, Measurement]) -> list[Any]:
  return [to_builtins(run) for run in runs.values()]


def _values(runs: dict[int, Measurement], metric: str) -> str:
  values = [run.metrics[metric] for run in runs.values()]
  if not values:
    return 'none'
  mean = sum(values) / len(values)
  return f'{mean:.6f}' + (f' (mean of {len(values)} seeds)' if len(values) > 1 else '')
