"""What an executor returns: status, measurements and costs of a trial's training runs."""

import dataclasses
import enum
from typing import Any, Literal


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
class Hardware:
  """What the trials of a slot run on. Results in seconds compare on the same hardware only.

  Attributes:
    kind: The accelerator's kind, or the model of the CPU.
    devices: Accelerators of a slot, or its cores.
    versions: Of the compiler and the driver.
  """

  kind: str
  devices: int
  versions: dict[str, str] = dataclasses.field(default_factory=dict)

  def __str__(self) -> str:
    return f'{self.devices} x {self.kind}'


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
class Progress:
  """A progress report of a running trial; `fraction` is of the budget, during training.

  `reference_seconds` is the duration of the reference's step, where training is about to begin.
  """

  trial: int
  phase: Literal['trace', 'compile', 'train', 'evaluate']
  seed: int = 0
  fraction: float = 0.0
  step: int = 0
  loss: float | None = None
  reference_seconds: float = 0.0
