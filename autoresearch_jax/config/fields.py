"""The fields of a config, as frozen dataclasses."""

import dataclasses
import math
import re
from typing import Any, Literal

from autoresearch_jax.types import Budget, Constraint, Ends, Objective, Platform

# Keys of `hooks`: what happens in a run, and all of it.
HOOK_EVENTS = ('started', 'kept', 'discarded', 'failed', 'steered', 'drift', 'ended', 'all')


@dataclasses.dataclass(frozen=True)
class Search:
  """How the next trial is chosen.

  Attributes:
    strategy: A registered strategy.
    options: Its options.
    max_trials: Trials after which the run stops, the baseline included; 0 for no limit.
    prefetch: How many trials are proposed and traced while others train. With 0, nothing is
      proposed before the last result is in, as in the original, and the device waits for the
      proposer. Higher values keep the device busy when a proposer sometimes takes longer than a
      trial, but its edits are then written with less known.
    allow_duplicates: Whether to train programs that compute the same as an earlier one instead of
      rejecting them. Only for measuring noise with edits that change nothing
      (`proposers/placebo.py`).
    max_hours: Wall-clock hours of the search, over all sessions and without pauses, after which no
      trial begins; 0 for no limit.
    max_dollars: The same for the cost of model calls and of the machine.
    dollars_per_hour: Price of the machine, for `max_dollars`.
    target: The run stops once a program that was kept has this value of the metric, as the mean of
      all its runs; None for no target.
    patience: What happens after so many new programs without a keep; 0 for nothing.
    after_patience: `stop`, or a strategy that then takes over, once, with its default options.
  """

  strategy: str = 'greedy'
  options: dict[str, Any] = dataclasses.field(default_factory=dict)
  max_trials: int = 0
  prefetch: int = 1
  allow_duplicates: bool = False
  max_hours: float = 0.0
  max_dollars: float = 0.0
  dollars_per_hour: float = 0.0
  target: float | None = None
  patience: int = 0
  after_patience: str = 'stop'

  @property
  def ends(self) -> Ends:
    """When the search ends."""
    return Ends(self.max_trials, self.max_hours, self.max_dollars, self.target, self.patience)


@dataclasses.dataclass(frozen=True)
class Knowledge:
  """What proposers are told about the run so far.

  Attributes:
    memory: Whether they see earlier hypotheses with their outcomes, and lessons from those.
    planner: Whether they see which experiments would be the most informative. Off by default,
      since no benefit was measured (scripts/studies/knowledge/README.md).
    duplicate_tolerance: Programs that differ only in float literals, all of them by less than this
      relative difference, are near-duplicates and are not trained.
  """

  memory: bool = True
  planner: bool = False
  duplicate_tolerance: float = 0.02


@dataclasses.dataclass(frozen=True)
class CanaryConfig:
  """Planted programs whose right verdict is known (`research/canaries.py`).

  Attributes:
    share: Share of the training runs that they may cost before the next one begins; 0 for none.
    kinds: `placebo` (no effect), `improvement` (a known gain), `exploit` (must be refused).
    gain: Gain of an improvement, in standard deviations of the baseline's seeds.
  """

  share: float = 0.0
  kinds: tuple[Literal['placebo', 'improvement', 'exploit'], ...] = (
    'placebo',
    'improvement',
    'exploit',
  )
  gain: float = 3.0


@dataclasses.dataclass(frozen=True)
class Findings:
  """Which findings of other runs are tried here (docs/findings.md).

  Attributes:
    stores: Addresses of the stores that are read: folders, git repositories, buckets, hubs.
    share: Largest share of the new programs that are edits of others. The rest stays free of them,
      so that many runs that share findings do not all search in one place.
    refresh_seconds: How often the stores are read again.
    claim: Whether to write into the stores, for an hour, which edit is being tried, so that other
      runs try it last. It is signed by the user's key.
  """

  stores: tuple[str, ...] = ()
  share: float = 0.25
  refresh_seconds: float = 600.0
  claim: bool = False


