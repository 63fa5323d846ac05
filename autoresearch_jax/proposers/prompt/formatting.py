"""Describes trials, results, costs and devices in one line each."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from autoresearch_jax.knowledge.outcomes import BASELINE, ProgramOutcome, ProgramOutcomes
from autoresearch_jax.messages import one_line
from autoresearch_jax.proposers.prompt.quoting import clean
from autoresearch_jax.types import Cost, Edit, Objective, Program, Status, Trial

MAX_DESCRIPTION, MAX_CLAIM, MAX_REASON = 160, 240, 320  # characters
MAX_DIFF_LINES = 5000  # of a file; longer ones are not compared


def direction(objective: Objective) -> str:
  return 'lower is better' if objective.direction == 'minimize' else 'higher is better'


def prediction(objective: Objective) -> dict[str, str]:
  """Returns the placeholders of templates that ask for a predicted change of the metric."""
  minimize = objective.direction == 'minimize'
  better, worse = ('NEGATIVE', 'positive') if minimize else ('POSITIVE', 'negative')
  return {
    'metric': objective.metric,
    'better': f'{better} IS BETTER, since {direction(objective)}, and {worse} is worse',
    'example': '-0.002' if minimize else '0.002',
  }


def file_name(name: str) -> str:
  """Returns a file's name without anything that could break out of a sentence."""
  return one_line(name, 80).replace('`', "'").replace('<', '(').replace('>', ')')


def effect(change: float, sd: float | None = None) -> str:
  """Returns a change of the score as 'better' or 'worse', so that no sign can be misread."""
  if not math.isfinite(change):
    return 'unknown'
  spread = '' if sd is None else f' ± {sd:.2g}'
  if not change:
    return f'no change{spread}'
  return f'{abs(change):.3g}{spread} {"better" if change > 0 else "worse"}'


def trial_line(number: int, outcomes: ProgramOutcomes) -> str:
  """Returns a trial's verdict, edit, result, claim and prediction."""
  outcome = outcomes.by_trial[number]
  trial = outcome.trial
  parts = [f'trial {number} ({_verdict(number, outcomes)}): {description(trial, number)}.']
  parts.append(_result(number, outcome, outcomes))
  hypothesis = trial.edit.hypothesis
  if hypothesis.claim and number != BASELINE:
    parts.append(_claim(trial.edit))
  if hypothesis.predicted_effect is not None:
    parts.append(f'Predicted: {effect(hypothesis.predicted_effect, hypothesis.uncertainty)}.')
  return ' '.join(filter(None, parts))


def edit_line(number: int, edit: Edit) -> str:
  """Returns the edit of a trial without a result."""
  words = one_line(edit.description, MAX_DESCRIPTION).rstrip('.')
  return f'trial {number}: {words}. {_claim(edit)}'


def description(trial: Trial, number: int) -> str:
  if number == BASELINE:
    return 'the unmodified program'
  return one_line(trial.edit.description, MAX_DESCRIPTION).rstrip('.') or 'no description'


def value(outcome: ProgramOutcome, objective: Objective) -> str:
  """Returns the metric and the number of runs it is the mean of; '' without a value."""
  if outcome.value is None:
    return ''
  runs = f', mean of {outcome.runs} runs' if outcome.runs > 1 else ''
  share = f', at {outcome.fidelity:.3g} of the budget' if outcome.fidelity < 1 else ''
  return f'{objective.metric} {outcome.value:.6g}{runs}{share}'


def cost_line(cost: Cost, kind: str) -> str:
  """Returns speed and size of one training run; zeros stand for unknown and are left out."""
  unit = 'tokens' if kind == 'language_model' else 'examples'
  parts = [
    (cost.steps, f'{cost.steps} steps in {cost.training_seconds:.3g} s'),
    (cost.tokens, f'{_short(cost.tokens)} {unit}'),
    (cost.steps and cost.flops, f'{_short(cost.flops / max(cost.steps, 1))} FLOPs a step'),
    (cost.mfu_percent, f'MFU {cost.mfu_percent:.3g} %'),
    (cost.peak_bytes, f'peak {memory_size(cost.peak_bytes)}'),
    (cost.parameters, f'{_short(cost.parameters)} parameters'),
  ]
  return ', '.join(words for known, words in parts if known)


