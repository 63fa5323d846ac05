"""A group sequential test on pairs of runs, so that a machine that changes does not decide.

A score depends on the hour: a machine that is busy, hot or shared does less work in the same
seconds. `sequential` compares runs of different hours. Here only pairs count: one run of the
challenger and one of the incumbent, on the same fresh seed, next to each other in time. Blocks of
pairs are run in the order A B B A, so that a linear drift cancels within a block.

1. Screening: the challenger's own trial is compared with the incumbent's latest runs. If its gain
   is below `min_gain` seed standard deviations, it is rejected after this one run, as most are. The
   runs that it was picked for are no evidence afterwards.
2. Test: pairs are run, and at each look (`looks`: pairs so far) a group sequential test on their
   mean difference keeps the challenger, rejects it, or asks for more (see `group_sequential.py`).
   The variance of the mean of n differences is taken as 2 s² / n, where s is the seed standard
   deviation pooled over seeds within single trials. That is conservative, since the same seed gives
   both programs some of the same luck: with `seed_correlation` r it is 2 s² (1 - r) / n. Where the
   differences vary significantly more than that (F-test at 5 %), as on a machine that changes
   within a pair, their own variance is used.
3. Control: the incumbent is run again at least every `control_interval` trials, and after every
   trial while its last runs look unusual. A CUSUM over its runs (`drift.py`) signals when the
   machine has changed. Then the incumbent is measured anew, earlier runs no longer screen anybody,
   and open tests drop the pairs that the change may have split.

Error rate: the probability of keeping any edit without effect in a run of `horizon` trials is at
most `alpha`. It holds under drift that is slower than a pair, whatever the screening lets through:
90 % of alpha is divided among the first quarter of the horizon's tests, since a test of two pairs
takes three trials beside the first one, and the rest among all later ones (Bonferroni).

The first run could be counted, paired with a run of the incumbent right after it, if alpha were
divided among all trials. For the same power that takes more runs (`compare_designs.py`).

What it cannot correct: a machine on which some programs slow down more than others while it is
busy.
"""

import dataclasses
import math
import statistics
from typing import Literal

import scipy.special

from autoresearch_jax.acceptance.base import ACCEPTANCE, AcceptanceRule
from autoresearch_jax.acceptance.drift import DriftMonitor
from autoresearch_jax.acceptance.group_sequential import (
  InterimData,
  InterimResult,
  SequentialDesign,
  analyze,
  require_options,
)
from autoresearch_jax.acceptance.noise import NoiseState
from autoresearch_jax.acceptance.paired_state import (
  MAX_RECENT,
  PairedState,
  PairedTest,
  Replication,
  measured,
)
from autoresearch_jax.acceptance.program_runs import format_runs, original_of
from autoresearch_jax.acceptance.strict import verdict_without_comparison
from autoresearch_jax.types import Decision, Objective, Operation, Proposal, Trial, Verdict

EXPECTED_SHARE = 0.25  # of the trials that lead to a test
EXPECTED_ALPHA = 0.9  # share of alpha for these
HETEROGENEITY_LEVEL = 0.05  # of the F-test
MAX_FAILED_RUNS = 4  # of the incumbent, beside a challenger's, that end a test
REMEASURED_RUNS = 3  # of the incumbent after a drift
MAX_CORRELATION = 0.95  # of two programs on the same seed


