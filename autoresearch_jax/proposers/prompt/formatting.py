"""How trials, their results and their devices are said in a line each."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from autoresearch_jax.knowledge.outcomes import BASELINE, ProgramOutcome, ProgramOutcomes
from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.prompt.quoting import clean
from autoresearch_jax.types import Cost, Edit, Objective, Program, Status, Trial

DESCRIPTION, CLAIM, REASON = 160, 240, 320  # characters at most
COMPARED = 5000  # lines of a file that are compared at most


def direction(objective: Objective) -> str:
  return 'lower is better' if objective.direction == 'minimize' else 'higher is better'


def prediction(objective: Objective) -> dict[str, str]:
  """Places of the templates that ask for a change of the metric."""
  minimize = objective.direction == 'minimize'
  better, worse = ('NEGATIVE', 'positive') if minimize else ('POSITIVE', 'negative')
  return {
    'metric': objective.metric,
    'better': f'{better} IS BETTER, since {direction(objective)}, and {worse} is worse',
    'example': '-0.002' if minimize else '0.002',
  }


def name_of(file: str) -> str:
  """A file's name as it may stand in a sentence."""
  return one_line(file, 80).replace('`', "'").replace('<', '(').replace('>', ')')


def signed(change: float, deviation: float | None = None) -> str:
  """A change of the score in words that no direction can turn round."""
  if not math.isfinite(change):
    return 'unknown'
  spread = '' if deviation is None else f' ± {deviation:.2g}'
  if not change:
    return f'no change{spread}'
  return f'{abs(change):.3g}{spread} {"better" if change > 0 else "worse"}'


def trial_line(number: int, outcomes: ProgramOutcomes) -> str:
  """One trial: its verdict, number, effect, edit, and what was believed of it."""
  outcome = outcomes.by_trial[number]
  trial = outcome.trial
  said = [f'trial {number} ({_verdict(number, outcomes)}): {described(trial, number)}.']
  said.append(_measured(number, outcome, outcomes))
  hypothesis = trial.edit.hypothesis
  if hypothesis.claim and number != BASELINE:
    said.append(_claim(trial.edit))
  if hypothesis.predicted_effect is not None:
    predicted = signed(hypothesis.predicted_effect, hypothesis.uncertainty)
    said.append(f'Predicted: {predicted}.')
  return ' '.join(filter(None, said))


def edit_line(number: int, edit: Edit) -> str:
  """The edit of a trial without a result."""
  description = one_line(edit.description, DESCRIPTION).rstrip('.')
  return f'trial {number}: {description}. {_claim(edit)}'


def described(trial: Trial, number: int) -> str:
  if number == BASELINE:
    return 'the unmodified program'
  return one_line(trial.edit.description, DESCRIPTION).rstrip('.') or 'no description'


def value_of(outcome: ProgramOutcome, objective: Objective) -> str:
  """The metric with the runs that it is a mean of; '' without one."""
  if outcome.value is None:
    return ''
  runs = f', mean of {outcome.runs} runs' if outcome.runs > 1 else ''
  share = f', at {outcome.fidelity:.3g} of the budget' if outcome.fidelity < 1 else ''
  return f'{objective.metric} {outcome.value:.6g}{runs}{share}'


def cost_line(cost: Cost, kind: str) -> str:
  """Speed and size of one training run; what is 0 is unknown."""
  said = [
    (cost.steps, f'{cost.steps} steps in {cost.training_seconds:.3g} s'),
    (cost.tokens, f'{_short(cost.tokens)} {"tokens" if kind == "language_model" else "examples"}'),
    (cost.steps and cost.flops, f'{_short(cost.flops / max(cost.steps, 1))} FLOPs a step'),
    (cost.mfu_percent, f'MFU {cost.mfu_percent:.3g} %'),
    (cost.peak_bytes, f'peak {gibibytes(cost.peak_bytes)}'),
    (cost.parameters, f'{_short(cost.parameters)} parameters'),
  ]
  return ', '.join(words for known, words in said if known)


