r"""A/A nights through the real engine: whole runs whose edits do nothing. What is kept is false.

  python aa_night.py --config=digits --nights=10 --workdir=DIR \
    --config.acceptance=sequential

Each night is a run as `main` makes it, with its tracer, runner, ledger, strategy and acceptance
rule, in a folder of its own below --workdir. Its proposer is `placebo`, and programs that compute
what an earlier one did are trained all the same. A night's start is numbered by its config.seed,
which counts up from night to night, so that no two share a training run. The same command goes on
where it was stopped, also with more nights. Printed at the end, as Markdown:

- a row a night: training runs, false keeps, programs that were replicated, what strict would have
  kept of the same scores (those better than all before; a placebo's score does not hang on its
  parent), the deviation of scores between programs, and what the test split says of the best;
- of all nights: the share with a false keep with its exact interval (Clopper & Pearson, Biometrika
  1934), and what `measure_acceptance.py` simulates as well.

With --hog two busy processes run beside each night: for its first --hog_seconds (`first`), after
them (`later`), or for so long, and not, in turn (`sometimes`).

Without `redraw` (--noredraw) edits are comments, and a budget in steps repeats every score.
"""

import dataclasses
import pathlib
import statistics
import sys
from collections.abc import Iterator, Sequence

from absl import flags
from scipy import stats

from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.run import ERRORS, research
from autoresearch_jax.config import Config
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.programs.start import starting_program, write_program
from autoresearch_jax.proposers.placebo import with_placebo
from autoresearch_jax.report.final_comparison import conclusion, final_comparison
from autoresearch_jax.runner.contention import running
from autoresearch_jax.types import RERUNS, Decision

# --config and --workdir are the command's own.
_CONFIG = command.define_config('The run whose program is trained.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the nights.')
NIGHTS = flags.DEFINE_integer('nights', 1, 'How many.', 1)
TRIALS = flags.DEFINE_integer('trials', 100, 'Of a night, the baseline included.', 3)
HOG = flags.DEFINE_enum('hog', 'none', ['none', 'first', 'later', 'sometimes'], 'See above.')
HOG_SECONDS = flags.DEFINE_float('hog_seconds', 60.0, 'See above.', 1.0)
REDRAW = flags.DEFINE_boolean('redraw', True, 'Edits draw initial values anew; else comments.')


HOG_CODE = """
import sys, time
when, period, start = sys.argv[1], float(sys.argv[2]), time.monotonic()
while True:
  now = time.monotonic() - start
  busy = {'first': now < period, 'later': now > period, 'sometimes': now // period % 2 == 0}[when]
  end = time.monotonic() + 0.1
  while busy and time.monotonic() < end: pass
  time.sleep(0 if busy else 0.1)
"""


def main(arguments: Sequence[str]) -> int:
  del arguments
  try:
    config = command.config_of(_CONFIG)
    directory = pathlib.Path(_WORKDIR.value or f'runs/{config.name}_aa')
    nights = []
    for number in range(NIGHTS.value):
      where = directory / f'night{number}'
      history = recorded(where)
      if history is None or len(history.trials) < TRIALS.value:
        night = of_night(config, config.seed + number, where / 'start')
        count = 0 if HOG.value == 'none' else 2
        with running(count, HOG_CODE, HOG.value, str(HOG_SECONDS.value)):
          if code := research(night, where):
            return code
        history = recorded(where)
      assert history is not None
      nights.append(Night.of(history))
  except ERRORS as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  print('\n'.join(report(config, nights)))
  return 0


def of_night(config: Config, seed: int, start: pathlib.Path) -> Config:
  """The config with edits that do nothing, from a start that no other night has."""
  if not start.exists():
    write_program(with_placebo(starting_program(config), seed), start)
  search = dataclasses.replace(config.search, max_trials=TRIALS.value, allow_duplicates=True)
  return dataclasses.replace(
    config,
    program=str(start.resolve()),
    constants={},
    search=search,
    proposer='placebo',
    proposer_options={'reseed': REDRAW.value},
    pruning=False,  # what is ended is not kept: it would make the rule look better than it is
    seed=seed,
  )


