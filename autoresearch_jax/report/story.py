"""The story of a run: a page of prose, made from the ledger by rules.

What was tried, what worked, what did not, how sure that is, and what to try next. Every sentence
cites the trials that it rests on. Gains are on the score, above 0 is better, and what follows ± is
the half width of a 95 % confidence interval.
"""

import collections
import functools
import math
from collections.abc import Iterable, Iterator, Sequence

from autoresearch_jax.knowledge.hypotheses import FAILURES, HypothesisOutcome
from autoresearch_jax.knowledge.lessons import FAILURE_WORDS, MIN_Z, subject
from autoresearch_jax.knowledge.memory import Memory
from autoresearch_jax.knowledge.paired_gains import paired_differences, paired_gains
from autoresearch_jax.knowledge.program_results import ProgramResults
from autoresearch_jax.ledger.history import BASELINE, History
from autoresearch_jax.messages import one_line
from autoresearch_jax.report.device_story import device_sentences
from autoresearch_jax.report.final_comparison import best_program, critical_value, final_comparison
from autoresearch_jax.report.near_misses import near_misses
from autoresearch_jax.report.remeasured import remeasured
from autoresearch_jax.report.story_text import (
  StoryParagraph,
  StorySentence,
  cite,
  count,
  join,
  span,
)
from autoresearch_jax.report.summary import format_duration, scores_by_trial
from autoresearch_jax.types import Lesson, Status, test_metric

MAX_STEPS = 5  # edits of the best program that the story names
MAX_LESSONS = 3  # groups of edits that a paragraph names
MAX_DESCRIPTION = 70  # characters of an edit's description
MIN_HOPELESS = 3  # edits of a group, none of which helped
MIN_STALLED = 10  # edits of the best program, none of which helped
WORDS = {Status.INVALID: 'did not trace', Status.CRASH: 'crashed', **FAILURE_WORDS}


def story(history: History, memory: Memory | None = None) -> tuple[StoryParagraph, ...]:
  """Returns the story of a run; no paragraph before the baseline has a score.

  Args:
    history: The run.
    memory: What is known of it, if that was computed before.
  """
  if BASELINE not in history.trials:
    return ()
  facts = _Facts(history, memory)
  if not facts.scores.get(BASELINE):
    return ()
  parts = {
    'What was tried': _tried(facts),
    'What worked': _worked(facts),
    'What did not': _failed(facts),
    'How sure is it': _certainty(facts),
    'What the device did': device_sentences(facts.history),
    'What to try next': _next(facts),
  }
  found = (StoryParagraph(heading, tuple(sentences)) for heading, sentences in parts.items())
  return tuple(paragraph for paragraph in found if paragraph.sentences)


class _Facts:
  """What the paragraphs are made of, computed once.

  Attributes:
    history: The run.
    memory: Hypotheses and lessons.
    results: The runs of each program.
    edits: All edits that were tried.
    best: First trial of the best program; the baseline's if no edit was kept.
    lineage: First trials from the baseline's first edit to the best program.
    scores: Values of the metric of baseline and best.
    metric: The metric.
  """

  def __init__(self, history: History, memory: Memory | None):
    self.history = history
    self.memory = memory or Memory(
      history.trials, history.objective, history.kept_programs, history.lessons
    )
    self.results = ProgramResults(history.objective)
    for trial in history.trials.values():
      self.results.add(trial)
    self.edits = list(self.memory.hypotheses.values())
    best = best_program(history)
    self.best = BASELINE if best is None else best
    self.lineage = history.lineage(self.best)[1:]
    self.scores = scores_by_trial(history, {BASELINE, self.best} & {*history.trials})
    self.metric = history.objective.metric

  @functools.cached_property
  def by_trial(self) -> dict[int, HypothesisOutcome]:
    return {edit.trial: edit for edit in self.edits}

  @functools.cached_property
  def critical(self) -> float:
    """Critical value of a 95 % interval."""
    return critical_value(self.results.degrees_of_freedom)

  def half_width(self, edit: HypothesisOutcome) -> float | None:
    """Half width of the interval of an edit's effect; None if the noise is not known."""
    return None if not edit.effect_sd else self.critical * edit.effect_sd

  def gain(self, edit: HypothesisOutcome) -> str:
    """Returns '+0.0527 ± 0.027'."""
    width = self.half_width(edit)
    return f'{edit.effect:+.3g}' + ('' if width is None else f' ± {width:.2g}')

  def mean(self, trial: int) -> float:
    return sum(self.scores[trial]) / len(self.scores[trial])

  def name(self, trial: int) -> str:
    return f'“{one_line(self.history.edits[trial].description, MAX_DESCRIPTION)}”'


