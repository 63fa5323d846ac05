"""A leaderboard of submissions: verified files of many authors as one static page.

Every submission is verified first; what does not hold is listed with the reason and is in no table.
Runs are compared where budget, slots and instance seeds agree. Two submissions mean the same
problem if simulation, options, code and acceptance rule agree, whatever they call it.
"""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from autoresearch_jax.benchmark.analysis import document, leaderboard
from autoresearch_jax.benchmark.analysis.document import Block, Heading, Paragraph, Table
from autoresearch_jax.benchmark.comparison import Comparison, Suite
from autoresearch_jax.benchmark.results import MEANINGS, BenchmarkRun
from autoresearch_jax.benchmark.runners.simulate import SimulationError
from autoresearch_jax.benchmark.runners.specs import Entrant, ProblemSpec
from autoresearch_jax.benchmark.submission import Submission, SubmissionError, Verification, verify

SUBMISSIONS = 'submissions'  # folder of the files beside the page


@dataclasses.dataclass(frozen=True)
class CheckedSubmission:
  """A file and what its verification has shown.

  Attributes:
    path: The file.
    submission: Its content; None if it cannot be read.
    verification: The check of a sample; None if it was refused.
    reason: Why the submission is in no table; '' if it is in one.
  """

  path: pathlib.Path
  submission: Submission | None
  verification: Verification | None
  reason: str = ''


def check(path: pathlib.Path, count: int) -> CheckedSubmission:
  """Reads a file and verifies `count` of its runs (0: all). No code of the file is executed."""
  submission = None
  try:
    submission = Submission.read(path)
    verification = verify(submission, count)
  except (SubmissionError, SimulationError, OSError) as error:
    return CheckedSubmission(path, submission, None, str(error))
  return CheckedSubmission(path, submission, verification, ' '.join(verification.problems))


def write(checked: Sequence[CheckedSubmission], folder: pathlib.Path) -> pathlib.Path:
  """Writes index.html and the verified files. Returns the path of the page.

  Args:
    checked: The submissions.
    folder: A new or empty folder, or one of a former call.

  Raises:
    SubmissionError: The folder has other files.
  """
  require_usable(folder)
  (folder / SUBMISSIONS).mkdir(parents=True, exist_ok=True)
  for one in checked:
    if one.submission and not one.reason:
      one.submission.write(folder / SUBMISSIONS / _file_name(one.submission))
  return document.write(list(_blocks(checked)), folder / 'index.html')


def require_usable(folder: pathlib.Path) -> None:
  """Raises SubmissionError for a folder with files that are not of such a page."""
  if folder.is_file():
    raise SubmissionError(f'{folder} is a file; name a folder by --to.')
  names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
  if names and SUBMISSIONS not in names:
    raise SubmissionError(
      f'{folder} has files that are not of a leaderboard of submissions, such as '
      f'{min(names)!r}; name a new or empty folder by --to.'
    )


def _blocks(checked: Sequence[CheckedSubmission]) -> Iterator[Block]:
  yield Heading('Leaderboard of submissions', 1)
  yield Paragraph(
    'Each submission has the simulated runs of one strategy. A sample of them was simulated again '
    'when this page was made, and every number had to come out the same. Tables compare '
    'submissions with the same budget, slots and seeds, on the problems that they share.'
  )
  yield _table(checked)
  for comparison in comparisons([c.submission for c in checked if c.submission and not c.reason]):
    _, *rest = leaderboard.blocks([comparison])
    yield Heading(comparison.suite.title)
    yield from rest


def _table(checked: Sequence[CheckedSubmission]) -> Table:
  rows = []
  for one in checked:
    submission, found = one.submission, one.verification
    versions = submission.runs[0].versions if submission and submission.runs else {}
    rows.append(
      (
        submission.strategy if submission else one.path.name,
        submission.digest[:12] if submission else '',
        ', '.join(sorted(submission.sources)) if submission and submission.sources else 'library',
        str(versions.get('autoresearch_jax', '')),
        one.reason or 'holds',
        f'{found.checked} of {found.total}' if found else '0',
      )
    )
  header = ('strategy', 'sha256', 'source', 'autoresearch_jax', 'verdict', 'runs verified')
  return Table(header, tuple(rows), texts=5)


