"""What the rule `sequential` remembers: the incumbent, programs under test, and earlier ones.

Immutable: each method returns the state with the change. It judges nothing, and it knows programs
by the first trial that had them (`acceptance/runs.py`).
"""

import dataclasses

from autoresearch_jax.acceptance.group_sequential import Look
from autoresearch_jax.acceptance.noise import NoiseState
from autoresearch_jax.acceptance.runs import Runs, counted, original
from autoresearch_jax.types import Trial

MAX_OPEN = 16  # challengers under test at once; the oldest is given up for another one
MAX_PAST = 64  # programs that are remembered after their test; the oldest is forgotten


@dataclasses.dataclass(frozen=True)
class Challenger:
  """A program under test. looks: those against the present incumbent. spent: error so far."""

  runs: Runs
  looks: tuple[Look, ...] = ()
  spent: float = 0.0


@dataclasses.dataclass(frozen=True)
class SequentialState:
  """incumbent: runs of its program. kept: the trial it was kept as, a replicate maybe.

  challengers: those under test, oldest first. past: runs of programs that were given up or were
  incumbents before, latest last; who replicates one of them again adds to these.
  """

  noise: NoiseState
  incumbent: Runs | None = None
  kept: int | None = None
  challengers: tuple[Challenger, ...] = ()
  past: tuple[Runs, ...] = ()

  def challenger(self, program: int) -> Challenger | None:
    """The program's open test."""
    return next((c for c in self.challengers if c.runs.trial == program), None)

  def is_incumbent(self, trial: int) -> bool:
    return self.incumbent is not None and trial in (self.incumbent.trial, self.kept)

  def known(self, program: int) -> Runs:
    """All that was measured of the program and is remembered."""
    if self.incumbent is not None and self.is_incumbent(program):
      return self.incumbent
    found = (*(c.runs for c in self.challengers), *self.past)
    return next((runs for runs in found if runs.trial == program), Runs(program))

  def tested(self, new: Challenger) -> 'SequentialState':
    """With `new` in place of the challenger with its program, or as the latest one."""
    if self.challenger(new.runs.trial):
      same = tuple(new if c.runs.trial == new.runs.trial else c for c in self.challengers)
      return dataclasses.replace(self, challengers=same)
    past = _without(new.runs.trial, self.past)
    state = dataclasses.replace(self, challengers=(*self.challengers, new), past=past)
    return state.closed(state.challengers[0].runs) if len(state.challengers) > MAX_OPEN else state

  def closed(self, runs: Runs) -> 'SequentialState':
    """With these runs remembered, and the program not under test any more."""
    left = tuple(c for c in self.challengers if c.runs.trial != runs.trial)
    past = (*_without(runs.trial, self.past), runs)[-MAX_PAST:]
    return dataclasses.replace(self, challengers=left, past=past)

  def crowned(self, incumbent: Trial) -> 'SequentialState':
    """With the program of `incumbent` as what all others are now compared with.

    Looks at the old one count no more; the error they spent does.
    """
    runs = self.known(original(incumbent))
    old = self.incumbent
    state = self.closed(old) if old is not None and old.trial != runs.trial else self
    others = (c for c in state.challengers if c.runs.trial != runs.trial)
    return dataclasses.replace(
      state,
      incumbent=runs.joined(runs.news(self.noise.objective, incumbent)),
      kept=incumbent.id,
      challengers=tuple(dataclasses.replace(c, looks=()) for c in others),
      past=_without(runs.trial, state.past),
    )

  def gain(self, runs: Runs) -> float:
    """How much better the mean of these runs is than that of the incumbent's."""
    assert self.incumbent is not None
    rise = runs.mean - self.incumbent.mean
    return -rise if self.noise.objective.direction == 'minimize' else rise

  def information(self, runs: Runs) -> float:
    """1 / variance of the gain, in units of the seed deviation: m·n / (m + n)."""
    assert self.incumbent is not None
    m, n = len(runs.seeds), len(self.incumbent.seeds)
    return m * n / (m + n)

  def comparison(self, runs: Runs) -> str:
    """The opening of a verdict's sentence: both means, and of how many runs."""
    assert self.incumbent is not None
    old = self.incumbent
    return (
      f'{self.noise.objective.metric} {runs.mean:.6f} ({counted(len(runs.seeds))}) against '
      f'{old.mean:.6f} of trial {self.kept} ({counted(len(old.seeds))})'
    )


def _without(program: int, past: tuple[Runs, ...]) -> tuple[Runs, ...]:
  return tuple(runs for runs in past if runs.trial != program)
