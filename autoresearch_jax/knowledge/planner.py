"""What to try next: ranked by what it may gain and by what it would teach.

    questions = planner.rank(memory, parent)

Effects are modelled as in `search/effect_model.py`: a factor is a tag of a hypothesis, or a
constant and the way it was moved, whatever its proposer called it. For each factor that can be
tried on the parent the model gives

    expected_gain = (1 - P(it fails)) · E max(0, effect of the next edit)
    teaches       = by how much that edit would reduce the deviation of the factor's mean effect

and questions are ranked by the sum of the two. Beside what was tried stand constants of the parent
that were never moved, or one way only; two edits that each helped and were never in one program;
and areas of research that no trial has touched. Nothing is random: what is equally unknown takes
turns with the number of trials.
"""

import collections
import dataclasses
import functools
import itertools
import typing
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from autoresearch_jax.knowledge import changes
from autoresearch_jax.messages import one_line
from autoresearch_jax.search import effect_model as beliefs
from autoresearch_jax.types import REPEATS, Program

if typing.TYPE_CHECKING:
  from autoresearch_jax.knowledge.memory import Entry, Memory

# Where research on a network may turn; the words of the tags that `mutate` uses.
AREAS = (
  'optimizer', 'learning rate', 'schedule', 'batch', 'width', 'depth', 'attention', 'mlp',
  'embedding', 'position', 'residual', 'normalisation', 'initialisation', 'regularisation',
  'loss', 'precision',
)  # fmt: skip
LEAST = 5  # measured effects, before which there is nothing to plan from
CLIP = 3.0  # deviations that an effect counts for at most
HELPFUL = 8  # the edits with the largest gains, whose pairs are looked at
CITED = 5  # trials that a question names
LONGEST = 80  # characters of a tag
WAYS = {'up': 'down', 'down': 'up', 'on': 'off', 'off': 'on'}


@dataclasses.dataclass(frozen=True)
class Question:
  """Something worth knowing. text: a sentence or two, for whoever writes the edit.

  tags: what it is about, as in hypotheses: mechanisms, or keys of `mutate`'s moves such as
  'DEPTH up'. expected_gain: of the score. teaches: expected reduction of the standard deviation
  of an effect, in the same unit. trials: what it rests on.
  """

  text: str
  tags: tuple[str, ...] = ()
  expected_gain: float = 0.0
  teaches: float = 0.0
  trials: tuple[int, ...] = ()

  @property
  def worth(self) -> float:
    return self.expected_gain + self.teaches