def recorded(directory: pathlib.Path) -> History | None:
  """What the folder's run did so far; None where there is none."""
  if not (directory / 'ledger.db').exists():
    return None
  with Ledger.read(directory / 'ledger.db') as ledger:
    return History.of(ledger.records())


@dataclasses.dataclass(frozen=True)
class Night:
  """runs: of training, the baseline's included. keeps: false ones, by their trials.

  edits: programs other than the baseline. replicated: how many of them were trained again.
  records: how many first scores were better than all before. failed: trials without a score.
  deviation: of the edits' first scores. covers: whether the test interval holds 0; None where
  best and baseline were not compared.
  """

  runs: int
  baseline_runs: int
  keeps: tuple[int, ...]
  edits: int
  replicated: int
  records: int
  failed: int
  deviation: float
  covers: bool | None
  test: str

  @classmethod
  def of(cls, history: History) -> 'Night':
    metric = history.objective.metric
    baseline, *others = (history.trials[trial] for trial in sorted(history.trials))
    edits = [t for t in others if t.proposal.operation not in RERUNS]
    repeats = {t.proposal.parents[0] for t in others if t.proposal.operation in RERUNS}
    scores = [s for t in edits if (s := t.metric(metric)) is not None]
    sign = -1 if history.objective.direction == 'minimize' else 1
    ranked = [sign * s for s in (baseline.result.measurements[0].metrics[metric], *scores)]
    found = final_comparison(history)
    return cls(
      runs=sum(len(t.result.measurements) for t in (baseline, *others)),
      baseline_runs=len(baseline.result.measurements),
      keeps=tuple(t.id for t in others if t.verdict and t.verdict.decision is Decision.KEEP),
      edits=len(edits),
      replicated=len(repeats & {t.id for t in edits}),
      records=sum(max(ranked[:at]) < ranked[at] for at in range(1, len(ranked))),
      failed=sum(not t.result.measurements for t in others),
      deviation=statistics.stdev(scores),
      covers=None if found.half_width is None else abs(found.gain) <= found.half_width,
      test=conclusion(history),
    )


def report(config: Config, nights: Sequence[Night]) -> Iterator[str]:
  yield f'\n### {config.name}, {config.acceptance}: {len(nights)} nights of {TRIALS.value} trials\n'
  yield (
    '| night | runs | false keeps, by trial | replicated | strict '
    '| failed | deviation | test split |'
  )
  yield '|---|---|---|---|---|---|---|---|'
  for number, night in enumerate(nights):
    keeps = ', '.join(map(str, night.keeps)) or 'none'
    yield (
      f'| {number} | {night.runs} | {keeps} | {night.replicated} of {night.edits} '
      f'| {night.records} | {night.failed} | {night.deviation:.6f} | {night.test} |'
    )
  yield ''
  yield (
    '| rule | nights with a false keep | strict: nights with one | false keeps a night | runs '
    '| replicated | extra runs a challenger | deviation | test intervals that hold 0 |'
  )
  yield '|---|---|---|---|---|---|---|---|---|'
  yield row(config.acceptance, nights)


def row(rule: str, nights: Sequence[Night]) -> str:
  count, edits = len(nights), sum(night.edits for night in nights)
  extra = sum(night.runs - night.baseline_runs for night in nights) / edits - 1
  deviation = statistics.fmean(night.deviation**2 for night in nights) ** 0.5
  compared = [night.covers for night in nights if night.covers is not None]
  cells = (
    rule,
    shared(sum(bool(night.keeps) for night in nights), count),
    shared(sum(bool(night.records) for night in nights), count),
    f'{sum(len(night.keeps) for night in nights) / count:.3f}',
    f'{sum(night.runs for night in nights) / count:.0f}',
    shared(sum(night.replicated for night in nights), edits),
    f'{extra:.2f}',
    f'{deviation:.6f}',
    shared(sum(compared), len(compared)) if compared else 'none was due',
  )
  return f'| {" | ".join(cells)} |'


def shared(count: int, total: int) -> str:
  """'3 of 10, 30% (7% to 65%)': with the exact 95 % interval."""
  interval = stats.binomtest(count, total).proportion_ci(0.95, 'exact')
  return f'{count} of {total}, {count / total:.1%} ({interval.low:.1%} to {interval.high:.1%})'


if __name__ == '__main__':
  command.run(main)
