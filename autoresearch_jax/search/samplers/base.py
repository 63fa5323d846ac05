"""What the strategies that sample constants through Optuna share: `tpe`, `cma_es`, `gp`.

Source: Optuna (Akiba et al., 2019, arXiv 1907.10902), used as it is. No parent is chosen: every
proposal carries an edit, the start's program with other constants (see `space`).

The state is a log of what was asked and told, of which the Optuna study is a pure function (see
`study`); what is random in an ask comes from a seed that the ask drew.

What is told of which trial:
- Trial 0 is the first completed trial of the study, with the program's own constants, and so is
  every trial that nobody asked here for (replications, edits of others), if its program differs
  from the start in constants of the space alone and it had the whole budget.
- A failure, or a pruned trial, counts as the worst score so far. A trial marked as failed would be
  forgotten, and these samplers would ask again for what does not fit in memory. TPE and CMA-ES go
  by ranks, for which any worst value is the same, and a Gaussian process bears it better than an
  invented one.
- A duplicate has the score of the trial that it repeats; what was cancelled has none.

From the first trial that ran out of memory on, what would probably not fit is not tried (see
`memory_limit`): the study is asked again, at most DROPS times. A dropped point leaves no trace in
the study of `cma_es`, which draws another one from the same distribution, the tutorial's way with
points outside a boundary; to the others it counts as the worst score so far, or they would ask for
its neighbour. Optuna's `constraints_func` is not used: what it marks as infeasible needs a score
all the same, and among ranks the worst one says as much. Before that trial nothing differs.
"""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
import optuna

from autoresearch_jax.search.archive import NONE, score_of
from autoresearch_jax.search.base import Strategy
from autoresearch_jax.search.memory_limit import Footprint, MemoryLimit, footprint
from autoresearch_jax.search.options import require_share
from autoresearch_jax.search.samplers.space import (
  Dimension,
  Range,
  Value,
  constants,
  skeleton,
  space_of,
  with_values,
)
from autoresearch_jax.search.samplers.study import (
  Add,
  Ask,
  Drop,
  Log,
  Study,
  Tell,
  remember,
  replayed,
)
from autoresearch_jax.types import (
  REPEATS,
  Edit,
  Hypothesis,
  Objective,
  Operation,
  Program,
  Proposal,
  Status,
  Trial,
)

SHOWN = 6  # constants in the line that describes an edit
DROPS = 20  # points in a row that are dropped, before one is tried all the same


@dataclasses.dataclass(frozen=True)
class SamplingState:
  """root: id of the trial whose program, `start`, the constants are changed in; NONE before it.

  footprints: what trials of the space said of memory; a program once.
  """

  objective: Objective
  root: int = NONE
  start: Program | None = None
  log: Log = ()
  footprints: tuple[Footprint, ...] = ()


