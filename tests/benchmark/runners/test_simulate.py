"""A played run follows the rules of the real loop and is charged for all it uses."""

import dataclasses

import numpy as np
import pytest
from helpers import synthetic_run
from helpers.onemax import OneMax
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.acceptance.simplicity import Simplicity
from autoresearch_jax.acceptance.strict import Strict
from autoresearch_jax.benchmark.runners.simulate import SimulationError, simulate
from autoresearch_jax.executors import Executor
from autoresearch_jax.ledger.history import BASELINE
from autoresearch_jax.search import Strategy
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.search.random import Random
from autoresearch_jax.types import Operation, Proposal, Status


@dataclasses.dataclass(frozen=True)
class Scripted(Strategy):
  """Proposes what a list says, then improves the start; keeps what it was told of."""

  proposals: tuple[Proposal, ...] = ()

  def init(self, objective):
    return ((), 0)

  def ask(self, state, rng):
    told, asked = state
    left = asked < len(self.proposals)
    proposal = self.proposals[asked] if left else Proposal(Operation.IMPROVE, (0,))
    return proposal, (told, asked + 1)

  def tell(self, state, trial):
    return ((*state[0], trial), state[1])


@dataclasses.dataclass
class Recording(Strategy):
  """Any strategy, and what it was told, in order."""

  inner: object
  told: list = dataclasses.field(default_factory=list)

  def init(self, objective):
    return self.inner.init(objective)

  def ask(self, state, rng):
    return self.inner.ask(state, rng)

  def tell(self, state, trial):
    self.told.append(trial)
    return self.inner.tell(state, trial)


def told(strategy, instance, budget, acceptance=None, slots=1, seed=0):
  recording = Recording(strategy)
  played = simulate(recording, acceptance or Strict(), instance, seed, budget, slots)
  return recording.told, played


@dataclasses.dataclass
class InTheLoop(Executor):
  """The instance as the real loop's executor: first come, first served."""

  instance: object
  slots: int = 1
  queue: list = dataclasses.field(default_factory=list)

  def submit(self, request):
    self.queue.append(request)

  def wait(self, timeout):
    if not self.queue:
      return []
    request = self.queue.pop(0)
    digest = request.program.digest
    if digest in request.known:
      first = request.known[digest]
      reason = f'The same program as trial {first}.'
      return [types.Result(request.trial, Status.DUPLICATE, reason, digest, first)]
    return [dataclasses.replace(self.instance.measure(request), fingerprint=digest)]


@dataclasses.dataclass(frozen=True)
class Repeating(Strategy):
  """Greedy that at every third time writes again what was tried, or repeats its incumbent."""

  def init(self, objective):
    return (Greedy().init(objective), 0)

  def ask(self, state, rng):
    proposal, inner = Greedy().ask(state[0], rng)
    if state[1] % 3 == 1:
      operation = Operation.REPLICATE if rng.random() < 0.5 else Operation.PROMOTE
      proposal = dataclasses.replace(proposal, operation=operation, context=())
    elif state[1] % 3 == 2:
      start = OneMax(crash=0.2, noise=0.5).instance(5).start
      proposal = Proposal(Operation.DRAFT, edit=types.Edit(start, 'again', types.Hypothesis('')))
    return proposal, (inner, state[1] + 1)

  def tell(self, state, trial):
    return (Greedy().tell(state[0], trial), state[1])


@pytest.mark.parametrize('strategy', [Greedy(), Random(), Repeating()])
def test_it_does_what_the_real_loop_does(strategy, tmp_path, monkeypatch):
  instance = OneMax(crash=0.2, noise=0.5).instance(5)
  monkeypatch.setattr(synthetic_run, 'START', instance.start)
  monkeypatch.setattr(
    synthetic_run,
    'SPEC',
    dataclasses.replace(synthetic_run.SPEC, budget=types.Budget(1.0, 'steps')),
  )
  research = synthetic_run.run(
    tmp_path, max_trials=40, strategy=strategy, acceptance=Strict(), proposer=instance,
    executor=InTheLoop(instance), prefetch=0,
  )  # fmt: skip
  trials, _ = told(strategy, instance, 40)
  real = [_essence(trial) for trial in research.history.trials.values()]
  assert [_essence(trial) for trial in trials] == real
  assert len(real) > 10 and len({status for _, _, status, *_ in real}) > 1


@dataclasses.dataclass
class Watched:
  """An instance, and what its proposer saw of the outcomes."""

  inner: object
  seen: list = dataclasses.field(default_factory=list)

  def __getattr__(self, name):
    return getattr(self.inner, name)

  def propose(self, proposal, context, rng):
    self.seen.append((proposal, set(context.tried), set(context.kept), context.undecided))
    return self.inner.propose(proposal, context, rng)


