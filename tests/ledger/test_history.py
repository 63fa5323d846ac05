"""What the events mean: the same ledger always gives the same trials and the same states."""

import dataclasses

import msgspec
import numpy as np
import pytest
from helpers.dying import Killed
from helpers.synthetic_run import Arithmetic, replay_records, run, ticking
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax import types
from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.acceptance.simplicity import Simplicity
from autoresearch_jax.ledger.events import Declined, LedgerError, Proposed
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.results import rows
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.proposers import NothingToPropose, Proposer
from autoresearch_jax.research.decisions import generator, require_runnable
from autoresearch_jax.search import Strategy
from autoresearch_jax.search.archive import Archive
from autoresearch_jax.search.greedy import Greedy
from autoresearch_jax.testing.acceptance import TrialStream


@dataclasses.dataclass(frozen=True)
class Wandering(Strategy):
  """A strategy whose every answer depends on its state, its random numbers and what it was told."""

  def init(self, objective):
    del objective
    return {'asked': 0, 'told': [], 'drawn': 0.0}

  def ask(self, state, rng):
    drawn = rng.random()
    parent = state['told'][int(rng.integers(len(state['told'])))]
    proposal = types.Proposal(types.Operation.IMPROVE, (parent,), seeds=(int(rng.integers(9)),))
    return proposal, {**state, 'asked': state['asked'] + 1, 'drawn': state['drawn'] + drawn}

  def tell(self, state, trial):
    return {**state, 'told': [*state['told'], trial.id]}


def replayed(directory, strategy=None, acceptance=None):
  with Ledger.read(directory / 'ledger.db') as ledger:
    return replay_records(ledger.records(), strategy or Greedy(), acceptance or Noise())


@settings(max_examples=16, deadline=None)
@given(
  slots=st.integers(1, 3),
  sessions=st.lists(st.integers(1, 12), min_size=1, max_size=3),
  strategy=st.sampled_from([Greedy(), Wandering()]),
  acceptance=st.sampled_from([Noise(), SequentialTest(), Simplicity(), Simplicity('sequential')]),
  pruning=st.booleans(),
)
def test_replay_equals_the_live_state_byte_for_byte(
  tmp_path_factory, slots, sessions, strategy, acceptance, pruning
):
  directory = tmp_path_factory.mktemp('run')
  for number in range(len(sessions)):
    live = run(
      directory,
      sum(sessions[: number + 1]),
      strategy=strategy,
      acceptance=acceptance,
      executor=Arithmetic(slots=slots),
      pruning=pruning,
    )
  history, states = replayed(directory, strategy, acceptance)
  assert states.encoded() == live.states.encoded()
  assert msgspec.json.encode(history.trials) == msgspec.json.encode(live.history.trials)
  assert list(history.trials) == list(live.history.trials)
  assert history.kept == live.history.kept


@pytest.mark.parametrize('status', [types.Status.CANCELLED, types.Status.CRASH, types.Status.OK])
def test_a_rule_hears_of_failures_but_their_verdicts_are_not_its_own(status):
  """A trial that ended well without a finite score is a failure too."""
  rule = SequentialTest(baseline_seeds=4)
  stream = TrialStream.start(rule, lambda program, seed: 1.0 + 0.1 * seed)
  stream = stream.step(lambda program, seed: 0.7)
  assert stream.ask()[1] is not None
  failed = stream.step(lambda p, s: float('nan') if status == types.Status.OK else status)
  decision = failed.trials[-1].verdict.decision
  assert decision is (
    types.Decision.DISCARD if status == types.Status.CANCELLED else types.Decision.CRASH
  )
  assert failed.ask()[1] is None
  assert failed.state.noise == stream.state.noise


def test_the_program_of_a_replicate_is_that_of_the_first_trial_that_had_it(tmp_path):
  history = run(tmp_path, 20, acceptance=SequentialTest()).history
  repeats = [t for t in history.trials.values() if t.proposal.operation in types.RERUNS]
  assert repeats
  for trial in repeats:
    first = history.original(trial.id)
    assert history.original(first) == first < trial.id
    assert history.edits[first].program == trial.edit.program
    expected = f'replicate trial {first}: {history.edits[first].description}'
    assert trial.edit.description == expected


def test_a_declined_proposal_counts_as_never_asked(tmp_path):
  live = run(tmp_path, 30, strategy=Wandering())
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    events = [record.event for record in ledger.records()]
  declined = sum(isinstance(event, Declined) for event in events)
  assert declined > 0
  assert sum(isinstance(event, Proposed) for event in events) == 30 + declined
  assert live.states.strategy['asked'] == 29


