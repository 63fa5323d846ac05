"""Programs that looked better than the incumbent and were not kept: near misses and undecided ones.

A program is listed once, with all its runs: a replicate belongs to the program that it repeats. The
list is part of a run's summary.
"""

import dataclasses
import math
import re

from autoresearch_jax.knowledge.program_results import ProgramResult, ProgramResults
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Decision, Status, Trial

MAX_SHOWN = 6
MIN_GAIN = 1.0  # of a program that was not replicated, in standard deviations between seeds
OPEN = re.compile(r'inconclusive, .*; to be replicated on |; to be tested on ')
STOPPED = re.compile(r'; stopped testing trials? ([\d, ]+)\.')


@dataclasses.dataclass(frozen=True)
class NearMiss:
  """A program that was not kept although it looked better than the incumbent.

  Attributes:
    trial: Its first trial.
    reruns: Its replications, failed ones included.
    description: The edit in one line.
    mean: Mean of the metric over its runs.
    runs: Number of its runs.
    gain: Mean score minus that of its parent, over all runs of both; above 0 is better.
    gain_sd: Standard error of the gain; None if the noise is not known.
    undecided: Whether its test has not ended.
    failed_rerun: Why its last replication has no score; '' if it has one.
  """

  trial: int
  reruns: tuple[int, ...]
  description: str
  mean: float
  runs: int
  gain: float
  gain_sd: float | None
  undecided: bool
  failed_rerun: str

  def describe(self, metric: str) -> str:
    """Returns the program as one line of text."""
    error = '' if self.gain_sd is None else f' (standard error {self.gain_sd:.2g})'
    trials = ''.join(f', {rerun}' for rerun in self.reruns)
    runs = f'{self.runs} run{"" if self.runs == 1 else "s"}'
    end = 'undecided' if self.undecided else 'not kept'
    if self.failed_rerun:
      end += f'; trial {self.reruns[-1]} failed: {self.failed_rerun}'
    many = 's' if self.reruns else ''
    return (
      f'  trial{many} {self.trial}{trials}, {self.description}: {metric} {self.mean:.6f} ({runs}), '
      f'gain over its parent {self.gain:+.3g}{error}; {end}.'
    )


def near_misses(history: History) -> list[NearMiss]:
  """Returns the near misses and the undecided programs of a run, undecided first, best first."""
  programs = ProgramResults(history.objective)
  reruns: dict[int, list[Trial]] = {}
  for number in sorted(history.trials):
    trial = history.trials[number]
    programs.add(trial)
    if (original := history.original(number)) != number:
      reruns.setdefault(original, []).append(trial)
  noise = programs.noise or history.noise()
  undecided = undecided_programs(history)
  found = []
  for number, program in programs.by_trial.items():
    # A program is often kept by a replicate of it, whose runs are with its first trial.
    edited = BASELINE if program.parent is None else history.original(program.parent)
    parent = programs.by_trial.get(edited)
    if number == BASELINE or number in history.kept_programs or parent is None:
      continue
    if not (program.runs and parent.runs):
      continue
    sd = noise * math.sqrt(1 / program.runs + 1 / parent.runs) if noise else None
    again = reruns.get(number, [])
    gain = program.mean - parent.mean
    promising = bool(again) or (noise is not None and gain >= MIN_GAIN * noise)
    if promising or number in undecided:
      found.append(_near_miss(history, program, again, gain, sd, number in undecided))
  return sorted(found, key=lambda miss: (not miss.undecided, -miss.gain))


def format_near_misses(history: History) -> str:
  """Returns the list as lines of text; '' if there are none."""
  found = near_misses(history)
  if not found:
    return ''
  undecided = sum(miss.undecided for miss in found)
  advice = ' (more trials decide them: raise config.search.max_trials)' if undecided else ''
  lines = [
    f'Near misses and undecided programs: {len(found)}, of which {undecided} undecided{advice}.'
  ]
  lines += [miss.describe(history.objective.metric) for miss in found[:MAX_SHOWN]]
  if len(found) > MAX_SHOWN:
    lines.append(f'  and {len(found) - MAX_SHOWN} more.')
  return '\n'.join(lines)


def _near_miss(
  history: History,
  program: ProgramResult,
  reruns: list[Trial],
  gain: float,
  gain_sd: float | None,
  undecided: bool,
) -> NearMiss:
  last = reruns[-1].result if reruns else None
  failed = ''
  if last is not None and last.status is not Status.OK:
    failed = one_line(last.reason, 100).rstrip('.') or last.status.value
  return NearMiss(
    trial=program.first.id,
    reruns=tuple(trial.id for trial in reruns),
    description=one_line(program.first.edit.description, 80),
    mean=history.objective.score_of(program.mean),
    runs=program.runs,
    gain=gain,
    gain_sd=gain_sd,
    undecided=undecided,
    failed_rerun=failed,
  )


def undecided_programs(history: History) -> set[int]:
  """Returns the first trials of the programs that were not kept and whose test has not ended.

  Verdicts of earlier versions have no field for it, so their words are read.
  """
  found: set[int] = set(history.under_test())
  decided = (t for t in history.trials.values() if t.verdict and t.verdict.undecided is None)
  for trial in decided:
    assert trial.verdict is not None
    program, verdict = history.original(trial.id), trial.verdict
    if OPEN.search(verdict.reason):
      found.add(program)
    elif verdict.decision is not Decision.DISCARD or program in found:
      found.discard(program)
    if stopped := STOPPED.search(verdict.reason):
      found -= {int(number) for number in stopped[1].split(',')}
  return found - history.kept_programs