def _tried(facts: _Facts) -> Iterator[StorySentence]:
  history, edits = facts.history, facts.edits
  start = f'the baseline, with a {facts.metric} of {facts.mean(BASELINE):.4g} (trial 0)'
  duration = format_duration(history.wall_seconds)
  if not edits:
    yield StorySentence(f'So far there is only {start}.', (BASELINE,))
    return
  trials = tuple(edit.trial for edit in edits)
  reruns = tuple(t for t in history.trials if t not in trials and t != BASELINE)
  tried = count(len(edits), 'edit was', 'edits were')
  text = f'From {start}, {tried} tried in {duration} ({span(trials)})'
  if reruns:
    again = count(len(reruns), 'trial repeated a program', 'trials repeated programs')
    text += f'; {again} to measure it again'
  yield StorySentence(f'{text}.', (BASELINE, *trials, *reruns))
  groups = _areas(edits)
  if groups:
    named = [f'{tag} ({count(len(g), "edit", "edits")}, {_example(g)})' for tag, g in groups]
    cited = sorted({edit.trial for _, found in groups for edit in found})
    what = 'subject was' if len(groups) == 1 else 'subjects were'
    yield StorySentence(f'The most frequent {what} {join(named)}.', tuple(cited))


def _worked(facts: _Facts) -> Iterator[StorySentence]:
  history, best = facts.history, facts.best
  kept = sorted(history.kept_programs - {BASELINE})
  if best == BASELINE:
    trials = tuple(edit.trial for edit in facts.edits)
    if trials:
      yield StorySentence(
        f'Nothing yet: of {count(len(trials), "edit", "edits")} none was kept ({span(trials)}).',
        trials,
      )
    return
  value, start = facts.mean(best), facts.mean(BASELINE)
  word = 'lower' if value < start else 'higher'
  runs = len(facts.scores[best])
  yield StorySentence(
    f'The best program is that of trial {best}: {facts.metric} {value:.4g} '
    f'({"a single run" if runs == 1 else f"mean of {runs} runs"}), {abs(value - start):.3g} {word} '
    f'than the baseline (trial 0).',
    (best, BASELINE),
  )
  steps = [facts.by_trial[trial] for trial in facts.lineage if trial in facts.by_trial]
  if len(steps) > 1:
    shown = sorted(steps, key=lambda step: -(step.effect or 0.0))[:MAX_STEPS]
    if len(shown) == len(steps):
      shown = steps
    named = [f'{facts.name(s.trial)} (trial {s.trial}{_gained(facts, s)})' for s in shown]
    others = [step.trial for step in steps if step not in shown]
    rest = f' The others are {cite(others)}.' if others else ''
    largest = 'of which the largest are' if others else 'namely'
    yield StorySentence(
      f'{_number(len(steps)).capitalize()} edits led to it, {largest} {join(named)}.{rest}',
      tuple(step.trial for step in steps),
    )
  elif steps and steps[0].effect is not None:
    yield StorySentence(
      f'One edit led to it: {facts.name(best)} (trial {best}{_gained(facts, steps[0])}).', (best,)
    )
  passed = tuple(s.trial for s in steps if s.trial not in history.kept_programs)
  if passed:
    counted = count(len(passed), 'of them was not kept itself', 'of them were not kept themselves')
    yield StorySentence(f'{counted[0].upper()}{counted[1:]} ({cite(passed)}).', passed)
  off = [trial for trial in kept if trial not in facts.lineage]
  if off:
    yield StorySentence(f'Kept on the way, but not part of it: {cite(off)}.', tuple(off))
  for lesson in _clear_lessons(facts, helped=True):
    yield _lesson(lesson, 'helped on average')


def _failed(facts: _Facts) -> Iterator[StorySentence]:
  clear = list(_clear_lessons(facts, helped=False))
  for lesson in clear:
    yield _lesson(lesson, 'hurt on average')
  named = {trial for lesson in clear for trial in lesson.trials}
  groups = sorted(_groups(facts.edits).items(), key=lambda item: -len(item[1]))
  hopeless = [
    (tag, found)
    for tag, found in groups
    if len(found) >= MIN_HOPELESS
    and all(edit.effect is not None and edit.effect <= 0 for edit in found)
    and not named & {edit.trial for edit in found}
  ]
  for tag, found in hopeless[:1]:
    trials = tuple(edit.trial for edit in found)
    yield StorySentence(
      f'None of the {len(found)} edits about {tag} was better than its parent ({cite(trials)}).',
      trials,
    )
  scored = [edit for edit in facts.edits if edit.effect is not None]
  worst = min(scored, key=lambda edit: edit.effect or 0.0, default=None)
  if worst is not None and (worst.effect or 0.0) < 0:
    yield StorySentence(
      f'The largest loss came from {facts.name(worst.trial)} (trial {worst.trial}, '
      f'{facts.gain(worst)}).',
      (worst.trial,),
    )
  failures: dict[Status, list[int]] = collections.defaultdict(list)
  for edit in facts.edits:
    if edit.effect is None and edit.status in (*FAILURES, Status.CRASH):
      failures[edit.status].append(edit.trial)
  parts = [
    f'{_number(len(found))} {_plural(WORDS.get(status, str(status)), len(found))} ({cite(found)})'
    for status, found in sorted(failures.items(), key=lambda item: -len(item[1]))
  ]
  if parts:
    cited = sorted(trial for found in failures.values() for trial in found)
    text = join(parts)
    yield StorySentence(f'{text[0].upper()}{text[1:]}.', tuple(cited))


