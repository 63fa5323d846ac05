"""The configuration of a run: found by name or path, checked, and converted to a `Config`.

A config file defines `get_config(variant)`, which returns an ml-collections ConfigDict; the shipped
ones are in `configs/`. `load` reads one and `from_config_dict` checks it. Unknown fields are
refused, and renamed ones with their new name.
"""

import dataclasses
import difflib
import importlib.util
import math
import pathlib
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args

import ml_collections
import msgspec

from autoresearch_jax.types import Budget, Constraint, Objective, Platform

T = TypeVar('T')


# Former names of fields, by path. Each is refused with a sentence that gives the present name.
RENAMED_FIELDS = {
  'config.early_stop': 'config.pruning',
  'config.knowledge.near': 'config.knowledge.duplicate_tolerance',
  'config.limits.loss': 'config.limits.max_loss',
  'config.search.ahead': 'config.search.prefetch',
  'config.search.duplicates': 'config.search.allow_duplicates',
}


MAX_COUNT = 10**9  # of trials, and of whatever else is counted
MAX_SECONDS = 1e9  # 30 years
MAX_BYTES = 2**60
# The valid range of every number of a config, by path: the lowest value, the highest one, and what
# one should know about the two.
RANGES: dict[str, tuple[float, float, str]] = {
  'budget.amount': (sys.float_info.min, 1e30, 'it must be above 0'),
  'search.max_trials': (0, MAX_COUNT, '0 means no limit'),
  'search.prefetch': (0, 1000, ''),
  'knowledge.duplicate_tolerance': (0, 1 - 2**-53, 'a relative difference is below 1'),
  'limits.trace_seconds': (0.1, MAX_SECONDS, ''),
  'limits.trace_cpu_seconds': (1, MAX_SECONDS, ''),
  'limits.trace_bytes': (2**30, MAX_BYTES, 'importing jax alone takes 1 GiB'),
  'limits.artifact_bytes': (1, MAX_BYTES, ''),
  'limits.constant_bytes': (0, MAX_BYTES, ''),
  'limits.compile_seconds': (0.1, MAX_SECONDS, ''),
  'limits.step_seconds': (0.1, MAX_SECONDS, ''),
  'limits.predict_seconds': (0, MAX_SECONDS, ''),
  'limits.run_seconds': (0, MAX_SECONDS, '0 derives it from the budget'),
  'limits.device_bytes': (0, MAX_BYTES, '0 means what the device reports'),
  'limits.max_loss': (sys.float_info.min, sys.float_info.max, '1e300 is no limit in practice'),
  'final_seeds': (0, 10_000, '0 means no final evaluation'),
  'seed': (0, 2**63 - 1, ''),
}


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
  """

  strategy: str = 'greedy'
  options: dict[str, Any] = dataclasses.field(default_factory=dict)
  max_trials: int = 0
  prefetch: int = 1
  allow_duplicates: bool = False


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
class Limits:
  """Limits on a candidate program. Exceeding one ends the trial with a status and a reason.

  Attributes:
    isolation: What the tracer's sandbox must achieve, or the run refuses to start: `full` (network,
      files, system calls, processes and resource limits), `limits` (resource limits and a process
      group only), `none`.
    trace_seconds: Wall-clock limit of a trace.
    trace_cpu_seconds: CPU time of a trace; a GPT takes one or two seconds.
    trace_bytes: Address space of the tracer; importing jax alone reserves about 1 GiB.
    artifact_bytes: Size of the exported artifact.
    constant_bytes: Size of the different constants inside an artifact's modules: enough for tables,
      not for the weights of a large model.
    custom_kernels: Whether a program may bring Triton kernels of its own (GPU only).
    compile_seconds: Wall-clock limit of a compilation.
    step_seconds: Longest time without a message from the runner while it trains or evaluates.
    predict_seconds: Time that `predict` may always take for a validation batch, however short the
      training was, so that a fixed cost such as a matrix solve fits.
    run_seconds: Wall-clock limit of training and evaluating one seed; 0 derives it from the budget,
      see `run_timeout`.
    device_bytes: Device memory that a program may use; 0 for what the device reports.
    max_loss: Training ends as diverged when the loss exceeds this or is NaN, as in the original.
  """

  isolation: Literal['full', 'limits', 'none'] = 'full'
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
    which lasts longer on a slow machine; one hour for a budget that is not in seconds.
    """
    if self.run_seconds or budget.unit != 'seconds':
      return self.run_seconds or 3600.0
    return (4 if budget.is_calibrated() else 2) * budget.amount + 60


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

  @property
  def objective(self) -> Objective:
    """The metric and its direction, which `research.build` fills in."""
    if not self.direction:
      raise ConfigError('config.direction is empty; build the run first, which fills it in.')
    return Objective(self.metric, self.direction)

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