@dataclasses.dataclass(frozen=True)
class Sampling(Strategy):
  """space: a Range for each constant to search over; empty: all numbers, with derived ranges.

  file: the one whose constants they are; empty: the program's entry. memory_risk: the probability
  of not fitting in memory above which a point is not tried; 1 switches that off. memory_margin:
  share of the memory to leave free.
  """

  space: dict[str, Range] = dataclasses.field(default_factory=dict)
  file: str = ''
  memory_risk: float = 0.5
  memory_margin: float = 0.0
  title: ClassVar[str] = ''
  redraws: ClassVar[bool] = False  # whether a dropped point leaves no trace in the study

  def __post_init__(self) -> None:
    require_share(self, self.title, 'memory_risk')
    if not 0 <= self.memory_margin < 1:
      raise ValueError(
        f'memory_margin of {self.title} is {self.memory_margin}; it is a share of the memory, '
        f'at least 0 and below 1.'
      )

  @abc.abstractmethod
  def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
    """The Optuna sampler that answers one ask."""

  def search_space(self, program: Program) -> tuple[Dimension, ...]:
    """The constants of the program that are sampled. Raises ValueError for unfitting options."""
    file = self.file or program.entry
    names = [name for name, _ in program.files]
    if file not in names:
      raise ValueError(f'Option file is {file!r}; the program has: {", ".join(names)}.')
    return space_of(program.text(file), self.space, file)

  def instead(self, trial: Trial) -> bool:
    """Whether a trial that the study was not asked for takes the place of one of its draws."""
    del trial
    return False

  def init(self, objective: Objective) -> SamplingState:
    return SamplingState(objective)

  def ask(self, state: SamplingState, rng: np.random.Generator) -> tuple[Proposal, SamplingState]:
    """Before a program is known, an edit of the start's constants by the proposer."""
    if state.start is None:
      return Proposal(Operation.DRAFT, guidance='tuning'), state
    study = replayed(self, self.search_space(state.start), state.log)
    entry = self._fitting(study, state, rng)
    remember(study)
    edit = self._edit(state.start, entry.values)
    proposal = Proposal(Operation.IMPROVE, parents=(state.root,), edit=edit)
    return proposal, dataclasses.replace(state, log=study.log)

  def _fitting(self, study: Study, state: SamplingState, rng: np.random.Generator) -> Ask:
    """The study's next point that probably fits in memory; others before it are dropped."""
    entry = study.ask(_seed(rng))
    if self.memory_risk == 1 or all(f.fits for f in state.footprints):
      return entry
    limit = MemoryLimit(study.space, state.footprints, self.memory_margin)
    for _ in range(DROPS):
      if limit.risk(entry.values) <= self.memory_risk:
        break
      study.take(Drop(entry.number, None if self.redraws else _worst(state.log)))
      entry = study.ask(_seed(rng))
    return entry

  def tell(self, state: SamplingState, trial: Trial) -> SamplingState:
    """Raises ValueError when trial 0 has no constants that the options fit."""
    if state.start is None:
      state = self._begun(state, trial)
    values = self._values(state.start, trial.edit.program) if state.start else None
    if values is None:
      return state
    entry = _entry(state, trial, values, self.instead(trial))
    log = state.log if entry is None else (*state.log, entry)
    return dataclasses.replace(state, log=log, footprints=_weighed(state, trial, values))

  def _begun(self, state: SamplingState, trial: Trial) -> SamplingState:
    """With the trial's program as the start; a program without constants is passed over."""
    try:
      self.search_space(trial.edit.program)
    except ValueError:
      if trial.id == 0:
        raise
      return state
    return dataclasses.replace(state, root=trial.id, start=trial.edit.program)

  def _values(self, start: Program, program: Program) -> tuple[Value, ...] | None:
    """The program's constants, in the order of the space; None unless only they are new."""
    file = self.file or start.entry
    texts, space = dict(program.files), self.search_space(start)
    known = {c.name: c.value for c in constants(texts.get(file, ''))}
    if not all(d.name in known and d.holds(known[d.name]) for d in space):
      return None
    names = [d.name for d in space]
    before, after = (
      {**dict(p.files), file: skeleton(p.text(file), names)} for p in (start, program)
    )
    return tuple(known[name] for name in names) if before == after else None

  def _edit(self, start: Program, values: tuple[Value, ...]) -> Edit:
    file, space = self.file or start.entry, self.search_space(start)
    new = dict(zip((d.name for d in space), values, strict=True))
    pairs = zip(space, values, strict=True)
    moved = [f'{d.name} {short(d.value)} -> {short(v)}' for d, v in pairs if d.value != v]
    more = f' and {len(moved) - SHOWN} more' if len(moved) > SHOWN else ''
    words = ', '.join(moved[:SHOWN]) + more if moved else 'the constants of the start'
    return Edit(
      start.with_text(with_values(start.text(file), new), file),
      f'{self.title}: {words}',
      Hypothesis(f'{self.title} expects most of these constants.', ('constants', self.title)),
    )


def _entry(
  state: SamplingState, trial: Trial, values: tuple[Value, ...], instead: bool
) -> Tell | Add | None:
  """What the trial adds to the log; None where it says nothing."""
  score = _score(state, trial)
  asks = [e for e in state.log if isinstance(e, Ask)]
  told = {e.number for e in state.log if isinstance(e, Tell | Drop)}
  waiting = [e.number for e in asks if e.values == values and e.number not in told]
  repeats = trial.proposal.operation in REPEATS
  if waiting and not repeats:
    return Tell(waiting[0], trial.id, score)
  failed_again = repeats and trial.result.status is not Status.OK
  if score is None or trial.proposal.fidelity < 1 or failed_again:
    return None
  number = len(asks) + sum(isinstance(e, Add) for e in state.log)
  return Add(number, trial.id, score, values, instead)


def _weighed(
  state: SamplingState, trial: Trial, values: tuple[Value, ...]
) -> tuple[Footprint, ...]:
  """The footprints with the trial's; a program that has one, or is run again, adds none."""
  known = any(f.values == values for f in state.footprints)
  new = None if known or trial.proposal.operation in REPEATS else footprint(trial, values)
  return state.footprints if new is None else (*state.footprints, new)


def _score(state: SamplingState, trial: Trial) -> float | None:
  """What the study is told of the trial; see the module."""
  score = score_of(state.objective, trial)
  if score is not None:
    return float(score)  # plain, whatever kind of float was measured
  if trial.result.status is Status.CANCELLED:
    return None
  if trial.result.status is Status.DUPLICATE:
    first = trial.result.duplicate_of
    return None if first is None else _scores(state.log).get(first)
  return _worst(state.log)


def _scores(log: Log) -> dict[int, float]:
  """What the study was told of each trial."""
  return {e.trial: e.score for e in log if isinstance(e, Tell | Add) and e.score is not None}


def _worst(log: Log) -> float | None:
  return min(_scores(log).values(), default=None)


def _seed(rng: np.random.Generator) -> int:
  return int(rng.integers(2**31 - 1))


def short(value: Value) -> str:
  """With four digits, for a line that a person reads."""
  return f'{value:.4g}' if isinstance(value, float) else str(value)