def test_code_that_answers_otherwise_is_found_out(tmp_path):
  run(tmp_path, 12)
  with pytest.raises(LedgerError, match='the strategy now returns'):
    replayed(tmp_path, Wandering())
  with pytest.raises(LedgerError, match='the acceptance rule now returns'):
    replayed(tmp_path, acceptance=Noise(threshold=50.0))


@pytest.mark.parametrize(
  ('fields', 'sentence'),
  [({'fidelity': float('nan')}, 'has the fidelity nan'), ({'fidelity': 0}, 'has the fidelity 0'),
   ({'seeds': ()}, 'needs at least one'), ({'seeds': (1, 1)}, 'needs at least one, all different')],
)  # fmt: skip
def test_a_proposal_that_no_loop_can_run_is_refused(fields, sentence):
  proposal = types.Proposal(types.Operation.IMPROVE, (0,))
  assert require_runnable(proposal) is proposal
  with pytest.raises(ValueError, match=sentence):
    require_runnable(dataclasses.replace(proposal, **fields))


def test_random_numbers_depend_on_seed_and_turn_alone():
  draws = {(seed, turn): generator(seed, turn).random() for seed in range(3) for turn in range(3)}
  assert len(set(draws.values())) == 9
  assert draws[1, 2] == np.random.default_rng([1, 2]).random()


def test_rows_say_what_the_original_would(tmp_path):
  history = run(tmp_path, 30).history
  trials, seen = history.trials, set()
  for row, trial in zip(rows(history), trials.values(), strict=True):
    status = trial.result.status
    seen.add(status)
    if status == types.Status.OK:
      assert row.value == trial.metric('val_loss')
      assert row.memory_gb == 1.5
      assert row.status in ('keep', 'discard')
    elif status == types.Status.DUPLICATE:
      first = trials[trial.result.duplicate_of]
      if first.result.status == types.Status.OK:
        assert (row.status, row.value) == ('discard', first.metric('val_loss'))
        assert row.memory_gb == 1.5
      else:
        assert (row.status, row.value, row.memory_gb) == ('crash', 0.0, 0.0)
      assert row.description.endswith(f'(duplicate of trial {first.id})')
    else:
      assert (row.status, row.value, row.memory_gb) == ('crash', 0.0, 0.0)
      assert row.description.endswith(f'({status})')
  assert {types.Status.OK, types.Status.DUPLICATE, types.Status.TIMEOUT} <= seen


def test_a_cancelled_trial_is_no_perfect_score(tmp_path):
  history = run(tmp_path, 3).history
  cancelled = types.Result(1, types.Status.CANCELLED, 'It was cancelled.')
  verdict = types.Verdict(types.Decision.DISCARD, 'It was cancelled.')
  history.trials[1] = dataclasses.replace(history.trials[1], result=cancelled, verdict=verdict)
  row = rows(history)[1]
  assert (row.status, row.value, row.memory_gb) == ('crash', 0.0, 0.0)


def test_noise_comes_from_the_seeds_of_the_baseline(tmp_path):
  assert History().noise() is None
  history = run(tmp_path, 1).history
  values = [m.metrics['val_loss'] for m in history.results[0].measurements]
  assert history.noise() == pytest.approx(np.std(values, ddof=1))


def test_the_pause_before_a_resume_is_no_wall_time(tmp_path):
  first = run(tmp_path, 2, clock=lambda: 1000.0).history
  assert first.wall_seconds == 0
  second = run(tmp_path, 3, clock=ticking(9000.0)).history
  assert 0 < second.wall_seconds < 30


@dataclasses.dataclass(frozen=True)
class Again(Wandering):
  """Repeats the last trial it was told of, whatever that was."""

  operation: types.Operation

  def ask(self, state, rng):
    drawn = rng.random()
    proposal = types.Proposal(self.operation, (state['told'][-1],), seeds=(len(state['told']),))
    return proposal, {**state, 'asked': state['asked'] + 1, 'drawn': drawn}


def test_a_replicate_of_a_replicate_belongs_to_the_original(tmp_path):
  strategy = Again(types.Operation.REPLICATE)
  live = run(tmp_path, 5, strategy=strategy)
  assert [live.history.proposals[trial].parents for trial in range(1, 5)] == [(0,)] * 4
  history, states = replayed(tmp_path, strategy)
  assert history.proposals == live.history.proposals
  assert states == live.states
  archive = Archive()
  for trial in history.trials.values():
    archive = archive.add(trial, -trial.metric('val_loss'))
  assert archive.ids.array.tolist() == [0]
  assert archive.num_runs.array.tolist() == [8]