@ACCEPTANCE.register('paired')
@dataclasses.dataclass(frozen=True)
class Paired(AcceptanceRule):
  """Tests each promising program on pairs of runs with the incumbent.

  Attributes:
    alpha: Probability of any false keep in a run of `horizon` trials.
    horizon: Number of trials over which alpha is divided.
    baseline_seeds: Training runs of the baseline, from which the noise is first estimated.
    looks: Pairs at each look; the last number is the maximum.
    spending_function: How alpha is spent over the looks (see `group_sequential.py`).
    min_gain: Futility: a smaller gain, in seed standard deviations, ends the test.
    control_interval: Trials after which the incumbent is run again; 0 for only in tests.
    seed_correlation: Correlation of the scores of two programs on the same seed, as
      `autoresearch measure yardstick` measures it.
  """

  alpha: float = 0.05
  horizon: int = 100
  baseline_seeds: int = 8
  looks: tuple[int, ...] = (2, 4, 8, 16)
  spending_function: Literal['kim_demets', 'obrien_fleming', 'pocock'] = 'kim_demets'
  min_gain: float = 0.6
  control_interval: int = 4
  seed_correlation: float = 0.0

  def __post_init__(self) -> None:
    require_options('paired', self)
    if self.control_interval < 0:
      raise ValueError(f'control_interval is {self.control_interval}; it must be 0 or more.')
    if not 0 <= self.seed_correlation <= MAX_CORRELATION:
      raise ValueError(
        f'seed_correlation is {self.seed_correlation}; it must be 0 to {MAX_CORRELATION:g}.'
      )

  def init(self, objective: Objective) -> PairedState:
    return PairedState(NoiseState(objective))

  def ask(self, state: PairedState) -> tuple[Proposal | None, PairedState]:
    """Requests the incumbent's runs after a drift, then those of pairs, then a control."""
    if state.incumbent is None:
      return None, state
    if state.remeasure and not state.controls_pending:
      state, seeds = state.take_seeds(state.remeasure)
      return _control(dataclasses.replace(state, remeasure=0), seeds)
    for test in state.tests:
      if not test.planned and not test.num_pending:
        state, test = self._plan(state, test)
      # The last one is the challenger's, whose trial is kept if the test says so.
      if test.planned and not (len(test.planned) == 1 and test.num_pending):
        return _next_replication(state, test)
    interval = min(1, self.control_interval) if state.monitor.warns else self.control_interval
    overdue = state.decided - state.control_at >= interval > 0
    if overdue and not state.controls_pending:
      state, seeds = state.take_seeds(1)
      return _control(state, seeds)
    return None, state

  def decide(
    self, state: PairedState, trial: Trial, incumbent: Trial | None
  ) -> tuple[Verdict, PairedState]:
    objective, decided = state.noise.objective, state.decided + 1
    state = dataclasses.replace(state, decided=decided)
    if not decided % self.horizon:
      state = dataclasses.replace(state, num_tests=0)
    if incumbent is not None and incumbent.id != state.kept:  # an outer rule kept it
      state = state.with_incumbent(incumbent, _values(measured(objective, incumbent)))
    verdict = verdict_without_comparison(objective, trial, incumbent)
    if verdict is not None and verdict.decision is Decision.CRASH:
      return verdict, _failed(state, trial)
    runs = measured(objective, trial)
    state = dataclasses.replace(state, noise=state.noise.pool(_values(runs)))
    if verdict is not None and verdict.decision is Decision.KEEP:
      return verdict, state.with_incumbent(trial, _values(runs))
    program = original_of(trial)
    if state.is_incumbent(program):
      return self._replicated_incumbent(state, trial)
    test = state.test_with(trial.proposal.seeds)
    if test is not None and test.trial == program:
      return self._replicated_challenger(state, test, trial)
    if state.test(program) is not None:
      return Verdict(Decision.DISCARD, 'Its program is under test; these runs are no pairs.'), state
    return self._screen(state, trial)

  def undecided(self, state: PairedState, trial: Trial) -> bool:
    return state.test(original_of(trial)) is not None

  def without_tests(self, state: PairedState) -> PairedState:
    return dataclasses.replace(state, tests=())

  def _screen(self, state: PairedState, trial: Trial) -> tuple[Verdict, PairedState]:
    """Rejects a trial, or begins the test of its program."""
    values, name = _values(measured(state.noise.objective, trial)), state.noise.objective.metric
    gain, seed_std = state.gain(values), state.noise.seed_std or 0.0
    comparison = f'{name} {statistics.fmean(values):.6f} ({format_runs(len(values))})'
    if gain is None:
      comparison += f', and trial {state.kept} is being measured anew'
    else:
      mean = statistics.fmean(state.recent)
      comparison += (
        f' vs. {mean:.6f} (latest {format_runs(len(state.recent))} of trial {state.kept})'
      )
      if gain <= 0 or gain < self.min_gain * seed_std:
        size = (
          f' is {gain / seed_std:.2f} seed standard deviations ({seed_std:.3g})' if seed_std else ''
        )
        return Verdict(
          Decision.DISCARD,
          f'{comparison}: gain {gain:+.6g}{size}, less than min_gain {self.min_gain:g}.',
        ), state
      comparison += f': gain {gain:+.6g}'
    test = PairedTest(original_of(trial), values, self._alpha_of_test(state.num_tests))
    state = dataclasses.replace(state, num_tests=state.num_tests + 1).with_test(test)
    return Verdict(
      Decision.DISCARD, f'{comparison}; to be tested on {self.looks[0]} pairs of runs.'
    ), state

  def _alpha_of_test(self, index: int) -> float:
    """The alpha of a test, by how many began before it in this horizon."""
    expected = max(1, math.ceil(EXPECTED_SHARE * self.horizon))
    if index < expected:
      return EXPECTED_ALPHA * self.alpha / expected
    return (1 - EXPECTED_ALPHA) * self.alpha / max(1, self.horizon - expected)

  def _plan(self, state: PairedState, test: PairedTest) -> tuple[PairedState, PairedTest]:
    """Plans the replications that bring a test to its next look."""
    done = len(test.differences(state.noise.objective))
    size = next((n for n in self.looks if n > done), self.looks[-1])
    state, seeds = state.take_seeds(max(1, size - done))
    test = dataclasses.replace(test, planned=_block(seeds), seeds=(*test.seeds, *seeds))
    return state.with_test(test), test

  def _replicated_incumbent(self, state: PairedState, trial: Trial) -> tuple[Verdict, PairedState]:
    runs = measured(state.noise.objective, trial)
    monitor = state.monitor
    for _, value in runs:
      monitor = monitor.add(value, state.noise)
    recent = (*state.recent, *_values(runs))[-MAX_RECENT:]
    state = dataclasses.replace(state, recent=recent, monitor=monitor, control_at=state.decided)
    test = state.test_with(trial.proposal.seeds)
    if test is not None:
      pending = test.num_pending - 1
      state = state.with_test(
        dataclasses.replace(test, control=(*test.control, *runs), num_pending=pending)
      )
    else:
      state = dataclasses.replace(state, controls_pending=max(0, state.controls_pending - 1))
    name = state.noise.objective.metric
    reason = (
      f'Measured the incumbent again on {format_runs(len(runs))}: {name} '
      f'{statistics.fmean(recent):.6f} over its latest {len(recent)}.'
    )
    if drift := state.monitor.signals:
      state = dataclasses.replace(
        state,
        recent=(),
        monitor=DriftMonitor(),
        remeasure=REMEASURED_RUNS,
        tests=tuple(t.without_pairs_across(state.monitor.excursion) for t in state.tests),
      )
      reason = (
        f'The machine has changed: the incumbent now scores {name} {_values(runs)[-1]:.6f}, away '
        f'from its earlier runs (CUSUM). It is measured anew, and nothing is compared across the '
        'change.'
      )
    return Verdict(Decision.DISCARD, reason, drift=drift), state

  def _replicated_challenger(
    self, state: PairedState, test: PairedTest, trial: Trial
  ) -> tuple[Verdict, PairedState]:
    runs = measured(state.noise.objective, trial)
    test = dataclasses.replace(
      test, own=(*test.own, *runs), num_pending=max(0, test.num_pending - 1)
    )
    differences = test.differences(state.noise.objective)
    if test.planned or test.num_pending:
      text = f'Finished {format_runs(len(test.own))}; waits for the incumbent on the same seeds.'
      return Verdict(Decision.DISCARD, text), state.with_test(test)
    if len(differences) <= (2 * test.looks[-1].information if test.looks else 0):
      return self._no_new_pair(state, test)
    result = self._analyze(state, test, differences)
    own, control = (statistics.fmean(_values(runs)) for runs in (test.own, test.control))
    reason = (
      f'{len(differences)} pairs with trial {state.kept}, {state.noise.objective.metric} {own:.6f} '
      f'vs. {control:.6f}: {result.reason}'
    )
    if result.keep:
      return Verdict(Decision.KEEP, f'{reason}.'), state.with_incumbent(trial, _values(test.own))
    if result.stop:
      return Verdict(Decision.DISCARD, f'{reason}.'), state.without_test(test.trial)
    looks = (*test.looks, result.look)
    test = dataclasses.replace(test, looks=looks, alpha_spent=result.alpha_spent)
    return Verdict(Decision.DISCARD, f'{reason}; more pairs follow.'), state.with_test(test)

  def _no_new_pair(self, state: PairedState, test: PairedTest) -> tuple[Verdict, PairedState]:
    """No run of the block has a partner: tries other seeds, and gives up in the end."""
    unpaired = len(test.own) - len(test.differences(state.noise.objective))
    text = f'{unpaired} runs have no partner, since the incumbent failed or the machine changed'
    if unpaired >= MAX_FAILED_RUNS:
      return Verdict(Decision.DISCARD, f'{text}; the test ends.'), state.without_test(test.trial)
    return Verdict(Decision.DISCARD, f'{text}; more pairs follow.'), state.with_test(test)

  def _analyze(
    self, state: PairedState, test: PairedTest, differences: tuple[float, ...]
  ) -> InterimResult:
    design = SequentialDesign(
      alpha=test.alpha,
      spending_function=self.spending_function,
      max_information=self.looks[-1] / 2,
      min_gain=self.min_gain / math.sqrt(1 - self.seed_correlation),  # of the noise below
    )
    data = InterimData(
      gain=statistics.fmean(differences),
      information=len(differences) / 2,
      previous_looks=test.looks,
      alpha_spent=test.alpha_spent,
      is_final=len(differences) >= self.looks[-1],
    )
    unshared = state.noise.sum_of_squares * (1 - self.seed_correlation)
    noise = dataclasses.replace(state.noise, sum_of_squares=unshared)
    return analyze(design, _noise_of(noise, differences), data)


