"""The command: plays a benchmark and writes its leaderboard.

  python -m autoresearch_jax.benchmark --config=configs/benchmark.py:standard [--out=DIR]

DIR gets results.db (a row a run), results.csv, leaderboard.md with its figures, leaderboard.html.
The same command resumes. Exit codes: 0 done, 1 a run could not be played, 2 a sentence says what
does not fit, 130 or 143 stopped by Ctrl-C or SIGTERM (in good order; a second one ends it at once).
"""

import pathlib
import shlex
import sys
from collections.abc import Sequence

from absl import flags

from autoresearch_jax.benchmark.analysis import leaderboard
from autoresearch_jax.benchmark.comparison import BenchmarkError, Comparison, run
from autoresearch_jax.benchmark.config import PARTS, BenchmarkConfig, benchmark_config
from autoresearch_jax.benchmark.progress import shown
from autoresearch_jax.benchmark.results import Results, ResultsError
from autoresearch_jax.benchmark.runners.simulate import SimulationError
from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.signals import StopSignals
from autoresearch_jax.config import ConfigError

_CONFIG = command.define_config('The benchmark, configs/benchmark.py[:VARIANT].', parts=PARTS)
_OUT = flags.DEFINE_string('out', None, 'Folder of the results. [runs/benchmark_NAME]')

FAILED, INTERRUPTED = 1, 130
SENTENCES = (ConfigError, BenchmarkError, ResultsError, OSError)


def benchmark(config: BenchmarkConfig, out: pathlib.Path, made_by: str) -> int:
  """Plays what is missing in `out` and writes the pages. Returns the exit code."""
  suites = config.suites()
  with Results.open(out / 'results.db', config.name) as results:
    with StopSignals() as stop, shown() as progress:
      comparisons = run(suites, results, config.workers, progress, stop)
    (out / 'results.csv').write_text(results.csv(), encoding='utf-8')
  if stop.exit_code:
    print(f'{stop.reason} Runs so far: {out / "results.db"}')
    return stop.exit_code
  _write(comparisons, out, made_by, config.call_price)
  return 0


def _write(
  comparisons: Sequence[Comparison], out: pathlib.Path, made_by: str, price: float
) -> None:
  for name in ('leaderboard.md', 'leaderboard.html'):
    print(f'Wrote {leaderboard.write(comparisons, out / name, made_by, price)}')


def main(arguments: Sequence[str]) -> int:
  try:
    if len(arguments) > 1:
      raise ConfigError(f'{arguments[1]!r} is no flag; the flags are --config and --out.')
    values = command.values_of(_CONFIG, 'Which benchmark?', 'configs/benchmark.py:smoke')
    config = benchmark_config(values)
    made_by = shlex.join(['python', '-m', 'autoresearch_jax.benchmark', *sys.argv[1:]])
    return benchmark(config, pathlib.Path(_OUT.value or f'runs/benchmark_{config.name}'), made_by)
  except SENTENCES as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  except SimulationError as error:
    print(error, file=sys.stderr)
    return FAILED
  except KeyboardInterrupt:
    print('Stopped before the first run.', file=sys.stderr)
    return INTERRUPTED


if __name__ == '__main__':
  command.run(main)
