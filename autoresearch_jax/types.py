"""The library's data types, as frozen dataclasses, and their conversion to and from JSON.

Whatever crosses a process boundary or enters the ledger is one of these. They hold plain data, so
`msgspec` serialises them and rejects input of another type. The controller imports this module, so
it does not import jax.
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
Direction = Literal['minimize', 'maximize']


class Status(enum.StrEnum):
  """How a trial ended."""

  OK = 'ok'
  INVALID = 'invalid'  # did not trace, or broke the contract
  DUPLICATE = 'duplicate'  # same semantic fingerprint as an earlier trial
  OOM = 'oom'  # rejected before training: does not fit on the device
  DIVERGED = 'diverged'  # the loss became NaN or exceeded the limit
  CRASH = 'crash'  # the runner died or raised
  TIMEOUT = 'timeout'  # tracing, compiling, training or evaluating exceeded its time limit
  CANCELLED = 'cancelled'  # stopped from outside; tells nothing about the program
  INFEASIBLE = 'infeasible'  # violates a constraint of the config
  PRUNED = 'pruned'  # stopped early: too far behind to be kept


INCONCLUSIVE = (Status.CANCELLED, Status.CRASH)  # not the program's fault
UNEVALUATED = (*INCONCLUSIVE, Status.DUPLICATE)  # the program was not tried, and may come again


class Decision(enum.StrEnum):
  """The acceptance rule's decision on a trial, in the original autoresearch's words."""

  KEEP = 'keep'
  DISCARD = 'discard'
  CRASH = 'crash'


class Operation(enum.StrEnum):
  """What to do with the parents of a proposal: draft, improve, debug, merge, replicate or promote.

  Example:
    >>> import autoresearch_jax as ar
    >>> ar.Operation('improve') is ar.Operation.IMPROVE
    True
  """

  DRAFT = 'draft'  # edit the problem's starting program (which, unedited, is the baseline)
  IMPROVE = 'improve'
  DEBUG = 'debug'
  MERGE = 'merge'
  REPLICATE = 'replicate'  # train the same program on other seeds
  PROMOTE = 'promote'  # train the same program with a larger budget


RERUNS = (Operation.REPLICATE, Operation.PROMOTE)  # they train their first parent's program again


@dataclasses.dataclass(frozen=True)
class Budget:
  """How long a trial trains.

  Attributes:
    amount: Its size, in `unit`.
    unit: `seconds` (of training; compilation does not count), `steps`, `tokens` (examples, for
      supervised problems) or `flops`.
    clock: How seconds are counted. `calibrated`: as reference seconds, which are longer while the
      machine is slow; see `runner/reference.py`. `wall`: by the wall clock. `auto`: calibrated,
      except that a run which began with the wall clock keeps it.
  """

  amount: float
  unit: BudgetUnit = 'seconds'
  clock: Literal['auto', 'calibrated', 'wall'] = 'auto'

  def is_calibrated(self) -> bool:
    """Whether the machine's speed is measured while a trial trains."""
    return self.unit == 'seconds' and self.clock != 'wall'

  def scaled(self, fidelity: float) -> 'Budget':
    return dataclasses.replace(self, amount=self.amount * fidelity)


@dataclasses.dataclass(frozen=True)
class Spec:
  """The problem as a program sees it: the `spec` in `init(key, spec)`.

  Fields that do not apply to the problem's kind are None.
  """

  kind: Literal['language_model', 'supervised', 'construction']
  platform: Platform
  num_devices: int
  budget: Budget
  vocab_size: int | None = None  # language models
  sequence_length: int | None = None  # language models
  input_shape: tuple[int, ...] | None = None  # of one example; supervised problems
  num_classes: int | None = None  # supervised problems
  output_shape: tuple[int, ...] | None = None  # constructions


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A problem's prepared data, which only the runner opens.

  A split is a folder. For language models it has rows.npy, uint16 [rows, sequence_length + 1]; for
  supervised problems inputs.npy, float32 [examples, *input_shape], and targets.npy, int32
  [examples].

  Attributes:
    train: Folder of the training split.
    validation: Folder of the validation split.
    token_bytes: File, int32 [vocab_size]: UTF-8 bytes of each token, 0 for special tokens.
    evaluation_batch: Rows (examples) per call of `predict`; divides the validation rows.
    verifier: Name in VERIFIERS of the function that scores a construction.
    fingerprint: SHA-256 over whatever can change a metric: content, tokenizer, split.
    test: Folder of the test split, on which only the final evaluation scores; '' for none.
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
  """An immutable snapshot of a program's files.

  Attributes:
    files: (name, text) pairs sorted by name; names are relative POSIX paths.
    entry: Name of the file that defines `init`, `train_step` and `predict`.

  Example:
    >>> import autoresearch_jax as ar
    >>> program = ar.Program((('model.py', 'WIDTH = 64'),), entry='model.py')
    >>> program.with_text('WIDTH = 32').text()
    'WIDTH = 32'
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
    """Writes all files below `directory`, which is created if missing."""
    for name, text in self.files:
      path = directory / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(text, encoding='utf-8')

  def text(self, name: str | None = None) -> str:
    """Returns the text of a file; by default, of the entry. Raises KeyError."""
    return dict(self.files)[name or self.entry]

  def with_text(self, text: str, name: str | None = None) -> 'Program':
    """Returns the program with another text of a file; by default, of the entry."""
    return Program(tuple({**dict(self.files), (name or self.entry): text}.items()), self.entry)

  @property
  def digest(self) -> str:
    """SHA-256 of names and texts. Semantic equality is the artifact fingerprint's business."""
    return hashlib.sha256(msgspec.json.encode([self.entry, self.files])).hexdigest()