def size_line(facts: Mapping[str, Any]) -> str:
  """Returns how large a program was, from the facts of its trace."""
  batch, parameters, state = (
    _number(facts, key) for key in ('batch_size', 'parameters', 'state_bytes')
  )
  parts = [
    (batch, f'BATCH_SIZE {batch:g}'),
    (parameters, f'{_short(parameters)} parameters'),
    (state, f'state {memory_size(state)}'),
  ]
  return ', '.join(words for known, words in parts if known)


def device_line(facts: Mapping[str, Any]) -> str:
  """Returns the device that trials run on; '' if it is not known."""
  name, memory = one_line(str(facts.get('device', '')), 80), _number(facts, 'memory_bytes')
  if not name:
    return ''
  count = _number(facts, 'num_devices')
  return (
    f'device: {f"{count:g} x " if count else ""}{name}'
    + (f', {memory_size(memory)} of memory each' if memory else '')
    + '.'
  )


def dtypes_line(facts: Mapping[str, Any]) -> str:
  """Returns the share of each dtype in the FLOPs of matrix products; '' if it is not known."""
  dtypes = facts.get('matmul_dtypes')
  if not isinstance(dtypes, Mapping) or not dtypes:
    return ''
  shares = {one_line(str(k), 20): _number(dtypes, k) for k in dtypes}
  total = sum(shares.values())
  if not total:
    return ''
  words = (f'{share / total:.0%} {name}' for name, share in shares.items())
  return f'FLOPs of matrix products: {", ".join(words)}'


def unified_diff(before: Program, after: Program) -> str:
  """Returns what differs, file by file, with two lines of context.

  '' if a file is longer than MAX_DIFF_LINES, since comparing it takes too long.
  """
  old, new = dict(before.files), dict(after.files)
  lines: list[str] = []
  for name in sorted({*old, *new}):
    was, now = (clean(files.get(name, '')).splitlines() for files in (old, new))
    if max(len(was), len(now)) > MAX_DIFF_LINES:
      return ''
    shown = file_name(name)
    lines += difflib.unified_diff(was, now, f'{shown} before', f'{shown} after', lineterm='', n=2)
  return '\n'.join(lines)


def memory_size(number: float) -> str:
  """Returns a number of bytes in GiB or MiB."""
  return f'{number / 2**30:.3g} GiB' if number >= 2**27 else f'{number / 2**20:.3g} MiB'


def _claim(edit: Edit) -> str:
  return f'Claim: {one_line(edit.hypothesis.claim, MAX_CLAIM).rstrip(".")}.'


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


def _result(number: int, outcome: ProgramOutcome, outcomes: ProgramOutcomes) -> str:
  """Returns the value and the effect of an edit, or the reason why there is none."""
  result = outcome.trial.result
  if outcome.value is None:
    original = result.duplicate_of
    same = '' if original is None else f'Computes the same as trial {original}. '
    return same + one_line(result.reason, MAX_REASON)
  gain, parent = outcomes.gain(number), outcomes.parent(number)
  change = f', {effect(gain)} than its parent, trial {parent}' if gain else ''
  if gain == 0:
    change = f', the same as its parent, trial {parent}'
  return f'{value(outcome, outcomes.objective)}{change}.'


def _number(facts: Mapping[str, Any], key: Any) -> float:
  found = facts.get(key)
  if isinstance(found, bool) or not isinstance(found, int | float):
    return 0.0
  return float(found) if math.isfinite(found) else 0.0


def _short(number: float) -> str:
  for size, letter in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if abs(number) >= size:
      return f'{number / size:.3g} {letter}'
  return f'{number:.3g}'
