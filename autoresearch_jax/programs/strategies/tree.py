"""AIDE's tree search: a few drafts, then debug a failed leaf or improve the best program.

Source: Jiang et al., AIDE: AI-Driven Exploration in the Space of Code, 2025
(https://arxiv.org/abs/2502.13138).
"""

import math

from autoresearch_jax.types import Decision, Operation, Proposal, Status

NUM_DRAFTS = 5  # programs that are drafted from the start before any is improved
DEBUG_PROB = 0.5  # probability of debugging a failed leaf, if there is one
MAX_DEBUGS = 3  # attempts in a row before a branch is given up


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


def choose(state, rng):
  """Returns the operation and the parents: debugs a failed leaf, or improves the best."""
  best = ranked(state)
  if not best:
    return Operation.DRAFT, ()
  if rng.random() < DEBUG_PROB:
    leaves = failed_leaves(state)
    if leaves:
      return Operation.DEBUG, (leaves[rng.integers(len(leaves))],)
  return Operation.IMPROVE, (best[0]['id'],)


def opening(state):
  """Returns whether to draft another program from the start: the first few times."""
  return state['proposed'] < NUM_DRAFTS


def failed_leaves(state):
  """Returns the ids of failed trials that nobody has continued."""
  return [
    row['id']
    for row in state['trials']
    if row['failed'] and not row['children'] and row['debugs'] <= MAX_DEBUGS
  ]


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
