"""Keep what a sequential test proves: what looks better is replicated until it is, or is not.

Most edits do nothing, so most challengers are given up after one run. One that looks better is
trained on more seeds, the incumbent on the same ones where it lacks them, and at each look
(`looks`: runs of the challenger so far) the test keeps it, gives it up, or asks for more.

The night's error: the chance of keeping any edit without effect in a night of `horizon` trials
is at most `alpha`. Each trial may begin one test, so each test gets alpha / horizon. A longer night
goes on at the same rate, one more alpha for each horizon. Inside a test this error is spent over
the looks by a spending function (Lan & DeMets 1983, see `acceptance/spending.py`).
The union bound holds whatever the tests share, and they share the incumbent's runs: a night has
about half of the error that it is allowed. Dunnett's test (JASA 1955) would use the rest, but only
while one incumbent stays for the night, and it would win little: twice the alpha raises the power
at two deviations by a point at most.

What is compared: the mean of all runs of the challenger's program and the mean of all runs of the
incumbent's, over all trials that trained them. Their difference has the variance s²(1/m + 1/n).
The deviation s is pooled over seeds inside single trials, as in `acceptance/noise.py`: those
squares do not know their trial's mean, so s stays unbiased though only lucky challengers get more
runs (squares around a challenger's whole mean would be too large). A bound in the normal scale
becomes the quantile of Student's t with the same tail, for s rests on few degrees of freedom.
Runs on the same seeds share some luck of data order and initial values; that makes the difference
less noisy than the formula says, so pairing errs on the safe side.

Futility: a challenger whose gain is below `least_gain` seed deviations is given up, so that five of
six edits without effect cost one run. Since it is always given up, the bounds count on that
(binding futility). One deviation finds most gains of two and three a training run: 0.75 raises the
power at two from 0.77 to 0.85 but takes 19 % more runs for each edit that does nothing.

What it does not see: a program whose own seed noise is larger than the pooled one is kept too
easily. Tails heavier than the normal's use up what the bound leaves: with Student's t of 5 degrees
of freedom as noise 4 % of nights have a false keep instead of 2 %. All figures here are from
`scripts/measure_acceptance.py`, by default or with the options changed that are named.
"""

import dataclasses
from typing import Literal

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.acceptance.look import Evidence, Outcome, Plan, taken
from autoresearch_jax.acceptance.noise import NoiseState
from autoresearch_jax.acceptance.runs import Runs, counted, original
from autoresearch_jax.acceptance.spending import SPENDING, Look
from autoresearch_jax.acceptance.strict import without_comparison
from autoresearch_jax.types import Decision, Objective, Operation, Proposal, Trial, Verdict

MOST_OPEN = 16  # challengers under test at once; the oldest is given up for another one


@dataclasses.dataclass(frozen=True)
class Challenger:
  """A program under test. looks: those against the present incumbent. spent: error so far."""

  runs: Runs
  looks: tuple[Look, ...] = ()
  spent: float = 0.0


@dataclasses.dataclass(frozen=True)
class SequentialState:
  """incumbent: runs of its program. kept: the trial it was kept as, a replicate maybe.

  challengers: those under test, oldest first; settled ones are forgotten.
  """

  noise: NoiseState
  incumbent: Runs | None = None
  kept: int | None = None
  challengers: tuple[Challenger, ...] = ()

  def challenger(self, trial: int) -> Challenger | None:
    """The open challenger whose program this trial was the first to have."""
    return next((c for c in self.challengers if c.runs.trial == trial), None)

  def replaced(self, new: Challenger) -> 'SequentialState':
    """With `new` in place of the challenger with its program, or as the latest one."""
    if self.challenger(new.runs.trial):
      same = tuple(new if c.runs.trial == new.runs.trial else c for c in self.challengers)
    else:
      same = (*self.challengers, new)[-MOST_OPEN:]
    return dataclasses.replace(self, challengers=same)

  def settled(self, trial: int) -> 'SequentialState':
    """Without the challenger that has this program."""
    left = tuple(c for c in self.challengers if c.runs.trial != trial)
    return dataclasses.replace(self, challengers=left)

  def is_incumbent(self, trial: int) -> bool:
    return self.incumbent is not None and trial in (self.incumbent.trial, self.kept)

  def crowned(self, incumbent: Trial) -> 'SequentialState':
    """With the program of `incumbent` as what all others are now compared with.

    Looks at the old one count no more; the error they spent does.
    """
    program = original(incumbent)
    known = self.challenger(program)
    runs = known.runs if known else Runs(program)
    if self.incumbent and self.is_incumbent(program):
      runs = self.incumbent
    others = self.settled(program).challengers
    return dataclasses.replace(
      self,
      incumbent=runs.joined(runs.news(self.noise.objective, incumbent)),
      kept=incumbent.id,
      challengers=tuple(dataclasses.replace(c, looks=()) for c in others),
    )