@dataclasses.dataclass(frozen=True)
class Hypothesis:
  """A proposer's prediction of what its edit does.

  Attributes:
    claim: One sentence.
    mechanisms: Tags such as 'optimizer' or 'attention'.
    predicted_effect: On the score (larger is better), in the metric's unit.
    uncertainty: Standard deviation of that prediction.

  Example:
    >>> import autoresearch_jax as ar
    >>> ar.Hypothesis('A smaller WIDTH makes more steps.', predicted_effect=0.02).mechanisms
    ()
  """

  claim: str
  mechanisms: tuple[str, ...] = ()
  predicted_effect: float | None = None
  uncertainty: float | None = None


@dataclasses.dataclass(frozen=True)
class Edit:
  """A proposed program with its one-line description and its hypothesis.

  Attributes:
    program: The complete new program, not a diff.
    description: One line, shown in results.tsv.
    hypothesis: What it is expected to do.
    author: The model or agent that wrote it.
    role: The role in which that model was prompted.

  Example:
    >>> import autoresearch_jax as ar
    >>> program = ar.Program((('model.py', 'WIDTH = 32'),), entry='model.py')
    >>> ar.Edit(program, 'halve WIDTH', ar.Hypothesis('WIDTH is too large.')).description
    'halve WIDTH'
  """

  program: Program
  description: str
  hypothesis: Hypothesis
  author: str = ''
  role: str = ''


# Kinds of edits a strategy may request: change constants only, change structure only, remove one
# component, or rewrite the program.
GUIDANCE = ('tuning', 'creative', 'ablation', 'rewrite')


@dataclasses.dataclass(frozen=True)
class Proposal:
  """A strategy's request for a trial.

  Attributes:
    operation: The kind of the proposal.
    parents: Trial ids; the first one's program is edited. Empty for the starting program.
    context: Trial ids to show to the proposer.
    fidelity: Fraction of the budget.
    seeds: One training run each.
    edit: Set by strategies that choose constants themselves; no proposer is called then.
    guidance: One of GUIDANCE, or ''. Proposers may ignore it.
    question: What the strategy wants to learn, in prose, for proposers that prompt a model.

  Example:
    >>> import autoresearch_jax as ar
    >>> ar.Proposal(ar.Operation.IMPROVE, parents=(3,), seeds=(0, 1)).fidelity
    1.0
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
  """One call of a language model or an agent, recorded before it is sent and after it ends.

  Tokens and dollars are upper bounds while the call is pending or if the API does not report them.
  """

  id: str  # the same in both records
  model: str
  purpose: str  # such as 'propose' or 'distill'
  state: Literal['sent', 'answered', 'failed']
  role: str = ''
  request: str = ''  # text (JSON, for an API)
  response: str = ''
  error: str = ''  # a sentence if the call failed
  seconds: float = 0.0
  input_tokens: int = 0
  output_tokens: int = 0
  dollars: float = 0.0


@dataclasses.dataclass(frozen=True)
class Spend:
  """The total cost of calls to models and agents."""

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
  """A conclusion drawn from a group of trials."""

  text: str  # a sentence
  trials: tuple[int, ...]  # ids
  tags: tuple[str, ...] = ()  # mechanisms and constants that it is about
  effect: float | None = None  # on the score (larger is better); None if not quantitative
  uncertainty: float | None = None  # standard deviation of `effect`
  author: str = ''  # the model that wrote it; '' if it was computed


@dataclasses.dataclass(frozen=True)
class Cost:
  """The cost of one training run. Seconds are wall-clock time; bytes are per device."""

  training_seconds: float = 0.0
  speed: float = 1.0  # of the machine meanwhile, 1 being that when the run began, if measured
  calibration_seconds: float = 0.0  # spent on measuring the speed, outside of training_seconds
  trace_seconds: float = 0.0
  compile_seconds: float = 0.0
  evaluate_seconds: float = 0.0
  total_seconds: float = 0.0  # from submission to result
  steps: int = 0
  tokens: int = 0  # examples, for supervised problems
  flops: float = 0.0  # of all training steps, from XLA's cost analysis
  mfu_percent: float = 0.0
  peak_bytes: int = 0  # the larger of the two below
  analysis_bytes: int = 0  # from the compiled step's memory_analysis
  allocator_bytes: int = 0  # from the device's allocator; 0 if it does not report
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
  """Which protections the tracer's sandbox had while it traced the candidate."""

  network: bool = False  # sockets are blocked
  files: bool = False  # the kernel restricts reads and writes
  system_calls: bool = False  # seccomp allow-list
  processes: bool = False  # no fork, no exec
  limits: bool = False  # rlimits on CPU, memory, file size, descriptors
  detail: str = ''  # which protections are missing, in words


