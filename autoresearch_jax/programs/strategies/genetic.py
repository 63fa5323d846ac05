"""Merges two of the best programs, or improves the best one.

Source: uniform crossover with truncation selection, as in every genetic algorithm.
"""

import math

from autoresearch_jax.types import Decision, Operation, Proposal, Status

MERGE_PROB = 0.3  # probability of merging two programs instead of improving one
POOL = 4  # best programs that are merged


def init(objective):
  """Returns the state before any trial: plain lists, dicts, numbers and texts."""
  sign = -1.0 if objective.direction == 'minimize' else 1.0
  return {'metric': objective.metric, 'sign': sign, 'incumbent': None, 'proposed': 0, 'trials': []}


def ask(state, rng):
  """Returns the next proposal and the new state."""
  operation, parents = (Operation.DRAFT, ()) if opening(state) else choose(state, rng)
  state['proposed'] += 1
  for row in state['trials']:
    row['children'] += bool(parents) and row['id'] == parents[0]
  proposal = Proposal(
    operation,
    parents,
    context=tuple(row['id'] for row in state['trials'][-40:]),
    fidelity=fidelity(state, operation),
    guidance=guidance(state, operation, rng),
  )
  return proposal, state


def tell(state, trial):
  """Returns the state after a trial."""
  value = trial.metric(state['metric']) if trial.result.status is Status.OK else None
  score = None if value is None or not math.isfinite(value) else state['sign'] * value
  operation, parents = trial.proposal.operation, trial.proposal.parents
  rows = {row['id']: row for row in state['trials']}
  parent = rows.get(parents[0]) if parents else None
  if operation is Operation.REPLICATE and parent is not None:
    if score is not None and parent['score'] is not None:
      parent['score'] += (score - parent['score']) / (parent['runs'] + 1)
      parent['runs'] += 1
    return state
  failed = trial.result.status in (Status.INVALID, Status.OOM, Status.DIVERGED, Status.CRASH)
  debugs = 1 + parent['debugs'] if parent and operation is Operation.DEBUG else 0
  state['trials'].append({
    'id': trial.id, 'score': score, 'runs': 1, 'failed': failed, 'debugs': debugs, 'children': 0,
    'fidelity': trial.proposal.fidelity, 'operation': operation.value,
  })  # fmt: skip
  if trial.verdict is not None and trial.verdict.decision is Decision.KEEP:
    state['incumbent'] = trial.id
  return state


def opening(state):
  """Returns whether to draft another program from the start: never."""
  return False


def choose(state, rng):
  """Returns the operation and the parents: merges two of the best, or improves the best."""
  rows = ranked(state)
  if not rows:
    return Operation.IMPROVE, ()
  pool = rows[:POOL]
  if len(pool) > 1 and rng.random() < MERGE_PROB:
    first, second = rng.permutation(len(pool))[:2]
    return Operation.MERGE, (pool[first]['id'], pool[second]['id'])
  return Operation.IMPROVE, (rows[0]['id'],)


def ranked(state):
  """Returns the trials with a score at the full budget, the best first."""
  rows = [row for row in state['trials'] if row['score'] is not None and row['fidelity'] == 1]
  return sorted(rows, key=lambda row: -row['score'])


def fidelity(state, operation):
  """Returns the share of the budget: all of it."""
  return 1.0


def guidance(state, operation, rng):
  """Returns what kind of edit is wanted: any."""
  return ''
