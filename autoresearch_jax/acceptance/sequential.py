"""Keep what a sequential test proves: what looks better is replicated until it is, or is not.

Most edits do nothing, so most challengers are given up after one run. One that looks better is
trained on more seeds, the incumbent on the same ones where it lacks them, and at each look
(`looks`: runs of the challenger so far) the test keeps it, gives it up, or asks for more.

The night's error: the chance of keeping any edit without effect in a night of `horizon` trials
is at most `alpha`. Each trial may begin one test, so each test gets alpha / horizon. A longer night
goes on at the same rate, one more alpha for each horizon. Inside a test this error is spent over
the looks by a spending function (Lan & DeMets 1983, see `acceptance/group_sequential.py`).
A program that is replicated after its test ended (a strategy may ask for it) is tested again, from
all runs that it has; that test belongs to the trial that brought the new runs.
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

Futility: a challenger whose gain is below `min_gain` seed deviations is given up, so that five of
six edits without effect cost one run. Since it is always given up, the bounds count on that
(binding futility). One deviation finds most gains of two and three a training run: 0.75 raises the
power at two from 0.77 to 0.85 but takes 19 % more runs for each edit that does nothing.

What it does not see: a program whose own seed noise is larger than the pooled one is kept too
easily. Tails heavier than the normal's use up what the bound leaves: with Student's t of 5 degrees
of freedom as noise 4 % of nights have a false keep instead of 2 %. All figures here are from
`scripts/studies/acceptance/measure_acceptance.py`, by default or with the options changed that are
named.
"""

import dataclasses
import math
from typing import Literal

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.acceptance.challengers import Challenger, SequentialState
from autoresearch_jax.acceptance.group_sequential import SPENDING
from autoresearch_jax.acceptance.group_sequential_look import Evidence, Outcome, Plan, taken
from autoresearch_jax.acceptance.noise import NoiseState
from autoresearch_jax.acceptance.runs import counted, original
from autoresearch_jax.acceptance.strict import without_comparison
from autoresearch_jax.types import Decision, Objective, Operation, Proposal, Trial, Verdict


