"""The state of the rule `sequential`: the incumbent, programs under test, and earlier programs.

Immutable: each method returns a changed copy. Programs are identified by their first trial (see
`program_runs.py`). Decisions are made in `sequential.py`.
"""

import dataclasses

from autoresearch_jax.acceptance.group_sequential import Look
from autoresearch_jax.acceptance.noise import NoiseState
from autoresearch_jax.acceptance.program_runs import ProgramRuns, format_runs, original_of
from autoresearch_jax.types import Trial

MAX_CHALLENGERS = 16  # under test at once; the oldest makes way for another one
MAX_PAST = 64  # programs remembered after their test; the oldest is forgotten


@dataclasses.dataclass(frozen=True)
class Challenger:
  """A program under test.

  Attributes:
    runs: Its training runs.
    looks: Looks against the current incumbent.
    alpha_spent: Alpha spent so far.
  """

  runs: ProgramRuns
  looks: tuple[Look, ...] = ()
  alpha_spent: float = 0.0


@dataclasses.dataclass(frozen=True)
class SequentialTestState:
  """All programs that the rule remembers.

  Attributes:
    noise: The pooled seed noise.
    incumbent: Runs of the incumbent's program.
    kept: Id of the trial that was kept as the incumbent, possibly a replicate.
    challengers: Programs under test, oldest first.
    past: Runs of rejected programs and former incumbents, latest last; a later replication of one
      of them adds to these.
  """

  noise: NoiseState
  incumbent: ProgramRuns | None = None
  kept: int | None = None
  challengers: tuple[Challenger, ...] = ()
  past: tuple[ProgramRuns, ...] = ()

  def challenger(self, program: int) -> Challenger | None:
    """Returns the open test of a program."""
    return next((c for c in self.challengers if c.runs.trial == program), None)

  def is_incumbent(self, trial: int) -> bool:
    return self.incumbent is not None and trial in (self.incumbent.trial, self.kept)

  def runs_of(self, program: int) -> ProgramRuns:
    """Returns all remembered runs of a program."""
    if self.incumbent is not None and self.is_incumbent(program):
      return self.incumbent
    known = (*(c.runs for c in self.challengers), *self.past)
    return next((runs for runs in known if runs.trial == program), ProgramRuns(program))

  def with_challenger(self, new: Challenger) -> 'SequentialTestState':
    """Replaces the challenger with the same program, or adds a new one."""
    if self.challenger(new.runs.trial):
      same = tuple(new if c.runs.trial == new.runs.trial else c for c in self.challengers)
      return dataclasses.replace(self, challengers=same)
    past = _without(new.runs.trial, self.past)
    state = dataclasses.replace(self, challengers=(*self.challengers, new), past=past)
    if len(state.challengers) > MAX_CHALLENGERS:
      return state.end_test(state.challengers[0].runs)
    return state

  def end_test(self, runs: ProgramRuns) -> 'SequentialTestState':
    """Ends a program's test, and remembers its runs."""
    others = tuple(c for c in self.challengers if c.runs.trial != runs.trial)
    past = (*_without(runs.trial, self.past), runs)[-MAX_PAST:]
    return dataclasses.replace(self, challengers=others, past=past)

  def with_incumbent(self, incumbent: Trial) -> 'SequentialTestState':
    """Makes the program of `incumbent` the one that all others are compared with.

    Looks at the old incumbent no longer count; the alpha they spent does.
    """
    runs = self.runs_of(original_of(incumbent))
    old = self.incumbent
    state = self.end_test(old) if old is not None and old.trial != runs.trial else self
    others = (c for c in state.challengers if c.runs.trial != runs.trial)
    return dataclasses.replace(
      state,
      incumbent=runs.add(runs.new_values(self.noise.objective, incumbent)),
      kept=incumbent.id,
      challengers=tuple(dataclasses.replace(c, looks=()) for c in others),
      past=_without(runs.trial, state.past),
    )

  def gain(self, runs: ProgramRuns) -> float:
    """Returns the mean of these runs minus the incumbent's, positive for better."""
    assert self.incumbent is not None
    difference = runs.mean - self.incumbent.mean
    return -difference if self.noise.objective.direction == 'minimize' else difference

  def information(self, runs: ProgramRuns) -> float:
    """Returns 1 / variance of the gain, in units of the seed variance: m·n / (m + n)."""
    assert self.incumbent is not None
    m, n = len(runs.seeds), len(self.incumbent.seeds)
    return m * n / (m + n)

  def describe_comparison(self, runs: ProgramRuns) -> str:
    """Returns the first part of a verdict's reason: both means and their numbers of runs."""
    assert self.incumbent is not None
    old = self.incumbent
    return (
      f'{self.noise.objective.metric} {runs.mean:.6f} ({format_runs(len(runs.seeds))}) vs. '
      f'{old.mean:.6f} (trial {self.kept}, {format_runs(len(old.seeds))})'
    )


def _without(program: int, past: tuple[ProgramRuns, ...]) -> tuple[ProgramRuns, ...]:
  return tuple(runs for runs in past if runs.trial != program)
