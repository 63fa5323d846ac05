"""A group sequential test: replicate what looks better until the evidence decides.

Most edits do nothing, so most challengers are rejected after one run. One that looks better is
trained on more seeds, the incumbent on the same ones where it lacks them, and at each look
(`looks`: runs of the challenger so far) the test keeps it, rejects it, or asks for more.

Error rate: the probability of keeping any edit without effect in a run of `horizon` trials is at
most `alpha` (familywise error rate). Each trial may start one test, so each test gets alpha /
horizon (Bonferroni). A longer run goes on at the same rate, with another alpha per horizon. Within
a test, alpha is spent over the looks by a spending function (Lan & DeMets 1983, see
`group_sequential.py`). A program that is replicated after its test ended (a strategy may ask for
that) is tested again, with all its runs; that test belongs to the trial that brought the new runs.
The union bound holds whatever the tests share, and they share the incumbent's runs: about half of
the allowed error is used. Dunnett's test (JASA 1955) would use the rest, but only while the
incumbent does not change, and it would gain little: twice the alpha raises the power at two
standard deviations by at most one percentage point.

What is compared: the mean of all runs of the challenger's program and the mean of all runs of the
incumbent's, over all trials that trained them. The variance of their difference is s²(1/m + 1/n).
The seed standard deviation s is pooled over seeds within single trials, as in `noise.py`. These
squares do not depend on their trial's mean, so s stays unbiased although only lucky challengers get
more runs (squares around a challenger's overall mean would be too large). A boundary on the z scale
becomes the quantile of Student's t with the same tail probability, because s rests on few degrees
of freedom. Runs on the same seeds share some luck of data order and initialisation; the difference
is therefore less noisy than the formula says, so that pairing is conservative.

Futility: a challenger whose gain is below `min_gain` seed standard deviations is rejected, so that
five of six edits without effect cost one run. Because it is always rejected, the boundaries take
that into account (binding futility). With min_gain = 1, most gains of two and three standard
deviations per training run are found: 0.75 raises the power at two from 0.77 to 0.85 but takes 19 %
more runs per edit without effect.

Limits: a program whose own seed noise is larger than the pooled one is kept too easily. Tails
heavier than the normal's reduce the margin: with Student's t with 5 degrees of freedom as noise,
4 % of runs have a false keep instead of 2 %. All figures are from `measure_acceptance.py`, with the
defaults or the changes stated.
"""

import dataclasses
from collections.abc import Iterable
from typing import Literal

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.acceptance.group_sequential import (
  InterimData,
  InterimResult,
  SequentialDesign,
  analyze,
  require_options,
)
from autoresearch_jax.acceptance.noise import NoiseState
from autoresearch_jax.acceptance.program_runs import format_runs, original_of
from autoresearch_jax.acceptance.sequential_state import Challenger, SequentialTestState
from autoresearch_jax.acceptance.strict import verdict_without_comparison
from autoresearch_jax.types import Decision, Objective, Operation, Proposal, Trial, Verdict


