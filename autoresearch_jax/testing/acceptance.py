"""The contract tests that every acceptance rule passes, and streams of trials to run rules on.

    class TestMine(AcceptanceContract):
      def rule(self):
        return Mine()

A stream has no strategy and no programs: a trial is an edit of the incumbent with a name, and a
function `measure` says what a program scores on a seed. Streams are for tests of rules, and for
measurements such as their false-keep rate.
"""

import copy
import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.acceptance.program_runs import original_of
from autoresearch_jax.research.decisions import judge

OBJECTIVE = types.Objective('val_loss', 'minimize')
MAXIMIZE = types.Objective('val_loss', 'maximize')
PROGRAM = types.Program((('model.py', ''),), 'model.py')
EDIT = types.Edit(PROGRAM, 'an edit', types.Hypothesis('a claim'))
FAILURES = [status for status in types.Status if status is not types.Status.OK]

# (first trial of the program, seed) -> the metric, or how the run failed
Measure = Callable[[int, int], float | types.Status]

MAX_REPLICATIONS = 40  # of one challenger and its incumbent, whatever the results
MAX_PENDING = 200  # trials, before a rule counts as never satisfied
# Every subclass of the contract is an executor of the same tests.
_SETTINGS = settings(
  max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
)
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4)
# Results of runs: distant and close scores, equal ones, and failures of every kind.
RESULTS = st.lists(
  st.one_of(
    st.floats(-1e6, 1e6),
    st.floats(-2, 2),
    st.sampled_from([-3.0, 0.0, float('nan')]),
    st.sampled_from(FAILURES),
  ),
  min_size=1,
  max_size=40,
)


@dataclasses.dataclass(frozen=True)
class TrialStream:
  """A run under an acceptance rule: an immutable value, so that several futures can share a past.

  Attributes:
    rule: The rule.
    state: Its state.
    trials: Decided trials, in order of their verdicts.
    pending: (id, proposal) of the trials that have not finished.
    edits: Edits of all trials, by id.
    incumbent: The last trial kept.
  """

  rule: AcceptanceRule
  state: Any
  trials: tuple[types.Trial, ...] = ()
  pending: tuple[tuple[int, types.Proposal], ...] = ()
  edits: tuple[types.Edit, ...] = ()
  incumbent: types.Trial | None = None

  @classmethod
  def start(cls, rule: AcceptanceRule, measure: Measure, edit: types.Edit = EDIT) -> 'TrialStream':
    """Returns a stream with the baseline measured and decided."""
    proposal = types.Proposal(types.Operation.DRAFT, seeds=tuple(range(rule.baseline_seeds)))
    return cls(rule, rule.init(OBJECTIVE)).run(proposal, measure, edit)

  def step(self, measure: Measure, edit: types.Edit = EDIT) -> 'TrialStream':
    """Runs one more trial: the replication that the rule requests, otherwise a new challenger."""
    stream, replication = self.ask()
    return stream.run(replication or stream.new_challenger(), measure, edit)

  def replications(self, measure: Measure) -> Iterator['TrialStream']:
    """Yields the stream after each replication, until the rule requests no more."""
    stream = self
    while stream.ask()[1] is not None:
      stream = stream.step(measure)
      yield stream

  def run_replications(self, measure: Measure) -> 'TrialStream':
    """Returns the stream after all replications that the rule requests."""
    return [self, *self.replications(measure)][-1]

  def ask(self) -> tuple['TrialStream', types.Proposal | None]:
    """Asks the rule for a replication."""
    replication, state = self.rule.ask(self.state)
    return dataclasses.replace(self, state=state), replication

  def new_challenger(self) -> types.Proposal:
    """Returns a proposal to edit the incumbent."""
    parents = () if self.incumbent is None else (self.incumbent.id,)
    return types.Proposal(types.Operation.IMPROVE, parents)

  def run(
    self, proposal: types.Proposal, measure: Measure, edit: types.Edit = EDIT
  ) -> 'TrialStream':
    """Submits and completes one trial."""
    stream = self.submit(proposal, edit)
    return stream.complete(stream.pending[-1], measure)

  def submit(self, proposal: types.Proposal, edit: types.Edit = EDIT) -> 'TrialStream':
    """Adds a pending trial."""
    if proposal.operation is types.Operation.REPLICATE:
      edit = self.edits[proposal.parents[0]]
    pending = (*self.pending, (len(self.edits), proposal))
    return dataclasses.replace(self, pending=pending, edits=(*self.edits, edit))

  def complete(self, submitted: tuple[int, types.Proposal], measure: Measure) -> 'TrialStream':
    """Measures and decides a pending trial."""
    number, proposal = submitted
    trial = finished(number, proposal, measure, self.edits[number])
    verdict, state = judge(self.rule, self.state, trial, OBJECTIVE, self.incumbent)
    decided = dataclasses.replace(trial, verdict=verdict)
    return dataclasses.replace(
      self,
      state=state,
      trials=(*self.trials, decided),
      pending=tuple(other for other in self.pending if other != submitted),
      incumbent=decided if verdict.decision is types.Decision.KEEP else self.incumbent,
    )


