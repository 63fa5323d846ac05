"""What the strategies that sample constants through Optuna share: `tpe`, `cma_es`, `gp`, `centaur`.

Source: Optuna (Akiba et al., 2019, arXiv 1907.10902), used unmodified. No parent is selected: every
proposal carries an edit, the start's program with other constants (see `space.py`).

The state is a log of asks and tells, of which the Optuna study is a pure function (see `study.py`);
the sampler of each ask is seeded with a number that the ask drew.

What the study is told:

- Trial 0 is the study's first completed trial, with the program's own constants. A trial that was
  not proposed here (a replication, another strategy's edit) is added too if its program differs
  from the start only in constants of the search space and it had the full budget.
- A failed or pruned trial counts as the worst score so far. Optuna would ignore a trial in state
  FAIL, and these samplers would then propose again what does not fit in memory. TPE and CMA-ES use
  ranks only, so that any worst value is the same to them, and a Gaussian process tolerates the
  worst observed score better than an invented one.
- A duplicate has the score of the trial that it repeats; a cancelled trial has none.

After the first trial that ran out of memory, points that would probably not fit are not tried (see
`memory_limit.py`): the study is asked again, at most MAX_DROPS times. A dropped point leaves no
trace in the study of `cma_es`, which then draws another one from the same distribution, as the
tutorial recommends for infeasible points; the other samplers are told the worst score so far, or
they would propose its neighbour. Optuna's `constraints_func` is not used: a trial that it marks as
infeasible needs a score all the same, and among ranks the worst score says as much.
"""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
import optuna

from autoresearch_jax.programs.constants import constants, skeleton, with_values
from autoresearch_jax.search.archive import NONE, score_of
from autoresearch_jax.search.base import Strategy
from autoresearch_jax.search.options import require_fractions
from autoresearch_jax.search.samplers.memory_limit import Footprint, MemoryLimit, footprint
from autoresearch_jax.search.samplers.space import Dimension, Range, Value, space_of
from autoresearch_jax.search.samplers.study import (
  Add,
  Ask,
  Drop,
  Log,
  Replayable,
  ReplayableStudy,
  Tell,
  remember,
  replayed,
)
from autoresearch_jax.types import (
  RERUNS,
  Edit,
  Hypothesis,
  Objective,
  Operation,
  Program,
  Proposal,
  Status,
  Trial,
)

MAX_SHOWN = 6  # constants in an edit's description
MAX_DROPS = 20  # points dropped in a row before one is tried all the same


@dataclasses.dataclass(frozen=True)
class SamplerState:
  """The study's log, and the program whose constants are sampled.

  Attributes:
    objective: The run's objective.
    root: Id of the trial that ran `start`, NONE before it.
    start: The program in which constants are changed.
    log: All asks and tells.
    footprints: What trials revealed about memory, once per program.
  """

  objective: Objective
  root: int = NONE
  start: Program | None = None
  log: Log = ()
  footprints: tuple[Footprint, ...] = ()