def rank(
  memory: 'Memory', parent: int, limit: int = 5, areas: Sequence[str] = AREAS
) -> tuple[Question, ...]:
  """The best questions for an edit of trial `parent`'s program, the best first.

  areas: what may be tried that nobody has; () for problems without a network. Empty while fewer
  than LEAST effects are known. At most half of the questions, rounded up, are of one sort.
  """
  model = Model.of(tuple(memory.entries.values()))
  if model.effects < LEAST or parent not in memory.history:
    return ()
  program = memory.history[parent].edit.program
  sorts = (
    model.known(program),
    model.untried(program),
    _together(memory, model, parent),
    model.untouched(areas),
  )
  share = -(-limit // 2)
  few = [sorted(found, key=lambda q: -q.worth)[:share] for found in sorts]
  return tuple(sorted(itertools.chain(*few), key=lambda q: -q.worth)[:limit])


def factors(entry: 'Entry') -> tuple[str, ...]:
  """What an edit is about: its tags, and each constant that it moved, such as 'DEPTH up'.

  The key of several moves at once, which `mutate` joins by '; ', is none: its parts are.
  """
  names = (*map(_name, entry.tags), *map(changes.key, entry.changes))
  return tuple(dict.fromkeys(name for name in names if name))


@functools.lru_cache(maxsize=2**12)
def _name(tag: str) -> str:
  return '' if '; ' in tag else one_line(tag, LONGEST)


@dataclasses.dataclass(frozen=True)
class Model:
  """places: of each factor in the arrays; one more place, the last, is for a new factor.

  trials: of each factor, oldest first. failing: probability by factor. effects: how many.
  """

  entries: tuple['Entry', ...]
  places: Mapping[str, int]
  trials: Mapping[str, tuple[int, ...]]
  beliefs: beliefs.EffectEstimates
  failing: np.ndarray
  failures: np.ndarray
  effects: int

  @classmethod
  def of(cls, entries: 'tuple[Entry, ...]') -> 'Model':
    told = [e for e in entries if e.effect is not None or e.failed]
    names = {entry.trial: factors(entry) for entry in told}
    trials: dict[str, list[int]] = collections.defaultdict(list)
    for trial, found in names.items():
      for name in found:
        trials[name].append(trial)
    places = {name: place for place, name in enumerate(trials)}
    count = len(places) + 1
    measured = [e for e in told if e.effect is not None]
    effects = beliefs.clip_outliers(np.array([e.effect for e in measured], float), CLIP)
    pairs = [(row, places[n]) for row, e in enumerate(measured) for n in names[e.trial]]
    rows, kinds = np.array(pairs, int).reshape(-1, 2).T
    believed = beliefs.estimate_effects(effects[rows], kinds, count)
    broken = [places[n] for e in told if e.effect is None for n in names[e.trial]]
    failures = np.bincount(np.array(broken, int), minlength=count)
    overall = (len(told) - len(measured) + 0.5) / (len(told) + 1)
    failing = beliefs.failure_rates(failures, failures + believed.counts, overall)
    return cls(
      entries,
      places,
      {name: tuple(found) for name, found in trials.items()},
      believed,
      failing,
      failures,
      len(measured),
    )

  @functools.cached_property
  def gains(self) -> np.ndarray:
    """The expected gain of the next edit of each factor, a new one included."""
    improved = beliefs.expected_improvement(self.beliefs.means, self.beliefs.predictive_stds)
    return improved * (1 - self.failing)

  @functools.cached_property
  def lessons(self) -> np.ndarray:
    """What that edit would teach, unless it fails."""
    return self.beliefs.std_reductions * (1 - self.failing)

  def sum_of(self, gains: Sequence[float]) -> float:
    """The expected gain of effects that were measured, taken together on another program.

    Each is what is left of it after it was drawn towards the mean of all; how they go together is
    as uncertain as one edit of a known factor.
    """
    b = self.beliefs
    share = b.between_std**2 / (b.between_std**2 + b.within_std**2) if b.between_std else 0.0
    mean = sum(b.mean + share * (gain - b.mean) for gain in gains)
    overall = float(self.failing[-1])
    return float(beliefs.expected_improvement(np.array(mean), np.array(b.within_std))) * (
      1 - overall
    )

  def known(self, program: Program) -> Iterator[Question]:
    """A question for each factor with trials that the program offers, but for one that no trial
    tells apart from another.
    """
    constants, seen = changes.values(program), set()
    for name, trials in self.trials.items():
      if trials not in seen and _offered(name, constants):
        seen.add(trials)
        yield self._question(self._said(name), (name,), name, trials)

  def untried(self, program: Program) -> list[Question]:
    """A question for each constant that was never moved, or one way only."""
    found = []
    for constant, value in changes.values(program).items():
      ways = _ways(value)
      moved = [f'{constant} {way}' for way in ways if f'{constant} {way}' in self.trials]
      missing = tuple(f'{constant} {way}' for way in ways if f'{constant} {way}' not in self.trials)
      if not missing:
        continue
      text = f'No trial has moved {constant} yet, which is {one_line(repr(value), 40)}: try it.'
      trials = ()
      if moved:
        trials = self.trials[moved[0]]
        text = f'{self._said(moved[0])} Nobody has tried {missing[0]!r}.'
      found.append(self._question(text, missing, missing[0], trials))
    return self._in_turn(found)

  def untouched(self, areas: Sequence[str]) -> list[Question]:
    missing = self._in_turn([area for area in areas if area not in self.trials])[:3]
    if not missing:
      return []
    said = ', '.join(missing)
    text = f'No trial so far was about any of these: {said}. Try an edit of one of them.'
    return [self._question(text, tuple(missing), missing[0], ())]

  def _question(
    self, text: str, tags: tuple[str, ...], name: str, trials: tuple[int, ...]
  ) -> Question:
    place = self.places.get(name, -1)
    return Question(
      text, tags, float(self.gains[place]), float(self.lessons[place]), trials[-CITED:]
    )

  def _said(self, name: str) -> str:
    """What the trials of a factor say."""
    place, trials = self.places[name], self.trials[name]
    effects, failed = int(self.beliefs.counts[place]), int(self.failures[place])
    if not effects:
      return f"All edits of '{name}' failed so far ({_cited(trials)})."
    mean, deviation = self.beliefs.means[place], self.beliefs.stds[place]
    text = (
      f"Edits of '{name}' change the score by {mean:+.3g} ± {deviation:.2g}, from "
      f'{effects} trial{"s" if effects > 1 else ""}'
    )
    more = f', and {failed} more failed' if failed else ''
    return f'{text}{more} ({_cited(trials)}).'

  def _in_turn(self, found: list) -> list:
    """Turned by the number of trials, so that equals take turns."""
    first = len(self.entries) % len(found) if found else 0
    return found[first:] + found[:first]


def _together(memory: 'Memory', model: Model, parent: int) -> Iterator[Question]:
  """A question for each two edits that helped and are in no program together."""
  helpful = sorted(filter(_helped, model.entries), key=lambda e: (-(e.effect or 0.0), e.trial))
  helpful = helpful[:HELPFUL]
  have = _having(memory, helpful)
  tried = set(have.values())
  has = have.get(_original(memory, parent), frozenset())
  for one, other in itertools.combinations(sorted(helpful, key=lambda e: e.trial), 2):
    pair = {one.trial, other.trial}
    if any(pair <= held for held in tried) or _moved(one) & _moved(other):
      continue
    missing = [e for e in (one, other) if e.trial not in has]
    tags = tuple(dict.fromkeys(tag for e in missing for tag in factors(e)))
    what = 'their gains' if len(missing) == 2 else f'that of trial {missing[0].trial} to this one'
    text = (
      f'The edits of {_found(one)} and {_found(other)} each helped, and no program has both: '
      f'add {what}.'
    )
    gain = model.sum_of([e.effect or 0.0 for e in missing])
    yield Question(text, tags, gain, float(model.lessons[-1]), (one.trial, other.trial))


def _helped(entry: 'Entry') -> bool:
  """Whether it gained more than the noise says of such a difference."""
  return entry.effect is not None and entry.effect > 2 * (entry.effect_sd or 0.0)


def _moved(entry: 'Entry') -> set[str]:
  """Constants; two edits of the same one take each other's place."""
  return {name for name, _, _ in entry.changes}


def _having(memory: 'Memory', edits: 'Sequence[Entry]') -> dict[int, frozenset[int]]:
  """Trial -> those of `edits` that are in its program, by all of its parents."""
  wanted, have = {e.trial for e in edits}, {}
  for trial in memory.history.values():
    above = (have.get(parent, frozenset()) for parent in trial.proposal.parents)
    own = {trial.id} & wanted
    have[trial.id] = frozenset().union(own, *above)
  return have


def _original(memory: 'Memory', trial: int) -> int:
  """The trial that first had the program."""
  while (found := memory.history.get(trial)) and found.proposal.operation in REPEATS:
    if not found.proposal.parents:
      break
    trial = found.proposal.parents[0]
  return trial


def _offered(name: str, constants: Mapping[str, object]) -> bool:
  """Whether a factor can be tried: a constant must be there, and able to go that way."""
  constant, _, way = name.rpartition(' ')
  if way not in WAYS or not constant.isupper():
    return True
  return constant in constants and way in _ways(constants[constant])


def _ways(value: object) -> tuple[str, ...]:
  if isinstance(value, bool):
    return ('off',) if value else ('on',)
  return ('up', 'down') if isinstance(value, int | float) else ()


def _found(entry: 'Entry') -> str:
  said = one_line(entry.description, LONGEST)
  return f"trial {entry.trial} ('{said}', {entry.effect:+.3g})"


def _cited(trials: Sequence[int]) -> str:
  said = ', '.join(map(str, trials[-CITED:]))
  return said if len(trials) <= CITED else f'the last ones {said}'
