"""`autoresearch benchmark`: runs a benchmark and writes its leaderboard."""

import math
import pathlib
import shlex
import sys
import time
from collections.abc import Sequence
from typing import TextIO

import msgspec

from autoresearch_jax.benchmark.analysis import leaderboard
from autoresearch_jax.benchmark.comparison import BenchmarkError, Comparison, finished, run
from autoresearch_jax.benchmark.config import PARTS, BenchmarkConfig, benchmark_config
from autoresearch_jax.benchmark.progress import show_progress
from autoresearch_jax.benchmark.results import Results, ResultsError, require_usable
from autoresearch_jax.benchmark.runners.simulate import SimulationError
from autoresearch_jax.cli import submission
from autoresearch_jax.cli.command import FAILED, Command, CommandLine, Option
from autoresearch_jax.cli.fields import benchmark_fields
from autoresearch_jax.cli.signals import StopSignals

SCHEMA = 1  # of the JSON; grows when a field changes its meaning or goes
COMMAND = Command(
  'benchmark',
  'Compare search strategies on simulated problems, without a device.',
  """
  Runs every strategy on every problem with the same seeds and the same budget in training runs,
  and writes results.db (one row per run), results.csv, leaderboard.md with its figures and
  leaderboard.html. The same command resumes and skips finished runs.

  `autoresearch benchmark submit` packs a strategy's runs into a file, `autoresearch benchmark
  verify FILE` simulates a sample of them again, and `autoresearch benchmark site FILE...` writes a
  leaderboard of files that hold; --help explains each.
  """,
  (
    Option('json', 'Print the runs as JSON when all are done; docs/reference/report.md.', False),
    Option('minutes', 'Stop after so many minutes and write the pages for the seeds that are done; '
           '0: never. The same command goes on.', 0.0, minimum=0.0),
    Option('out', 'Folder of the results.', value='DIR', shown='runs/benchmark_NAME'),
  ),
  config='The benchmark: benchmark:smoke (seconds), benchmark:standard (minutes), benchmark:full '
  '(many hours), or a file.',
  example='benchmark:smoke',
  parts=PARTS,
  describe=benchmark_fields,
  examples={
    'autoresearch benchmark --config=benchmark:smoke': 'A smoke test.',
    'autoresearch benchmark --config=benchmark:standard --config.seeds=5 --out=quick': (
      'The published leaderboard with fewer seeds.'
    ),
  },
  exit_codes={
    '0': 'Done.',
    '1': 'A run failed.',
    '2': 'The config or the results folder is wrong; standard error says how.',
    '130': 'Stopped by Ctrl-C; 143: by SIGTERM. A second signal kills it.',
  },
)  # fmt: skip
ERRORS = (BenchmarkError, ResultsError, OSError)


def benchmark(
  config: BenchmarkConfig,
  out: pathlib.Path,
  made_by: str,
  as_json: bool = False,
  minutes: float = 0.0,
) -> int:
  """Makes the runs that are missing in `out` and writes the pages. Returns the exit code.

  Args:
    config: The benchmark.
    out: Folder of the results.
    made_by: The command, for the pages.
    as_json: Whether to print the runs as JSON.
    minutes: When to stop; 0 for never.
  """
  require_usable(out)
  suites = config.suites()
  deadline = time.monotonic() + 60 * minutes if minutes else math.inf
  with Results.open(out / 'results.db', config.name) as results:
    with StopSignals() as stop, show_progress() as progress:

      def ended() -> str:
        return stop() or ('The minutes are over.' if time.monotonic() > deadline else '')

      comparisons = run(suites, results, config.workers, progress, ended)
    if not comparisons and not stop.exit_code:
      comparisons = finished(suites, results)
    (out / 'results.csv').write_text(results.csv(), encoding='utf-8')
  if stop.exit_code:
    print(f'{stop.reason} Runs so far: {out / "results.db"}')
    return stop.exit_code
  if not comparisons:
    print(f'The minutes are over before a seed was finished. Runs so far: {out / "results.db"}')
    return 0
  _write(comparisons, out, made_by, config.call_price, sys.stderr if as_json else sys.stdout)
  if as_json:
    runs = [row for comparison in comparisons for row in comparison.rows()]
    data = {'schema': SCHEMA, 'name': config.name, 'results': str(out / 'results.db')}
    print(msgspec.json.encode({**data, 'runs': runs}).decode())
  return 0


def _write(
  comparisons: Sequence[Comparison], out: pathlib.Path, made_by: str, price: float, to: TextIO
) -> None:
  for name in ('leaderboard.md', 'leaderboard.html'):
    print(f'Wrote {leaderboard.write(comparisons, out / name, made_by, price)}', file=to)


def main(arguments: Sequence[str]) -> int:
  """Runs the command; returns its exit code."""
  if arguments and arguments[0] in submission.COMMANDS:
    return submission.main(arguments[0], arguments[1:])
  command = shlex.join(['autoresearch', 'benchmark', *arguments])
  return COMMAND.run(
    lambda line: _benchmark(line, command), arguments, ERRORS,
    interrupted='Stopped before the first run.',
  )  # fmt: skip


def _benchmark(line: CommandLine, command: str) -> int:
  config = benchmark_config(COMMAND.required_config(line))
  out = pathlib.Path(line['out'] or f'runs/benchmark_{config.name}')
  try:
    return benchmark(config, out, command, line['json'], line['minutes'])
  except SimulationError as error:
    print(error, file=sys.stderr)
    return FAILED


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
