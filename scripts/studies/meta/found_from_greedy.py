"""Greedy hill climbing in short runs: what a search over strategies made of `greedy`.

Found by `autoresearch run --config=meta` in 41 trials: `choose` and `fidelity` of the packaged
strategy `screening`, and a SHORT of 0.15 instead of 0.33. See meta.md.
"""

import math

from autoresearch_jax.types import Decision, Operation, Proposal, Status

NUM_SHORT = 3  # short runs of which one is promoted
SHORT = 0.15  # share of the budget of a short run


def init(objective):
  """Returns the state before any trial: plain lists, dicts, numbers and texts."""
  sign = -1.0 if objective.direction == 'minimize' else 1.0
  return {'metric': objective.metric, 'sign': sign, 'incumbent': None, 'proposed': 0, 'trials': []}


def ask(state, rng):
  """Returns the next proposal and the new state."""
  operation, parents = choose(state, rng)
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


def choose(state, rng):
  """Returns the operation and the parents: improves the best in short runs, or promotes one."""
  short = []
  for row in state['trials']:
    if row['operation'] == 'promote':
      short = []
    elif row['fidelity'] < 1:
      short.append(row)
  scored = [row for row in short if row['score'] is not None]
  if len(short) >= NUM_SHORT and scored:
    return Operation.PROMOTE, (max(scored, key=lambda row: row['score'])['id'],)
  rows = ranked(state)
  return Operation.IMPROVE, ((rows[0]['id'],) if rows else ())


def ranked(state):
  """Returns the trials with a score at the full budget, the best first."""
  rows = [row for row in state['trials'] if row['score'] is not None and row['fidelity'] == 1]
  return sorted(rows, key=lambda row: -row['score'])


def fidelity(state, operation):
  """Returns the share of the budget: all of it for what is promoted, else a part."""
  return 1.0 if operation is Operation.PROMOTE else min(1.0, max(SHORT, 0.1))


def guidance(state, operation, rng):
  """Returns what kind of edit is wanted: any."""
  return ''
