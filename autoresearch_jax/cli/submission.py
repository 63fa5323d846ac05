"""`autoresearch benchmark submit`, `verify`, `site`: files of results, their check and page."""

import pathlib
from collections.abc import Sequence

from autoresearch_jax.benchmark import site
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
SITE = Command(
  'benchmark site',
  'Verify submissions and write a leaderboard of those that hold.',
  """
  Writes index.html, which needs no server, and the verified files beside it. A submission that does
  not hold is listed with the reason and is in no table. Tables compare submissions with the same
  budget, slots and seeds, on the problems that they share.
  """,
  (
    Option('to', 'Folder of the page, new or from a former call.', value='DIR'),
    Option('runs', 'Runs of each submission that are simulated again; 0: all.', 20, minimum=0),
  ),
  operand='FILE',
  more_operands=True,
  examples={
    'autoresearch benchmark site tree.json mine.json --to=site': 'Writes site/index.html.',
  },
  exit_codes={
    '0': 'Written, and all submissions hold.',
    '1': 'Written; some do not hold, and the output says why.',
    '2': 'The folder has other files, or an option is wrong.',
  },
)
COMMANDS = {'submit': SUBMIT, 'verify': VERIFY, 'site': SITE}
ERRORS = (SubmissionError, ResultsError, SimulationError, OSError)


def main(name: str, arguments: Sequence[str]) -> int:
  """Runs one of COMMANDS; returns the exit code."""
  bodies = {'submit': _submit, 'verify': _verify, 'site': _site}
  return COMMANDS[name].run(bodies[name], arguments, ERRORS)


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


def _site(line: CommandLine) -> int:
  if not line['to']:
    raise SubmissionError('Name the folder of the page by --to.')
  folder = pathlib.Path(line['to'])
  site.require_usable(folder)
  checked = []
  for name in line.operands:
    one = site.check(pathlib.Path(name), line['runs'])
    print(f'{name}: {one.reason or "holds"}', flush=True)
    checked.append(one)
  print(f'Wrote {site.write(checked, folder)}')
  return FAILED if any(one.reason for one in checked) else 0
