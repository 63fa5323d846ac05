"""What `autoresearch measure yardstick` prints: evaluators, the choice, and what to set."""

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np

from autoresearch_jax.config import Config
from autoresearch_jax.measure.evaluator_choice import (
  BAR,
  EvaluatorVerdict,
  Stability,
  choose,
  halves,
  judged,
  known,
  pairs_among,
  plain,
  stability,
)
from autoresearch_jax.measure.evaluators import (
  METRIC,
  MIN_SEEDS,
  REFERENCE,
  Evaluator,
  RowLosses,
  candidates,
  fit,
)
from autoresearch_jax.measure.row_recording import RecordingFolder

SPLIT = 0  # seed of the split into halves; fixed before anything was measured
SHOWN_CHOICES = 3


def report(recording: RecordingFolder, config: Config, splits: int) -> str:
  """Returns the report on a recording, as far as it has come.

  Args:
    recording: The recording.
    config: Its setting.
    splits: Splits of the programs that are compared.

  Raises:
    TooFewPairs: No difference between programs is known.
  """
  _, losses = recording.losses()
  losses = {budget: each for budget, each in losses.items() if each.seeds >= MIN_SEEDS}
  if 1.0 not in losses:
    return f'An analysis needs {MIN_SEEDS} seeds of every program with the whole budget.'
  return '\n'.join(_lines(losses, config, splits))


def _lines(losses: Mapping[float, RowLosses], config: Config, splits: int) -> Iterator[str]:
  choosing, held_out = halves(len(losses[1.0].search), SPLIT)
  yield from _described(losses)
  every = candidates(losses)
  classes = {
    'Of all evaluators': every,
    'Of those whose differences have the expectation of the metric': [
      evaluator for evaluator in every if evaluator.is_unbiased
    ],
    'Of those that the config can express': [e for e in every if _is_expressed(e)],
  }
  verdicts = {
    which: choose(losses, choosing, held_out, allowed) for which, allowed in classes.items()
  }
  chosen = [verdict.fitted.evaluator for verdict in verdicts.values()]
  yield ''
  yield '| evaluator | seconds a seed | gain, choosing half | held-out half | order | on test |'
  yield '|---|---|---|---|---|---|'
  for evaluator in dict.fromkeys((REFERENCE, METRIC, *_simple(losses), *chosen)):
    fitted = fit(losses, evaluator, choosing, known(losses))
    yield _row(losses, judged(losses, fitted, choosing, held_out))
  for which, verdict in verdicts.items():
    yield ''
    yield from _verdict(losses, config, which, verdict)
    if splits:
      yield _stability(stability(losses, range(SPLIT, SPLIT + splits), classes[which]))


def _stability(found: Stability) -> str:
  if not found.splits:
    return 'Other splits into halves have too few known pairs.'
  low, middle, high = np.quantile(found.gains, [0.1, 0.5, 0.9])
  choices = '; '.join(f'{evaluator} ({n})' for evaluator, n in found.choices[:SHOWN_CHOICES])
  return (
    f'Over {found.splits} splits into halves the chosen one gains {middle:.2f} (median; 10 % '
    f'{low:.2f}, 90 % {high:.2f}) and is accepted in {found.accepted:.0%}. Most frequent: '
    f'{choices}.'
  )


def _described(losses: Mapping[float, RowLosses]) -> Iterator[str]:
  """What was recorded, and what the same seeds are good for."""
  whole = losses[1.0]
  metric = plain(losses, METRIC).differences(losses)
  count = len(whole.search)
  first, second = pairs_among(known(losses), range(count))
  for budget, each in losses.items():
    yield (
      f'{budget:.0%} of the budget: {len(each.search)} programs, {each.seeds} seeds, '
      f'{np.mean(each.train_seconds):.3g} s of training and {np.mean(each.evaluate_seconds):.3g} s '
      'of evaluation.'
    )
  effects = np.sqrt(metric.effects()[first, second])
  yield (
    f'{len(first)} of {count * (count - 1) // 2} pairs differ significantly, by a median of '
    f'{np.median(effects):.1f} standard deviations of the paired difference. The scores of two '
    f'programs on a seed have a correlation of {correlation(losses):.2f}.'
  )