def test_a_proposer_sees_what_it_would_see_in_the_real_loop(tmp_path, monkeypatch):
  instance, acceptance = OneMax(noise=0.3).instance(5), SequentialTest(baseline_seeds=4)
  monkeypatch.setattr(synthetic_run, 'START', instance.start)
  real, played = Watched(instance), Watched(instance)
  synthetic_run.run(
    tmp_path, max_trials=30, strategy=Greedy(), acceptance=acceptance, proposer=real,
    executor=InTheLoop(instance), prefetch=0,
  )  # fmt: skip
  simulate(Greedy(), acceptance, played, 0, 40)
  shared = min(len(real.seen), len(played.seen))
  assert shared > 5 and real.seen[:shared] == played.seen[:shared]
  assert any(len(kept) > 1 for _, _, kept, _ in real.seen[:shared])


def test_a_strategy_that_raises_is_a_sentence():
  class Broken(Greedy):
    def tell(self, state, trial):
      raise KeyError('no such thing')

  with pytest.raises(SimulationError, match=r'strategy Broken .* told of trial 0: KeyError'):
    simulate(Broken(), Strict(), OneMax().instance(0), 0, 5)


def _essence(trial):
  result = trial.result
  # How a duplicate is called differs: the loop knows its twin by its text, before any trace.
  verdict = trial.verdict.decision if result.status is Status.DUPLICATE else trial.verdict
  return (
    trial.id, trial.edit.program, result.status, result.duplicate_of, verdict, trial.proposal,
    result.measurements,
  )  # fmt: skip


def test_the_curve_is_what_a_user_would_take_home():
  instance = OneMax(bits=6).instance(0)
  zeros = instance.start.text().count('0')
  played = simulate(Greedy(), Strict(), instance, 1, 60)
  expected = [1.0, *((zeros - k) / zeros for k in range(1, zeros + 1))]
  assert played.curve.regret == pytest.approx(expected)
  assert played.kept == zeros and played.false_keeps == 0
  assert played.curve.runs[0] == 0 and played.curve.runs[1] >= 2  # the baseline is the first run
  assert played.run_seconds == 1 + zeros


@pytest.mark.parametrize('maximize', [True, False])
def test_regret_does_not_depend_on_the_direction(maximize):
  instance = OneMax(bits=6, maximize=maximize).instance(0)
  other = OneMax(bits=6).instance(0)
  a, b = (simulate(Greedy(), Strict(), i, 1, 30).curve for i in (instance, other))
  assert a.regret == pytest.approx(b.regret) and a.runs == b.runs


def test_every_seed_at_fidelity_f_is_charged_f():
  proposals = (
    Proposal(Operation.IMPROVE, (0,), fidelity=0.25, seeds=(0, 1)),
    Proposal(Operation.PROMOTE, (1,), fidelity=1.0, seeds=(3,)),
    Proposal(Operation.REPLICATE, (0,), seeds=(4, 5, 6)),
  )
  trials, played = told(Scripted(proposals), OneMax().instance(3), 9, Noise())
  assert [t.proposal.operation for t in trials[1:4]] == [p.operation for p in proposals]
  assert played.runs == 4 + 0.5 + 1 + 3  # another whole run does not fit into 9
  assert trials[2].edit.program == trials[1].edit.program
  assert trials[2].result.status is Status.OK  # a promotion is no duplicate
  assert played.seconds == sum(m.cost.total_seconds for t in trials for m in t.result.measurements)
  assert played.calls == 1


def test_thirds_add_up_to_the_whole_budget():
  thirds = tuple(Proposal(Operation.IMPROVE, (0,), fidelity=1 / 3) for _ in range(12))
  trials, played = told(Scripted(thirds), OneMax().instance(3), 5)
  assert len(trials) == 13 and played.runs == pytest.approx(5)


def test_a_known_program_is_a_duplicate_at_the_same_fidelity_alone():
  start = OneMax().instance(3).start
  again = types.Edit(start, 'the start', types.Hypothesis(''))
  proposals = tuple(Proposal(Operation.DRAFT, edit=again, fidelity=f) for f in (1.0, 0.5, 0.5, 1.0))
  trials, played = told(Scripted(proposals), OneMax().instance(3), 4)
  statuses = [(t.result.status.value, t.result.duplicate_of) for t in trials]
  assert statuses == [
    ('ok', None),
    ('duplicate', 0),
    ('ok', None),
    ('duplicate', 2),
    ('duplicate', 0),
  ]
  assert played.statuses == {'duplicate': 3, 'ok': 2}
  assert played.runs == 4 and played.calls == 0


def test_noise_makes_false_keeps_and_the_count_knows_them():
  trials, played = told(Greedy(), OneMax(bits=8, noise=3.0).instance(3), 80)
  instance, false, best = OneMax(bits=8).instance(3), 0, None
  for trial in trials:
    if trial.verdict.decision is types.Decision.KEEP:
      value = instance.value(trial.edit.program)
      false += best is not None and value > best
      best = value
  assert 0 < false == played.false_keeps < played.kept


