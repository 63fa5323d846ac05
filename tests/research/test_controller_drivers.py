"""The two drivers of the controller decide alike, and a ledger's prefix gives the state of then.

`research/loop.py` drives the controller with a thread, an executor and SQLite, and
`benchmark/runners/simulate.py` with a heap. Here both run the same simulated problem.
"""

import copy
import dataclasses
import hashlib
import heapq
import re
from collections.abc import Mapping, Set

import pytest
from helpers.synthetic_run import Blind, config
from hypothesis import given, settings
from hypothesis import strategies as st

from autoresearch_jax.acceptance import AcceptanceRule
from autoresearch_jax.acceptance.noise import Noise
from autoresearch_jax.acceptance.sequential import SequentialTest
from autoresearch_jax.acceptance.simplicity import Simplicity
from autoresearch_jax.acceptance.strict import Strict
from autoresearch_jax.benchmark.runners.simulate import simulate
from autoresearch_jax.benchmark.simulations import Instance
from autoresearch_jax.executors import Executor
from autoresearch_jax.ledger.events import Record, Resumed, Started
from autoresearch_jax.ledger.git_repo import Workspace
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.imports import ImportLog
from autoresearch_jax.ledger.steering import Steering
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.proposers import NothingToPropose, Proposer
from autoresearch_jax.report import View
from autoresearch_jax.research.actions import End, Log, Propose, Settings, Submit, Wait
from autoresearch_jax.research.controller import Controller
from autoresearch_jax.research.loop import ResearchLoop
from autoresearch_jax.research.replay import replay
from autoresearch_jax.search import STRATEGIES, Strategy
from autoresearch_jax.types import (
  RERUNS,
  Budget,
  Cost,
  Edit,
  Ends,
  Hypothesis,
  Measurement,
  Objective,
  Operation,
  Program,
  Proposal,
  Result,
  SeedResult,
  Spec,
  Status,
  to_builtins,
)

START = Program((('model.py', 'X = 3\nY = -2\n'),), 'model.py')
FAILURES = [status for status in Status if status not in (Status.OK, Status.DUPLICATE)]


def draw(*about):
  """A number in [0, 1) that depends on the arguments alone."""
  return int(hashlib.sha256(repr(about).encode()).hexdigest(), 16) / 2**256


@dataclasses.dataclass
class Grid(Instance):
  """Minimises X² + Y² over integers; trials fail, are pruned or cancelled, and take unequal times.

  Attributes:
    seed: Decides which trials fail, how long they take, and the noise.
    failing: Share of the trials that fail, by any status.
    repeating: Share of the edits that write again what was tried.
  """

  seed: int
  failing: float
  repeating: float
  objective = Objective('val_loss', 'minimize')
  start = START
  optimum = 0.0
  spec = Spec('supervised', 'cpu', 1, Budget(1.0, 'steps'), input_shape=(1,), num_classes=2)

  def propose(self, proposal, context, rng):
    if rng.random() < 0.05:
      raise NothingToPropose('I have no idea.')
    parent, name, step = context.parents[0], 'XY'[rng.integers(2)], rng.choice([-1, 1])
    if rng.random() < self.repeating:
      return Edit(parent, 'repeat the parent', Hypothesis('It is worth another try.'))
    text = re.sub(rf'{name} = (\S+)', lambda m: f'{name} = {int(m[1]) + step}', parent.text())
    return Edit(parent.with_text(text), f'{name} {step:+d}', Hypothesis('It is not at its best.'))

  def measure(self, request):
    facts = {'seconds': 1.0 + int(3 * draw(self.seed, request.trial, 'seconds'))}
    luck = draw(self.seed, request.trial, 'status')
    if request.trial and luck < self.failing:
      status = FAILURES[int(luck / self.failing * len(FAILURES))]
      return Result(request.trial, status, f'It ended as {status}.', facts=facts)
    value = self.value(request.program)
    measured = tuple(
      Measurement(
        seed,
        {'val_loss': value + draw(self.seed, request.program.digest, seed)},
        Cost(training_seconds=request.budget.amount),
      )
      for seed in request.seeds
    )
    return Result(request.trial, Status.OK, measurements=measured, facts=facts)

  def value(self, program):
    return float(sum(int(number) ** 2 for number in re.findall(r'= (\S+)', program.text())))


@dataclasses.dataclass(frozen=True)
class Rerunning(Strategy):
  """Greedy, whose every third proposal is a rerun or trains for a part of the budget."""

  inner: Strategy = dataclasses.field(default_factory=lambda: STRATEGIES.make('greedy'))

  def init(self, objective):
    return (self.inner.init(objective), 0)

  def ask(self, state, rng):
    proposal, inner = self.inner.ask(state[0], rng)
    if state[1] % 3 == 2:
      operation = (*RERUNS, Operation.IMPROVE)[rng.integers(3)]
      seeds = (int(rng.integers(100)),)
      fidelity = 1.0 if operation is Operation.REPLICATE else 0.5
      proposal = Proposal(operation, proposal.parents or (0,), seeds=seeds, fidelity=fidelity)
    return proposal, (inner, state[1] + 1)

  def tell(self, state, trial):
    return (self.inner.tell(state[0], trial), state[1])

  def revise(self, state, proposal):
    wanted, inner = self.inner.revise(state[0], proposal)
    return wanted, (inner, state[1])


