"""The findings of a run: each edited program with evidence, against the program that it edits.

A finding is a function of the ledger (and of the key that signs it), so sharing a run twice adds
nothing. Further training runs of a program give a new finding on the same comparison.
"""

import dataclasses
import math
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping

from autoresearch_jax.findings.encoding import MAX_NAME, MAX_TAGS, MAX_TEXT
from autoresearch_jax.findings.finding import (
  UNSIGNED,
  Finding,
  FindingProgram,
  FindingSetting,
  FindingStatus,
  gain_of,
)
from autoresearch_jax.findings.programs import files_of, patch_of, sha256
from autoresearch_jax.findings.store import Package
from autoresearch_jax.knowledge.hypotheses import FAILURES
from autoresearch_jax.knowledge.paired_gains import Scores, paired_differences
from autoresearch_jax.ledger.events import Decided, Record
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.ledger.results import program_scores
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Hypothesis, Program, Trial

SOURCE = f'{UNSIGNED}:ledger'
_PATH = re.compile(r'(?<![\w./:])/(?:[\w.+@-]+/)+')  # folders of this machine, in sentences
_DIGEST = re.compile(r'[0-9a-f]{64}')


@dataclasses.dataclass(frozen=True)
class _Noise:
  """Standard deviations pooled over the programs of a run, each with degrees of freedom.

  Attributes:
    seeds: Of the metric between the seeds of one program; None without two runs of any.
    pairs: Of the difference between two programs on one seed; None without two pairs of any.
  """

  seeds: tuple[float, int] | None
  pairs: tuple[float, int] | None


def packages_of(records: Iterable[Record]) -> Iterator[Package]:
  """Yields the unsigned findings of a run with their programs, in the order of the trials."""
  history, decided_at = History(), dict[int, int]()
  for record in records:
    history.apply(record)
    if isinstance(record.event, Decided):
      decided_at[record.event.trial] = int(record.time)
  if history.started is None or BASELINE not in history.trials:
    return
  setting = setting_of(history)
  values = {n: program_scores(history, n, history.objective.metric) for n in history.program_trials}
  parents = {n: _parent(history, n) for n in history.program_trials if n != BASELINE}
  noise = _noise(values, parents)
  for number, parent in parents.items():
    if parent not in history.program_trials:
      continue
    before, after = (history.edits[n].program for n in (parent, number))
    trials = (*history.program_trials[number], *history.program_trials[parent])
    finding = Finding(
      setting,
      _program(history, parent, values[parent]),
      _program(history, number, values[number]),
      'no_gain',
      _text(history.edits[number].description, MAX_NAME),
      _hypothesis(history.edits[number].hypothesis),
      patch_of(before, after),
      created=max(decided_at[trial] for trial in trials),
      source=SOURCE,
    )
    if (decided := _with_outcome(finding, history, number, noise)) is not None:
      yield Package(decided, _contents(before, after).get)


def setting_of(history: History) -> FindingSetting:
  """Returns the setting of a run whose baseline has been decided."""
  assert history.started is not None
  config, hardware = history.config, history.hardware
  baseline = history.results[BASELINE]
  budget = config.budget
  if budget.unit != 'seconds':
    budget = dataclasses.replace(budget, clock='auto')
  elif budget.clock == 'auto':
    budget = dataclasses.replace(budget, clock='calibrated' if budget.is_calibrated() else 'wall')
  return FindingSetting(
    config.problem,
    config.metric,
    history.objective.direction,
    budget,
    config.platform,
    (hardware.kind if hardware else str(baseline.facts.get('device', '')))[:MAX_NAME],
    hardware.devices if hardware else int(baseline.facts.get('num_devices', 1)),
    _step_seconds(history),
    _digest(history.started.dataset),
    scorer=history.started.digests.get('scorer', ''),
    harness=history.started.digests.get('harness', ''),
  )


def _step_seconds(history: History) -> float | None:
  """Returns the duration of a step of the baseline, rounded to what a clock can tell."""
  reference = history.reference
  if reference is not None and reference.step_seconds > 0:
    return float(f'{reference.step_seconds:.4g}')
  costs = [m.cost for m in history.results[BASELINE].measurements if m.cost.steps]
  if not costs:
    return None
  return float(f'{statistics.fmean(c.training_seconds / c.steps for c in costs):.4g}')