def _noise_of(noise: NoiseState, differences: tuple[float, ...]) -> NoiseState:
  """Returns the pooled noise, or that of the differences where it is significantly larger."""
  count, seed_std = len(differences), noise.seed_std
  if count < 2 or not seed_std:
    return noise
  variance = statistics.variance(differences) / 2  # of one run
  limit = scipy.special.fdtri(count - 1, noise.degrees_of_freedom, 1 - HETEROGENEITY_LEVEL)
  if variance <= limit * seed_std**2:
    return noise
  return NoiseState(noise.objective, variance * (count - 1), count - 1)


def _block(seeds: tuple[int, ...]) -> tuple[Replication, ...]:
  """Orders a block of pairs as A B B A ... , with the challenger's run last.

  Runs of the same program that follow each other are one replication.
  """
  order: list[tuple[bool, int]] = []
  for index, seed in enumerate(reversed(seeds)):
    pair = [(False, seed), (True, seed)]
    order += pair if index % 2 == 0 else pair[::-1]
  block: list[Replication] = []
  for of_incumbent, seed in reversed(order):
    if block and block[-1].of_incumbent == of_incumbent:
      block[-1] = Replication(of_incumbent, (*block[-1].seeds, seed))
    else:
      block.append(Replication(of_incumbent, (seed,)))
  return tuple(block)


