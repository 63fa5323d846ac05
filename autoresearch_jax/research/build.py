"""Builds the components of a run from its config: `build(config)` makes each of them once.

Commands that run single trials without a search use `build_task`, which makes only the problem and
its spec. Preparing the data and starting the executor are separate steps, since they take seconds
to minutes and start processes.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from autoresearch_jax.acceptance import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.config import Config, ConfigError, checked
from autoresearch_jax.data import cache
from autoresearch_jax.executors import COLLABORATORS, EXECUTORS, Executor
from autoresearch_jax.executors.own_metrics import require_own_metrics
from autoresearch_jax.ledger.requests import Capabilities
from autoresearch_jax.problems import PROBLEMS, Problem
from autoresearch_jax.programs import catalogue
from autoresearch_jax.programs.catalogue import Catalogue
from autoresearch_jax.programs.start import starting_program
from autoresearch_jax.proposers import PROPOSERS, Proposer
from autoresearch_jax.registry import Registry
from autoresearch_jax.research.actions import STOP, Settings
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.search.samplers.space import describe
from autoresearch_jax.types import (
  COSTS_TO_TARGET,
  TARGET_METRIC,
  Cost,
  Dataset,
  Direction,
  Program,
  Spec,
)

MAX_BASELINE_SEEDS = 1000
PLAY = 'play'  # the executor of programs that are strategies
TRAINING_PREFIX = 'train_'  # of metrics that a program reports during training


@dataclasses.dataclass(frozen=True)
class Task:
  """The components that single trials need: the problem and its spec. See `build_task`.

  Attributes:
    config: The run's config.
    problem: The problem, with its options checked.
    spec: The problem as programs see it. The executor fills in the number of devices.
  """

  config: Config
  problem: Problem
  spec: Spec

  def prepare_data(self, say: Callable[[str], None]) -> Dataset:
    """Prepares the problem's data, once per machine; later calls find it in the cache.

    Args:
      say: Receives progress messages.

    Raises:
      ConfigError: The data do not support the problem's options, or a metric of the user's own
        cannot be used.
      SandboxError: The machine does not support the isolation that the config requires.
      OSError: The data cannot be downloaded, read or written.
    """
    try:
      dataset = self.problem.prepare(cache.directory(), say)
    except ValueError as error:
      raise ConfigError(str(error)) from error
    hidden = self.hidden_paths(dataset)
    return require_own_metrics(dataset, self.spec, self.config.limits, hidden, say)

  def require_executor(self) -> None:
    """Raises ConfigError if the executor cannot have its devices here. Starts nothing."""
    try:
      EXECUTORS.get(self.config.executor).require_options(
        self.config.platform, _executor_options(self.config)
      )
    except ValueError as error:
      raise ConfigError(str(error)) from error

  def start_executor(self, dataset: Dataset, scratch: pathlib.Path) -> Executor:
    """Starts the executor, which the caller closes.

    Args:
      dataset: The prepared data.
      scratch: Folder for traces, artifacts and logs.

    Raises:
      ConfigError: An unknown executor or option.
      SandboxError: The machine does not support the isolation that the config requires.
    """
    config = self.config
    collaborators = {  # see COLLABORATORS
      'spec': self.spec,
      'dataset': dataset,
      'hidden': self.hidden_paths(dataset),
      'limits': config.limits,
      'scratch': scratch,
      'cache': cache.directory(),
    }
    if any(field.name == 'problem' for field in dataclasses.fields(EXECUTORS.get(config.executor))):
      collaborators['problem'] = (config.problem, config.data)
    return _make(EXECUTORS, config.executor, config.executor_options, **collaborators)

  def hidden_paths(self, dataset: Dataset) -> tuple[pathlib.Path, ...]:
    """Returns the files and folders that tracers and coding agents must not read."""
    held_out = filter(None, [dataset.validation, dataset.test])
    return (*self.problem.hidden(), *map(pathlib.Path, held_out))


@dataclasses.dataclass(frozen=True)
class Run(Task):
  """All components of a run. See `build`.

  Attributes:
    program: The starting program, with the config's constants.
    strategy: Decides what to try next.
    proposer: Writes the edits.
    acceptance: Decides what is kept.
    structural_edits: Structural edits for a program from outside this library.
    requested_only: Whether only trials that users request are run (`service`).
  """

  program: Program
  strategy: Strategy
  proposer: Proposer
  acceptance: AcceptanceRule
  structural_edits: Catalogue = ()
  requested_only: bool = False

  @property
  def reads_text(self) -> bool:
    """Whether the proposer reads hints and ideas in words."""
    return self.proposer is None or self.proposer.reads_text

  def settings(self) -> Settings:
    """Returns the settings of this run's controller."""
    config = self.config
    return Settings(
      objective=config.objective,
      constraints=config.parsed_constraints(),
      program=self.program,
      spec=self.spec,
      editable=config.editable,
      structural_edits=self.structural_edits,
      seed=config.seed,
      prefetch=config.search.prefetch,
      ends=config.search.ends.costs() if self.requested_only else config.search.ends,
      after_patience=config.search.after_patience,
      capabilities=Capabilities(
        config.proposer,
        self.reads_text,
        config.search.strategy,
        frozenset(dimension.name for dimension in self.strategy.search_space(self.program)),
        config.search.dollars_per_hour,
      ),
      allow_duplicates=config.search.allow_duplicates,
      duplicate_tolerance=config.knowledge.duplicate_tolerance,
      pruning=config.pruning,
      memory=config.knowledge.memory,
      planner=config.knowledge.planner,
      save_models=config.save_models
      and config.executor == 'local'  # others keep no files here
      and self.spec.kind not in ('kernel', 'strategy'),  # which have no parameters
      requested_only=self.requested_only,
      canaries=config.canaries,
      isolated=config.limits.isolation in ('full', 'namespaces'),
    )

  def search_space(self) -> str:
    """Returns the constants that a sampling strategy varies, one per line; else ''.

    Raises:
      ConfigError: The program has no such constants.
    """
    try:
      dimensions = self.strategy.search_space(self.program)
      return describe(dimensions) if dimensions else ''
    except ValueError as error:
      raise ConfigError(str(error)) from error


