"""Trials by hand, for tests of what is learnt from them."""

import dataclasses

from autoresearch_jax import types

OBJECTIVE = types.Objective('loss', 'minimize')
START = types.Program((('model.py', 'LEARNING_RATE = 0.003\nDEPTH = 8\n'),), 'model.py')


def program(text):
  return types.Program((('model.py', text),), 'model.py')


def trial(
  number,
  losses=(),
  parent=0,
  text=None,
  status='ok',
  decision=None,
  operation='improve',
  fidelity=1.0,
  predicted=None,
  sd=None,
  tags=(),
  seeds=None,
  reason='It is so.',
  description=None,
  claim='It helps.',
  author='',
  role='',
):
  """A decided trial with one seed (0, 1, ...) for each loss; its program has `text`."""
  losses = tuple(losses)
  seeds = tuple(range(len(losses))) if seeds is None else seeds
  parents = () if number == 0 else (parent,)
  kind = types.Operation.DRAFT if number == 0 else types.Operation(operation)
  proposal = types.Proposal(kind, parents, seeds=seeds or (0,), fidelity=fidelity)
  edited = START if text is None else program(text)
  belief = types.Hypothesis(claim, tags, predicted, sd)
  edit = types.Edit(edited, description or f'edit {number}', belief, author, role)
  runs = tuple(
    types.Measurement(s, {'loss': v}, types.Cost()) for s, v in zip(seeds, losses, strict=True)
  )
  decided = decision or ('discard' if status == 'ok' else 'crash')
  result = types.Result(number, types.Status(status), reason, measurements=runs)
  verdict = types.Verdict(types.Decision(decided), reason)
  return types.Trial(number, proposal, edit, result, verdict)


def history(*trials):
  return {t.id: t for t in trials}


def kept(one):
  return dataclasses.replace(one, verdict=types.Verdict(types.Decision.KEEP, 'It is better.'))
