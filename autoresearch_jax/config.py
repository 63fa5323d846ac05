"""The door: an ml-collections config becomes frozen dataclasses here, or a sentence says why not.

Configs live in `configs/`; every field they set is a field below, and unknown ones are refused.
"""

import dataclasses
import difflib
from typing import Any, Literal, TypeVar, get_args

import ml_collections
import msgspec

from autoresearch_jax.types import Budget, Objective, Platform

T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Search:
  """strategy: a name in STRATEGIES. max_trials: the baseline included; 0 means until stopped.

  ahead: how many trials are prepared while others run; 0: none is proposed before the last result
  is in, as in the original, and the device waits for the proposer. Several keep it busy where a
  proposer sometimes takes longer than a trial, and were written knowing less.

  duplicates: whether programs are trained that compute what an earlier one did. Only to measure
  noise with edits that do nothing (see `proposers/placebo.py`); else they are turned away.
  """

  strategy: str = 'greedy'
  options: dict[str, Any] = dataclasses.field(default_factory=dict)
  max_trials: int = 0
  ahead: int = 1
  duplicates: bool = False


@dataclasses.dataclass(frozen=True)
class Knowledge:
  """What proposers are told of the run.

  memory: earlier hypotheses with what came of them, and lessons. planner: what would be worth
  knowing; off, since it was not shown to pay (see scripts/studies/knowledge/README.md). near:
  programs that differ in floats alone, by less than this share, are not tried again.
  """

  memory: bool = True
  planner: bool = False
  near: float = 0.02


@dataclasses.dataclass(frozen=True)
class Limits:
  """What a candidate may use; passing one ends the trial with a status and a sentence.

  isolation: what the tracer's sandbox must achieve, or the run refuses to start: `full` (network,
  files, system calls, processes, limits), `limits` (rlimits and process group alone), `none`.
  Seconds are wall clock except trace_cpu_seconds. device_bytes 0: what the device says it has.
  """

  isolation: Literal['full', 'limits', 'none'] = 'full'
  trace_seconds: float = 60.0
  trace_cpu_seconds: float = 20.0  # a GPT takes one or two
  trace_bytes: int = 8 * 2**30  # address space; importing jax alone reserves about 1 GiB
  artifact_bytes: int = 64 * 2**20
  constant_bytes: int = 2**20  # inside an artifact's modules: tables, not trained weights
  custom_kernels: bool = False  # Triton kernels that a program wrote, on GPUs
  compile_seconds: float = 300.0
  step_seconds: float = 60.0  # silence of the runner while it trains or evaluates
  run_seconds: float = 0.0  # training and evaluation of one seed; 0: see `whole_run`
  device_bytes: int = 0
  loss: float = 100.0  # the original's: fail at once when the loss is NaN or above

  def whole_run(self, budget: Budget) -> float:
    """Seconds that one seed may take: twice its budget, as in the original, and a minute more.

    An hour where the budget is not in seconds.
    """
    return self.run_seconds or (2 * budget.amount + 60 if budget.unit == 'seconds' else 3600.0)


@dataclasses.dataclass(frozen=True)
class Config:
  """A whole run. Field by field comments are in configs/gpt_small.py.

  final_seeds: training runs, at the end, of the baseline and of the best each, on seeds that no
  trial had and scored on data that no trial was (see `closing`); 0: none. early_stop: whether
  trials end as soon as they are too far behind to be kept (see `early`).
  """

  name: str
  problem: str
  program: str
  editable: tuple[str, ...]
  entry: str
  metric: str
  direction: Literal['minimize', 'maximize']
  budget: Budget
  platform: Platform
  constants: dict[str, Any] = dataclasses.field(default_factory=dict)
  data: dict[str, Any] = dataclasses.field(default_factory=dict)
  search: Search = dataclasses.field(default_factory=Search)
  proposer: str = 'mutate'
  proposer_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  acceptance: str = 'sequential'
  acceptance_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  executor: str = 'local'
  executor_options: dict[str, Any] = dataclasses.field(default_factory=dict)
  limits: Limits = dataclasses.field(default_factory=Limits)
  knowledge: Knowledge = dataclasses.field(default_factory=Knowledge)
  final_seeds: int = 0
  early_stop: bool = False
  seed: int = 0

  @property
  def objective(self) -> Objective:
    return Objective(self.metric, self.direction)


class ConfigError(ValueError):
  """A config that does not fit; the sentence names the field and what it may be."""


def from_config_dict(config: ml_collections.ConfigDict) -> Config:
  """Turns a ConfigDict into a Config. Raises ConfigError with the field's path."""
  made = converted(config.to_dict(), Config)
  if made.budget.amount <= 0:
    raise ConfigError(f'config.budget.amount is {made.budget.amount}; it must be above 0.')
  if made.search.max_trials < 0:
    raise ConfigError(f'config.search.max_trials is {made.search.max_trials}; 0 means no limit.')
  if made.final_seeds < 0:
    raise ConfigError(f'config.final_seeds is {made.final_seeds}; it must be 0 (none) or more.')
  if made.search.ahead < 0:
    raise ConfigError(f'config.search.ahead is {made.search.ahead}; it must be 0 or more.')
  if not 0 <= made.knowledge.near < 1:
    raise ConfigError(
      f'config.knowledge.near is {made.knowledge.near}; a share of a number is wanted, below 1.'
    )
  return made


def converted(values: dict[str, Any], kind: type[T]) -> T:
  """Makes the dataclass `kind` of a config's values. Raises ConfigError with the field's path."""
  _refuse_unknown(values, kind, 'config')
  try:
    return msgspec.convert(values, kind, strict=True)
  except msgspec.ValidationError as error:
    raise ConfigError(f'{error}'.replace('`$', '`config') + '.') from None


def _refuse_unknown(values: dict[str, Any], kind: type, path: str) -> None:
  """Names the first field that `kind` lacks; msgspec drops unknown fields of dataclasses."""
  fields = {f.name: f.type for f in dataclasses.fields(kind)}
  for name, value in values.items():
    if name not in fields:
      near = difflib.get_close_matches(name, fields, n=1)
      hint = f'; did you mean {path}.{near[0]}?' if near else f'; it has: {", ".join(fields)}.'
      raise ConfigError(f'{path}.{name} is not a field of the config{hint}')
    field, below = fields[name], f'{path}.{name}'
    if isinstance(field, type) and dataclasses.is_dataclass(field) and isinstance(value, dict):
      _refuse_unknown(value, field, below)
    row = (*get_args(field), None, None)[1]  # of a mapping from labels to rows
    if isinstance(row, type) and dataclasses.is_dataclass(row) and isinstance(value, dict):
      for label, part in value.items():
        if isinstance(part, dict):
          _refuse_unknown(part, row, f'{below}.{label}')
