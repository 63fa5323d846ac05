"""Submissions: the runs of one strategy in a benchmark as a file, which anybody can verify.

A simulated run is a function of its definition and the code. So a claim is verified by simulating a
sample of the runs again: every stored number must come out the same, bit for bit. The file is JSON;
it also has the strategy's source, for its readers. `verify` never executes that, nor a file that
the submission names (see `claims.py`): the strategy must be installed or part of the library.
"""

import dataclasses
import hashlib
import inspect
import pathlib
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from autoresearch_jax.benchmark import claims
from autoresearch_jax.benchmark.claims import SubmissionError
from autoresearch_jax.benchmark.results import BenchmarkRun, Results
from autoresearch_jax.benchmark.runners.specs import AcceptanceSpec, Entrant, ProblemSpec, RunSpec

FORMAT = 1
MAX_BYTES = 2**26  # of a file that is read
LIBRARY = 'autoresearch_jax'
# Not compared number by number: the code has digests, and versions may differ.
NOT_COMPARED = ('versions', 'problem_code', 'strategy_code', 'acceptance_code')


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
    with path.open('rb') as file:
      content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
      raise SubmissionError(f'{path} is larger than {MAX_BYTES} bytes.')
    try:
      data = msgspec.json.decode(content)
      submission = msgspec.convert(data['submission'], cls)
      digest = data['digest']
    except (msgspec.MsgspecError, UnicodeError, KeyError, TypeError, RecursionError) as error:
      raise SubmissionError(
        f'{path} is no submission ({type(error).__name__}: {error}); `autoresearch benchmark '
        'submit` writes one.'
      ) from None
    if submission.format != FORMAT:
      raise SubmissionError(f'{path} has format {submission.format}; this version reads {FORMAT}.')
    if submission.digest != digest:
      raise SubmissionError(f'{path} was changed after it was made: its digest does not match.')
    return submission


def pack(results: Results, benchmark: str, strategy: str) -> Submission:
  """Collects the runs of one strategy that others can verify.

  It leaves out runs that `verify` refuses, such as real training runs, and seeds for which runs of
  a problem are missing.

  Args:
    results: The benchmark's results.
    benchmark: Its name.
    strategy: Label of the strategy.

  Raises:
    SubmissionError: The results have no such runs, or the strategy's source cannot be read.
  """
  runs = list(results.runs())
  chosen = [run for run in runs if run.strategy == strategy]
  if not chosen:
    labels = ', '.join(sorted({run.strategy for run in runs})) or 'none'
    raise SubmissionError(
      f'{results.path} has no runs of the strategy {strategy!r}. Give --strategy; there are: '
      f'{labels}.'
    )
  refused = [_refusal(run) for run in chosen]
  safe = [run for run, why in zip(chosen, refused, strict=True) if not why]
  packed = claims.complete(safe)
  wrong = claims.gaps(strategy, packed)
  if not packed or wrong:
    why = [*wrong, *filter(None, refused), 'No seed has runs of all problems.']
    raise SubmissionError(f'The runs of {strategy!r} are no submission. {why[0]}')
  kinds = _spec(packed[0]).classes()['strategy']
  modules = {kind.__module__ for kind in kinds if kind.__module__.split('.')[0] != LIBRARY}
  sources = {name: _source(name) for name in sorted(modules)}
  return Submission(benchmark, strategy, sources, packed)


def _refusal(run: BenchmarkRun) -> str:
  try:
    claims.require_safe(run)
  except SubmissionError as error:
    return str(error)
  return ''


def _source(module: str) -> str:
  try:
    return inspect.getsource(sys.modules[module])
  except (OSError, TypeError, KeyError):  # typed at a prompt or in a notebook, or compiled
    raise SubmissionError(
      f'The source of the module {module} cannot be read. Move the strategy from the notebook or '
      'prompt into a module that others can install.'
    ) from None


@dataclasses.dataclass(frozen=True)
class Verification:
  """What simulating some runs again has shown.

  Attributes:
    checked: Number of runs that were simulated.
    total: Number of runs of the submission.
    seed: Seed of the sample.
    problems: Sentences on what differs; none if the claim holds.
  """

  checked: int
  total: int
  seed: int
  problems: tuple[str, ...]

  @property
  def holds(self) -> bool:
    return self.checked > 0 and not self.problems


def verify(submission: Submission, count: int, seed: int | None = None) -> Verification:
  """Simulates a sample of runs again and compares all of their numbers.

  No code of the submission is executed, and no file that it names is read.

  Args:
    submission: The submission.
    count: Number of runs in the sample; 0 for all.
    seed: Seed of the sample, to repeat a check. By default it is drawn now, so that nobody can
      prepare a file for it.

  Raises:
    SubmissionError: A run names something that is not installed, could execute or read a file, or
      is too large.
    SimulationError: A run cannot be simulated.
  """
  runs = submission.runs
  if not 0 < len(runs) <= claims.MAX_RUNS:
    raise SubmissionError(f'There are {len(runs)} runs; 1 to {claims.MAX_RUNS} are verified.')
  claims.require_label(submission.strategy)
  for run in runs:
    claims.require_safe(run)
  seed = secrets.randbits(32) if seed is None else seed
  rng = np.random.default_rng((seed, int(submission.digest[:15], 16)))
  order = rng.permutation(len(runs))[: count or None]
  problems = [*claims.gaps(submission.strategy, runs)]
  problems += [line for i in order for line in _differences(runs[i])]
  return Verification(len(order), len(runs), seed, tuple(dict.fromkeys(problems)))


def _differences(run: BenchmarkRun) -> Iterator[str]:
  spec = _spec(run)
  name = f'{run.strategy} on {run.problem}, seed {run.instance_seed}'
  for kind, code in spec.code.items():
    if code != getattr(run, f'{kind}_code'):
      label = getattr(run, kind)
      version = ascii(run.versions.get('autoresearch_jax', 'unknown'))
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
    if not claims.same(claimed, found):
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