STRATEGIES_TRIED = {
  **{name: STRATEGIES.make(name) for name in ('greedy', 'random', 'tree', 'speculative', 'asha')},
  'rerunning': Rerunning(),
}
RULES = [Strict(), Noise(), SequentialTest(), Simplicity('sequential')]


class Journal(list):
  """What was decided and done, in order."""


@dataclasses.dataclass(frozen=True)
class JournalStrategy(Strategy):
  """Any strategy; its proposals and what it was told are written down."""

  inner: Strategy
  journal: Journal

  def init(self, objective):
    return self.inner.init(objective)

  def ask(self, state, rng):
    proposal, state = self.inner.ask(state, rng)
    self.journal.append(('proposal', proposal))
    return proposal, state

  def tell(self, state, trial):
    self.journal.append(('decided', trial))
    return self.inner.tell(state, trial)


@dataclasses.dataclass(frozen=True)
class JournalRule(AcceptanceRule):
  """Any acceptance rule; its replications and verdicts are written down."""

  inner: AcceptanceRule
  journal: Journal

  @property
  def baseline_seeds(self):
    return self.inner.baseline_seeds

  def init(self, objective):
    return self.inner.init(objective)

  def ask(self, state):
    proposal, state = self.inner.ask(state)
    self.journal.append(('replication', proposal))
    return proposal, state

  def decide(self, state, trial, incumbent):
    verdict, state = self.inner.decide(state, trial, incumbent)
    self.journal.append(('verdict', trial.id, verdict, incumbent))
    return verdict, state

  def undecided(self, state, trial):
    return self.inner.undecided(state, trial)


@dataclasses.dataclass
class JournalGrid(Grid):
  """A grid; what its proposer sees and the trials that are requested are written down."""

  journal: Journal

  def propose(self, proposal, context, rng):
    seen = (set(context.tried), set(context.kept), context.undecided, dict(context.pending))
    self.journal.append(('edit', context.trial_id, proposal, context.parents, *seen))
    return super().propose(proposal, context, rng)

  def measure(self, request):
    known = dict(request.known)
    self.journal.append(('request', dataclasses.replace(request, known=known)))
    return super().measure(request)


@dataclasses.dataclass
class InstanceProposer(Proposer):
  instance: Instance

  def propose(self, proposal, context, rng):
    return self.instance.propose(proposal, context, rng)


@dataclasses.dataclass
class InstanceExecutor(Executor):
  """Measures at once, and returns results in the order in which the trials would end."""

  instance: Instance
  slots: int = 1
  now: float = 0.0
  flying: list = dataclasses.field(default_factory=list)

  def submit(self, request):
    digest = request.program.digest
    if digest in request.known:
      first = request.known[digest]
      reason = f'The same program as trial {first}.'
      result = Result(request.trial, Status.DUPLICATE, reason, digest, duplicate_of=first)
    else:
      result = dataclasses.replace(self.instance.measure(request), fingerprint=digest)
    end = self.now + result.facts.get('seconds', 0.0)
    heapq.heappush(self.flying, (end, result.trial, result))

  def wait(self, timeout):
    del timeout
    if not self.flying:
      return []
    self.now, _, result = heapq.heappop(self.flying)
    runs = [SeedResult(result.trial, result.fingerprint, m) for m in result.measurements]
    return [*runs, result]


def settings_of(instance, **changed):
  return Settings(
    objective=instance.objective,
    program=instance.start,
    spec=instance.spec,
    editable=('model.py',),
    **changed,
  )


def drive(directory, made, strategy, rule, instance, slots, make_view=lambda controller: Blind()):
  """One session of the real loop; returns its controller."""
  with Workspace.open(directory) as workspace, Ledger.open(workspace.ledger_path) as ledger:
    begun = list(ledger.records())
    started = Started(to_builtins(dataclasses.asdict(config())), 'tag', '', {})
    ledger.append(Resumed({}) if begun else started)
    controller = replay(ledger.records(), strategy, rule, made)
    controller.slots = slots
    loop = ResearchLoop(
      controller=controller,
      ledger=ledger,
      workspace=workspace,
      proposer=InstanceProposer(instance),
      executor=InstanceExecutor(instance, slots),
      view=make_view(controller),
      stop=lambda: '',
    )
    loop.run()
    assert not (loop.unavailable or loop.broken)
  return controller


cases = st.fixed_dictionaries({
  'seed': st.integers(0, 10**6),
  'failing': st.sampled_from([0.0, 0.3, 0.6]),
  'repeating': st.sampled_from([0.0, 0.3]),
})  # fmt: skip