def _parent(history: History, number: int) -> int:
  parent = history.parent(number)
  return BASELINE if parent is None else history.original(parent)


def _with_outcome(finding: Finding, history: History, number: int, noise: _Noise) -> Finding | None:
  """Returns the finding with status and gain; None if nothing was found out about the program."""
  trial = history.trials[history.program_trials[number][-1]]
  if not finding.child.values:
    return _failed(finding, [history.trials[n] for n in history.program_trials[number]])
  gain = _gain(finding, noise)
  if gain is None:
    return None
  status: FindingStatus = 'no_gain'
  if number in history.kept_programs:
    status = 'gain'
  elif number in history.under_test():
    status = 'undecided'
  reason = trial.verdict.reason if trial.verdict else ''
  seed_std = noise.seeds[0] if noise.seeds else None
  return dataclasses.replace(gain, status=status, reason=_text(reason, MAX_TEXT), seed_std=seed_std)


def _failed(finding: Finding, trials: list[Trial]) -> Finding | None:
  failures = [trial.result for trial in trials if trial.result.status in FAILURES]
  if not failures:  # cut short, a duplicate, or the machine's fault
    return None
  return dataclasses.replace(
    finding,
    status='failed',
    failure=str(failures[-1].status),
    reason=_text(failures[-1].reason, MAX_TEXT),
  )


def _gain(finding: Finding, noise: _Noise) -> Finding | None:
  """Returns the finding with the more precise of the paired and the unpaired gain."""
  parent, child = finding.parent, finding.child
  direction = finding.setting.direction
  gain = gain_of(parent, child, direction, paired=False)
  if gain is None:
    return None
  error, degrees, pairs = None, 0, 0
  if noise.seeds is not None:
    error = noise.seeds[0] * math.sqrt(1 / parent.runs + 1 / child.runs)
    degrees = noise.seeds[1]
  common = len({*parent.seeds} & {*child.seeds})
  if common and noise.pairs is not None:
    paired_error = noise.pairs[0] / math.sqrt(common)
    if error is None or paired_error < error:
      gain = gain_of(parent, child, direction, paired=True)
      error, degrees, pairs = paired_error, noise.pairs[1], common
  return dataclasses.replace(
    finding, gain=gain, standard_error=error, degrees_of_freedom=degrees, pairs=pairs
  )


def _noise(values: Mapping[int, Scores], parents: Mapping[int, int]) -> _Noise:
  between = _pooled(list(found.values()) for found in values.values())
  differences = (
    paired_differences(values[n], values[parent])
    for n, parent in parents.items()
    if parent in values
  )
  return _Noise(between, _pooled(differences))


def _pooled(groups: Iterable[list[float]]) -> tuple[float, int] | None:
  """Returns the pooled standard deviation of groups, and its degrees of freedom."""
  found = [group for group in groups if len(group) > 1]
  degrees = sum(len(group) - 1 for group in found)
  if not degrees:
    return None
  squares = sum(statistics.variance(group) * (len(group) - 1) for group in found)
  return math.sqrt(squares / degrees), degrees


def _program(history: History, number: int, values: Scores) -> FindingProgram:
  program = history.edits[number].program
  fingerprint = history.results[number].fingerprint
  return FindingProgram(
    program.digest, fingerprint, program.entry, files_of(program), tuple(sorted(values.items()))
  )


def _contents(*programs: Program) -> dict[str, bytes]:
  """Returns the contents of the programs' files by their SHA-256."""
  return {sha256(text.encode()): text.encode() for p in programs for _, text in p.files}


def _hypothesis(hypothesis: Hypothesis) -> Hypothesis:
  tags = tuple(_text(tag, MAX_NAME) for tag in hypothesis.mechanisms[:MAX_TAGS])
  return dataclasses.replace(hypothesis, claim=_text(hypothesis.claim, MAX_TEXT), mechanisms=tags)


def _text(text: str, width: int) -> str:
  """Returns a text on one line, cut, without the folders of this machine."""
  return one_line(_PATH.sub('', text), width)


def _digest(text: str) -> str:
  """Returns a digest of what identifies something in the ledger; '' if nothing does."""
  return text if not text or _DIGEST.fullmatch(text) else sha256(text.encode())