def test_five_proposals_in_a_row_that_come_to_nothing_end_the_run():
  played = simulate(Random(), Strict(), OneMax(bits=4).instance(0), 0, 100)
  assert played.runs == 1 + 4  # the baseline and its four neighbours
  assert played.calls == 4 + 5


@settings(max_examples=15, deadline=None)
@given(slots=st.integers(1, 5), seed=st.integers(0, 99))
def test_results_are_told_in_the_order_in_which_they_end(slots, seed):
  trials, played = told(
    Greedy(), OneMax(40, noise=1.0, crash=0.1).instance(seed), 30, Noise(), slots
  )
  again, _ = told(Greedy(), OneMax(40, noise=1.0, crash=0.1).instance(seed), 30, Noise(), slots)
  assert trials == again
  assert trials[0].id == BASELINE
  assert sorted(t.id for t in trials) == list(range(len(trials)))
  assert played.runs <= 30
  ends, free = [], [0.0] * slots
  for trial in sorted(trials, key=lambda t: t.id):
    begun = min(free) if trial.id else 0.0
    end = begun + sum(m.cost.total_seconds for m in trial.result.measurements)
    free = [end] * slots if trial.id == BASELINE else [*sorted(free)[1:], end]
    ends.append((end, trial.id))
  assert [t.id for t in trials] == [number for _, number in sorted(ends)]


def test_more_slots_change_the_order_and_so_the_search():
  first, second = (told(Greedy(), OneMax(bits=30).instance(1), 40, slots=n)[0] for n in (1, 4))
  assert [t.edit.program for t in first] != [t.edit.program for t in second]


@pytest.mark.parametrize(
  ('proposal', 'sentence'),
  [
    (Proposal(Operation.IMPROVE, (7,)), 'named parents'),
    (Proposal(Operation.IMPROVE, (-1,)), 'named parents'),
    (Proposal(Operation.REPLICATE), 'named parents'),
  ],
)
def test_a_strategy_that_names_no_trial_is_refused(proposal, sentence):
  with pytest.raises(SimulationError, match=sentence):
    simulate(Scripted((proposal,)), Strict(), OneMax().instance(0), 0, 9)


@pytest.mark.parametrize('fidelity', [-1.0, 0.0, float('nan'), 2.0, float('inf')])
def test_a_fidelity_that_is_no_share_is_refused(fidelity):
  proposal = Proposal(Operation.IMPROVE, (0,), fidelity=fidelity)
  with pytest.raises(SimulationError, match=f'fidelity {fidelity};.* budget'):
    simulate(Scripted((proposal,) * 99), Strict(), OneMax().instance(0), 0, 9)


@pytest.mark.parametrize('seeds', [(), (0, 0)])
def test_seeds_that_are_none_or_repeated_are_refused(seeds):
  with pytest.raises(SimulationError, match='a trial needs at least one, all different'):
    simulate(Scripted((Proposal(Operation.IMPROVE, (0,), seeds=seeds),)), Strict(),
         OneMax().instance(0), 0, 9)  # fmt: skip


def test_a_run_of_ever_smaller_trials_ends():
  start = OneMax().instance(3).start
  again = types.Edit(start, 'the start', types.Hypothesis(''))
  small = Proposal(Operation.DRAFT, edit=again, fidelity=1e-9)
  with pytest.raises(SimulationError, match='began 300 trials within 3 training runs'):
    simulate(Scripted((small,) * 10**4), Strict(), OneMax().instance(3), 0, 3)


def test_a_program_of_equal_worth_is_kept_without_a_false_keep():
  """Only its size is better, and a rule that weighs that keeps it."""
  instance = OneMax().instance(0)
  longer = dataclasses.replace(instance, first=instance.start.with_text('0+0'))
  shorter = types.Edit(longer.start.with_text('00'), '', types.Hypothesis(''))
  strategy = Scripted((Proposal(Operation.DRAFT, edit=shorter),))
  played = simulate(strategy, Simplicity(), longer, 0, 5)
  assert (played.kept, played.false_keeps) == (1, 0)


def test_the_optimum_has_the_regret_zero_without_a_sign():
  regret = simulate(Greedy(), Strict(), OneMax(bits=6).instance(0), 1, 60).curve.regret[-1]
  assert str(regret) == '0.0'


def test_a_start_that_is_the_optimum_has_no_regret():
  instance = OneMax().instance(0)
  solved = dataclasses.replace(instance, first=instance.start.with_text('1' * 12))
  with pytest.raises(SimulationError, match='regret has no scale'):
    simulate(Greedy(), Strict(), solved, 0, 9)


def test_nothing_global_is_drawn_from():
  before = repr(np.random.get_state())
  assert simulate(Greedy(), Strict(), OneMax().instance(0), 0, 20) == simulate(
    Greedy(), Strict(), OneMax().instance(0), 0, 20
  )
  assert repr(np.random.get_state()) == before
