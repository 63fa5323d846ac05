"""The words of the library as frozen dataclasses, and how they become JSON.

Everything that crosses a process or enters the ledger is one of these. They hold plain data
only, so `msgspec` turns them into JSON and back, refusing what does not fit. No jax here: the
controller, strategies, proposers and acceptance rules all import this module.
"""

import dataclasses
import enum
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeVar

import msgspec

T = TypeVar('T')

BudgetUnit = Literal['seconds', 'steps', 'tokens', 'flops']
Platform = Literal['cpu', 'gpu', 'tpu']


class Status(enum.StrEnum):
  """How a trial ended."""

  OK = 'ok'
  INVALID = 'invalid'  # did not trace, or broke the contract
  DUPLICATE = 'duplicate'  # same semantic fingerprint as an earlier trial
  OOM = 'oom'  # refused before it ran: would not fit on the device
  DIVERGED = 'diverged'  # loss became NaN or passed the limit
  CRASH = 'crash'  # the runner died or raised
  TIMEOUT = 'timeout'  # a deadline passed: trace, compile, train or evaluate
  CANCELLED = 'cancelled'  # ended from outside: says nothing of the program
  PRUNED = 'pruned'  # ended early: too far behind to be kept


# They say nothing of a program: its trial was stopped, or the machine or the runner failed.
INCONCLUSIVE = (Status.CANCELLED, Status.CRASH)
UNEVALUATED = (
  *INCONCLUSIVE,
  Status.DUPLICATE,
)  # the trial tried no program of its own, which may come again


class Decision(enum.StrEnum):
  """What acceptance made of a trial; the words the original writes in results.tsv."""

  KEEP = 'keep'
  DISCARD = 'discard'
  CRASH = 'crash'


class Operation(enum.StrEnum):
  """What a proposal asks for."""

  DRAFT = 'draft'  # a program from the problem's start (the baseline is the unedited draft)
  IMPROVE = 'improve'
  DEBUG = 'debug'
  MERGE = 'merge'
  REPLICATE = 'replicate'  # the same program again, on other seeds
  PROMOTE = 'promote'  # the same program again, at a larger budget


RERUNS = (Operation.REPLICATE, Operation.PROMOTE)  # train their first parent's program again


@dataclasses.dataclass(frozen=True)
class Budget:
  """How long a trial trains.

  Attributes:
    amount: How much, in the unit.
    unit: `seconds` (training alone, compilation never counts), `steps`, `tokens` (examples, for
      supervised problems) or `flops`.
  """

  amount: float
  unit: BudgetUnit = 'seconds'

  def scaled(self, fidelity: float) -> 'Budget':
    return dataclasses.replace(self, amount=self.amount * fidelity)