@dataclasses.dataclass(frozen=True)
class Result:
  """What an executor returns for one trial.

  `facts` are properties of the artifact and the run, such as flops_per_step and device.
  """

  trial: int
  status: Status
  reason: str = ''  # why the status is not `ok`, in a sentence that says what to fix
  fingerprint: str = ''  # the artifact's; equal for programs that compute the same
  duplicate_of: int | None = None  # the earlier trial with that fingerprint
  measurements: tuple[Measurement, ...] = ()  # one per seed
  isolation: Isolation | None = None
  facts: dict[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def speed(self) -> float | None:
    """Mean speed of the machine while it trained; None if it was not measured."""
    speeds = [m.cost.speed for m in self.measurements if m.cost.calibration_seconds]
    return sum(speeds) / len(speeds) if speeds else None


@dataclasses.dataclass(frozen=True)
class SeedResult:
  """One finished training run of a trial that goes on. Executors may report it.

  Attributes:
    trial: The trial's id.
    fingerprint: The artifact's, as in `Result`.
    measurement: The run's seed, metrics and cost.
    facts: What it adds to the trial's facts, such as the learning curve.
  """

  trial: int
  fingerprint: str
  measurement: Measurement
  facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PruningRung:
  """A point in training at which the runner evaluates the state and may prune the trial.

  A trial is pruned if both losses exceed their thresholds; None is no threshold.

  Attributes:
    progress: Fraction of the budget.
    max_train_loss: Threshold on the program's own training loss, averaged since the previous rung.
    max_val_loss: Threshold on the lowest validation loss so far, which the runner measures on a
      fixed batch, in nats per target.
  """

  progress: float
  max_train_loss: float | None = None
  max_val_loss: float | None = None

  def should_prune(self, train_loss: float, lowest_val_loss: float) -> bool:
    if self.max_train_loss is None or self.max_val_loss is None:
      return False
    return train_loss > self.max_train_loss and lowest_val_loss > self.max_val_loss


@dataclasses.dataclass(frozen=True)
class Constraint:
  """A bound on what a trial measures or costs, e.g. `parameters <= 1e6`.

  Attributes:
    quantity: Name of a metric or of a field of `Cost`.
    relation: Whether the bound is an upper or a lower one.
    bound: The bound, in the unit of the quantity.
  """

  quantity: str
  relation: Literal['<=', '>=', '<', '>']
  bound: float

  def holds(self, value: float) -> bool:
    """Returns whether a value is within the bound; NaN never is."""
    match self.relation:
      case '<=':
        return value <= self.bound
      case '>=':
        return value >= self.bound
      case '<':
        return value < self.bound
      case '>':
        return value > self.bound

  def value(self, measurements: tuple['Measurement', ...]) -> float | None:
    """Returns the mean of the quantity over training runs; None where none of them has it."""
    values = [
      m.metrics.get(self.quantity, getattr(m.cost, self.quantity, None)) for m in measurements
    ]
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None

  def violation(self, value: float | None) -> str:
    """Returns a sentence that says how a value breaks the constraint; '' if it does not."""
    if value is None:
      return f'The constraint {self} cannot be checked: the trial has no {self.quantity}.'
    if self.holds(value):
      return ''
    return f'It breaks the constraint {self}: {self.quantity} is {value:.6g}.'

  def __str__(self) -> str:
    return f'{self.quantity} {self.relation} {self.bound:g}'


@dataclasses.dataclass(frozen=True)
class ReferenceStep:
  """The train step that measures the machine's speed: the baseline's.

  Attributes:
    program: The baseline's program.
    step_seconds: Seconds that a step of the reference took when the run began; 0 to measure it now.
  """

  program: Program
  step_seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class TrialRequest:
  """A trial for an executor to run. `known` maps fingerprints to the trials that have them."""

  trial: int
  program: Program
  seeds: tuple[int, ...]  # one training run each
  budget: Budget
  known: Mapping[str, int] = dataclasses.field(default_factory=dict)
  parents: tuple[int, ...] = ()  # the proposal's
  on_test: bool = False  # score on the test split (final evaluation) instead of validation
  rungs: tuple[PruningRung, ...] = ()  # in order of progress
  reference: ReferenceStep | None = None  # measures the machine's speed for calibrated clocks
  constraints: tuple[Constraint, ...] = ()  # a program known to violate one is not trained
  done: tuple[SeedResult, ...] = ()  # runs of an earlier session, which need not be repeated


@dataclasses.dataclass(frozen=True)
class Progress:
  """A progress report of a running trial; `fraction` is of the budget, during training."""

  trial: int
  phase: Literal['trace', 'compile', 'train', 'evaluate']
  seed: int = 0
  fraction: float = 0.0
  step: int = 0
  loss: float | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
  """The acceptance rule's decision, with a sentence that justifies it."""

  decision: Decision
  reason: str


@dataclasses.dataclass(frozen=True)
class Trial:
  """One program, its training runs, and the verdict on it.

  Attributes:
    id: Its number within the run; 0 is the baseline.
    proposal: What the strategy asked for.
    edit: The program that was trained.
    result: Status, and a measurement per seed.
    verdict: None until the acceptance rule has decided.

  Example:
    >>> import autoresearch_jax as ar
    >>> from autoresearch_jax.types import Cost, Measurement, Result, Status
    >>> program = ar.Program((('model.py', 'WIDTH = 64'),), entry='model.py')
    >>> edit = ar.Edit(program, 'baseline', ar.Hypothesis('Nothing is changed.'))
    >>> runs = tuple(Measurement(seed, {'val_loss': 0.25 * seed}, Cost()) for seed in (1, 2))
    >>> result = Result(0, Status.OK, measurements=runs)
    >>> ar.Trial(0, ar.Proposal(ar.Operation.DRAFT), edit, result).metric('val_loss')
    0.375
  """

  id: int
  proposal: Proposal
  edit: Edit
  result: Result
  verdict: Verdict | None = None

  def metric(self, name: str) -> float | None:
    """Returns the metric's mean over seeds, or None if it was not measured."""
    values = [m.metrics[name] for m in self.result.measurements if name in m.metrics]
    return sum(values) / len(values) if values else None


@dataclasses.dataclass(frozen=True)
class Objective:
  """The metric to optimise and its direction, for instance `val_bpb` and `minimize`.

  Example:
    >>> import autoresearch_jax as ar
    >>> ar.Objective('val_bpb', 'minimize').metric
    'val_bpb'
  """

  metric: str
  direction: Direction

  def score(self, trial: Trial) -> float | None:
    """Returns the metric, negated if it is minimised, so that larger is better; None if absent."""
    value = trial.metric(self.metric)
    if value is None:
      return None
    return -value if self.direction == 'minimize' else value


def test_metric(metric: str) -> str:
  """Returns the name of a validation metric on the test split: `test_bpb` for `val_bpb`."""
  return f'test_{metric.removeprefix("val_")}'


def to_json(value: Any) -> bytes:
  return msgspec.json.encode(value)


def from_json(data: bytes | str, kind: type[T]) -> T:
  """Reads `kind` from JSON. Raises msgspec.ValidationError, which names the field that is wrong."""
  return msgspec.json.decode(data, type=kind)


def to_builtins(value: Any) -> Any:
  return msgspec.to_builtins(value)


def from_builtins(value: Mapping[str, Any], kind: type[T]) -> T:
  return msgspec.convert(value, kind)
