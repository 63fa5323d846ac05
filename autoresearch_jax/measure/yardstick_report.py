"""What `autoresearch measure yardstick` prints: evaluators, the choice, and what to set."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from autoresearch_jax.config import Config
from autoresearch_jax.measure.evaluator_choice import (
  BAR,
  EvaluatorVerdict,
  choose,
  halves,
  judged,
  known_signs,
  pairs_among,
  reference,
  stability,
)
from autoresearch_jax.measure.evaluators import (
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
  best = choose(losses, choosing, held_out)
  today = choose(losses, choosing, held_out, [e for e in candidates(losses) if _fields(e)])
  signs = known_signs(reference(losses).differences(losses))
  shown = dict.fromkeys((REFERENCE, *_simple(losses), today.fitted.evaluator,
                         best.fitted.evaluator))  # fmt: skip
  yield ''
  yield '| evaluator | seconds a seed | gain, choosing half | held-out half | order | on test |'
  yield '|---|---|---|---|---|---|'
  for evaluator in shown:
    fitted = fit(losses, evaluator, choosing, signs)
    verdict = judged(losses, fitted, choosing, held_out)
    yield _row(losses, verdict)
  yield ''
  yield from _verdict(losses, config, 'Of all evaluators', best)
  if today.fitted.evaluator != best.fitted.evaluator:
    yield from _verdict(losses, config, 'Of those that the config can express', today)
  if splits:
    found = stability(losses, range(SPLIT, SPLIT + splits))
    low, middle, high = np.quantile(found.gains, [0.1, 0.5, 0.9])
    yield (
      f'Over {found.splits} splits into halves the chosen evaluator gains {middle:.2f} (median; '
      f'10 % {low:.2f}, 90 % {high:.2f}) and is accepted in {found.accepted:.0%}. Most frequent: '
      + '; '.join(f'{e} ({n})' for e, n in found.choices[:SHOWN_CHOICES]) + '.'
    )  # fmt: skip


def _described(losses: Mapping[float, RowLosses]) -> Iterator[str]:
  """What was recorded, and what the same seeds are good for."""
  whole = losses[1.0]
  metric = reference(losses).differences(losses)
  first, second = pairs_among(known_signs(metric), range(len(whole.search)))
  for budget, each in losses.items():
    yield (
      f'{budget:.0%} of the budget: {len(each.search)} programs, {each.seeds} seeds, '
      f'{np.mean(each.train_seconds):.3g} s of training and {np.mean(each.evaluate_seconds):.3g} s '
      'of evaluation.'
    )
  scores = reference(losses).scores(whole, 1.0)
  own = scores.var(axis=1, ddof=1)
  unpaired = own[first] + own[second]
  ratio = np.exp(np.mean(np.log(unpaired / metric.variance[first, second])))
  effects = np.sqrt(metric.effects()[first, second])
  yield (
    f'{len(first)} of {len(own) * (len(own) - 1) // 2} pairs differ significantly, by a median of '
    f'{np.median(effects):.1f} standard deviations of the paired difference. On the same seeds its '
    f'variance is 1 / {ratio:.2f} of that on different ones.'
  )


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
    yield f'{which}, none is better on the choosing half than the metric after the whole budget.'
    return
  yield (
    f'{which}, this one is chosen: {evaluator}. On the held-out programs its power per device '
    f'second is {gain} times that of the metric; it orders {verdict.order} known pairs there and '
    f'{verdict.test_order} on the test split '
    f'(the metric {verdict.test_order.pairs - verdict.test_order.by_metric}).'
  )
  if not verdict.keeps_order:
    yield 'Refused: it does not keep the order.'
  elif verdict.gain < BAR:
    yield f'Refused: the gain is below {BAR}.'
  elif fields := _fields(evaluator):
    yield f'Accepted. {_sentence(losses, config, verdict, fields)}'
  else:
    yield 'Accepted, but no field of the config expresses it.'


def _fields(evaluator: Evaluator) -> Sequence[str]:
  """Names of the fields of the config that express an evaluator; empty if none do."""
  expressed = dataclasses.replace(REFERENCE, budget=evaluator.budget)
  return ('budget.amount',) if evaluator == expressed else ()


def _sentence(
  losses: Mapping[float, RowLosses],
  config: Config,
  verdict: EvaluatorVerdict,
  fields: Sequence[str],
) -> str:
  """Says what to set, and how many seeds are then worth one of today's."""
  budget = verdict.fitted.evaluator.budget
  amount = config.budget.scaled(budget).amount
  own = np.mean(verdict.fitted.differences(losses).seconds)
  metric = np.mean(reference(losses).differences(losses).seconds)
  seeds = metric / own / verdict.gain
  return (
    f'Set {fields[0]}={amount:g}: {seeds:.1f} seeds of that separate two programs as one of '
    f'{config.budget.amount:g} {config.budget.unit} does, and cost {seeds * own / metric:.0%} of '
    'its device seconds.'
  )