@settings(max_examples=40)
@given(
  case=cases,
  name=st.sampled_from(sorted(STRATEGIES_TRIED)),
  rule=st.sampled_from(RULES),
  slots=st.integers(1, 4),
  budget=st.integers(8, 24),
)
def test_both_drivers_make_the_same_decisions(tmp_path_factory, case, name, rule, slots, budget):
  simulated, real = Journal(), Journal()
  parts = [
    (
      JournalStrategy(STRATEGIES_TRIED[name], j),
      JournalRule(rule, j),
      JournalGrid(**case, journal=j),
    )
    for j in (simulated, real)
  ]
  seed = case['seed']
  outcome = simulate(*parts[0], seed, budget, slots)
  made = settings_of(parts[1][2], seed=seed, max_training_runs=budget, max_duplicates=float('inf'))
  history = drive(tmp_path_factory.mktemp('real'), made, *parts[1], slots).history
  for ours, theirs in zip(simulated, real, strict=False):
    assert ours == theirs
  assert len(simulated) == len(real)
  decided = [entry[1] for entry in simulated if entry[0] == 'decided']
  assert decided == list(history.trials.values())
  assert outcome.kept == len(history.kept) - 1
  assert outcome.runs == pytest.approx(history.training_runs)


@pytest.mark.parametrize('name', ['greedy', 'tree', 'asha'])
def test_results_that_wait_together_are_taken_in_the_order_of_their_trials(name):
  def decisions(order):
    journal = Journal()
    grid = JournalGrid(seed=3, failing=0.2, repeating=0.1, journal=journal)
    strategy = JournalStrategy(STRATEGIES_TRIED[name], journal)
    made = settings_of(grid, seed=3, max_training_runs=20, max_duplicates=float('inf'))
    controller = Controller(strategy, JournalRule(Strict(), journal), made, slots=3)
    flying, together, events = [], 0, 0
    while not isinstance(action := controller.next_action(), End):
      match action:
        case Log(event=event):
          controller.apply(Record(events, 0.0, event))
          events += 1
        case Submit(request=request):
          result = grid.measure(request)
          flying.append(dataclasses.replace(result, fingerprint=request.program.digest))
        case Propose():
          try:
            controller.answer(grid.propose(action.proposal, action.context, action.rng))
          except NothingToPropose as error:
            controller.answer(error)
        case Wait():
          together = max(together, len(flying))
          controller.deliver(flying[::order])
          flying.clear()
    assert together == 3
    return list(journal)

  assert decisions(1) == decisions(-1)


def state_of(controller):
  """What the controller has folded from the events so far: the history and both states."""
  history = controller.history
  names = {*dir(History), *vars(history)} - {'config', 'objective'}  # they follow from `started`
  values = {name: getattr(history, name) for name in names if not name.startswith('_')}
  facts = {name: plain(value) for name, value in values.items() if not callable(value)}
  facts['fingerprints'] = [plain(history.fingerprints(fidelity)) for fidelity in (0.5, 1.0)]
  duplicates = controller.tried.duplicates if controller.tried is not None else {}
  return controller.states, plain(duplicates), facts


def plain(value):
  """A copy of a container, of a mapping with its order; other values are immutable."""
  if isinstance(value, Steering):
    return copy.deepcopy(value)
  if isinstance(value, ImportLog):
    return dict(value.stores), dict(value.refused)
  if isinstance(value, Mapping):
    return [(key, plain(content)) for key, content in value.items()]
  return list(value) if isinstance(value, list | Set) else value


@dataclasses.dataclass
class Snapshots(View):
  """Keeps the controller's state after each event."""

  controller: Controller
  states: dict

  def record(self, record, history):
    del history
    self.states[record.index] = state_of(self.controller)


@settings(max_examples=10)
@given(
  case=cases,
  name=st.sampled_from(sorted(STRATEGIES_TRIED)),
  rule=st.sampled_from(RULES),
  slots=st.integers(1, 3),
  prefetch=st.integers(0, 2),
  tolerance=st.sampled_from([None, 1e-3]),
  data=st.data(),
)
def test_any_prefix_of_a_ledger_gives_the_state_of_then(
  tmp_path_factory, case, name, rule, slots, prefetch, tolerance, data
):
  directory, strategy, instance = (
    tmp_path_factory.mktemp('run'),
    STRATEGIES_TRIED[name],
    Grid(**case),
  )
  made = settings_of(
    instance, seed=case['seed'], prefetch=prefetch, duplicate_tolerance=tolerance, pruning=True
  )
  live = {}
  for trials in (6, 14):  # two sessions
    limited = dataclasses.replace(made, ends=Ends(max_trials=trials))
    drive(directory, limited, strategy, rule, instance, slots, lambda c: Snapshots(c, live))
  with Ledger.read(directory / 'ledger.db') as ledger:
    records = list(ledger.records())
  for length in data.draw(st.lists(st.sampled_from(sorted(live)), min_size=5, max_size=5)):
    replayed = replay(records[: length + 1], strategy, rule, made)
    assert state_of(replayed) == live[length]
