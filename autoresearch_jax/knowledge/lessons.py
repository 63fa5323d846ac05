"""Lessons derived by rules: what groups of trials have in common, in sentences that cite them.

Trials are grouped by the constant that they moved and its direction, if nothing else was changed;
by the set of constants that they moved together; and by each tag of their hypotheses. (The last tag
of a `mutate` edit is the key of its move, such as 'DEPTH up'.) There are three kinds of lessons:

- the mean effect of a group, shrunk towards 0 (see `shrinkage`), and for constants
  that moved together also their interaction: the difference from the sum of their single effects;
- groups of which half or more failed;
- values of a constant beyond which every program failed in the same way.

A lesson needs two trials. Effects are on the score: above 0 is better.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from autoresearch_jax.knowledge.constant_changes import change_key, is_number
from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome
from autoresearch_jax.knowledge.shrinkage import shrink
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Lesson, Status

MIN_TRIALS = 2  # that a lesson needs
MIN_Z = 2.0  # standard errors from 0 from which on an effect is called clear
MIN_FAILURE_RATE = 0.5  # of a group, to be worth a sentence
MAX_CITED = 5  # trials that a sentence names; `Lesson.trials` has all
UNQUANTIFIED = 1.0  # certainty of a language model's lesson without a number
FAILURE_WORDS = {
  Status.OOM: 'ran out of memory',
  Status.DIVERGED: 'diverged',
  Status.TIMEOUT: 'ran out of time',
  Status.INFEASIBLE: 'broke a constraint',
  Status.PRUNED: 'was pruned',
}
VERBS = {'up': 'raising {}', 'down': 'lowering {}', 'on': 'switching {} on',
         'off': 'switching {} off'}  # fmt: skip
_MOVE = re.compile(r'[A-Z_][A-Z0-9_]*(?:\[\d+\])? (?:up|down|on|off)')

Constants = Mapping[int, Mapping[str, Any]]  # trial -> name -> value
Groups = Mapping[tuple[str, ...], list[HypothesisOutcome]]  # keys of a group -> its trials


@dataclasses.dataclass(frozen=True)
class RankedLesson:
  """A lesson with its certainty.

  Attributes:
    certainty: Distance from the null hypothesis in standard errors; larger is more certain.
    lesson: The lesson.
  """

  certainty: float
  lesson: Lesson


def derive_lessons(
  hypotheses: Iterable[HypothesisOutcome], constants: Constants
) -> tuple[RankedLesson, ...]:
  """Returns all lessons that the rules find, in no particular order.

  Args:
    hypotheses: What was tried.
    constants: Constants of each program by its first trial, the baseline included.
  """
  hypotheses = list(hypotheses)
  groups = _groups(hypotheses)
  return (
    *_effects(groups),
    *_failures(groups, hypotheses),
    *_limits(hypotheses, constants),
  )


def rank_lessons(
  derived: Iterable[RankedLesson], model_lessons: Iterable[Lesson]
) -> tuple[Lesson, ...]:
  """Merges derived lessons with those that a language model wrote; most certain first."""
  ranked = [*derived, *(RankedLesson(_certainty(lesson), lesson) for lesson in model_lessons)]
  return tuple(r.lesson for r in sorted(ranked, key=lambda r: -r.certainty))


def _certainty(lesson: Lesson) -> float:
  if lesson.effect is None or not lesson.uncertainty:
    return UNQUANTIFIED
  return abs(lesson.effect) / lesson.uncertainty


def group_keys(hypothesis: HypothesisOutcome) -> tuple[str, ...]:
  """Returns the groups that an edit belongs to: its moves of constants, if clear, and its tags."""
  moves = [change_key(change) for change in hypothesis.changes]
  clear = moves and all(moves) and not hypothesis.structural
  own = ['; '.join(sorted(moves))] if clear else []
  return tuple(dict.fromkeys([*own, *(_normalized(t) for t in hypothesis.tags if t.strip())]))


@functools.lru_cache(maxsize=4096)
def _normalized(tag: str) -> str:
  """Makes tags comparable: moves are sorted, other words lose their case."""
  parts = tag.split('; ')
  if all(_MOVE.fullmatch(part) for part in parts):
    return '; '.join(sorted(parts))
  return one_line(tag, 60).casefold()


def _groups(hypotheses: Sequence[HypothesisOutcome]) -> Groups:
  """Groups trials by their keys. Groups with the same trials are merged, with all their keys."""
  by_key: dict[str, list[HypothesisOutcome]] = collections.defaultdict(list)
  for hypothesis in hypotheses:
    for key in group_keys(hypothesis):
      by_key[key].append(hypothesis)
  same: dict[tuple[int, ...], list[str]] = collections.defaultdict(list)
  for key, members in by_key.items():
    if len(members) >= MIN_TRIALS:
      same[tuple(h.trial for h in members)].append(key)
  return {tuple(sorted(k, key=_moves_first)): by_key[k[0]] for k in same.values()}


def _moves_first(key: str) -> tuple[bool, str]:
  return not all(_MOVE.fullmatch(part) for part in key.split('; ')), key


def _effects(groups: Groups) -> Iterator[RankedLesson]:
  """Yields a lesson for each group with two measured effects."""
  scored = {keys: [h for h in g if h.effect is not None] for keys, g in groups.items()}
  scored = {keys: g for keys, g in scored.items() if len(g) >= MIN_TRIALS}
  values = [[h.effect or 0.0 for h in g] for g in scored.values()]
  estimates = dict(zip(scored, shrink(values, _noise(scored.values())), strict=True))
  by_key = {keys[0]: estimate for keys, estimate in estimates.items()}
  for keys, (effect, sd) in estimates.items():
    members = scored[keys]
    improved = sum(h.effect is not None and h.effect > 0 for h in members)
    text = (
      f'{subject(keys[0])} {_verb(effect, sd)}: {effect:+.3g} ± {sd:.2g} '
      f'({cite(h.trial for h in members)}), {improved} of {len(members)} better.'
    )
    trials = tuple(h.trial for h in members)
    lesson = Lesson(text + _interaction(keys[0], by_key), trials, keys, effect, sd)
    yield RankedLesson(abs(effect) / sd, lesson)


def _interaction(key: str, estimates: Mapping[str, tuple[float, float]]) -> str:
  """Compares constants that moved together with the sum of their single effects, if known."""
  parts = key.split('; ')
  if len(parts) < 2 or not all(part in estimates for part in parts):
    return ''
  total = sum(estimates[part][0] for part in parts)
  interaction = estimates[key][0] - total
  sd = math.hypot(estimates[key][1], *(estimates[part][1] for part in parts))
  return (
    f' Their single effects add up to {total:+.3g}, so the interaction is {interaction:+.3g} '
    f'± {sd:.2g}.'
  )


def _noise(groups: Iterable[Sequence[HypothesisOutcome]]) -> float:
  """Standard deviation of one effect due to the seeds: root mean square over all."""
  squares = [h.effect_sd**2 for group in groups for h in group if h.effect_sd is not None]
  return math.sqrt(sum(squares) / len(squares)) if squares else 0.0


def _failures(groups: Groups, hypotheses: Sequence[HypothesisOutcome]) -> Iterator[RankedLesson]:
  """Yields a lesson for each group that mostly failed, ranked against this run's failure rate."""
  ended = [h for h in hypotheses if h.failed or h.effect is not None]
  overall = (sum(h.failed for h in ended) + 1) / (len(ended) + 2)
  for keys, members in groups.items():
    failed = [h for h in members if h.failed]
    count = sum(h.failed or h.effect is not None for h in members)
    if len(failed) < MIN_TRIALS or len(failed) < MIN_FAILURE_RATE * count:
      continue
    statuses = collections.Counter(h.status.value for h in failed)
    how = ', '.join(f'{n} {status}' for status, n in sorted(statuses.items(), key=lambda i: -i[1]))
    text = (
      f'{subject(keys[0])} failed in {len(failed)} of {_count(count)}: {how} '
      f'({cite(h.trial for h in failed)}).'
    )
    rate = len(failed) / count
    certainty = (rate - overall) / math.sqrt(overall * (1 - overall) / count)
    yield RankedLesson(certainty, Lesson(text, tuple(h.trial for h in failed), keys))