def _next_replication(state: PairedState, test: PairedTest) -> tuple[Proposal, PairedState]:
  first, *rest = test.planned
  test = dataclasses.replace(test, planned=tuple(rest), num_pending=test.num_pending + 1)
  assert state.incumbent is not None
  program = state.incumbent if first.of_incumbent else test.trial
  proposal = Proposal(Operation.REPLICATE, parents=(program,), seeds=first.seeds)
  return proposal, state.with_test(test)


def _control(state: PairedState, seeds: tuple[int, ...]) -> tuple[Proposal, PairedState]:
  assert state.incumbent is not None
  proposal = Proposal(Operation.REPLICATE, parents=(state.incumbent,), seeds=seeds)
  return proposal, dataclasses.replace(
    state, controls_pending=state.controls_pending + 1, control_at=state.decided
  )


def _failed(state: PairedState, trial: Trial) -> PairedState:
  """A failed replication of a challenger ends its test; without one of the incumbent, a pair."""
  program, test = original_of(trial), state.test_with(trial.proposal.seeds)
  if state.is_incumbent(program):
    if test is None:
      pending = max(0, state.controls_pending - 1)
      return dataclasses.replace(state, controls_pending=pending, control_at=state.decided)
    return state.with_test(dataclasses.replace(test, num_pending=max(0, test.num_pending - 1)))
  return state.without_test(program) if test is not None and test.trial == program else state


def _values(runs: tuple[tuple[int, float], ...]) -> tuple[float, ...]:
  return tuple(value for _, value in runs)