@dataclasses.dataclass(frozen=True)
class Spec:
  """The problem as a program sees it (the `spec` of `init(key, spec)`).

  Language models have vocab_size and sequence_length; supervised problems have input_shape
  (one example's) and num_classes; constructions have output_shape. The others are None.
  """

  kind: Literal['language_model', 'supervised', 'construction']
  platform: Platform
  num_devices: int
  budget: Budget
  vocab_size: int | None = None
  sequence_length: int | None = None
  input_shape: tuple[int, ...] | None = None
  num_classes: int | None = None
  output_shape: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Where the runner finds a problem's prepared data; nobody else opens it.

  train, validation: folders. Language models: rows.npy, uint16 [rows, sequence_length + 1];
  supervised problems: inputs.npy [examples, *input_shape] float32 and targets.npy [examples] int32.
  token_bytes: file, int32 [vocab_size], UTF-8 bytes of each token, 0 for special tokens.
  evaluation_batch: rows (examples) in one call of `predict`; divides the validation rows.
  verifier: of constructions, which have no data: the name in VERIFIERS of what scores them.
  test: folder like `validation`, the test split: no search sees it, the final evaluation alone
  scores on it. '' where the problem holds none back.
  fingerprint: SHA-256 over everything that can change a metric: content, tokenizer, split.
  """

  kind: Literal['language_model', 'supervised', 'construction']
  train: str = ''
  validation: str = ''
  token_bytes: str = ''
  evaluation_batch: int = 0
  verifier: str = ''
  fingerprint: str = ''
  test: str = ''


@dataclasses.dataclass(frozen=True)
class Program:
  """An immutable snapshot of the editable files.

  files: (name, text) pairs sorted by name; names are relative posix paths.
  entry: the name of the file that defines `init`, `train_step` and `predict`.
  """

  files: tuple[tuple[str, str], ...]
  entry: str

  def __post_init__(self) -> None:
    names = [name for name, _ in self.files]
    if self.entry not in names:
      raise ValueError(f'The program has no entry file {self.entry!r}; its files are {names}.')
    for name in names:
      path = pathlib.PurePosixPath(name)
      if path.is_absolute() or '..' in path.parts or name != str(path):
        raise ValueError(f'{name!r} is not a plain relative path inside the program.')
    if names != sorted(set(names)):
      object.__setattr__(self, 'files', tuple(sorted(dict(self.files).items())))

  @classmethod
  def read(cls, directory: pathlib.Path, names: tuple[str, ...], entry: str) -> Self:
    """Reads `names` below `directory`. Raises FileNotFoundError, UnicodeDecodeError."""
    return cls(tuple((n, (directory / n).read_text(encoding='utf-8')) for n in names), entry)

  def write(self, directory: pathlib.Path) -> None:
    for name, text in self.files:
      path = directory / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text, encoding='utf-8')

  def text(self, name: str | None = None) -> str:
    return dict(self.files)[name or self.entry]

  def with_text(self, text: str, name: str | None = None) -> 'Program':
    return Program(tuple({**dict(self.files), (name or self.entry): text}.items()), self.entry)

  @property
  def digest(self) -> str:
    """SHA-256 of names and texts: equal only for equal files (see the fingerprint for meaning)."""
    return hashlib.sha256(msgspec.json.encode([self.entry, self.files])).hexdigest()


@dataclasses.dataclass(frozen=True)
class Hypothesis:
  """What a proposer believes its edit will do.

  claim: one sentence. mechanisms: tags such as 'optimizer' or 'attention'.
  predicted_effect: change of the metric's *score* (larger is better), in the metric's unit.
  uncertainty: standard deviation of that prediction.
  """

  claim: str
  mechanisms: tuple[str, ...] = ()
  predicted_effect: float | None = None
  uncertainty: float | None = None


@dataclasses.dataclass(frozen=True)
class Edit:
  """A new program with the reason for it. description: one line, as in results.tsv.

  author: the model or agent that wrote it, '' when no such thing did. role: the one it acted in.
  """

  program: Program
  description: str
  hypothesis: Hypothesis
  author: str = ''
  role: str = ''


# What strategies ask of proposers beyond the operation: move constants only, change structure
# only, take one part out again, or write the program anew instead of changing a part of it.
GUIDANCE = ('tuning', 'creative', 'ablation', 'rewrite')


@dataclasses.dataclass(frozen=True)
class Proposal:
  """What a strategy wants tried.

  parents: trial ids, the first one is the program that gets edited (none: the problem's start).
  context: trial ids to show to the proposer. fidelity: fraction of the budget.
  seeds: one training run each. edit: carried by strategies that propose constants themselves.
  guidance: a word to the proposer on what kind of edit is wanted (see GUIDANCE); it may be ignored.
  question: what the strategy wants to know, in a sentence or a few, shown to a proposer that reads.
  """

  operation: Operation
  parents: tuple[int, ...] = ()
  context: tuple[int, ...] = ()
  fidelity: float = 1.0
  seeds: tuple[int, ...] = (0,)
  edit: Edit | None = None
  guidance: str = ''
  question: str = ''


@dataclasses.dataclass(frozen=True)
class Exchange:
  """One call of a language model or an agent. Recorded before it is sent, and when it has ended.

  id: the same in both records. purpose: what it was for, such as 'propose' or 'distill'.
  request, response: as text (JSON, for an API). error: a sentence when it failed, else ''.
  input_tokens, output_tokens, dollars: while `sent`, or when nobody knows, the most it can be.
  """

  id: str
  model: str
  purpose: str
  state: Literal['sent', 'answered', 'failed']
  role: str = ''
  request: str = ''
  response: str = ''
  error: str = ''
  seconds: float = 0.0
  input_tokens: int = 0
  output_tokens: int = 0
  dollars: float = 0.0


@dataclasses.dataclass(frozen=True)
class Spend:
  """What calls of models and agents add up to."""

  calls: int = 0
  input_tokens: int = 0
  output_tokens: int = 0
  dollars: float = 0.0

  @property
  def tokens(self) -> int:
    return self.input_tokens + self.output_tokens

  def __add__(self, other: 'Spend') -> 'Spend':
    return Spend(
      *(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self))
    )

  def __sub__(self, other: 'Spend') -> 'Spend':
    return self + Spend(-other.calls, -other.input_tokens, -other.output_tokens, -other.dollars)


@dataclasses.dataclass(frozen=True)
class Lesson:
  """What a group of trials taught. text: a sentence. trials: ids of those that it rests on.

  tags: what it is about: mechanisms, names of constants. effect, uncertainty: on the metric's
  score (larger is better), with the standard deviation of that; None where it is no number.
  author: the model that wrote it, '' for those by rule.
  """

  text: str
  trials: tuple[int, ...]
  tags: tuple[str, ...] = ()
  effect: float | None = None
  uncertainty: float | None = None
  author: str = ''


@dataclasses.dataclass(frozen=True)
class Cost:
  """What one training run took. Seconds are wall clock; bytes are of one device."""

  training_seconds: float = 0.0  # counted against the budget
  trace_seconds: float = 0.0
  compile_seconds: float = 0.0
  evaluate_seconds: float = 0.0
  total_seconds: float = 0.0  # submission to result, everything in
  steps: int = 0
  tokens: int = 0  # examples, for supervised problems
  flops: float = 0.0  # of all training steps, by XLA's cost analysis
  mfu_percent: float = 0.0
  peak_bytes: int = 0  # the larger of the two below
  analysis_bytes: int = 0  # what memory_analysis says of the compiled step
  allocator_bytes: int = 0  # what the device's allocator says; 0 where it says nothing
  parameters: int = 0
  compilations_in_clock: int = 0  # must be 0


@dataclasses.dataclass(frozen=True)
class Measurement:
  """One training run: its seed, its metrics (finite floats) and its cost."""

  seed: int
  metrics: dict[str, float]
  cost: Cost


@dataclasses.dataclass(frozen=True)
class Isolation:
  """What kept the candidate in while it was traced; detail: what is absent, in words."""

  network: bool = False  # no socket can be made
  files: bool = False  # reads and writes limited by the kernel
  system_calls: bool = False  # an allow-list by seccomp
  processes: bool = False  # no fork, no exec
  limits: bool = False  # rlimits on CPU, memory, file size, descriptors
  detail: str = ''


@dataclasses.dataclass(frozen=True)
class Result:
  """What an executor returns for one trial.

  status, reason: how it ended; reason is a sentence for whoever can mend it, '' when ok.
  facts: what is known of the artifact (flops_per_step, artifact_bytes, matmul_dtypes, device...).
  """

  trial: int
  status: Status
  reason: str = ''
  fingerprint: str = ''
  duplicate_of: int | None = None
  measurements: tuple[Measurement, ...] = ()
  isolation: Isolation | None = None
  facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PruningRung:
  """A share of the budget at which the runner looks at a state in training.

  Training ends there, and the trial is `pruned`, when the training loss (the program's own, a mean
  since the rung before) is above `max_train_loss` and the nats that the runner measures on a
  fixed batch, there and at all rungs before, are above `max_val_loss`. None: there is no such
  limit, and nothing is ended.
  """

  progress: float
  max_train_loss: float | None = None
  max_val_loss: float | None = None

  def passed(self, loss: float, nats: float) -> bool:
    """Whether both limits are there and passed. nats: the lowest so far."""
    if self.max_train_loss is None or self.max_val_loss is None:
      return False
    return loss > self.max_train_loss and nats > self.max_val_loss


@dataclasses.dataclass(frozen=True)
class TrialRequest:
  """What an executor is asked to run.

  known: fingerprint -> trial id that already has it. parents: the proposal's. on_test: score on the
  test split instead of the validation split; only the final evaluation asks for that.
  rungs: see `PruningRung`, in the order of their progress.
  """

  trial: int
  program: Program
  seeds: tuple[int, ...]
  budget: Budget
  known: Mapping[str, int] = dataclasses.field(default_factory=dict)
  parents: tuple[int, ...] = ()
  on_test: bool = False
  rungs: tuple[PruningRung, ...] = ()


@dataclasses.dataclass(frozen=True)
class Progress:
  """News of a running trial. fraction: of the budget, while phase is 'train'."""

  trial: int
  phase: Literal['trace', 'compile', 'train', 'evaluate']
  seed: int = 0
  fraction: float = 0.0
  step: int = 0
  loss: float | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Acceptance's answer, with the sentence that justifies it."""

  decision: Decision
  reason: str


@dataclasses.dataclass(frozen=True)
class Trial:
  """One trial with everything known of it; `verdict` is None until acceptance has decided."""

  id: int
  proposal: Proposal
  edit: Edit
  result: Result
  verdict: Verdict | None = None

  def metric(self, name: str) -> float | None:
    """Mean of the metric over seeds; None when the trial has no measurement of it."""
    values = [m.metrics[name] for m in self.result.measurements if name in m.metrics]
    return sum(values) / len(values) if values else None


@dataclasses.dataclass(frozen=True)
class Objective:
  """The metric that is optimised, e.g. val_bpb, minimize."""

  metric: str
  direction: Literal['minimize', 'maximize']

  def score(self, trial: Trial) -> float | None:
    """The trial's metric turned so that larger is better; None when it has none."""
    value = trial.metric(self.metric)
    if value is None:
      return None
    return -value if self.direction == 'minimize' else value


def test_metric(metric: str) -> str:
  """The name on the test split of a metric of the validation split: `test_bpb` for `val_bpb`."""
  return f'test_{metric.removeprefix("val_")}'


def to_json(value: Any) -> bytes:
  return msgspec.json.encode(value)


def from_json(data: bytes | str, kind: type[T]) -> T:
  """Reads `kind` from JSON. Raises msgspec.ValidationError with the path of what does not fit."""
  return msgspec.json.decode(data, type=kind)


def to_builtins(value: Any) -> Any:
  return msgspec.to_builtins(value)


def from_builtins(value: Mapping[str, Any], kind: type[T]) -> T:
  return msgspec.convert(value, kind)