def _limits(
  hypotheses: Sequence[HypothesisOutcome], constants: Constants
) -> Iterator[RankedLesson]:
  """Yields values of a constant beyond which every program failed in the same way."""
  known = {h.trial for h in hypotheses}
  others = [trial for trial in constants if trial not in known]  # the baseline, which ran
  for status, failure in FAILURE_WORDS.items():
    ran = [*others, *(h.trial for h in hypotheses if _avoided(h, status))]
    failed = [h for h in hypotheses if h.failed and h.status is status]
    for name in dict.fromkeys(c.name for h in failed for c in h.changes if is_number(c.new)):
      fine = [v for v in (constants[trial].get(name) for trial in ran) if is_number(v)]
      bad = [(c.new, h.trial) for h in failed for c in h.changes if c.name == name]
      bad = [pair for pair in bad if is_number(pair[0])]
      if fine:
        yield from _limit(name, failure, bad, max(fine), above=True)
        yield from _limit(name, failure, bad, min(fine), above=False)


def _avoided(hypothesis: HypothesisOutcome, status: Status) -> bool:
  """Whether the program shows that it does not fail so: one that diverged did fit into memory."""
  later = (Status.DIVERGED, Status.TIMEOUT, Status.PRUNED) if status is Status.OOM else ()
  return hypothesis.effect is not None or hypothesis.status in (Status.OK, *later)


