"""Which gain is worth a test: `min_gain` of the rule `paired`, by simulated runs.

  python min_gain.py [--runs=120] [--trials=40,120]

A small `min_gain` finds small gains, and a large one leaves more of the trials to new programs. An
edit's true gain over the incumbent is drawn from one of two distributions, in seed standard
deviations. In `large`, as in short runs of the cpu GPT, one edit in eight helps a little and one in
sixteen much; in `small`, as later in a night, most gains are of one standard deviation. A kept edit
moves the incumbent. All rows see the same edits and noise. Printed as a Markdown table: the share
of runs in which an edit with a true gain is kept, one without (a false keep), the mean gain at the
end with its standard error, and the number of programs tried. Two minutes.
"""

import itertools

import numpy as np
from absl import app, flags

from autoresearch_jax.acceptance import ACCEPTANCE
from autoresearch_jax.acceptance.program_runs import original_of
from autoresearch_jax.testing.acceptance import TrialStream
from autoresearch_jax.types import Decision

RUNS = flags.DEFINE_integer('runs', 120, 'Simulated runs of each row.', 1)
TRIALS = flags.DEFINE_list('trials', ['40', '120'], 'Trials of a run.')
MIN_GAINS = flags.DEFINE_list('min_gain', ['0.6', '0.8', '1.0', '1.2', '1.5', '2.0'], 'To compare.')

EFFECTS = {  # gain -> probability
  'large': {-6.0: 0.35, -1.5: 0.3, 0.0: 0.1625, 1.0: 0.125, 7.0: 0.0625},
  'small': {-3.0: 0.35, -1.0: 0.3, 0.0: 0.2, 1.0: 0.1, 2.0: 0.04, 4.0: 0.01},
}


def simulate(
  min_gain: float, effects: dict[float, float], run: int, trials: int
) -> tuple[list[float], float, int]:
  """Runs one search; returns the true gain of each keep, the final gain, and programs tried."""
  gains = np.random.default_rng([run, 0]).choice([*effects], size=trials, p=[*effects.values()])
  rule = ACCEPTANCE.make('paired', {'baseline_seeds': 5, 'min_gain': min_gain})
  values = {0: 0.0}  # first trial -> true score
  tried = 0

  def measure(program: int, seed: int) -> float:
    noise = np.random.default_rng([run, 1, program, seed]).standard_normal()
    return -(values[program] + noise)

  stream, kept = TrialStream.start(rule, measure), list[float]()
  while len(stream.trials) < trials:
    stream, replication = stream.ask()
    incumbent = values[original_of(stream.incumbent)] if stream.incumbent else 0.0
    if replication is None:
      values[len(stream.edits)] = incumbent + float(gains[tried])
      tried += 1
    stream = stream.run(replication or stream.new_challenger(), measure)
    verdict = stream.trials[-1].verdict
    if verdict is not None and verdict.decision is Decision.KEEP:
      kept.append(values[original_of(stream.trials[-1])] - incumbent)
  return kept, values[original_of(stream.incumbent)] if stream.incumbent else 0.0, tried


def main(_: list[str]) -> None:
  """Prints the table."""
  print('| gains | trials | min_gain | true keep | false keep | final gain | programs |')
  print('|---|---|---|---|---|---|---|')
  for name, trials, min_gain in itertools.product(EFFECTS, TRIALS.value, MIN_GAINS.value):
    found = [
      simulate(float(min_gain), EFFECTS[name], run, int(trials)) for run in range(RUNS.value)
    ]
    true = np.mean([any(gain > 0 for gain in kept) for kept, _, _ in found])
    false = np.mean([any(gain <= 0 for gain in kept) for kept, _, _ in found])
    final = [gain for _, gain, _ in found]
    error, tried = np.std(final) / len(final) ** 0.5, np.mean([count for _, _, count in found])
    print(
      f'| {name} | {trials} | {min_gain} | {true:.0%} | {false:.1%} | '
      f'{np.mean(final):.2f} ± {error:.2f} | {tried:.1f} |'
    )


if __name__ == '__main__':
  app.run(main)
