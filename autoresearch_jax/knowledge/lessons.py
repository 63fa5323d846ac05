"""Lessons by rules: what groups of trials have in common, in sentences that cite the trials.

Groups are made of edits that moved one constant one way and changed nothing else, of those that
moved the same constants the same ways, and of those with the same tag (the last tag of `mutate` is
the key of its move, such as 'DEPTH up'). Three kinds of sentences come of them:

- the effect of a group, drawn toward what is usual (see `shrinkage`); for constants that moved
  together also how that differs from the sum of what they do alone;
- groups of which half or more failed;
- sizes above or below which every program failed, and none beyond them did not.

Nothing is learnt from fewer than two trials. Numbers are of the score, so that above 0 is better.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from autoresearch_jax.knowledge.changes import Change, is_number, key
from autoresearch_jax.knowledge.shrinkage import shrunk
from autoresearch_jax.messages import one_line
from autoresearch_jax.types import Lesson, Status

LEAST = 2  # trials that a lesson needs
CLEAR = 2.0  # standard deviations from 0 at which an effect is called one
FAILING = 0.5  # share of a group that is worth a sentence
SHOWN = 5  # trials that a sentence names; `Lesson.trials` has all
TOLD = 1.0  # certainty of an LLM's lesson that comes without a number
ENDINGS = {
  Status.OOM: 'ran out of memory',
  Status.DIVERGED: 'diverged',
  Status.TIMEOUT: 'ran out of time',
  Status.PRUNED: 'fell too far behind to be trained to the end',
}
VERBS = {'up': 'raising {}', 'down': 'lowering {}', 'on': 'switching {} on',
         'off': 'switching {} off'}  # fmt: skip
_MOVE = re.compile(r'[A-Z_][A-Z0-9_]*(?:\[\d+\])? (?:up|down|on|off)')

Constants = Mapping[int, Mapping[str, Any]]


class Tried(Protocol):
  """What is learnt from: an Entry."""

  @property
  def trial(self) -> int: ...
  @property
  def tags(self) -> tuple[str, ...]: ...
  @property
  def status(self) -> Status: ...
  @property
  def failed(self) -> bool: ...
  @property
  def effect(self) -> float | None: ...
  @property
  def effect_sd(self) -> float | None: ...
  @property
  def changes(self) -> tuple[Change, ...]: ...
  @property
  def structural(self) -> bool: ...


@dataclasses.dataclass(frozen=True)
class Ranked:
  """A lesson, and how certain it is: standard deviations from saying nothing."""

  certainty: float
  lesson: Lesson


def distil(entries: Iterable[Tried], constants: Constants) -> tuple[Ranked, ...]:
  """All lessons of these edits. constants: of each program by its first trial, other ones too."""
  entries = list(entries)
  groups = _groups(entries)
  return (
    *_effects(groups),
    *_failing(groups, entries),
    *_limits(entries, constants),
  )


def ordered(rules: Iterable[Ranked], told: Iterable[Lesson]) -> tuple[Lesson, ...]:
  """Those by rule and those that an LLM wrote; the most certain first."""
  ranked = [*rules, *(Ranked(_certainty(lesson), lesson) for lesson in told)]
  return tuple(r.lesson for r in sorted(ranked, key=lambda r: -r.certainty))


def _certainty(lesson: Lesson) -> float:
  if lesson.effect is None or not lesson.uncertainty:
    return TOLD
  return abs(lesson.effect) / lesson.uncertainty


def keys(entry: Tried) -> tuple[str, ...]:
  """The groups that an edit belongs to: what moved which way, if it can be told, and its tags."""
  moves = [key(change) for change in entry.changes]
  own = ['; '.join(sorted(moves))] if moves and all(moves) and not entry.structural else []
  return tuple(dict.fromkeys([*own, *(_plain(tag) for tag in entry.tags if tag.strip())]))


@functools.lru_cache(maxsize=4096)
def _plain(tag: str) -> str:
  """A tag as it is compared: a move as its parts in order, other words in lower case."""
  parts = tag.split('; ')
  if all(_MOVE.fullmatch(part) for part in parts):
    return '; '.join(sorted(parts))
  return one_line(tag, 60).casefold()


def _groups(entries: Sequence[Tried]) -> dict[tuple[str, ...], list[Tried]]:
  """Edits by what they have in common; groups with the same edits are one, with all their keys."""
  by_key: dict[str, list[Tried]] = collections.defaultdict(list)
  for entry in entries:
    for name in keys(entry):
      by_key[name].append(entry)
  same: dict[tuple[int, ...], list[str]] = collections.defaultdict(list)
  for name, members in by_key.items():
    if len(members) >= LEAST:
      same[tuple(e.trial for e in members)].append(name)
  return {tuple(sorted(n, key=_moves_first)): by_key[n[0]] for n in same.values()}


def _moves_first(name: str) -> tuple[bool, str]:
  return not all(_MOVE.fullmatch(part) for part in name.split('; ')), name


def _effects(groups: Mapping[tuple[str, ...], list[Tried]]) -> Iterator[Ranked]:
  """A lesson for each group with two measured effects."""
  scored = {names: [e for e in g if e.effect is not None] for names, g in groups.items()}
  scored = {names: g for names, g in scored.items() if len(g) >= LEAST}
  values = [[e.effect or 0.0 for e in g] for g in scored.values()]
  estimates = dict(zip(scored, shrunk(values, _noise(scored.values())), strict=True))
  single = {names[0]: estimate for names, estimate in estimates.items()}
  for names, (effect, spread) in estimates.items():
    members = scored[names]
    better = sum(e.effect is not None and e.effect > 0 for e in members)
    text = (
      f'{subject(names[0])} {_verb(effect, spread)}: {effect:+.3g} ± {spread:.2g} '
      f'({cited(e.trial for e in members)}), {better} of {len(members)} better.'
    )
    lesson = Lesson(
      text + _interaction(names[0], single), tuple(e.trial for e in members), names, effect, spread
    )
    yield Ranked(abs(effect) / spread, lesson)


def _interaction(name: str, single: Mapping[str, tuple[float, float]]) -> str:
  """How constants that moved together differ from the sum of what they do alone, where known."""
  parts = name.split('; ')
  if len(parts) < 2 or not all(part in single for part in parts):
    return ''
  total = sum(single[part][0] for part in parts)
  extra = single[name][0] - total
  spread = math.hypot(single[name][1], *(single[part][1] for part in parts))
  return f' Alone they add up to {total:+.3g}: together {extra:+.3g} ± {spread:.2g} more.'


def _noise(groups: Iterable[Sequence[Tried]]) -> float:
  """Standard deviation of one effect by the seeds: root of the mean square."""
  squares = [e.effect_sd**2 for group in groups for e in group if e.effect_sd is not None]
  return math.sqrt(sum(squares) / len(squares)) if squares else 0.0


def _failing(
  groups: Mapping[tuple[str, ...], list[Tried]], entries: Sequence[Tried]
) -> Iterator[Ranked]:
  """Groups of which half or more came to no score; certain by how unusual that is in this run."""
  ended = [e for e in entries if e.failed or e.effect is not None]
  usual = (sum(e.failed for e in ended) + 1) / (len(ended) + 2)
  for names, members in groups.items():
    failed = [e for e in members if e.failed]
    count = sum(e.failed or e.effect is not None for e in members)
    if len(failed) < LEAST or len(failed) < FAILING * count:
      continue
    endings = collections.Counter(e.status.value for e in failed)
    how = ', '.join(f'{number} {ending}' for ending, number in endings.most_common())
    text = (
      f'{subject(names[0])} failed in {len(failed)} of {_counted(count)}: {how} '
      f'({cited(e.trial for e in failed)}).'
    )
    share = len(failed) / count
    certainty = (share - usual) / math.sqrt(usual * (1 - usual) / count)
    yield Ranked(certainty, Lesson(text, tuple(e.trial for e in failed), names))


def _limits(entries: Sequence[Tried], constants: Constants) -> Iterator[Ranked]:
  """Values of a constant beyond which every program that was taken there failed the same way."""
  entered = {e.trial for e in entries}
  others = [trial for trial in constants if trial not in entered]  # the baseline, which ran
  for status, ending in ENDINGS.items():
    ran = [*others, *(e.trial for e in entries if _got_past(e, status))]
    failed = [e for e in entries if e.failed and e.status is status]
    for name in dict.fromkeys(c[0] for e in failed for c in e.changes if is_number(c[2])):
      fine = [v for v in (constants[trial].get(name) for trial in ran) if is_number(v)]
      new = [(c[2], e.trial) for e in failed for c in e.changes if c[0] == name]
      new = [pair for pair in new if is_number(pair[0])]
      if fine:
        yield from _limit(name, ending, new, max(fine), above=True)
        yield from _limit(name, ending, new, min(fine), above=False)


def _got_past(entry: Tried, status: Status) -> bool:
  """Whether the program shows that it does not end so: what diverged did fit into the memory."""
  later = (Status.DIVERGED, Status.TIMEOUT, Status.PRUNED) if status is Status.OOM else ()
  return entry.effect is not None or entry.status in (Status.OK, *later)


def _limit(
  name: str, ending: str, failed: Sequence[tuple[float, int]], fine: float, above: bool
) -> Iterator[Ranked]:
  """A lesson if two failures, (value, trial), took the constant farther than all that ran."""
  beyond = [pair for pair in failed if (pair[0] > fine if above else pair[0] < fine)]
  if len(beyond) < LEAST:
    return
  edge = min(beyond)[0] if above else max(beyond)[0]
  sign, most = ('>=', 'largest') if above else ('<=', 'smallest')
  trials = tuple(trial for _, trial in beyond)
  text = (
    f'Every program with {name} {sign} {edge:g} {ending} ({cited(trials)}); the {most} that did '
    f'not had {fine:g}.'
  )
  yield Ranked(math.sqrt(len(trials)) + 1, Lesson(text, trials, (name,)))


def subject(name: str) -> str:
  """'Raising DEPTH and lowering WIDTH', or "Edits tagged 'attention'"."""
  parts = name.split('; ')
  if not all(_MOVE.fullmatch(part) for part in parts):
    return f'Edits tagged {name!r}'
  words = [VERBS[way].format(what) for what, way in (part.rsplit(' ', 1) for part in parts)]
  text = ' and '.join([', '.join(words[:-1]), words[-1]] if len(words) > 1 else words)
  return text[0].upper() + text[1:]


def _verb(effect: float, spread: float) -> str:
  if abs(effect) < CLEAR * spread:
    return 'had no clear effect'
  return 'helped' if effect > 0 else 'hurt'


def cited(trials: Iterable[int]) -> str:
  """'1 trial: 7', or '9 trials: 3, 4, 7, 8, 9, …'."""
  numbers = list(trials)
  shown = ', '.join(map(str, numbers[:SHOWN])) + (', …' if len(numbers) > SHOWN else '')
  return f'{_counted(len(numbers))}: {shown}'


def _counted(number: int) -> str:
  return f'{number} trial{"" if number == 1 else "s"}'