def finished(
  number: int, proposal: types.Proposal, measure: Measure, edit: types.Edit = EDIT
) -> types.Trial:
  """Returns a trial as an executor does, without a verdict; one failed seed fails the trial."""
  trial = types.Trial(number, proposal, edit, types.Result(number, types.Status.OK))
  values = [measure(original_of(trial), seed) for seed in proposal.seeds]
  failed = [value for value in values if isinstance(value, types.Status)]
  if failed:
    result = types.Result(number, failed[0], reason='It broke.')
    return dataclasses.replace(trial, result=result)
  measurements = tuple(
    types.Measurement(seed, {OBJECTIVE.metric: value}, types.Cost())
    for seed, value in zip(proposal.seeds, values, strict=True)
    if not isinstance(value, types.Status)
  )
  return dataclasses.replace(
    trial, result=dataclasses.replace(trial.result, measurements=measurements)
  )


def scored(number: int, *scores: float) -> types.Trial:
  """Returns a finished trial with these scores on seeds 0, 1, ..."""
  proposal = types.Proposal(types.Operation.IMPROVE, seeds=tuple(range(len(scores))))
  return finished(number, proposal, lambda program, seed: scores[seed])


def failed(number: int, status: types.Status, reason: str = '') -> types.Trial:
  """Returns a trial that ended with this status."""
  proposal = types.Proposal(types.Operation.IMPROVE)
  return types.Trial(number, proposal, EDIT, types.Result(number, status, reason=reason))


def require_replication(proposal: types.Proposal, stream: TrialStream) -> None:
  """Asserts that the research loop can run a requested replication, and that it is worth it."""
  assert proposal.operation is types.Operation.REPLICATE
  assert proposal.fidelity == 1 and proposal.edit is None
  assert len(proposal.parents) == 1 and proposal.parents[0] < stream.trials[-1].id
  assert proposal.seeds and len(set(proposal.seeds)) == len(proposal.seeds)
  assert min(proposal.seeds) >= 0
  assert types.from_json(types.to_json(proposal), types.Proposal) == proposal


