"""A finding: what one edit of a program did to the metric in one setting, as portable data.

docs/findings.md describes the file format. `encoding` reads and checks it, `signing` signs it,
`stores` keeps it, `from_ledger` makes findings of a run.
"""

import dataclasses
import functools
import hashlib
import statistics
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from autoresearch_jax.types import Budget, Direction, Hypothesis, Platform

SCHEMA = 1
UNSIGNED = 'unsigned'  # beginning of the source of findings that nobody has signed
FindingStatus = Literal['gain', 'no_gain', 'undecided', 'failed']
_FINDING_PREFIX = b'autoresearch finding 1\n'  # keeps a signature from being used for anything else


class FindingError(ValueError):
  """A finding, a key or a store cannot be used; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class FindingSetting:
  """The conditions under which two programs were compared.

  Digests are SHA-256 in hexadecimal; '' stands for what is not known.

  Attributes:
    problem: Registered name of the problem.
    metric: The metric.
    direction: Whether it is minimised or maximised.
    budget: How long each training run took, and by which clock.
    platform: `cpu`, `gpu` or `tpu`.
    device: The accelerator's kind, or the model of the CPU.
    num_devices: Accelerators, or cores.
    step_seconds: Duration of a train step of the run's baseline on it; None if not measured.
    data: Digest of everything in the data that can change the metric: content, tokenizer, split.
    tokenizer: Digest of the tokenizer alone.
    scorer: Digest of the code that computes the metric.
    harness: Digest of the code that traces, trains and keeps the time.
  """

  problem: str
  metric: str
  direction: Direction
  budget: Budget
  platform: Platform
  device: str = ''
  num_devices: int = 1
  step_seconds: float | None = None
  data: str = ''
  tokenizer: str = ''
  scorer: str = ''
  harness: str = ''


@dataclasses.dataclass(frozen=True)
class FindingProgram:
  """A program of a finding, by reference, and its results.

  Attributes:
    digest: `Program.digest`: SHA-256 of entry, names and texts.
    fingerprint: The traced artifact's, equal for programs that compute the same; '' if not traced.
    entry: Name of the entry file.
    files: Names of the files and the SHA-256 of their contents, sorted; () if they are not known.
    values: Seeds and values of the metric of its training runs at the full budget, sorted.
  """

  digest: str = ''
  fingerprint: str = ''
  entry: str = ''
  files: tuple[tuple[str, str], ...] = ()
  values: tuple[tuple[int, float], ...] = ()

  @property
  def runs(self) -> int:
    """Number of training runs."""
    return len(self.values)

  @property
  def seeds(self) -> tuple[int, ...]:
    """Seeds of the training runs."""
    return tuple(seed for seed, _ in self.values)


@dataclasses.dataclass(frozen=True)
class Finding:
  """A comparison of a program with the one that it was edited from.

  Attributes:
    setting: Where it was measured.
    parent: The program that was edited.
    child: The edited program.
    status: `gain` if the run kept it, `no_gain` if not, `undecided` if it might still have been
      kept, `failed` if the program has no score through its own fault.
    description: The edit in one line.
    hypothesis: Why it was expected to help, and what it acts on.
    patch: Unified diffs of all files that differ; '' if they are too long or not known.
    gain: Mean improvement over the parent, in the metric's unit; positive is better. None if it
      failed.
    standard_error: Of the gain; None if the noise is not known.
    degrees_of_freedom: Of the standard error.
    pairs: Number of seeds that both programs were trained on if the gain is the mean of their
      differences; 0 if it is the difference of the means.
    seed_std: Standard deviation of the metric between seeds, pooled over the run; None if unknown.
    failure: The trial's status if it failed, such as `oom`.
    reason: The sentence that came with the failure or the verdict.
    artifacts: Names (`parent`, `child`) and SHA-256 of the traced programs, if they were added.
    created: When the last of its evidence was recorded, in Unix seconds.
    source: `ed25519:` and the public key in hexadecimal, or `unsigned:` and where it was read.
    signature: Of the source's key over all other fields, in hexadecimal; '' if unsigned.
    schema: Version of the format.
  """

  setting: FindingSetting
  parent: FindingProgram
  child: FindingProgram
  status: FindingStatus
  description: str
  hypothesis: Hypothesis
  patch: str = ''
  gain: float | None = None
  standard_error: float | None = None
  degrees_of_freedom: int = 0
  pairs: int = 0
  seed_std: float | None = None
  failure: str = ''
  reason: str = ''
  artifacts: tuple[tuple[str, str], ...] = ()
  created: int = 0
  source: str = UNSIGNED
  signature: str = ''
  schema: int = SCHEMA

  @functools.cached_property
  def id(self) -> str:
    """SHA-256 of the finding without its signature, in hexadecimal."""
    return hashlib.sha256(self.signed_bytes).hexdigest()

  @property
  def signed_bytes(self) -> bytes:
    """What the signature is over: a prefix, and the canonical JSON of all other fields."""
    fields = msgspec.to_builtins(self)
    del fields['signature']
    return _FINDING_PREFIX + canonical(fields)

  @property
  def is_signed(self) -> bool:
    """Whether it names a key as its source. What a store returns was verified with it."""
    return not self.source.startswith(UNSIGNED)

  @property
  def blobs(self) -> frozenset[str]:
    """SHA-256 of everything that it refers to."""
    files = (*self.parent.files, *self.child.files, *self.artifacts)
    return frozenset(digest for _, digest in files)

  @property
  def runs(self) -> int:
    """Training runs of the edited program."""
    return self.child.runs

  @property
  def t(self) -> float | None:
    """The gain in standard errors; None if either is not known."""
    if self.gain is None or not self.standard_error:
      return None
    return self.gain / self.standard_error

  @functools.cached_property
  def comparison(self) -> str:
    """Digest of source, setting and programs: equal for later reports on the same comparison."""
    return hashlib.sha256(canonical(self.compared)).hexdigest()

  @property
  def compared(self) -> tuple[Any, ...]:
    """What `comparison` is the digest of."""
    parent, child = self.parent, self.child
    programs = (parent.digest, parent.fingerprint), (child.digest, child.fingerprint)
    if not child.digest:  # read from a table without programs
      return (self.source, self.setting, *programs, self.description, self.created)
    return (self.source, self.setting, *programs)


def canonical(value: Any) -> bytes:
  """Returns the canonical JSON: sorted keys, no spaces, the shortest text of each float."""
  return msgspec.json.encode(value, order='sorted')


def latest(findings: Iterable[Finding]) -> list[Finding]:
  """Returns one finding of each comparison: that with the most training runs, else the last one."""
  chosen: dict[tuple[Any, ...], Finding] = {}
  for finding in findings:
    key = finding.compared  # as good as the digest, and faster
    known = chosen.get(key)
    if known is None or _weight(finding) > _weight(known):
      chosen[key] = finding
  return list(chosen.values())


def _weight(finding: Finding) -> tuple[int, int, str]:
  return finding.child.runs + finding.parent.runs, finding.created, finding.id


def gain_of(
  parent: FindingProgram, child: FindingProgram, direction: Direction, paired: bool
) -> float | None:
  """Returns the child's gain; None without the training runs for it.

  Args:
    parent: The program that was edited.
    child: The edited program.
    direction: Of the metric.
    paired: Whether it is the mean of the differences on the seeds that both have, rather than the
      difference of the means.
  """
  sign = -1.0 if direction == 'minimize' else 1.0
  before, after = dict(parent.values), dict(child.values)
  if paired:
    common = sorted({*before} & {*after})
    return sign * statistics.fmean(after[s] - before[s] for s in common) if common else None
  if not (before and after):
    return None
  return sign * (statistics.fmean(after.values()) - statistics.fmean(before.values()))
