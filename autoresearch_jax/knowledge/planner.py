"""Ranks what to try next by its expected gain and by how much the run would learn from it.

    questions = planner.rank_questions(memory, parent)

Effects are modelled as in `search/effect_model.py`. A factor is a tag of a hypothesis, or a
constant with the direction it was moved in, whatever its proposer called it. For each factor that
can be tried on the parent the model gives

    expected_gain         = (1 - P(failure)) · E max(0, effect of the next edit)
    uncertainty_reduction = (1 - P(failure)) · decrease of the standard deviation of the factor's
                            mean effect that one more edit brings

and questions are ranked by the sum of the two. Questions are about factors that were tried;
constants of the parent that were never moved, or in one direction only; pairs of edits that each
helped and are in no program together; and research areas that no trial has touched. There is no
randomness: equally unknown things take turns with the number of trials.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from autoresearch_jax.knowledge.constant_changes import change_key, constant_values
from autoresearch_jax.knowledge.hypotheses import HypothesisOutcome
from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.messages import one_line
from autoresearch_jax.search import effect_model
from autoresearch_jax.types import RERUNS, Program

# Areas of research on neural networks, named as in the tags of `mutate`.
AREAS = (
  'optimizer', 'learning rate', 'schedule', 'batch', 'width', 'depth', 'attention', 'mlp',
  'embedding', 'position', 'residual', 'normalisation', 'initialisation', 'regularisation',
  'loss', 'precision',
)  # fmt: skip
MIN_EFFECTS = 5  # measured effects that a plan needs
CLIP_STDS = 3.0  # standard deviations that effects are clipped at
MAX_HELPFUL = 8  # edits with the largest gains, whose pairs are considered
MAX_CITED = 5  # trials that a question names
MAX_TAG = 80  # characters of a tag
OPPOSITES = {'up': 'down', 'down': 'up', 'on': 'off', 'off': 'on'}


@dataclasses.dataclass(frozen=True)
class Question:
  """Something the run would like to know.

  Attributes:
    text: A sentence or two for whoever writes the edit.
    tags: What it is about, as in hypotheses: mechanisms, or keys of `mutate`'s moves such as
      'DEPTH up'.
    expected_gain: Expected improvement of the score by an edit that answers it.
    uncertainty_reduction: Expected decrease of the standard deviation of an effect, in the unit of
      the score.
    trials: Ids of the trials that it rests on.
  """

  text: str
  tags: tuple[str, ...] = ()
  expected_gain: float = 0.0
  uncertainty_reduction: float = 0.0
  trials: tuple[int, ...] = ()

  @property
  def value(self) -> float:
    """What questions are ranked by."""
    return self.expected_gain + self.uncertainty_reduction


def rank_questions(
  memory: Memory, parent: int, limit: int = 5, areas: Sequence[str] = AREAS
) -> tuple[Question, ...]:
  """Returns the best questions for an edit of a trial's program, best first.

  At most half of them, rounded up, are of one kind, so that no kind crowds out the others.

  Args:
    memory: What is known of the run.
    parent: Id of the trial whose program will be edited.
    limit: Maximum number of questions.
    areas: Research areas to suggest if no trial has touched them; () for problems that train no
      network.

  Returns:
    The questions; none while fewer than MIN_EFFECTS effects are known.
  """
  model = FactorModel.fit(tuple(memory.hypotheses.values()))
  if model.num_effects < MIN_EFFECTS or parent not in memory.history:
    return ()
  program = memory.history[parent].edit.program
  kinds = (
    model.tried(program),
    model.untried(program),
    _combinations(memory, model, parent),
    model.untouched(areas),
  )
  share = -(-limit // 2)
  best = [sorted(questions, key=lambda q: -q.value)[:share] for questions in kinds]
  return tuple(sorted(itertools.chain(*best), key=lambda q: -q.value)[:limit])


def factors(hypothesis: HypothesisOutcome) -> tuple[str, ...]:
  """Returns what an edit is about: its tags, and each constant that it moved, such as 'DEPTH up'.

  The joint key of several moves, which `mutate` writes as 'A up; B down', is not a factor: its
  parts are.
  """
  names = (*map(_factor, hypothesis.tags), *map(change_key, hypothesis.changes))
  return tuple(dict.fromkeys(name for name in names if name))


@functools.lru_cache(maxsize=2**12)
def _factor(tag: str) -> str:
  return '' if '; ' in tag else one_line(tag, MAX_TAG)


@dataclasses.dataclass(frozen=True)
class FactorModel:
  """What is known of each factor.

  Arrays are [factors + 1]: the last element stands for a factor that was never tried.

  Attributes:
    hypotheses: What was tried.
    index: Position of each factor in the arrays.
    trials: Trials of each factor, oldest first.
    estimates: Estimated effects.
    failure_rates: Probability that an edit fails.
    failures: Number of failed edits.
    num_effects: Number of measured effects.
  """

  hypotheses: tuple[HypothesisOutcome, ...]
  index: Mapping[str, int]
  trials: Mapping[str, tuple[int, ...]]
  estimates: effect_model.EffectEstimates
  failure_rates: np.ndarray
  failures: np.ndarray
  num_effects: int

  @classmethod
  def fit(cls, hypotheses: tuple[HypothesisOutcome, ...]) -> 'FactorModel':
    """Estimates effects and failure rates from all hypotheses with an outcome."""
    ended = [h for h in hypotheses if h.effect is not None or h.failed]
    names = {h.trial: factors(h) for h in ended}
    trials: dict[str, list[int]] = collections.defaultdict(list)
    for trial, found in names.items():
      for name in found:
        trials[name].append(trial)
    index = {name: i for i, name in enumerate(trials)}
    size = len(index) + 1
    measured = [h for h in ended if h.effect is not None]
    effects = effect_model.clip_outliers(np.array([h.effect for h in measured], float), CLIP_STDS)
    pairs = [(row, index[n]) for row, h in enumerate(measured) for n in names[h.trial]]
    rows, kinds = np.array(pairs, int).reshape(-1, 2).T
    estimates = effect_model.estimate_effects(effects[rows], kinds, size)
    failed = [index[n] for h in ended if h.effect is None for n in names[h.trial]]
    failures = np.bincount(np.array(failed, int), minlength=size)
    overall = (len(ended) - len(measured) + 0.5) / (len(ended) + 1)
    rates = effect_model.failure_rates(failures, failures + estimates.counts, overall)
    return cls(
      hypotheses,
      index,
      {name: tuple(found) for name, found in trials.items()},
      estimates,
      rates,
      failures,
      len(measured),
    )

  @functools.cached_property
  def expected_gains(self) -> np.ndarray:
    """Expected improvement by the next edit of each factor. [factors + 1]."""
    e = self.estimates
    return effect_model.expected_improvement(e.means, e.predictive_stds) * (1 - self.failure_rates)

  @functools.cached_property
  def uncertainty_reductions(self) -> np.ndarray:
    """Expected decrease of the uncertainty by the next edit of each factor. [factors + 1]."""
    return self.estimates.std_reductions * (1 - self.failure_rates)

  def expected_sum(self, gains: Sequence[float]) -> float:
    """Returns the expected gain of an edit that combines edits with these measured gains.

    Each gain is shrunk towards the mean of all. The uncertainty of the combination is that of one
    edit of a known factor.
    """
    e = self.estimates
    share = e.between_std**2 / (e.between_std**2 + e.within_std**2) if e.between_std else 0.0
    mean = sum(e.mean + share * (gain - e.mean) for gain in gains)
    gain = float(effect_model.expected_improvement(np.array(mean), np.array(e.within_std)))
    return gain * (1 - float(self.failure_rates[-1]))

  def tried(self, program: Program) -> Iterator[Question]:
    """Yields a question for each factor that was tried and that the program offers.

    Of factors with the same trials only the first is asked about: nothing tells them apart.
    """
    constants, seen = constant_values(program), set()
    for name, trials in self.trials.items():
      if trials not in seen and _is_offered(name, constants):
        seen.add(trials)
        yield self._question(self._summary(name), (name,), name, trials)

  def untried(self, program: Program) -> list[Question]:
    """Returns a question for each constant that was never moved, or in one direction only."""
    questions = []
    for constant, value in constant_values(program).items():
      names = [f'{constant} {direction}' for direction in _directions(value)]
      moved = [name for name in names if name in self.trials]
      missing = tuple(name for name in names if name not in self.trials)
      if not missing:
        continue
      text = f'No trial has changed {constant} (now {one_line(repr(value), 40)}) yet: try it.'
      trials = ()
      if moved:
        trials = self.trials[moved[0]]
        text = f'{self._summary(moved[0])} Nobody has tried {missing[0]!r}.'
      questions.append(self._question(text, missing, missing[0], trials))
    return self._rotated(questions)

  def untouched(self, areas: Sequence[str]) -> list[Question]:
    """Returns one question about up to three areas that no trial has touched."""
    missing = self._rotated([area for area in areas if area not in self.trials])[:3]
    if not missing:
      return []
    text = f'No trial so far was about any of these: {", ".join(missing)}. Try one of them.'
    return [self._question(text, tuple(missing), missing[0], ())]

  def _question(
    self, text: str, tags: tuple[str, ...], name: str, trials: tuple[int, ...]
  ) -> Question:
    i = self.index.get(name, -1)
    gain, reduction = float(self.expected_gains[i]), float(self.uncertainty_reductions[i])
    return Question(text, tags, gain, reduction, trials[-MAX_CITED:])

  def _summary(self, name: str) -> str:
    """Returns in a sentence what the trials of a factor have shown."""
    i, trials = self.index[name], self.trials[name]
    effects, failed = int(self.estimates.counts[i]), int(self.failures[i])
    if not effects:
      return f"All edits of '{name}' failed so far ({_cite(trials)})."
    mean, sd = self.estimates.means[i], self.estimates.stds[i]
    text = (
      f"Edits of '{name}' change the score by {mean:+.3g} ± {sd:.2g}, from "
      f'{effects} trial{"s" if effects > 1 else ""}'
    )
    more = f', and {failed} more failed' if failed else ''
    return f'{text}{more} ({_cite(trials)}).'

  def _rotated(self, items: list) -> list:
    """Rotates a list by the number of trials, so that equals take turns."""
    first = len(self.hypotheses) % len(items) if items else 0
    return items[first:] + items[:first]


def _combinations(memory: Memory, model: FactorModel, parent: int) -> Iterator[Question]:
  """Yields a question for each pair of edits that helped and are in no program together."""
  helpful = sorted(filter(_helped, model.hypotheses), key=lambda h: (-(h.effect or 0.0), h.trial))
  helpful = helpful[:MAX_HELPFUL]
  contents = _contents(memory, helpful)
  tried = set(contents.values())
  present = contents.get(_original(memory, parent), frozenset())
  for one, other in itertools.combinations(sorted(helpful, key=lambda h: h.trial), 2):
    pair = {one.trial, other.trial}
    if any(pair <= edits for edits in tried) or _moved(one) & _moved(other):
      continue
    missing = [h for h in (one, other) if h.trial not in present]
    tags = tuple(dict.fromkeys(tag for h in missing for tag in factors(h)))
    what = 'both' if len(missing) == 2 else f'that of trial {missing[0].trial} to this one'
    text = (
      f'The edits of {_describe(one)} and {_describe(other)} each helped, and no program has both: '
      f'add {what}.'
    )
    gain = model.expected_sum([h.effect or 0.0 for h in missing])
    reduction = float(model.uncertainty_reductions[-1])
    yield Question(text, tags, gain, reduction, (one.trial, other.trial))


def _helped(hypothesis: HypothesisOutcome) -> bool:
  """Whether the gain exceeds twice its standard deviation."""
  return hypothesis.effect is not None and hypothesis.effect > 2 * (hypothesis.effect_sd or 0.0)


def _moved(hypothesis: HypothesisOutcome) -> set[str]:
  """Names of the constants that were changed; two edits of one constant exclude each other."""
  return {change.name for change in hypothesis.changes}


def _contents(memory: Memory, edits: Sequence[HypothesisOutcome]) -> dict[int, frozenset[int]]:
  """Returns for each trial which of the edits its program contains, through all of its parents."""
  wanted, contents = {h.trial for h in edits}, {}
  for trial in memory.history.values():
    inherited = (contents.get(parent, frozenset()) for parent in trial.proposal.parents)
    own = {trial.id} & wanted
    contents[trial.id] = frozenset().union(own, *inherited)
  return contents


def _original(memory: Memory, trial: int) -> int:
  """Returns the trial that first ran the program."""
  while (found := memory.history.get(trial)) and found.proposal.operation in RERUNS:
    if not found.proposal.parents:
      break
    trial = found.proposal.parents[0]
  return trial


def _is_offered(name: str, constants: Mapping[str, object]) -> bool:
  """Whether a factor can be tried: its constant must exist and be able to move that way."""
  constant, _, direction = name.rpartition(' ')
  if direction not in OPPOSITES or not constant.isupper():
    return True
  return constant in constants and direction in _directions(constants[constant])


def _directions(value: object) -> tuple[str, ...]:
  if isinstance(value, bool):
    return ('off',) if value else ('on',)
  return ('up', 'down') if isinstance(value, int | float) else ()


def _describe(hypothesis: HypothesisOutcome) -> str:
  description = one_line(hypothesis.description, MAX_TAG)
  return f"trial {hypothesis.trial} ('{description}', {hypothesis.effect:+.3g})"


def _cite(trials: Sequence[int]) -> str:
  numbers = ', '.join(map(str, trials[-MAX_CITED:]))
  return numbers if len(trials) <= MAX_CITED else f'the last ones {numbers}'