@dataclasses.dataclass(frozen=True)
class SamplerStrategy(Strategy):
  """Proposes constants from an Optuna sampler.

  Attributes:
    space: A Range for each constant to search over; empty for all numbers, with derived ranges.
    file: The file with the constants; empty for the program's entry.
    max_oom_probability: A point is not tried when it exceeds the device's memory with a larger
      probability; 1 disables the check.
    memory_margin: Fraction of the memory to leave free.
    title: The registered name.
    forgets_dropped: Whether a dropped point leaves no trace in the study.
  """

  space: dict[str, Range] = dataclasses.field(default_factory=dict)
  file: str = ''
  max_oom_probability: float = 0.5
  memory_margin: float = 0.0
  title: ClassVar[str] = ''
  forgets_dropped: ClassVar[bool] = False

  def __post_init__(self) -> None:
    require_fractions(self, self.title, 'max_oom_probability')
    if not 0 <= self.memory_margin < 1:
      raise ValueError(
        f'memory_margin of {self.title} is {self.memory_margin}; it must be at least 0 and less '
        f'than 1.'
      )

  @abc.abstractmethod
  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    """Returns the Optuna sampler that answers one ask."""

  def study(self, space: tuple[Dimension, ...]) -> Replayable:
    """Returns an empty study, which `replayed` leads through the log."""
    return ReplayableStudy(self, space)

  def search_space(self, program: Program) -> tuple[Dimension, ...]:
    file = self.file or program.entry
    names = [name for name, _ in program.files]
    if file not in names:
      raise ValueError(f'Option file is {file!r}; the program has: {", ".join(names)}.')
    return space_of(program.text(file), self.space, file)

  def replaces_draw(self, trial: Trial) -> bool:
    """Returns whether a trial that the study was not asked for takes the place of a draw."""
    del trial
    return False

  def init(self, objective: Objective) -> SamplerState:
    return SamplerState(objective)

  def ask(self, state: SamplerState, rng: np.random.Generator) -> tuple[Proposal, SamplerState]:
    """Before a program is known, requests an edit of the start's constants from the proposer."""
    if state.start is None:
      return Proposal(Operation.DRAFT, guidance='tuning'), state
    study = replayed(self, self.search_space(state.start), state.log)
    entry = self._ask_feasible(study, state, rng)
    remember(study)
    edit = self._edit(state.start, entry.values)
    proposal = Proposal(Operation.IMPROVE, parents=(state.root,), edit=edit)
    return proposal, dataclasses.replace(state, log=study.log)

  def _ask_feasible(self, study: Replayable, state: SamplerState, rng: np.random.Generator) -> Ask:
    """Returns the study's next point that probably fits in memory, dropping others before it."""
    entry = study.ask(_seed(rng))
    if self.max_oom_probability == 1 or all(f.fits for f in state.footprints):
      return entry
    limit = MemoryLimit(study.space, state.footprints, self.memory_margin)
    for _ in range(MAX_DROPS):
      if limit.oom_probability(entry.values) <= self.max_oom_probability:
        break
      score = None if self.forgets_dropped else _worst_score(state.log)
      study.take(Drop(entry.number, score))
      entry = study.ask(_seed(rng))
    return entry

  def tell(self, state: SamplerState, trial: Trial) -> SamplerState:
    """See `Strategy.tell`. Raises ValueError when trial 0 has no constants that fit the options."""
    if state.start is None:
      state = self._try_start(state, trial)
    values = self._values(state.start, trial.edit.program) if state.start else None
    if values is None:
      return state
    entry = _log_entry(state, trial, values, self.replaces_draw(trial))
    log = state.log if entry is None else (*state.log, entry)
    footprints = _with_footprint(state, trial, values)
    return dataclasses.replace(state, log=log, footprints=footprints)

  def _try_start(self, state: SamplerState, trial: Trial) -> SamplerState:
    """Makes the trial's program the start, unless it has no constants to sample."""
    try:
      self.search_space(trial.edit.program)
    except ValueError:
      if trial.id == 0:
        raise
      return state
    return dataclasses.replace(state, root=trial.id, start=trial.edit.program)

  def _values(self, start: Program, program: Program) -> tuple[Value, ...] | None:
    """Returns a program's constants in the order of the space; None if it differs elsewhere."""
    file = self.file or start.entry
    texts, space = dict(program.files), self.search_space(start)
    known = {c.name: c.value for c in constants(texts.get(file, ''))}
    if not all(d.name in known and d.contains(known[d.name]) for d in space):
      return None
    names = [d.name for d in space]
    before, after = (
      {**dict(p.files), file: skeleton(p.text(file), names)} for p in (start, program)
    )
    return tuple(known[name] for name in names) if before == after else None

  def _edit(self, start: Program, values: tuple[Value, ...]) -> Edit:
    """Returns the start with these constants.

    The edit is part of the proposal, and a replay compares proposals: its wording must not change.
    """
    file, space = self.file or start.entry, self.search_space(start)
    new = dict(zip((d.name for d in space), values, strict=True))
    pairs = zip(space, values, strict=True)
    changes = [
      f'{d.name} {format_value(d.value)} -> {format_value(v)}' for d, v in pairs if d.value != v
    ]
    more = f' and {len(changes) - MAX_SHOWN} more' if len(changes) > MAX_SHOWN else ''
    words = ', '.join(changes[:MAX_SHOWN]) + more if changes else 'the constants of the start'
    return Edit(
      start.with_text(with_values(start.text(file), new), file),
      f'{self.title}: {words}',
      Hypothesis(f'{self.title} expects most of these constants.', ('constants', self.title)),
    )


def _log_entry(
  state: SamplerState, trial: Trial, values: tuple[Value, ...], replaces_draw: bool
) -> Tell | Add | None:
  """Returns what the trial adds to the log, None for nothing."""
  score = _told_score(state, trial)
  asks = [e for e in state.log if isinstance(e, Ask)]
  told = {e.number for e in state.log if isinstance(e, Tell | Drop)}
  waiting = [e.number for e in asks if e.values == values and e.number not in told]
  is_repeat = trial.proposal.operation in RERUNS
  if waiting and not is_repeat:
    return Tell(waiting[0], trial.id, score)
  is_failed_repeat = is_repeat and trial.result.status is not Status.OK
  if score is None or trial.proposal.fidelity < 1 or is_failed_repeat:
    return None
  number = len(asks) + sum(isinstance(e, Add) for e in state.log)
  return Add(number, trial.id, score, values, replaces_draw)


def _with_footprint(
  state: SamplerState, trial: Trial, values: tuple[Value, ...]
) -> tuple[Footprint, ...]:
  """Adds the trial's footprint, unless the program has one or is run again."""
  known = any(f.values == values for f in state.footprints)
  new = None if known or trial.proposal.operation in RERUNS else footprint(trial, values)
  return state.footprints if new is None else (*state.footprints, new)


def _told_score(state: SamplerState, trial: Trial) -> float | None:
  """Returns the score that the study is told; see the module's docstring."""
  score = score_of(state.objective, trial)
  if score is not None:
    return float(score)  # a Python float, whatever type was measured
  if trial.result.status is Status.CANCELLED:
    return None
  if trial.result.status is Status.DUPLICATE:
    original = trial.result.duplicate_of
    return None if original is None else _scores(state.log).get(original)
  return _worst_score(state.log)


def _scores(log: Log) -> dict[int, float]:
  """Returns what the study was told about each trial."""
  return {e.trial: e.score for e in log if isinstance(e, Tell | Add) and e.score is not None}


def _worst_score(log: Log) -> float | None:
  return min(_scores(log).values(), default=None)


def _seed(rng: np.random.Generator) -> int:
  return int(rng.integers(2**31 - 1))


def format_value(value: Value) -> str:
  """Formats a constant with four significant digits."""
  return f'{value:.4g}' if isinstance(value, float) else str(value)