def shipped() -> dict[str, pathlib.Path]:
  """The configs that come with the library: name -> file."""
  package = pathlib.Path(__file__).resolve().parent
  folders = (package / 'configs', package.parent / 'configs')  # installed; in a source checkout
  found = next((folder for folder in folders if folder.is_dir()), None)
  files = found.glob('[!_]*.py') if found else ()
  return {file.stem: file for file in sorted(files)}


def find(name: str) -> tuple[pathlib.Path, str | None]:
  """The file and the variant that a config's name stands for.

  Args:
    name: `NAME` or `NAME:VARIANT`, where NAME is a shipped config (`digits`) or the path of a
      Python file. `configs/digits.py` means the shipped one where there is no such path.

  Raises:
    ConfigError: There is no such config; the message lists the shipped ones.
  """
  base, colon, variant = name.partition(':')
  configs, path = shipped(), pathlib.Path(base)
  try:
    is_file = path.is_file()
  except OSError:  # a name that is too long, say
    is_file = False
  if is_file:
    found = path
  else:
    ours = path.suffix in ('', '.py') and str(path.parent) in ('.', 'configs')
    found = configs.get(path.stem) if ours else None
  if found is None:
    near = difflib.get_close_matches(path.stem, configs, n=1)
    hint = f'Did you mean {near[0]}? ' if near else ''
    raise ConfigError(
      f'There is no config {base!r:.200}. {hint}Shipped configs: {", ".join(configs)}; or give the '
      'path of a Python file.'
    )
  return found, variant if colon else None


def load(name: str) -> ml_collections.ConfigDict:
  """The ConfigDict of a shipped config or of a file, as `get_config` returns it.

  Args:
    name: As in `find`, for instance `digits:seconds` or `my_config.py`.

  Raises:
    ConfigError: There is no such config or variant, or its file fails.
  """
  path, variant = find(name)
  spec = importlib.util.spec_from_file_location(f'_config_{path.stem}', path)
  try:
    if spec is None or spec.loader is None:
      raise ConfigError('It is not a Python file')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in a config look their module up
    spec.loader.exec_module(module)
    made = module.get_config() if variant is None else module.get_config(variant)
  except (Exception, SystemExit) as error:
    raise ConfigError(_failure(error, path)) from error
  if not isinstance(made, ml_collections.ConfigDict):
    raise ConfigError(f'{path}: get_config returned {type(made).__name__}, not a ConfigDict.')
  return made


def _failure(error: BaseException, path: pathlib.Path) -> str:
  """What went wrong in a config file, and at which of its lines."""
  what = f'{type(error).__name__}: {error}'
  lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
           if frame.filename == str(path)]  # fmt: skip
  where = f'{path}, line {lines[-1]}' if lines else f'{path}'
  if isinstance(error, SyntaxError):
    what = f'{type(error).__name__}: {error.msg}'
    where = f'{error.filename}, line {error.lineno}' if error.lineno else where
  elif isinstance(error, ValueError):  # a variant that does not exist, say: the file's own sentence
    return f'{str(error).rstrip(".")} ({where}).'
  return f'The config {path} cannot be loaded. {where}: {what.rstrip(".")}.'


def from_config_dict(
  config: ml_collections.ConfigDict, overrides: Mapping[str, Any] | None = None
) -> Config:
  """Checks a ConfigDict and returns it as a Config.

  Args:
    config: For instance from `load`.
    overrides: Values for fields, by dotted path: `{'search.max_trials': 10}`.

  Raises:
    ConfigError: An unknown or renamed field, or a value that is not allowed.
  """
  values = config.to_dict()
  for path, value in (overrides or {}).items():
    _set(values, path, value)
  _require_recordable('config', values)
  return checked(converted(values, Config))