@dataclasses.dataclass(frozen=True)
class Limits:
  """Limits on a candidate program. Exceeding one ends the trial with a status and a reason.

  Attributes:
    isolation: What the tracer's sandbox must achieve, or the run refuses to start: `full` (network,
      files, system calls, processes and resource limits; by Landlock, or where the kernel has none
      by namespaces), `namespaces` (the same, by namespaces in any case), `limits` (resource limits
      and a process group only), `none`.
    trace_seconds: Wall-clock limit of a trace.
    trace_cpu_seconds: CPU time of a trace; a GPT takes one or two seconds.
    trace_bytes: Address space of the tracer; importing jax alone reserves about 1 GiB.
    artifact_bytes: Size of the exported artifact.
    constant_bytes: Size of the different constants inside an artifact's modules: enough for tables,
      not for the weights of a large model.
    custom_kernels: Whether a program may bring Triton kernels of its own (GPU only).
    compile_seconds: Limit of a compilation: of the wall clock, or of CPU time if that takes longer.
    step_seconds: Longest time without a message from the runner while it trains or evaluates.
    predict_seconds: Time that `predict` may always take for a validation batch, however short the
      training was, so that a fixed cost such as a matrix solve fits.
    run_seconds: Wall-clock limit of training and evaluating one seed; 0 derives it from the budget,
      see `run_timeout`.
    device_bytes: Device memory that a program may use; 0 for what the device reports.
    max_loss: Training ends as diverged when the loss exceeds this or is NaN, as in the original.
  """

  isolation: Literal['full', 'namespaces', 'limits', 'none'] = 'full'
  trace_seconds: float = 60.0
  trace_cpu_seconds: float = 60.0
  trace_bytes: int = 8 * 2**30
  artifact_bytes: int = 64 * 2**20
  constant_bytes: int = 4 * 2**20
  custom_kernels: bool = False
  compile_seconds: float = 300.0
  step_seconds: float = 60.0
  predict_seconds: float = 0.05
  run_seconds: float = 0.0
  device_bytes: int = 0
  max_loss: float = 100.0

  def run_timeout(self, budget: Budget) -> float:
    """Seconds that training and evaluating one seed may take.

    By default one minute plus twice its budget, as in the original, or four times a calibrated one,
    which lasts longer on a slow machine, and twice more where training is checked for a target; one
    hour for a budget that is not in seconds.
    """
    if self.run_seconds or budget.unit != 'seconds':
      return self.run_seconds or 3600.0
    factor = (4 if budget.is_calibrated() else 2) + (0 if budget.target_loss is None else 2)
    return factor * budget.amount + 60