@ACCEPTANCE.register('sequential', renamed_options={'least_gain': 'min_gain'})
@dataclasses.dataclass(frozen=True)
class Sequential(AcceptanceRule):
  """alpha: the chance of any false keep in a night of `horizon` trials.

  looks: runs of a challenger at each look, the first being its own trial; the last number is the
  most it gets. spending: how early the error is spent (acceptance/group_sequential.py). min_gain:
  seed deviations below which a gain is not pursued. baseline_seeds: runs of the baseline, which
  also tell the noise; few make each bound of the first hours a wide one.
  """

  alpha: float = 0.05
  horizon: int = 100
  baseline_seeds: int = 8
  looks: tuple[int, ...] = (1, 2, 4, 8, 16)
  spending: Literal['kim_demets', 'obrien_fleming', 'pocock'] = 'kim_demets'
  min_gain: float = 1.0

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
    if not 0 <= self.min_gain < math.inf:
      raise ValueError(f'min_gain is {self.min_gain}; a finite number from 0 on is needed.')
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
        return _replication(runs.trial, seeds), state.tested(asked)
      if not incumbent.waiting:
        asked = dataclasses.replace(state, incumbent=incumbent.asked(tuple(missing)))
        return _replication(incumbent.trial, tuple(missing)), asked
    return None, state

  def decide(
    self, state: SequentialState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, SequentialState]:
    """Takes the trial's runs in and looks at its program; see the Protocol."""
    if incumbent is not None and incumbent.id != state.kept:  # kept by someone else's rule
      state = state.crowned(incumbent)
    verdict, after = self._judged(state, trial, incumbent)
    others = (c.runs.trial for c in state.challengers if c.runs.trial != original(trial))
    if gone := [program for program in others if after.challenger(program) is None]:
      verdict = dataclasses.replace(verdict, reason=_with_gone(verdict.reason, gone))
    return verdict, after

  def _judged(
    self, state: SequentialState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, SequentialState]:
    objective, program = state.noise.objective, original(trial)
    verdict = without_comparison(objective, trial, incumbent)
    if verdict is not None and verdict.decision is Decision.CRASH:
      return verdict, _failed(state, program)
    known = state.known(program)
    news = known.news(objective, trial)
    state = dataclasses.replace(state, noise=state.noise.pooled([value for _, value in news]))
    if verdict is not None and verdict.decision is Decision.KEEP:
      return verdict, state.crowned(trial)
    if state.is_incumbent(program):
      return self._measured(dataclasses.replace(state, incumbent=known.joined(news)), news)
    if not news:
      return Verdict(Decision.DISCARD, 'It was measured on no seed that is new.'), state
    test = state.challenger(program) or Challenger(known)
    return self._look(state, dataclasses.replace(test, runs=known.joined(news)), trial)

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
    outcome, runs = self._taken(state, challenger), challenger.runs
    said = f'{state.comparison(runs)}: {outcome.said}.'
    if outcome.keeps:
      return Verdict(Decision.KEEP, said), self._pruned(state.closed(runs).crowned(trial))
    if outcome.ends:
      return Verdict(Decision.DISCARD, said), state.closed(runs)
    looks = (*challenger.looks, outcome.look)
    state = state.tested(dataclasses.replace(challenger, looks=looks, spent=outcome.spent))
    assert state.incumbent is not None
    size = next(n for n in self.looks if n > len(runs.seeds))
    more = f'replicated on {_named(runs.wanted(size, state.incumbent))} before it is kept'
    said = f'{state.comparison(runs)}: looks better, {outcome.said}; {more}.'
    return Verdict(Decision.DISCARD, said), state

  def _taken(self, state: SequentialState, challenger: Challenger) -> Outcome:
    most, incumbent = self.looks[-1], max(self.looks[-1], self.baseline_seeds)
    whole = most * incumbent / (most + incumbent)
    plan = Plan(self.alpha / self.horizon, self.spending, whole, self.min_gain)
    seen = Evidence(
      gain=state.gain(challenger.runs),
      information=state.information(challenger.runs),
      before=challenger.looks,
      spent=challenger.spent,
      last=len(challenger.runs.seeds) >= most,
    )
    return taken(plan, state.noise, seen)

  def _pruned(self, state: SequentialState) -> SequentialState:
    """Without challengers that the incumbent, new or measured better, leaves nothing to gain."""
    floor = self.min_gain * (state.noise.deviation or 0.0)
    for challenger in state.challengers:
      if not challenger.runs.waiting and state.gain(challenger.runs) <= floor:
        state = state.closed(challenger.runs)
    return state


def _failed(state: SequentialState, program: int) -> SequentialState:
  """A replication that failed ends its challenger; of the incumbent it leaves out the seeds."""
  if state.incumbent is not None and state.is_incumbent(program):
    return dataclasses.replace(state, incumbent=state.incumbent.failed())
  return state.closed(state.known(program).failed()) if state.challenger(program) else state


def _replication(trial: int, seeds: tuple[int, ...]) -> Proposal:
  return Proposal(Operation.REPLICATE, (trial,), seeds=seeds)


def _with_gone(reason: str, programs: list[int]) -> str:
  """The sentence with the challengers that the verdict left nothing to gain, or no place."""
  trials = f'trial{"" if len(programs) == 1 else "s"} {", ".join(map(str, programs))}'
  return f'{reason.removesuffix(".")}; {trials} {"is" if len(programs) == 1 else "are"} given up.'


def _named(seeds) -> str:
  """'seed 3', 'seeds 1-3', 'seeds 2, 5'."""
  ordered = sorted(seeds)
  if len(ordered) > 1 and ordered == list(range(ordered[0], ordered[-1] + 1)):
    return f'seeds {ordered[0]}-{ordered[-1]}'
  return f'seed{"" if len(ordered) == 1 else "s"} {", ".join(map(str, ordered)) or "already known"}'