def size_line(facts: Mapping[str, Any]) -> str:
  """How large a program was, from the facts of its trace."""
  batch, parameters, state = (
    _number(facts, key) for key in ('batch_size', 'parameters', 'state_bytes')
  )
  said = [
    (batch, f'BATCH_SIZE {batch:g}'),
    (parameters, f'{_short(parameters)} parameters'),
    (state, f'state {gibibytes(state)}'),
  ]
  return ', '.join(words for known, words in said if known)


def device_line(facts: Mapping[str, Any]) -> str:
  """The device that trials run on; '' where no trial said."""
  name, memory = one_line(str(facts.get('device', '')), 80), _number(facts, 'memory_bytes')
  if not name:
    return ''
  count = _number(facts, 'num_devices')
  return (
    f'device: {f"{count:g} x " if count else ""}{name}'
    + (f', {gibibytes(memory)} of memory each' if memory else '')
    + '.'
  )


def dtypes_line(facts: Mapping[str, Any]) -> str:
  """Which share of the matrix products is in which dtype."""
  dtypes = facts.get('matmul_dtypes')
  if not isinstance(dtypes, Mapping) or not dtypes:
    return ''
  shares = {one_line(str(k), 20): _number(dtypes, k) for k in dtypes}
  total = sum(shares.values())
  if not total:
    return ''
  words = (f'{share / total:.0%} {name}' for name, share in shares.items())
  return f'FLOPs of matrix products: {", ".join(words)}'


def changed(before: Program, after: Program) -> str:
  """The lines that differ, file by file, as a unified diff with two lines around each.

  '' where a file is so long that comparing it takes time.
  """
  old, new = dict(before.files), dict(after.files)
  lines: list[str] = []
  for name in sorted({*old, *new}):
    was, now = (clean(files.get(name, '')).splitlines() for files in (old, new))
    if max(len(was), len(now)) > COMPARED:
      return ''
    shown = name_of(name)
    lines += difflib.unified_diff(was, now, f'{shown} before', f'{shown} after', lineterm='', n=2)
  return '\n'.join(lines)


def gibibytes(number: float) -> str:
  return f'{number / 2**30:.3g} GiB' if number >= 2**27 else f'{number / 2**20:.3g} MiB'


def _claim(edit: Edit) -> str:
  return f'Claim: {one_line(edit.hypothesis.claim, CLAIM).rstrip(".")}.'


def _verdict(number: int, outcomes: ProgramOutcomes) -> str:
  trial = outcomes.by_trial[number].trial
  if number in outcomes.kept:
    return 'kept'
  if trial.result.status is not Status.OK:
    return trial.result.status.value
  if number in outcomes.undecided:
    return 'not decided yet'
  if outcomes.by_trial[number].fidelity < 1:
    return 'trained for a part of the budget'
  return 'not kept' if trial.verdict else 'not decided yet'


def _measured(number: int, outcome: ProgramOutcome, outcomes: ProgramOutcomes) -> str:
  """What came of it: the number and the effect, or the reason why there is none."""
  result = outcome.trial.result
  if outcome.value is None:
    twin = result.duplicate_of
    same = '' if twin is None else f'Computes the same as trial {twin}. '
    return same + one_line(result.reason, REASON)
  gain, parent = outcomes.gain(number), outcomes.parent(number)
  effect = f', {signed(gain)} than its parent, trial {parent}' if gain else ''
  if gain == 0:
    effect = f', the same as its parent, trial {parent}'
  return f'{value_of(outcome, outcomes.objective)}{effect}.'


def _number(facts: Mapping[str, Any], key: Any) -> float:
  value = facts.get(key)
  if isinstance(value, bool) or not isinstance(value, int | float):
    return 0.0
  return float(value) if math.isfinite(value) else 0.0


def _short(number: float) -> str:
  for size, letter in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if abs(number) >= size:
      return f'{number / size:.3g} {letter}'
  return f'{number:.3g}'