class AcceptanceContract:
  """Subclass it and return a rule; pytest runs the tests."""

  def rule(self) -> AcceptanceRule:
    """Returns a new instance of the rule under test."""
    raise NotImplementedError

  def test_it_is_an_acceptance_rule_with_baseline_seeds(self):
    rule = self.rule()
    assert isinstance(rule, AcceptanceRule), 'does not subclass autoresearch_jax.AcceptanceRule'
    assert rule.baseline_seeds >= 1

  def test_a_failed_trial_is_a_crash_with_its_reason(self):
    rule = self.rule()
    for status in FAILURES:
      state = rule.init(OBJECTIVE)
      verdict, _ = rule.decide(state, failed(1, status, 'It broke.'), scored(0, 1.0))
      assert verdict.decision is types.Decision.CRASH
      assert 'It broke.' in verdict.reason and str(status) in verdict.reason

  def test_a_trial_without_the_metric_is_a_crash_that_names_it(self):
    rule = self.rule()
    state = rule.init(types.Objective('val_bpb', 'minimize'))
    verdict, _ = rule.decide(state, scored(1, 1.0), None)
    assert verdict.decision is types.Decision.CRASH
    assert 'val_bpb' in verdict.reason and 'val_loss' in verdict.reason

  def test_the_first_score_is_kept_even_after_a_failed_baseline(self):
    rule = self.rule()
    for incumbent in (None, failed(0, types.Status.CRASH)):
      verdict, _ = rule.decide(rule.init(OBJECTIVE), scored(1, 2.0), incumbent)
      assert verdict.decision is types.Decision.KEEP

  @_SETTINGS
  @given(old=VALUES, new=VALUES)
  def test_what_is_not_better_is_discarded_and_directions_mirror(self, old, new):
    rule, decisions = self.rule(), []
    for objective, sign in ((OBJECTIVE, 1.0), (MAXIMIZE, -1.0)):
      baseline, candidate = (
        scored(number, *(sign * value for value in values))
        for number, values in enumerate((old, new))
      )
      first, state = rule.decide(rule.init(objective), baseline, None)
      verdict, _ = rule.decide(state, candidate, baseline)
      assert first.decision is types.Decision.KEEP
      if sum(new) / len(new) >= sum(old) / len(old):
        assert verdict.decision is types.Decision.DISCARD
      decisions.append(verdict.decision)
    assert decisions[0] is decisions[1]

  def test_a_gain_far_beyond_the_noise_is_kept_once_the_rule_is_sure(self):
    def measure(program: int, seed: int) -> float:
      return (0.5 if program else 1.0) + 0.01 * (-1) ** seed

    stream = TrialStream.start(self.rule(), measure).step(measure).run_replications(measure)
    kept = stream.trials[-1]
    assert kept.verdict is not None and kept.verdict.decision is types.Decision.KEEP
    assert '0.5' in kept.verdict.reason
    assert stream.incumbent == kept

  def test_a_lucky_replicate_of_the_incumbent_is_not_kept(self):
    def measure(program: int, seed: int) -> float:
      return -9.0 if program else 1 + 0.01 * (seed % 7)

    stream = TrialStream.start(self.rule(), measure).step(measure).run_replications(measure)
    assert stream.incumbent is not None
    kept = stream.incumbent.id
    assert kept > 0
    for parent in {kept, stream.trials[kept].proposal.parents[0] or kept}:
      replicate = types.Proposal(types.Operation.REPLICATE, (parent,), seeds=(77,))
      verdict = stream.run(replicate, lambda program, seed: -99.0).trials[-1].verdict
      assert verdict is not None and verdict.decision is types.Decision.DISCARD
      assert 'incumbent' in verdict.reason

  def test_the_state_is_plain_data_that_decide_and_ask_do_not_modify(self):
    rule, baseline = self.rule(), scored(0, 1.0, 1.1, 0.9)
    _, state = rule.decide(rule.init(OBJECTIVE), baseline, None)
    for number, score in enumerate((0.8, 0.2, 0.9), start=1):
      before, encoded = copy.deepcopy(state), types.to_json(state)
      _, after = rule.decide(state, scored(number, score), baseline)
      rule.ask(after)
      assert state == before and types.to_json(state) == encoded
      decoded = types.from_json(types.to_json(after), type(after))
      assert types.to_json(decoded) == types.to_json(after)
      state = after

  @_SETTINGS
  @given(results=RESULTS)
  def test_replications_are_valid_and_end_whatever_their_results(self, results):
    draws = itertools.cycle(results)
    stream = TrialStream.start(self.rule(), lambda program, seed: float(seed))
    for _ in range(12):
      stream = stream.step(lambda program, seed: next(draws))
      replications = stream.replications(lambda program, seed: next(draws))
      for count, later in enumerate(replications, start=1):
        stream = later
        require_replication(stream.trials[-1].proposal, stream)
        assert count <= MAX_REPLICATIONS, 'requests replications without end'
      assert not stream.rule.undecided(stream.state, stream.trials[-1])

  @_SETTINGS
  @given(results=RESULTS, seed=st.integers(0, 2**32), slots=st.integers(2, 4))
  def test_replications_end_when_trials_run_in_parallel(self, results, seed, slots):
    """Replications are requested before earlier ones finish, and these finish in any order."""
    draws, order = itertools.cycle(results), random.Random(seed)
    stream = TrialStream.start(self.rule(), lambda program, seed: float(seed))
    for turn in range(MAX_PENDING):
      stream, replication = stream.ask()
      if replication or (len(stream.pending) < slots and turn < 30):
        assert len(stream.pending) < MAX_PENDING, 'requests replications without end'
        stream = stream.submit(replication or stream.new_challenger())
      elif stream.pending:
        stream = stream.complete(order.choice(stream.pending), lambda program, seed: next(draws))
      else:
        break
    assert not stream.pending and stream.rule.ask(stream.state)[0] is None
