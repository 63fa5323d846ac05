"""The contract of a strategy file, checked on made-up results before a candidate is played.

As `testing/strategies.py` does for strategies of packages, but from outside of the process that
runs the candidate: it keeps proposing valid trials after any results in any order, and answers each
call in the same way in another process with another order of sets.
"""

import numpy as np

from autoresearch_jax.meta.client import SandboxedStrategy, StrategyProcess, replay
from autoresearch_jax.types import (
  Cost,
  Decision,
  Direction,
  Edit,
  Hypothesis,
  Measurement,
  Objective,
  Operation,
  Program,
  Proposal,
  Result,
  Status,
  Trial,
  Verdict,
)

METRIC = 'val_loss'
START = Program((('model.py', 'WIDTH = 4\nRATE = 0.5\n'),), 'model.py')
# What happens to the trials after the baseline: (status, kept, metric) of each.
Outcome = tuple[Status, bool, float]
OK = Status.OK
GOOD: list[Outcome] = [(OK, n % 3 == 0, 1 / n) for n in range(1, 13)]
MIXED: list[Outcome] = [
  (OK, True, 0.5), (Status.CRASH, False, 0.0), (OK, False, 2.0), (Status.DUPLICATE, False, 0.0),
] * 3  # fmt: skip
EXTREME: list[Outcome] = [(OK, False, value) for value in (1e300, -1e300, 5e-324, 0.5)] * 2
FAILURES: list[Outcome] = [(status, False, 0.0) for status in Status if status is not OK] * 2
# (direction, outcomes, trials that run at once; the newest of them finishes first)
SCENARIOS: tuple[tuple[Direction, list[Outcome], int], ...] = (
  ('minimize', GOOD, 1),
  ('maximize', MIXED, 3),
  ('minimize', EXTREME, 2),
  ('maximize', FAILURES, 1),
)


def check(process: StrategyProcess, other: StrategyProcess) -> None:
  """Checks a candidate.

  Args:
    process: Its process.
    other: Another process of it, with another order of sets.

  Raises:
    StrategyError: It breaks the contract; the message says how.
  """
  for number, (direction, outcomes, parallel) in enumerate(SCENARIOS):
    strategy = SandboxedStrategy(process, np.random.default_rng(number))
    _play(strategy, Objective(METRIC, direction), outcomes, parallel, number)
    replay(other, strategy.sample[::-1])


def _play(
  strategy: SandboxedStrategy,
  objective: Objective,
  outcomes: list[Outcome],
  parallel: int,
  seed: int,
) -> None:
  first = _finished(0, Proposal(Operation.DRAFT), (OK, True, 1.0), START)
  state = strategy.tell(strategy.init(objective), first)
  pending, programs = [], {0: START}
  for number, outcome in enumerate(outcomes, start=1):
    program = START.with_text(START.text() + f'# {number}\n')
    if number % 4 == 0:  # as acceptance rules request them
      last = max(programs)
      proposal, program = Proposal(Operation.REPLICATE, (last,), seeds=(1, 2)), programs[last]
    else:
      proposal, state = strategy.ask(state, np.random.default_rng((seed, number)))
    pending.append(_finished(number, proposal, outcome, program))
    if len(pending) == parallel or number == len(outcomes):
      for trial in reversed(pending):
        state = strategy.tell(state, trial)
        programs[trial.id] = trial.edit.program
      pending = []


def _finished(number: int, proposal: Proposal, outcome: Outcome, program: Program) -> Trial:
  """Returns a decided trial."""
  status, kept, value = outcome
  is_ok = status is OK
  measurements = tuple(
    Measurement(seed, {METRIC: value}, Cost(total_seconds=1.0)) for seed in proposal.seeds
  )
  decision = (
    (Decision.KEEP if kept and proposal.fidelity == 1 else Decision.DISCARD)
    if is_ok
    else Decision.CRASH
  )
  return Trial(
    number,
    proposal,
    Edit(program, f'edit {number}', Hypothesis('a claim', ('a mechanism',))),
    Result(
      number,
      status,
      reason='' if is_ok else 'It broke.',
      fingerprint=program.digest,
      duplicate_of=0 if status is Status.DUPLICATE else None,
      measurements=measurements if is_ok else (),
    ),
    Verdict(decision, 'a reason'),
  )