def _certainty(facts: _Facts) -> Iterator[StorySentence]:
  final, best = final_comparison(facts.history), facts.best
  if final.gains:
    seeds, width = len(final.gains), final.half_width
    verdict = (
      'a single seed, which gives no interval' if width is None
      else f'{seeds} paired seeds, ' + (
        'an interval without 0' if final.gain > width
        else 'so the best program is worse there' if -final.gain > width
        else 'so a gain was not shown'
      )
    )  # fmt: skip
    error = '' if width is None else f' ± {width:.2g}'
    yield StorySentence(
      f'On the test split, which the search never saw, the best program (trial {best}) gains '
      f'{final.gain:+.3g}{error} over the baseline (trial 0), from {verdict}.',
      (best, BASELINE),
    )
  elif best != BASELINE:
    yield StorySentence(
      f'Best and baseline (trials {best} and 0) were not compared on a test split, and the best of '
      'many noisy scores looks better than it is.',
      (best, BASELINE),
    )
  noise = facts.results.noise
  repeated = [t for t, result in facts.results.by_trial.items() if result.runs > 1]
  if noise and repeated:
    yield StorySentence(
      f'Between seeds the score varies by {noise:.2g} (one standard deviation, from '
      f'{cite(repeated)}), so two single runs must differ by '
      f'{facts.critical * math.sqrt(2) * noise:.2g} to be told apart.',
      tuple(repeated),
    )
  for again in remeasured(facts.history):
    trials = (again.trial, again.replaced, *again.again)
    yield StorySentence(again.describe(facts.metric), trials)
  weak = [
    step
    for step in (facts.by_trial[t] for t in facts.lineage if t in facts.by_trial)
    if step.effect is not None and (width := facts.half_width(step)) and step.effect <= width
  ]
  if ablated := _ablation(facts):
    yield ablated
  elif weak:
    trials = tuple(step.trial for step in weak)
    are, them = ('are', 'them') if len(weak) > 1 else ('is', 'it')
    yield StorySentence(
      f'Of the edits in the best program, {cite(trials)} {are} within the noise and may carry '
      f'nothing: `autoresearch finalize --ablate` measures {them}.',
      trials,
    )


def _ablation(facts: _Facts) -> StorySentence | None:
  """Returns what an ablation of the best program has found; None without one."""
  history, best = facts.history, facts.best
  digest = history.edits[best].program.digest
  found = {}
  for on_test in (False, True):
    scores = _ablation_scores(history, on_test)
    ours = scores.pop(digest, {})
    pairs = {name: paired_differences(ours, other) for name, other in scores.items()}
    found[on_test] = paired_gains(pairs)
  if not (gains := found[False]):
    return None
  needed = sum(gain.is_shown for gain in gains.values())
  seeds = max(gain.pairs for gain in gains.values())
  counted = count(len(gains), 'version of it that lacks', 'versions of it that lack')
  text = (
    f'An ablation trained the best program (trial {best}) and {counted} some of its edits on '
    f'{seeds} paired seeds: {needed} of {len(gains)} '
    f'{"is" if needed == 1 else "are"} worse beyond the noise'
  )
  if needed < len(gains):
    text += ', so edits that the others lack may carry nothing'
  on_test = [f'{-gain.mean:+.3g} ± {gain.half_width:.2g}' for gain in found[True].values()]
  if on_test:
    text += f'; on the test split, what is left gains {join(on_test)} over it'
  return StorySentence(f'{text}.', (best,))


def _ablation_scores(history: History, on_test: bool) -> dict[str, dict[int, float]]:
  """Returns digest -> seed -> score of the training runs of ablations on one of the splits."""
  objective = history.objective
  name = test_metric(objective.metric) if on_test else objective.metric
  return {
    digest: {
      seed: objective.score_of(result.measurements[0].metrics[name])
      for seed, result in results.items()
      if result.measurements
    }
    for (digest, of_test), results in history.ablations.items()
    if of_test is on_test
  }


