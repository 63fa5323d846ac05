"""The outcomes of `autoresearch trial`, as the original's summary block and as JSON."""

import sys
from collections.abc import Callable

from autoresearch_jax.config import Config, ConfigError
from autoresearch_jax.messages import say
from autoresearch_jax.programs.start import constants_of
from autoresearch_jax.service.client import ProgramVerdict
from autoresearch_jax.types import Measurement, Program, Progress, Result, to_builtins

SCHEMA = 1  # of the JSON; grows when a field changes its meaning or goes


def depth_of(program: Program) -> int | None:
  """Returns the program's constant DEPTH, or None."""
  try:
    depth = constants_of(program).get('DEPTH')
  except ConfigError:  # not valid Python, which the trial reports
    return None
  return depth if isinstance(depth, int) else None


def summary(config: Config, result: Result, depth: int | None = None) -> str:
  """Returns the original's summary block: `---`, then one `key: value` per line.

  With several seeds, the metric is their mean, and the rest is that of the first one.
  """
  rows: dict[str, object] = {}
  if result.measurements:
    cost = result.measurements[0].cost
    rows = {
      config.metric: f'{_mean(result.measurements, config.metric):.6f}',
      'training_seconds': f'{cost.training_seconds:.1f}',
      'total_seconds': f'{cost.total_seconds:.1f}',
      'peak_vram_mb': f'{cost.peak_bytes / 2**20:.1f}',
      'mfu_percent': f'{cost.mfu_percent:.2f}',
      'total_tokens_M': f'{cost.tokens / 1e6:.1f}',
      'num_steps': f'{cost.steps}',
      'num_params_M': f'{cost.parameters / 1e6:.1f}',
      'trace_seconds': f'{cost.trace_seconds:.1f}',
      'compile_seconds': f'{cost.compile_seconds:.1f}',
    }
    if depth is not None:
      rows['depth'] = f'{depth}'
  if len(result.measurements) > 1:
    rows['seeds'] = ','.join(str(run.seed) for run in result.measurements)
  rows['status'] = result.status
  if result.reason:
    rows['reason'] = result.reason
  if note := result.facts.get('devices_note'):
    rows['note'] = note
  return block(rows)


def judged(config: Config, verdict: ProgramVerdict, depth: int | None = None) -> str:
  """Returns the summary block of a trial of a run, with the verdict on its program."""
  decision = 'undecided' if verdict.undecided else verdict.decision
  rows: dict[str, object] = {'trial': verdict.trial.id, 'verdict': decision}
  if verdict.trial.result.reason != verdict.reason:
    rows['why'] = verdict.reason
  if len(verdict.values) > 1:
    mean = sum(verdict.values) / len(verdict.values)
    rows['mean'] = f'{mean:.6f} over {len(verdict.values)} runs'
  if verdict.incumbent is not None:
    rows['best_trial'] = verdict.incumbent
  text = summary(config, verdict.trial.result, depth)
  return f'{text}\n{block(rows).removeprefix("---").lstrip()}'


def block(rows: dict[str, object]) -> str:
  """Returns `---`, then one `key: value` per line."""
  return '\n'.join(['---', *(f'{key + ":":<18}{value}' for key, value in rows.items())])


def record(result: Result) -> dict[str, object]:
  """Returns the JSON of a single trial; metrics and cost are those of its first seed."""
  values = to_builtins(result)
  measurements = values['measurements']
  first = measurements[0] if measurements else {'metrics': {}, 'cost': {}}
  if len(measurements) < 2:
    del values['measurements']
  return {'schema': SCHEMA, **values, 'metrics': first['metrics'], 'cost': first['cost']}


def verdict_record(verdict: ProgramVerdict) -> dict[str, object]:
  """Returns the JSON of a trial of a run."""
  return {
    **record(verdict.trial.result),
    'trial': verdict.trial.id,
    'description': verdict.trial.edit.description,
    'verdict': {
      'decision': verdict.decision.value,
      'reason': verdict.reason,
      'undecided': verdict.undecided,
    },
    'values': list(verdict.values),
    'best_trial': verdict.incumbent,
  }


def _mean(runs: tuple[Measurement, ...], metric: str) -> float:
  return sum(run.metrics[metric] for run in runs) / len(runs)


def progress_printer(phases: bool = True) -> Callable[[Progress], None]:
  """Returns a function that prints each phase as it begins, and in a terminal the progress."""
  phase = ''

  def each(progress: Progress) -> None:
    nonlocal phase
    if progress.phase != phase:
      phase = progress.phase
      if phases:
        show(f'{phase} ...')
    elif phase == 'train' and sys.stderr.isatty():
      show(_training(progress), end='\r')

  return each


def _training(progress: Progress) -> str:
  return f'train {progress.fraction:6.1%}  step {progress.step:>6}  loss {progress.loss:.4f}  '


def show(line: str, end: str = '\n') -> None:
  say(line, end=end, file=sys.stderr)