def comparisons(submissions: Sequence[Submission]) -> list[Comparison]:
  """Compares submissions with the same budget, slots and seeds; the largest comparison first."""
  labels = _labels(submissions)
  members: dict[tuple, list[int]] = collections.defaultdict(list)
  grids = [_grid(submission.runs) for submission in submissions]
  for trials, slots, seeds in dict.fromkeys(grids):
    for index, (budget, width, there) in enumerate(grids):
      if (budget, width) == (trials, slots) and set(seeds) <= set(there):
        members[trials, slots, seeds].append(index)
  found = []
  for (trials, slots, seeds), indices in members.items():
    chosen = {labels[index]: submissions[index].runs for index in indices}
    found.append(_comparison(trials, slots, seeds, chosen))
  return sorted(found, key=lambda one: -len(one.runs))


def _comparison(
  trials: float, slots: int, seeds: tuple[int, ...], chosen: dict[str, Sequence[BenchmarkRun]]
) -> Comparison:
  names = _problem_labels([run for runs in chosen.values() for run in runs])
  table: dict[tuple[str, str, int], BenchmarkRun] = {}
  problems: dict[str, ProblemSpec] = {}
  entrants: list[Entrant] = []
  for label, runs in chosen.items():
    entrants.append(Entrant(label, runs[0].strategy_name, runs[0].strategy_options))
    for run in runs:
      if run.instance_seed not in seeds:
        continue
      name = names[_meaning(run)]
      table[label, name, run.instance_seed] = dataclasses.replace(run, strategy=label, problem=name)
      problems[name] = ProblemSpec(
        name, run.simulation, run.simulation_options, '', run.acceptance_name,
        run.acceptance_options,
      )  # fmt: skip
  title = f'{trials:g} trials, {slots} at a time, {len(seeds)} seeds from {seeds[0]}'
  suite = Suite(title, tuple(problems.values()), tuple(entrants), seeds, trials, slots)
  runnable = {
    label: tuple(name for name in problems if (label, name, seeds[0]) in table) for label in chosen
  }
  return Comparison(suite, table, runnable)


def _grid(runs: Sequence[BenchmarkRun]) -> tuple[float, int, tuple[int, ...]]:
  seeds = tuple(sorted({run.instance_seed for run in runs}))
  return runs[0].trials, runs[0].slots, seeds


def _meaning(run: BenchmarkRun) -> str:
  """What a problem is: simulation, options, code and rule, without the labels."""
  fields = [*MEANINGS['problem'], *MEANINGS['acceptance']]
  return json.dumps([getattr(run, field) for field in fields], sort_keys=True)


def _problem_labels(runs: Sequence[BenchmarkRun]) -> dict[str, str]:
  """Meaning -> a label that no other meaning has."""
  found: dict[str, str] = {}
  for run in runs:
    found.setdefault(_meaning(run), _unused(run.problem, run.acceptance, found.values()))
  return found


def _labels(submissions: Sequence[Submission]) -> list[str]:
  """A label for each submission; those whose label is taken get part of their digest."""
  found: list[str] = []
  for submission in submissions:
    found.append(_unused(submission.strategy, submission.digest[:8], found))
  return found


def _unused(label: str, addition: str, taken: Iterable[str]) -> str:
  taken = set(taken)
  if label in taken:
    label = f'{label} ({addition})'
  number, first = 2, label
  while label in taken:
    label, number = f'{first} {number}', number + 1
  return label


def _file_name(submission: Submission) -> str:
  plain = ''.join(c if c.isalnum() or c in '-_' else '_' for c in submission.strategy)
  return f'{plain}-{submission.digest[:8]}.json'