@dataclasses.dataclass(frozen=True)
class Config:
  """The configuration of a run. `configs/gpt_small.py` shows every field with a comment.

  Attributes:
    name: Names the run: its default folder `runs/NAME` and its branch `autoresearch/NAME`.
    problem: A registered problem.
    program: A folder of `autoresearch_jax/programs`, or a path to one: the starting program.
    editable: Files of the program that a proposer may change.
    entry: The file that defines `init`, `train_step` and `predict`.
    metric: Name of the metric that is optimised, e.g. `val_bpb`.
    budget: How long a trial trains.
    platform: Where trials run; a run never falls back to another platform.
    direction: `minimize` or `maximize`; must equal the problem's direction of the metric if given.
    constraints: Bounds by name of a metric or of a cost, such as `{'parameters': '<= 1_000_000'}`.
      A trial outside of them is infeasible and never kept.
    constants: Values of the starting program's ALL_CAPS constants that replace its own.
    data: Options of the problem.
    search: How the next trial is chosen.
    proposer: A registered proposer, which writes the edits.
    proposer_options: Its options.
    acceptance: A registered acceptance rule, which decides what is kept.
    acceptance_options: Its options.
    executor: A registered executor, which runs the trials.
    executor_options: Its options.
    limits: Limits on a candidate program.
    knowledge: What proposers are told about the run so far.
    final_seeds: Training runs per program in the final evaluation, which compares the best program
      with the baseline on unused seeds and on the test split; 0 for none.
    pruning: Whether to end trials early that are too far behind to be kept
      (`research/pruning.py`).
    seed: Root seed of the search.
    mirror: A folder in a bucket that gets a copy of the run as it goes on, and from which the run
      continues on another machine: `gs://BUCKET/FOLDER`, `s3://...` or `file:///...`; '' for none.
    on_new_hardware: What to do when the run is resumed on other devices than it ran on: `refuse`,
      or `rebase`, which measures the baseline and the best program anew and goes on from these.
    save_models: Whether to keep the parameters of the best program's best training run and of the
      baseline's, in the folder `models` of the run.
    hooks: What is called when something happens: one of `HOOK_EVENTS` -> a command, which gets the
      event as JSON on its standard input, or an http(s) URL, to which it is posted. `$NAME` stands
      for an environment variable.
    trackers: Registered trackers that log the trials: `tensorboard`, `wandb`, `mlflow`.
    tracker_options: Their options, by name.
    canaries: Planted programs that measure the run itself.
    findings: Which findings of other runs are tried here.

  Example:
    >>> import autoresearch_jax as ar
    >>> from autoresearch_jax import config
    >>> config.from_config_dict(config.load('digits'), {'search.max_trials': 10}).metric
    'val_loss'
  """

  name: str
  problem: str
  program: str
  editable: tuple[str, ...]
  entry: str
  metric: str
  budget: Budget
  platform: Platform
  direction: Literal['minimize', 'maximize', ''] = ''
  constraints: dict[str, str] = dataclasses.field(default_factory=dict)
  constants: dict[str, Any] = dataclasses.field(default_factory=dict)
  data: dict[str, Any] = dataclasses.field(default_factory=dict)
  search: Search = dataclasses.field(default_factory=Search)
  proposer: str = 'mutate'
  proposer_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  acceptance: str = 'paired'
  acceptance_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  executor: str = 'local'
  executor_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  limits: Limits = dataclasses.field(default_factory=Limits)
  knowledge: Knowledge = dataclasses.field(default_factory=Knowledge)
  final_seeds: int = 0
  pruning: bool = False
  seed: int = 0
  mirror: str = ''
  on_new_hardware: Literal['refuse', 'rebase'] = 'refuse'
  save_models: bool = True
  hooks: dict[str, str] = dataclasses.field(default_factory=dict)
  trackers: tuple[str, ...] = ()
  tracker_options: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
  canaries: CanaryConfig = dataclasses.field(default_factory=CanaryConfig)
  findings: Findings = dataclasses.field(default_factory=Findings)

  @property
  def objective(self) -> Objective:
    """The metric and its direction, which `research.build` fills in."""
    if not self.direction:
      raise ConfigError('config.direction is empty; build the run first, which fills it in.')
    return Objective(self.metric, self.direction)

  @property
  def program_files(self) -> tuple[str, ...]:
    """Names of the files that a program of the run must have."""
    return tuple(sorted({self.entry, *self.editable}))

  def shareable(self) -> 'Config':
    """Returns the config without what may hold secrets: commands, addresses and their options."""
    return dataclasses.replace(
      self,
      proposer_options={},
      executor_options={},
      mirror='',
      hooks={},
      tracker_options={},
      findings=dataclasses.replace(self.findings, stores=()),
    )

  def parsed_constraints(self) -> tuple[Constraint, ...]:
    """The constraints. Raises ConfigError for one that cannot be read."""
    return tuple(_constraint(name, text) for name, text in self.constraints.items())


def _constraint(name: str, text: str) -> Constraint:
  found = re.fullmatch(r'\s*(<=|>=|<|>)\s*(\S+)\s*', text)
  try:
    if found is None:
      raise ValueError
    bound = float(found[2])
    if not math.isfinite(bound):
      raise ValueError
  except ValueError:
    raise ConfigError(
      f'config.constraints.{name} is {text!r}; it must be <=, >=, < or > and a finite number, such '
      "as '<= 1_000_000'."
    ) from None
  return Constraint(name, found[1], bound)  # pyright: ignore[reportArgumentType]


class ConfigError(ValueError):
  """A config that cannot be used; the message names the field and the values it may have.

  Example:
    >>> import autoresearch_jax as ar
    >>> try:
    ...   ar.run('digitz')
    ... except ar.ConfigError as error:
    ...   print(str(error).split('?')[0])
    There is no config 'digitz'. Did you mean digits
  """