def _next(facts: _Facts) -> Iterator[StorySentence]:
  misses = near_misses(facts.history)
  undecided = [miss for miss in misses if miss.undecided]
  if undecided:
    trials = tuple(miss.trial for miss in undecided)
    yield StorySentence(f'Finish the tests of {cite(trials)}, which are undecided.', trials)
  untried = _untried_on_best(facts)
  for edit in untried[:2]:
    yield StorySentence(
      f'Try {facts.name(edit.trial)} on the best program: it gained {facts.gain(edit)} on an '
      f'earlier one (trial {edit.trial}) and is not part of it.',
      (edit.trial,),
    )
  shown = {miss.trial for miss in undecided} | {edit.trial for edit in untried[:2]}
  close = [
    miss for miss in misses
    if miss.trial not in shown and _parent(facts, miss.trial) == facts.best
  ]  # fmt: skip
  for miss in close[:1]:
    yield StorySentence(
      f'Repeat {facts.name(miss.trial)} (trial {miss.trial}): it was {miss.gain:.2g} better than '
      f'the best program in {count(miss.runs, "run", "runs")} and was not kept.',
      (miss.trial,),
    )
  on_best = [edit for edit in facts.edits if _parent(facts, edit.trial) == facts.best]
  gained = [e for e in on_best if e.effect and e.effect > (facts.half_width(e) or math.inf)]
  if len(on_best) >= MIN_STALLED and not gained:
    trials = tuple(edit.trial for edit in on_best)
    yield StorySentence(
      f'Then try something of another kind: none of the {len(trials)} edits of the best program '
      f'gained more than the noise ({span(trials)}).',
      trials,
    )


def _untried_on_best(facts: _Facts) -> list[HypothesisOutcome]:
  """Returns edits that helped elsewhere, and of whose kind the best program has seen none."""
  seen = {edit.tags for edit in facts.edits if _parent(facts, edit.trial) == facts.best}
  seen |= {facts.by_trial[t].tags for t in facts.lineage if t in facts.by_trial}
  found: dict[tuple[str, ...], HypothesisOutcome] = {}
  for edit in sorted(facts.edits, key=lambda edit: -(edit.effect or 0.0)):
    helped = edit.effect is not None and edit.effect_sd and edit.effect > edit.effect_sd
    if helped and edit.trial not in facts.lineage and edit.tags not in seen:
      found.setdefault(edit.tags, edit)
  return list(found.values())


def _parent(facts: _Facts, trial: int) -> int | None:
  parent = facts.history.parent(trial)
  return None if parent is None else facts.history.original(parent)


def _clear_lessons(facts: _Facts, helped: bool) -> Iterator[Lesson]:
  """Yields computed lessons with a clear effect, most certain first, no group of trials twice."""
  named: set[int] = set()
  found = 0
  for lesson in facts.memory.lessons():
    effect, sd = lesson.effect, lesson.uncertainty
    if lesson.author or effect is None or not sd or abs(effect) < MIN_Z * sd:
      continue
    if (effect > 0) == helped and not named & {*lesson.trials} and found < MAX_LESSONS:
      named |= {*lesson.trials}
      found += 1
      yield lesson


def _lesson(lesson: Lesson, verb: str) -> StorySentence:
  width = 1.96 * (lesson.uncertainty or 0.0)
  return StorySentence(
    f'{subject(lesson.tags[0])} {verb}, by {abs(lesson.effect or 0.0):.3g} ± {width:.2g} '
    f'({cite(lesson.trials)}).',
    lesson.trials,
  )


def _gained(facts: _Facts, step: HypothesisOutcome) -> str:
  return '' if step.effect is None else f', {facts.gain(step)}'


def _groups(edits: Iterable[HypothesisOutcome]) -> dict[str, list[HypothesisOutcome]]:
  """Groups edits by the mechanisms of their hypotheses, without the moves of single constants."""
  groups: dict[str, list[HypothesisOutcome]] = collections.defaultdict(list)
  for edit in edits:
    for tag in dict.fromkeys(one_line(tag, 40) for tag in edit.tags):
      if tag.islower():
        groups[tag].append(edit)
  return groups


def _areas(edits: Iterable[HypothesisOutcome]) -> list[tuple[str, list[HypothesisOutcome]]]:
  groups = sorted(_groups(edits).items(), key=lambda item: (-len(item[1]), item[0]))
  return [(tag, found) for tag, found in groups if len(found) > 1][:MAX_LESSONS]


def _example(found: Sequence[HypothesisOutcome]) -> str:
  best = max(found, key=lambda edit: -math.inf if edit.effect is None else edit.effect)
  return f'such as trial {best.trial}'


def _number(number: int) -> str:
  words = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
  return words[number] if number < len(words) else str(number)


def _plural(words: str, count: int) -> str:
  return words.replace('was ', 'were ', 1) if count > 1 else words