@ACCEPTANCE.register('sequential')
@dataclasses.dataclass(frozen=True)
class Sequential:
  """alpha: the chance of any false keep in a night of `horizon` trials.

  looks: runs of a challenger at each look, the first being its own trial; the last number is the
  most it gets. spending: how early the error is spent (acceptance/spending.py). least_gain:
  seed deviations below which a gain is not pursued. baseline_seeds: runs of the baseline, which
  also tell the noise; few make each bound of the first hours a wide one.
  """

  alpha: float = 0.05
  horizon: int = 100
  baseline_seeds: int = 8
  looks: tuple[int, ...] = (1, 2, 4, 8, 16)
  spending: Literal['kim_demets', 'obrien_fleming', 'pocock'] = 'kim_demets'
  least_gain: float = 1.0

  def __post_init__(self) -> None:
    if self.baseline_seeds < 2:
      raise ValueError(
        f'baseline_seeds is {self.baseline_seeds}; the acceptance rule sequential needs 2 or more '
        "to measure the noise. The rule 'strict' does with one."
      )
    if not 0 < self.alpha < 1:
      raise ValueError(f'alpha is {self.alpha}; a probability between 0 and 1 is needed.')
    if self.horizon < 1:
      raise ValueError(f'horizon is {self.horizon}; a night has at least 1 trial.')
    if self.least_gain < 0:
      raise ValueError(f'least_gain is {self.least_gain}; it must not be below 0.')
    rising = all(a < b for a, b in zip((0, *self.looks), self.looks, strict=False))
    if not self.looks or not rising:
      raise ValueError(f'looks is {self.looks}; rising numbers of runs are needed, as (1, 3, 6).')
    if self.spending not in SPENDING:
      raise ValueError(f'spending is {self.spending!r}; it may be: {", ".join(SPENDING)}.')

  def init(self, objective: Objective) -> SequentialState:
    return SequentialState(NoiseState(objective))

  def ask(self, state: SequentialState) -> tuple[Proposal | None, SequentialState]:
    """The incumbent's missing seeds first: the challenger's own trial must be the one to keep."""
    incumbent = state.incumbent
    for challenger in state.challengers if incumbent else ():
      assert incumbent is not None
      runs = challenger.runs
      size = next((n for n in self.looks if n > len(runs.seeds)), 0)
      seeds = runs.wanted(size, incumbent)
      if runs.waiting or not seeds:
        continue
      missing = [seed for seed in (*runs.seeds, *seeds) if seed not in incumbent.tried]
      missing = missing[: max(0, size - len(incumbent.seeds))]
      if not missing:
        asked = dataclasses.replace(challenger, runs=runs.asked(seeds))
        return _replication(runs.trial, seeds), state.replaced(asked)
      if not incumbent.waiting:
        asked = dataclasses.replace(state, incumbent=incumbent.asked(tuple(missing)))
        return _replication(incumbent.trial, tuple(missing)), asked
    return None, state

  def decide(
    self, state: SequentialState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, SequentialState]:
    """Takes the trial's runs in and looks at its program; see the Protocol."""
    objective = state.noise.objective
    if incumbent is not None and incumbent.id != state.kept:  # kept by someone else's rule
      state = state.crowned(incumbent)
    verdict = without_comparison(objective, trial, incumbent)
    if verdict is not None and verdict.decision is Decision.CRASH:
      return verdict, _failed(state, original(trial))
    known = state.challenger(original(trial)) or Challenger(Runs(original(trial)))
    measured = state.incumbent if state.is_incumbent(original(trial)) else None
    news = (measured or known.runs).news(objective, trial)
    state = dataclasses.replace(state, noise=state.noise.pooled([value for _, value in news]))
    if verdict is not None and verdict.decision is Decision.KEEP:
      return verdict, state.crowned(trial)
    if measured:
      return self._measured(dataclasses.replace(state, incumbent=measured.joined(news)), news)
    known = dataclasses.replace(known, runs=known.runs.joined(news))
    if not news:
      return Verdict(Decision.DISCARD, 'It was measured on no seed that is new.'), state
    return self._look(state, known, trial)

  def undecided(self, state: SequentialState, trial: Trial) -> bool:
    return state.challenger(original(trial)) is not None

  def _measured(
    self, state: SequentialState, news: list[tuple[int, float]]
  ) -> tuple[Verdict, SequentialState]:
    """More of the incumbent: what no longer looks better is given up."""
    assert state.incumbent is not None
    reason = (
      f'Measured the incumbent on {_named(seed for seed, _ in news)}: '
      f'{state.noise.objective.metric} {state.incumbent.mean:.6f} over '
      f'{counted(len(state.incumbent.seeds))}.'
    )
    return Verdict(Decision.DISCARD, reason), self._pruned(state)

  def _look(
    self, state: SequentialState, challenger: Challenger, trial: Trial
  ) -> tuple[Verdict, SequentialState]:
    """One look of the test, at all runs of both programs."""
    outcome = self._taken(state, challenger)
    opening = _comparison(state, challenger)
    if outcome.keeps:
      verdict = Verdict(Decision.KEEP, f'{opening}: {outcome.said}.')
      return verdict, self._pruned(state.replaced(challenger).crowned(trial))
    if outcome.ends:
      return (
        Verdict(Decision.DISCARD, f'{opening}: {outcome.said}.'),
        state.settled(challenger.runs.trial),
      )
    looks = (*challenger.looks, outcome.look)
    state = state.replaced(dataclasses.replace(challenger, looks=looks, spent=outcome.spent))
    assert state.incumbent is not None
    size = next(n for n in self.looks if n > len(challenger.runs.seeds))
    seeds = _named(challenger.runs.wanted(size, state.incumbent))
    more = f'{opening}: looks better, {outcome.said}; replicated on {seeds} before it is kept.'
    return Verdict(Decision.DISCARD, more), state

  def _taken(self, state: SequentialState, challenger: Challenger) -> Outcome:
    most, incumbent = self.looks[-1], max(self.looks[-1], self.baseline_seeds)
    whole = most * incumbent / (most + incumbent)
    plan = Plan(self.alpha / self.horizon, self.spending, whole, self.least_gain)
    seen = Evidence(
      gain=_gain(state, challenger),
      information=_information(state, challenger),
      before=challenger.looks,
      spent=challenger.spent,
      last=len(challenger.runs.seeds) >= most,
    )
    return taken(plan, state.noise, seen)

  def _pruned(self, state: SequentialState) -> SequentialState:
    """Without challengers that the incumbent, new or measured better, leaves nothing to gain."""
    floor = self.least_gain * (state.noise.deviation or 0.0)
    left = tuple(c for c in state.challengers if c.runs.waiting or _gain(state, c) > floor)
    return dataclasses.replace(state, challengers=left)