def test_a_promotion_has_a_score_of_its_own_so_it_is_repeated_as_it_is(tmp_path):
  live = run(tmp_path, 4, strategy=Again(types.Operation.PROMOTE), prefetch=0)
  assert [live.history.proposals[trial].parents for trial in range(1, 4)] == [(0,), (1,), (2,)]
  proposals = dict(live.history.proposals)
  proposals[4] = types.Proposal(types.Operation.REPLICATE, (3,))
  assert types.original_of(4, proposals, (types.Operation.REPLICATE,)) == 3
  assert live.history.original(3) == 0


class Halving(Greedy):
  """Greedy whose every second trial gets half of the budget."""

  def ask(self, state, rng):
    proposal, state = super().ask(state, rng)
    half = rng.random() < 0.5
    return dataclasses.replace(proposal, fidelity=0.5 if half else 1.0), state


@settings(max_examples=5, deadline=None)
@given(slots=st.integers(1, 3), length=st.integers(1, 25))
def test_what_is_kept_as_events_come_is_what_a_search_would_find(tmp_path_factory, slots, length):
  directory = tmp_path_factory.mktemp('run')
  run(directory, length, strategy=Halving(), executor=Arithmetic(slots=slots))
  history = History()
  with Ledger.read(directory / 'ledger.db') as ledger:
    for record in ledger.records():
      history.apply(record)
      require_same_as_search(history)
  assert 0.5 in {proposal.fidelity for proposal in history.proposals.values()} or length < 5


def require_same_as_search(history):
  unfinished = [trial for trial in history.edits if trial not in history.results]
  assert sorted(history.running + history.prepared) == unfinished
  assert history.digests == {edit.program.digest for edit in history.edits.values()}
  assert history.kept_programs == {history.original(trial) for trial in history.kept}
  for fidelity in (0.5, 1.0, 0.25):
    known = {}
    for trial, result in history.results.items():
      forgiven = result.status in (
        types.Status.CANCELLED, types.Status.CRASH, types.Status.DUPLICATE
      )  # fmt: skip
      if history.proposals[trial].fidelity == fidelity and not forgiven:
        known.setdefault(result.fingerprint, trial)
    assert history.fingerprints(fidelity) == known
  runs = [m for result in history.results.values() for m in result.measurements]
  assert history.training_seconds == sum(m.cost.training_seconds for m in runs)


def test_a_trial_told_while_a_proposal_is_open_is_not_forgotten_with_it(tmp_path, monkeypatch):
  """Killed after an ask; the next session only ends what runs; the one after it has no edit."""
  asked, append = [], Ledger.append

  def dying(ledger, event):
    record = append(ledger, event)
    if isinstance(event, Proposed) and event.trial >= 4 and len(asked) < 1:
      asked.append(event.trial)
      raise Killed
    return record

  with monkeypatch.context() as patch:
    patch.setattr(Ledger, 'append', dying)
    with pytest.raises(Killed):
      run(tmp_path, 9, strategy=Wandering(), executor=Arithmetic(slots=2))
  (number,) = asked
  live = run(tmp_path, number, strategy=Wandering(), executor=Arithmetic(slots=2))
  assert live.history.open_proposal is not None and live.history.open_proposal.trial == number
  assert live.states.before_ask is None
  assert sorted(live.states.strategy['told']) == list(range(number))

  class Dry(Proposer):
    def propose(self, proposal, context, rng):
      raise NothingToPropose('Nothing.')

  declined = run(tmp_path, 9, strategy=Wandering(), proposer=Dry())
  assert declined.history.open_proposal is None and declined.history.next_trial == number
  assert sorted(declined.states.strategy['told']) == list(range(number))
  assert declined.states.strategy['asked'] == live.states.strategy['asked']
  assert replayed(tmp_path, Wandering())[1].encoded() == declined.states.encoded()
  live = run(tmp_path, 9, strategy=Wandering(), executor=Arithmetic(slots=2))
  assert sorted(live.states.strategy['told']) == list(range(9))
  assert replayed(tmp_path, Wandering())[1].encoded() == live.states.encoded()


def test_replications_that_acceptance_waits_for_are_asked_first_in_every_slot(tmp_path):
  """The strategy is asked only where the rule wants nothing, and its state stays as it was."""
  live = run(tmp_path, 60, strategy=Wandering(), acceptance=SequentialTest(),
             executor=Arithmetic(slots=3))  # fmt: skip
  repeats = [t for t in live.history.trials.values() if t.proposal.operation in types.RERUNS]
  assert len(repeats) > 1
  assert live.states.strategy['asked'] == 59 - len(repeats)
  rule = SequentialTest()
  with Ledger.read(tmp_path / 'ledger.db') as ledger:
    records = list(ledger.records())
  for number, record in enumerate(records):
    if isinstance(record.event, Proposed) and record.event.trial:
      _, states = replay_records(records[:number], Wandering(), rule)
      wanted = rule.ask(states.acceptance)[0]
      assert wanted is None or wanted == record.event.proposal