def build(config: Config) -> Run:
  """Makes the components of a run, without starting anything or reading data.

  Raises:
    ConfigError: An unknown name or option, or a metric that the problem does not measure.
  """
  config = checked(config)
  program = starting_program(config)
  strategy = _make(STRATEGIES, config.search.strategy, config.search.options)
  if config.search.after_patience != STOP:
    if not config.search.patience:
      raise ConfigError(
        f'config.search.after_patience is {config.search.after_patience!r}, which takes over when '
        'config.search.patience is used up, and that is 0, no limit. Set both or none.'
      )
    _make(STRATEGIES, config.search.after_patience, {})
  proposer = _make(PROPOSERS, config.proposer, config.proposer_options)
  acceptance = _make(ACCEPTANCE, config.acceptance, config.acceptance_options)
  if acceptance.baseline_seeds > MAX_BASELINE_SEEDS:
    raise ConfigError(
      f'baseline_seeds is {acceptance.baseline_seeds}; it must be at most {MAX_BASELINE_SEEDS}.'
    )
  task = build_task(config)
  _require_metrics(strategy, config, task.problem)
  try:
    structural_edits = catalogue.own(config.program)
  except ValueError as error:
    raise ConfigError(str(error)) from error
  return Run(
    task.config, task.problem, task.spec, program, strategy, proposer, acceptance, structural_edits
  )