def _gain(state: SequentialState, challenger: Challenger) -> float:
  """How much better the mean of the challenger's runs is than that of the incumbent's."""
  assert state.incumbent is not None
  rise = challenger.runs.mean - state.incumbent.mean
  return -rise if state.noise.objective.direction == 'minimize' else rise


def _information(state: SequentialState, challenger: Challenger) -> float:
  """1 / variance of the gain, in units of the seed deviation: m·n / (m + n)."""
  assert state.incumbent is not None
  m, n = len(challenger.runs.seeds), len(state.incumbent.seeds)
  return m * n / (m + n)


def _comparison(state: SequentialState, challenger: Challenger) -> str:
  assert state.incumbent is not None
  new, old = challenger.runs, state.incumbent
  return (
    f'{state.noise.objective.metric} {new.mean:.6f} ({counted(len(new.seeds))}) against '
    f'{old.mean:.6f} of trial {state.kept} ({counted(len(old.seeds))})'
  )


def _failed(state: SequentialState, program: int) -> SequentialState:
  """A replication that failed ends its challenger; of the incumbent it leaves out the seeds."""
  if state.incumbent is not None and state.is_incumbent(program):
    return dataclasses.replace(state, incumbent=state.incumbent.failed())
  return state.settled(program)


def _replication(trial: int, seeds: tuple[int, ...]) -> Proposal:
  return Proposal(Operation.REPLICATE, (trial,), seeds=seeds)


def _named(seeds) -> str:
  """'seed 3', 'seeds 1-3', 'seeds 2, 5'."""
  ordered = sorted(seeds)
  if len(ordered) > 1 and ordered == list(range(ordered[0], ordered[-1] + 1)):
    return f'seeds {ordered[0]}-{ordered[-1]}'
  return f'seed{"" if len(ordered) == 1 else "s"} {", ".join(map(str, ordered)) or "already known"}'