def _limit(
  name: str, failure: str, failed: Sequence[tuple[float, int]], fine: float, above: bool
) -> Iterator[RankedLesson]:
  """Yields a lesson if two of the failed (value, trial) lie beyond all values that ran."""
  beyond = [pair for pair in failed if (pair[0] > fine if above else pair[0] < fine)]
  if len(beyond) < MIN_TRIALS:
    return
  edge = min(beyond)[0] if above else max(beyond)[0]
  sign, extreme = ('>=', 'largest') if above else ('<=', 'smallest')
  trials = tuple(trial for _, trial in beyond)
  text = (
    f'Every program with {name} {sign} {edge:g} {failure} ({cite(trials)}); the {extreme} that did '
    f'not had {fine:g}.'
  )
  yield RankedLesson(math.sqrt(len(trials)) + 1, Lesson(text, trials, (name,)))


def subject(key: str) -> str:
  """Returns 'Raising DEPTH and lowering WIDTH', or "Edits tagged 'attention'"."""
  parts = key.split('; ')
  if not all(_MOVE.fullmatch(part) for part in parts):
    return f'Edits tagged {key!r}'
  words = [VERBS[where].format(what) for what, where in (part.rsplit(' ', 1) for part in parts)]
  text = ' and '.join([', '.join(words[:-1]), words[-1]] if len(words) > 1 else words)
  return text[0].upper() + text[1:]


def _verb(effect: float, sd: float) -> str:
  if abs(effect) < MIN_Z * sd:
    return 'had no clear effect'
  return 'helped' if effect > 0 else 'hurt'


def cite(trials: Iterable[int]) -> str:
  """Returns '1 trial: 7', or '9 trials: 3, 4, 7, 8, 9, …'."""
  numbers = list(trials)
  shown = ', '.join(map(str, numbers[:MAX_CITED])) + (', …' if len(numbers) > MAX_CITED else '')
  return f'{_count(len(numbers))}: {shown}'


def _count(number: int) -> str:
  return f'{number} trial{"" if number == 1 else "s"}'