def checked(config: Config) -> Config:
  """Returns a config whose values are all valid and can be recorded. Raises ConfigError."""
  values = dataclasses.asdict(config)
  _require_recordable('config', values)
  config = converted(values, Config)
  for path, (lowest, highest, note) in RANGES.items():
    value: Any = config
    for part in path.split('.'):
      value = getattr(value, part)
    if not lowest <= value <= highest:
      advice = note if note.startswith('it must') else f'it must be at least {lowest:g}'
      also = '' if note in ('', advice) else f'; {note}'
      raise ConfigError(f'config.{path} is {value}; {advice} and at most {highest:g}{also}.')
  if config.budget.unit == 'seconds' and config.budget.amount > MAX_SECONDS:
    raise ConfigError(
      f'config.budget.amount is {config.budget.amount:g} seconds; it must be at most '
      f'{MAX_SECONDS:g}.'
    )
  if not config.name.strip() or not config.name.isprintable() or '..' in config.name.split('/'):
    raise ConfigError(
      f'config.name is {config.name!r}; it names a folder and a branch, so it must be printable '
      'and not empty.'
    )
  if config.mirror and not re.match(r'[a-z][a-z0-9+.-]*://.', config.mirror):
    raise ConfigError(
      f'config.mirror is {config.mirror!r}; it must be a URL such as gs://BUCKET/FOLDER, '
      "s3://BUCKET/FOLDER or file:///FOLDER; '' for no mirror."
    )
  config.parsed_constraints()
  if not config.editable:
    raise ConfigError('config.editable is empty; name at least one file that an edit may change.')
  return config


def _require_recordable(path: str, value: Any) -> None:
  """Raises ConfigError unless a value reads back from JSON as it was, tuples as lists."""
  if value is None or isinstance(value, bool | int):
    return
  if isinstance(value, float):
    if not math.isfinite(value):
      raise ConfigError(f'{path} is {value}; it must be a finite number.')
  elif isinstance(value, str):
    try:
      value.encode()
    except UnicodeEncodeError:
      raise ConfigError(f'{path} is {value!a}, which is not UTF-8 text.') from None
  elif isinstance(value, list | tuple):
    for index, item in enumerate(value):
      _require_recordable(f'{path}[{index}]', item)
  elif isinstance(value, dict):
    for key, item in value.items():
      if not isinstance(key, str | int | float) or isinstance(key, bool):
        raise ConfigError(f'{path} has the key {key!r}; keys must be strings or numbers.')
      _require_recordable(f'{path}.{key}', key)
      _require_recordable(f'{path}.{key}', item)
  else:
    raise ConfigError(
      f'{path} is {value!r:.100}, a {type(value).__name__}; it must be a number, a string, a bool, '
      'None, or a tuple, list or dict of these.'
    )


def _set(values: dict[str, Any], path: str, value: Any) -> None:
  *parts, name = path.split('.')
  for part in parts:
    values = values.setdefault(part, {})
    if not isinstance(values, dict):
      raise ConfigError(f'config.{path} cannot be set: config.{part} has no fields.')
  values[name] = value


def converted(values: dict[str, Any], kind: type[T]) -> T:
  """Converts a config's values to the dataclass `kind`.

  Raises:
    ConfigError: An unknown or renamed field, or a value of another type.
  """
  _refuse_unknown(values, kind, 'config')
  try:
    return msgspec.convert(values, kind, strict=True)
  except msgspec.ValidationError as error:
    raise ConfigError(f'{error}'.replace('`$', '`config') + '.') from None


def _refuse_unknown(values: dict[str, Any], kind: type, path: str) -> None:
  """Raises ConfigError for the first field that `kind` lacks; msgspec would ignore it."""
  fields = {f.name: f.type for f in dataclasses.fields(kind)}
  for name, value in values.items():
    if name not in fields:
      if present := RENAMED_FIELDS.get(f'{path}.{name}'):
        raise ConfigError(f'{path}.{name} is now called {present}.')
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