@ACCEPTANCE.register('sequential')
@dataclasses.dataclass(frozen=True)
class SequentialTest(AcceptanceRule):
  """Tests each promising program over several looks.

  Attributes:
    alpha: Probability of any false keep in a run of `horizon` trials.
    horizon: Number of trials over which alpha is divided.
    baseline_seeds: Training runs of the baseline, from which the noise is first estimated; with few
      of them the first boundaries are wide.
    looks: Runs of a challenger at each look, its own trial being the first; the last number is the
      maximum.
    spending_function: How alpha is spent over the looks (see `group_sequential.py`).
    min_gain: Futility: a smaller gain, in seed standard deviations, ends the test.
  """

  alpha: float = 0.05
  horizon: int = 100
  baseline_seeds: int = 8
  looks: tuple[int, ...] = (1, 2, 4, 8, 16)
  spending_function: Literal['kim_demets', 'obrien_fleming', 'pocock'] = 'kim_demets'
  min_gain: float = 1.0

  def __post_init__(self) -> None:
    require_options('sequential', self)

  def init(self, objective: Objective) -> SequentialTestState:
    return SequentialTestState(NoiseState(objective))

  def ask(self, state: SequentialTestState) -> tuple[Proposal | None, SequentialTestState]:
    """Requests the incumbent's missing seeds first: the challenger's own trial must be last."""
    incumbent = state.incumbent
    for challenger in state.challengers if incumbent else ():
      assert incumbent is not None
      runs = challenger.runs
      size = next((n for n in self.looks if n > len(runs.seeds)), 0)
      seeds = runs.next_seeds(size, incumbent)
      if runs.is_pending or not seeds:
        continue
      missing = [s for s in (*runs.seeds, *seeds) if s not in incumbent.requested_seeds]
      missing = tuple(missing[: max(0, size - len(incumbent.seeds))])
      if not missing:
        requested = dataclasses.replace(challenger, runs=runs.request(seeds))
        return _replication(runs.trial, seeds), state.with_challenger(requested)
      if not incumbent.is_pending:
        state = dataclasses.replace(state, incumbent=incumbent.request(missing))
        return _replication(incumbent.trial, missing), state
    return None, state

  def decide(
    self, state: SequentialTestState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, SequentialTestState]:
    if incumbent is not None and incumbent.id != state.kept:  # an outer rule kept it
      state = state.with_incumbent(incumbent)
    verdict, after = self._decide(state, trial, incumbent)
    others = (c.runs.trial for c in state.challengers if c.runs.trial != original_of(trial))
    if stopped := [program for program in others if after.challenger(program) is None]:
      verdict = dataclasses.replace(verdict, reason=_with_stopped(verdict.reason, stopped))
    return verdict, after

  def _decide(
    self, state: SequentialTestState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, SequentialTestState]:
    objective, program = state.noise.objective, original_of(trial)
    verdict = verdict_without_comparison(objective, trial, incumbent)
    if verdict is not None and verdict.decision is Decision.CRASH:
      return verdict, _failed(state, program)
    known = state.runs_of(program)
    new = known.new_values(objective, trial)
    state = dataclasses.replace(state, noise=state.noise.pool([value for _, value in new]))
    if verdict is not None and verdict.decision is Decision.KEEP:
      return verdict, state.with_incumbent(trial)
    if state.is_incumbent(program):
      return self._replicated(dataclasses.replace(state, incumbent=known.add(new)), new)
    if not new:
      return Verdict(Decision.DISCARD, 'The trial has no seed that was not measured before.'), state
    challenger = state.challenger(program) or Challenger(known)
    return self._look(state, dataclasses.replace(challenger, runs=known.add(new)), trial)

  def undecided(self, state: SequentialTestState, trial: Trial) -> bool:
    return state.challenger(original_of(trial)) is not None

  def without_tests(self, state: SequentialTestState) -> SequentialTestState:
    incumbent = state.incumbent
    if incumbent is not None:
      # Its pending runs belong to the tests.
      incumbent = dataclasses.replace(incumbent, requested_seeds=incumbent.seeds, is_pending=False)
    return dataclasses.replace(state, challengers=(), incumbent=incumbent)

  def _replicated(
    self, state: SequentialTestState, new: list[tuple[int, float]]
  ) -> tuple[Verdict, SequentialTestState]:
    """Handles a replicate of the incumbent: challengers that no longer look better are rejected."""
    assert state.incumbent is not None
    reason = (
      f'Replicated the incumbent on {_format_seeds(seed for seed, _ in new)}: '
      f'{state.noise.objective.metric} {state.incumbent.mean:.6f} over '
      f'{format_runs(len(state.incumbent.seeds))}.'
    )
    return Verdict(Decision.DISCARD, reason), self._reject_futile(state)

  def _look(
    self, state: SequentialTestState, challenger: Challenger, trial: Trial
  ) -> tuple[Verdict, SequentialTestState]:
    """Takes one look at a challenger, with all runs of both programs."""
    result, runs = self._analyze(state, challenger), challenger.runs
    comparison = state.describe_comparison(runs)
    reason = f'{comparison}: {result.reason}.'
    if result.keep:
      return Verdict(Decision.KEEP, reason), self._reject_futile(
        state.end_test(runs).with_incumbent(trial)
      )
    if result.stop:
      return Verdict(Decision.DISCARD, reason), state.end_test(runs)
    looks = (*challenger.looks, result.look)
    state = state.with_challenger(
      dataclasses.replace(challenger, looks=looks, alpha_spent=result.alpha_spent)
    )
    assert state.incumbent is not None
    size = next(n for n in self.looks if n > len(runs.seeds))
    seeds = _format_seeds(runs.next_seeds(size, state.incumbent))
    reason = f'{comparison}: inconclusive, {result.reason}; to be replicated on {seeds}.'
    return Verdict(Decision.DISCARD, reason), state

  def _analyze(self, state: SequentialTestState, challenger: Challenger) -> InterimResult:
    max_runs = self.looks[-1]
    incumbent_runs = max(max_runs, self.baseline_seeds)
    design = SequentialDesign(
      alpha=self.alpha / self.horizon,
      spending_function=self.spending_function,
      max_information=max_runs * incumbent_runs / (max_runs + incumbent_runs),
      min_gain=self.min_gain,
    )
    data = InterimData(
      gain=state.gain(challenger.runs),
      information=state.information(challenger.runs),
      previous_looks=challenger.looks,
      alpha_spent=challenger.alpha_spent,
      is_final=len(challenger.runs.seeds) >= max_runs,
    )
    return analyze(design, state.noise, data)

  def _reject_futile(self, state: SequentialTestState) -> SequentialTestState:
    """Rejects challengers that no longer gain enough over a new or better measured incumbent."""
    minimum = self.min_gain * (state.noise.seed_std or 0.0)
    for challenger in state.challengers:
      if not challenger.runs.is_pending and state.gain(challenger.runs) <= minimum:
        state = state.end_test(challenger.runs)
    return state


def _failed(state: SequentialTestState, program: int) -> SequentialTestState:
  """A failed replication ends its challenger's test; the incumbent goes on without those seeds."""
  if state.incumbent is not None and state.is_incumbent(program):
    return dataclasses.replace(state, incumbent=state.incumbent.fail())
  return state.end_test(state.runs_of(program).fail()) if state.challenger(program) else state


def _replication(trial: int, seeds: tuple[int, ...]) -> Proposal:
  return Proposal(Operation.REPLICATE, (trial,), seeds=seeds)


def _with_stopped(reason: str, programs: list[int]) -> str:
  """Adds the challengers whose tests ended with this verdict."""
  trials = f'trial{"" if len(programs) == 1 else "s"} {", ".join(map(str, programs))}'
  return f'{reason.removesuffix(".")}; stopped testing {trials}.'


def _format_seeds(seeds: Iterable[int]) -> str:
  """Returns 'seed 3', 'seeds 1-3', 'seeds 2, 5'."""
  ordered = sorted(seeds)
  if len(ordered) > 1 and len(ordered) == ordered[-1] - ordered[0] + 1:
    return f'seeds {ordered[0]}-{ordered[-1]}'
  return f'seed{"" if len(ordered) == 1 else "s"} {", ".join(map(str, ordered)) or "already known"}'