def build_task(config: Config) -> Task:
  """Makes the problem and its spec.

  Raises:
    ConfigError: An unknown problem or option, or a metric that the problem does not measure.
  """
  config = checked(config)
  problem = _make(PROBLEMS, config.problem, config.data)
  _executor_options(config)
  try:  # a problem may have to look at the user's data
    metrics, shapes = problem.metrics(), problem.shapes()
  except ValueError as error:
    raise ConfigError(str(error)) from error
  metrics = _with_costs_to_target(config, metrics)
  if config.metric not in metrics:
    raise ConfigError(
      f'config.metric is {config.metric!r}; the problem {config.problem!r} measures: '
      f'{", ".join(metrics)}. With config.budget.target_loss there are also '
      f'{", ".join(COSTS_TO_TARGET)}.'
    )
  direction = metrics[config.metric]
  if config.direction not in ('', direction):
    raise ConfigError(
      f'config.direction is {config.direction!r}, but the problem {config.problem!r} says '
      f'{direction!r} for {config.metric}. Leave config.direction out.'
    )
  _require_quantities(config, metrics)
  if (shapes['kind'] == 'strategy') != (config.executor == PLAY):
    raise ConfigError(
      f'config.executor is {config.executor!r} and config.problem {config.problem!r}: strategies '
      f'are played by the executor {PLAY!r}, and it runs nothing else. Set config.executor to '
      f'{PLAY!r} for the problem meta, and to another one for all others.'
    )
  config = dataclasses.replace(config, direction=direction)
  spec = Spec(platform=config.platform, num_devices=1, budget=config.budget, **shapes)
  return Task(config, problem, spec)


def _with_costs_to_target(
  config: Config, metrics: Mapping[str, Direction]
) -> Mapping[str, Direction]:
  """Returns what a trial measures: with a target also what it took. Raises ConfigError."""
  if config.budget.target_loss is None:
    return metrics
  if TARGET_METRIC not in metrics:
    raise ConfigError(
      f'config.budget.target_loss is a {TARGET_METRIC}, which the problem {config.problem!r} does '
      f'not measure: {", ".join(metrics)}. Leave it out, or add that metric.'
    )
  return {**metrics, **dict.fromkeys(COSTS_TO_TARGET, 'minimize')}


def _require_quantities(config: Config, metrics: Iterable[str]) -> None:
  """Raises ConfigError for a constraint on what no trial measures."""
  costs = [f.name for f in dataclasses.fields(Cost)]
  for constraint in config.parsed_constraints():
    name = constraint.quantity
    if name not in (*metrics, *costs) and not name.startswith(TRAINING_PREFIX):
      raise ConfigError(
        f'config.constraints has {name!r}, which no trial measures. There are the metrics '
        f'{", ".join(metrics)}, {TRAINING_PREFIX}NAME for each metric NAME that the program '
        f'reports while it trains, and the costs {", ".join(costs)}.'
      )


def _executor_options(config: Config) -> Mapping[str, Any]:
  """Returns the executor's options. Raises ConfigError for an unknown name, option or type."""
  try:
    return EXECUTORS.checked_options(config.executor, config.executor_options, *COLLABORATORS)
  except ValueError as error:
    raise ConfigError(str(error)) from error


def _require_metrics(strategy: Strategy, config: Config, problem: Problem) -> None:
  """Raises ConfigError if a strategy such as `pareto` needs a metric that is not measured.

  Metrics that a program reports during training are not known yet, so any name with their prefix is
  accepted.
  """
  metrics = strategy.required_metrics()
  if not metrics:
    return
  measured = _with_costs_to_target(config, problem.metrics())
  missing = [m for m in metrics if m not in measured and not m.startswith(TRAINING_PREFIX)]
  if missing:
    raise ConfigError(
      f'config.search.options: the strategy compares trials by the metric {missing[0]!r}; the '
      f'problem {config.problem!r} measures: {", ".join(measured)}, and {TRAINING_PREFIX}NAME for '
      'each metric NAME that the program reports during training.'
    )


def _make(registry: Registry, name: str, options: Mapping[str, Any], **collaborators: Any) -> Any:
  """Calls `registry.make`, and turns its ValueErrors into ConfigErrors."""
  try:
    return registry.make(name, options, **collaborators)
  except ValueError as error:
    raise ConfigError(str(error)) from error
