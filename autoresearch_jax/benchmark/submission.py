"""Submissions: the runs of one strategy in a benchmark as a file, which anybody can verify.

A simulated run is a function of its definition and the code. So a claim is verified by simulating a
sample of the runs again: every stored number must come out the same, bit for bit. The file is JSON;
it also has the strategy's source, for its readers. `verify` never executes that: the strategy must
be installed or part of the library.
"""

import dataclasses
import hashlib
import inspect
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from autoresearch_jax.benchmark.results import BenchmarkRun, Results
from autoresearch_jax.benchmark.runners.specs import AcceptanceSpec, Entrant, ProblemSpec, RunSpec

FORMAT = 1
LIBRARY = 'autoresearch_jax'
# Not compared number by number: the code has digests, and versions may differ.
NOT_COMPARED = ('versions', 'problem_code', 'strategy_code', 'acceptance_code')


class SubmissionError(ValueError):
  """A submission cannot be made or read; the message says why."""


@dataclasses.dataclass(frozen=True)
class Submission:
  """The runs of one strategy.

  Attributes:
    benchmark: Name of the benchmark.
    strategy: Label of the strategy.
    sources: Module -> text, of the strategy and what it wraps; without this library's modules.
    runs: The runs.
    format: Version of the file's format.
  """

  benchmark: str
  strategy: str
  sources: Mapping[str, str]
  runs: Sequence[BenchmarkRun]
  format: int = FORMAT

  @property
  def digest(self) -> str:
    """SHA-256 of the content."""
    return hashlib.sha256(msgspec.json.encode(self, order='sorted')).hexdigest()

  def write(self, path: pathlib.Path) -> None:
    """Writes the file, whose first field is the digest of the rest."""
    data = {'digest': self.digest, 'submission': self}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(data, order='sorted') + b'\n')

  @classmethod
  def read(cls, path: pathlib.Path) -> 'Submission':
    """Reads a file. Raises SubmissionError if it is none or was changed, and OSError."""
    try:
      data = msgspec.json.decode(path.read_bytes())
      submission = msgspec.convert(data['submission'], cls)
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError) as error:
      raise SubmissionError(
        f'{path} is no submission ({type(error).__name__}: {error}); `autoresearch benchmark '
        'submit` writes one.'
      ) from None
    if submission.digest != data['digest']:
      raise SubmissionError(f'{path} was changed after it was made: its digest does not match.')
    return submission


def pack(results: Results, benchmark: str, strategy: str) -> Submission:
  """Collects the runs of one strategy.

  Args:
    results: The benchmark's results.
    benchmark: Its name.
    strategy: Label of the strategy.

  Raises:
    SubmissionError: The results have no runs of it.
  """
  runs = list(results.runs())
  chosen = [run for run in runs if run.strategy == strategy]
  if not chosen:
    labels = ', '.join(sorted({run.strategy for run in runs})) or 'none'
    raise SubmissionError(
      f'{results.path} has no runs of the strategy {strategy!r}. Give --strategy; there are: '
      f'{labels}.'
    )
  kinds = _spec(chosen[0]).classes()['strategy']
  modules = {kind.__module__ for kind in kinds if kind.__module__.split('.')[0] != LIBRARY}
  sources = {name: inspect.getsource(sys.modules[name]) for name in sorted(modules)}
  return Submission(benchmark, strategy, sources, chosen)


@dataclasses.dataclass(frozen=True)
class Verification:
  """What simulating some runs again has shown.

  Attributes:
    checked: Number of runs that were simulated.
    total: Number of runs of the submission.
    problems: Sentences on what differs; none if the claim holds.
  """

  checked: int
  total: int
  problems: tuple[str, ...]

  @property
  def holds(self) -> bool:
    return self.checked > 0 and not self.problems


def verify(submission: Submission, count: int, seed: int = 0) -> Verification:
  """Simulates a sample of runs again and compares all of their numbers.

  Args:
    submission: The submission.
    count: Number of runs in the sample; 0 for all.
    seed: Of the sample, together with the submission's digest.

  Raises:
    SimulationError: A run cannot be simulated.
  """
  rng = np.random.default_rng((seed, int(submission.digest[:15], 16)))
  order = rng.permutation(len(submission.runs))[: count or None]
  problems = [line for i in order for line in _differences(submission.runs[i])]
  return Verification(len(order), len(submission.runs), tuple(dict.fromkeys(problems)))


def _differences(run: BenchmarkRun) -> Iterator[str]:
  spec = _spec(run)
  name = f'{run.strategy} on {run.problem}, seed {run.instance_seed}'
  for kind, code in spec.code.items():
    if code != getattr(run, f'{kind}_code'):
      label = getattr(run, kind)
      version = run.versions.get('autoresearch_jax', 'unknown')
      yield (
        f'The {kind} {label!r} has other code here than in the submission, which was made with '
        f'autoresearch_jax {version}. Install what it was made with.'
      )
  with spec.problem.opened(run.instance_seed) as instance:
    fresh = spec.run(instance, run.versions)
  for field in dataclasses.fields(BenchmarkRun):
    if field.name in NOT_COMPARED:
      continue
    claimed, found = getattr(run, field.name), getattr(fresh, field.name)
    if claimed != found:
      yield f'{name}: {field.name} is {found!r:.60}, and the submission has {claimed!r:.60}.'
      break


def _spec(run: BenchmarkRun) -> RunSpec:
  return RunSpec(
    ProblemSpec(run.problem, run.simulation, dict(run.simulation_options)),
    Entrant(run.strategy, run.strategy_name, dict(run.strategy_options)),
    AcceptanceSpec(run.acceptance, run.acceptance_name, dict(run.acceptance_options)),
    run.instance_seed,
    run.trials,
    run.slots,
  )
