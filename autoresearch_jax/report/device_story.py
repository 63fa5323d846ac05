"""What the device did in a run, as sentences of its story."""

from collections.abc import Iterator

from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.results import SLOW
from autoresearch_jax.report.story_text import StorySentence, cite, count, join, span
from autoresearch_jax.report.summary import format_duration, num_slots, run_statistics


def device_sentences(history: History) -> Iterator[StorySentence]:
  """Yields sentences about the use of the device, the speed of the machine, and its changes."""
  f, trials = run_statistics(history), tuple(sorted(history.trials))
  runs = {n: history.results[n].measurements for n in trials if history.results[n].measurements}
  available = f.wall_seconds * num_slots(history)
  if available and runs:
    costs = [run.cost for found in runs.values() for run in found]
    shares = {
      'compilation': sum(found[0].cost.compile_seconds for found in runs.values()) / available,
      'evaluation': sum(cost.evaluate_seconds for cost in costs) / available,
      'measuring the speed': sum(cost.calibration_seconds for cost in costs) / available,
    }
    waiting = max(0.0, 1.0 - f.utilization - sum(shares.values()))
    named = [f'{word} took {share:.1%}' for word, share in shares.items() if share >= 0.0005]
    named.append(f'{waiting:.1%} was spent waiting')
    yield StorySentence(
      f'A device trained {f.utilization:.1%} of the {format_duration(f.wall_seconds)} of the '
      f'search; {join(named)} ({span(trials)}).',
      trials,
    )
  speeds = {n: speed for n in trials if (speed := history.results[n].speed) is not None}
  if speeds:
    slowest = min(speeds, key=lambda number: speeds[number])
    slow = tuple(number for number, speed in speeds.items() if speed < SLOW)
    text = (
      f'The machine ran at {min(speeds.values()):.2f} to {max(speeds.values()):.2f} of its speed '
      f'at the start, the slowest in trial {slowest}'
    )
    if slow:
      text += f'; {count(len(slow), "trial", "trials")} trained below {SLOW:g} ({cite(slow)})'
    yield StorySentence(f'{text}.', (slowest, *slow))
  drifts = tuple(n for n, trial in history.trials.items() if trial.verdict and trial.verdict.drift)
  if drifts:
    yield StorySentence(
      f'The best program scored differently than before in {cite(drifts)}, so the machine had '
      'changed, and nothing was compared across that.',
      drifts,
    )