def correlation(losses: Mapping[float, RowLosses]) -> float:
  """Returns how much of the noise two programs share on a seed, over known pairs."""
  paired, independent = (
    plain(losses, evaluator).differences(losses).variance for evaluator in (METRIC, REFERENCE)
  )
  pairs = pairs_among(known(losses), range(len(paired)))
  if not len(pairs[0]):
    return 0.0
  return 1 - float(np.exp(np.mean(np.log(paired[pairs] / independent[pairs]))))


def _simple(losses: Mapping[float, RowLosses]) -> Iterator[Evaluator]:
  """Evaluators that differ from the metric in one way, for comparison."""
  progress = losses[1.0].progress
  for budget in losses:
    yield Evaluator(budget=budget)
  yield Evaluator(stride=2)
  yield Evaluator(clip=0.95)
  yield Evaluator(power=0.5)
  yield Evaluator(ridge=1.0)
  if len(progress) > 1:
    yield Evaluator(averaged=2)
    yield Evaluator(cheap_runs=3, cheap_until=progress[0])
    yield Evaluator(stop=progress[len(progress) // 2])


def _row(losses: Mapping[float, RowLosses], verdict: EvaluatorVerdict) -> str:
  seconds = verdict.fitted.differences(losses).seconds / 2
  low, high = verdict.interval
  return (
    f'| {verdict.fitted.evaluator} | {np.mean(np.diag(seconds)):.3g} | {verdict.chosen_gain:.2f} '
    f'| {verdict.gain:.2f} ({low:.2f} to {high:.2f}) | {verdict.order} | {verdict.test_order} |'
  )


def _verdict(
  losses: Mapping[float, RowLosses], config: Config, which: str, verdict: EvaluatorVerdict
) -> Iterator[str]:
  evaluator = verdict.fitted.evaluator
  low, high = verdict.interval
  gain = f'{verdict.gain:.2f} ({low:.2f} to {high:.2f})'
  if evaluator == REFERENCE:
    yield f'{which}, none is better on the choosing half than what the acceptance rules use.'
    return
  yield (
    f'{which}, this one is chosen: {evaluator}. On the held-out programs its power per device '
    f'second is {gain} times that of the reference; it orders {verdict.order} known pairs there '
    f'and {verdict.test_order} on the test split '
    f'(the metric {verdict.test_order.pairs - verdict.test_order.by_metric}).'
  )
  if not verdict.keeps_order:
    yield 'Refused: it does not keep the order.'
  elif verdict.gain < BAR:
    yield f'Refused: the gain is below {BAR}.'
  elif _is_expressed(evaluator):
    yield f'Accepted. {_sentence(losses, config, verdict)}'
  else:
    yield 'Accepted. No field of the config expresses it.'


def _is_expressed(evaluator: Evaluator) -> bool:
  """Whether fields of the config express an evaluator."""
  budget, shared = evaluator.budget, evaluator.shared_seeds
  return evaluator == dataclasses.replace(METRIC, budget=budget, shared_seeds=shared)


def _sentence(losses: Mapping[float, RowLosses], config: Config, verdict: EvaluatorVerdict) -> str:
  """Says what to set, and how many seeds are then worth one of today's."""
  evaluator = verdict.fitted.evaluator
  amount = config.budget.scaled(evaluator.budget).amount
  own = np.mean(verdict.fitted.differences(losses).seconds)
  metric = np.mean(plain(losses, REFERENCE).differences(losses).seconds)
  seeds = metric / own / verdict.gain
  fields = [f'budget.amount={amount:g}'] if evaluator.budget < 1 else []
  if evaluator.shared_seeds:
    shared = math.floor(20 * max(0.0, correlation({1.0: losses[evaluator.budget]}))) / 20
    fields += ['acceptance=paired', f'acceptance_options.seed_correlation={shared:g}']
  return (
    f'Set {", ".join(fields)}: {seeds:.2f} times as many seeds separate two programs as well as '
    f'now, for {1 / verdict.gain:.0%} of the device seconds.'
  )
