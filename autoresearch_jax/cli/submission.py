"""`autoresearch benchmark submit` and `verify`: a strategy's results as a file, and its check."""

import pathlib
from collections.abc import Sequence

from autoresearch_jax.benchmark.claims import covers
from autoresearch_jax.benchmark.results import Results, ResultsError
from autoresearch_jax.benchmark.runners.simulate import SimulationError
from autoresearch_jax.benchmark.submission import Submission, SubmissionError, pack, verify
from autoresearch_jax.cli.command import FAILED, Command, CommandLine, Option

SUBMIT = Command(
  'benchmark submit',
  "Pack a strategy's runs of a benchmark into a file that others can verify.",
  """
  Writes the runs of one strategy, with options, versions, digests of the code and the strategy's
  source, as one JSON file.
  """,
  (
    Option('out', 'Folder of the benchmark.', value='DIR'),
    Option('strategy', 'Label of the strategy.', '', value='LABEL'),
    Option('to', 'The file to write.', value='FILE', shown='STRATEGY.json'),
  ),
  examples={
    'autoresearch benchmark submit --out=runs/benchmark_standard --strategy=tree': (
      'Writes tree.json.'
    ),
  },
  exit_codes={'0': 'Written.', '2': 'There are no such results; standard error says which exist.'},
)  # fmt: skip
VERIFY = Command(
  'benchmark verify',
  'Simulate a sample of a submission again, and say whether its numbers hold.',
  """
  Every number of a simulated run follows from its definition and the code, so the sample must come
  out the same bit for bit, and the runs must be one strategy on a full grid of problems and seeds.
  The strategy must be installed: the source in the file is not executed. Runs that name a file or
  train real programs are refused.
  """,
  (
    Option('runs', 'Size of the sample; 0: all runs.', 20, minimum=0),
    Option(
      'seed',
      'Seed of the sample, to repeat a check.',
      kind=int,
      minimum=0,
      maximum=2**63 - 1,
      shown='drawn anew',
    ),
  ),
  operand='FILE',
  examples={'autoresearch benchmark verify tree.json': 'Checks 20 runs.'},
  exit_codes={
    '0': 'All runs of the sample are the same, and no run of the grid is missing.',
    '1': 'Some differ or are missing; the output says how.',
    '2': 'The file is no submission, or it is refused.',
  },
)
COMMANDS = {'submit': SUBMIT, 'verify': VERIFY}
ERRORS = (SubmissionError, ResultsError, SimulationError, OSError)


def main(name: str, arguments: Sequence[str]) -> int:
  """Runs `submit` or `verify`; returns the exit code."""
  return COMMANDS[name].run({'submit': _submit, 'verify': _verify}[name], arguments, ERRORS)


def _submit(line: CommandLine) -> int:
  path = pathlib.Path(line['out'] or '') / 'results.db'
  if not line['out'] or not path.is_file():
    raise SubmissionError(f'There is no {path}. Give the folder of a benchmark by --out.')
  with Results.read(path) as results:
    submission = pack(results, results.name, line['strategy'])
    total = sum(run.strategy == submission.strategy for run in results.runs())
  target = pathlib.Path(line['to'] or f'{submission.strategy}.json')
  submission.write(target)
  print(f'Wrote {target}: {len(submission.runs)} runs, sha256 {submission.digest}.')
  if left_out := total - len(submission.runs):
    print(f'{left_out} runs are left out: they read or execute files, or their seed is unfinished.')
  return 0


def _verify(line: CommandLine) -> int:
  submission = Submission.read(pathlib.Path(line.operand))
  found = verify(submission, line['runs'], line['seed'])
  print('\n'.join(covers(submission.runs)))
  for problem in found.problems:
    print(problem)
  verdict = 'The claim holds' if found.holds else 'The claim does not hold'
  print(
    f'{verdict}: {found.checked} of {found.total} runs of {submission.strategy} were simulated '
    f'again (--seed={found.seed}). Problems and seeds that the file leaves out are not covered.'
  )
  return 0 if found.holds else FAILED
