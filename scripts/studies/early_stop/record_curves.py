r"""Records what trials look like while they train, for `measure_early_stop.py`.

  python record_curves.py --config=digits --out=runs/curves/digits
  python record_curves.py --config=gpt_small:cpu --out=runs/curves/gpt \
    --config.budget.unit=steps --config.budget.amount=100 --trials=50

Whole searches by the real command, with random edits by `mutate`: one with each of --strategies,
one after the other, through the real tracer and runner, on a budget in steps, so that what else
the machine does changes nothing. The runner looks at every training after each tenth of it and
ends none. A stop (Ctrl-C, SIGTERM) leaves a run with which the same command goes on; when all are
done it writes OUT.csv: a row a training run that came to a score (larger is better), in the order
of the searches, with the training loss and the nats of each look.
"""

import csv
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence

from absl import flags

from autoresearch_jax.cli import flags as command
from autoresearch_jax.cli.run import ERRORS, research
from autoresearch_jax.config import Config
from autoresearch_jax.executors import EXECUTORS
from autoresearch_jax.executors.local import LocalExecutor
from autoresearch_jax.ledger.history import History
from autoresearch_jax.ledger.store import Ledger
from autoresearch_jax.types import PruningRung, TrialRequest

_CONFIG = command.define_config('The run whose curves are recorded.')
OUT = flags.DEFINE_string('out', 'runs/curves', 'Folder of the runs, and name of the table.')
STRATEGIES = flags.DEFINE_list('strategies', ['random', 'greedy', 'tree'], 'One search with each.')
TRIALS = flags.DEFINE_integer('trials', 100, 'Of a search, the baseline included.', 2)
LOOKS = 10  # in a training, its end included
ABOUT = ('run', 'trial', 'parent', 'seed', 'score')
LOOKED = tuple(f'{what}_{number}' for number in range(1, LOOKS) for what in ('loss', 'nats'))


@EXECUTORS.register('recording')
@dataclasses.dataclass
class Recording(LocalExecutor):
  """The local executor, which looks and never ends anything."""

  def submit(self, request: TrialRequest) -> None:
    looks = tuple(PruningRung(number / LOOKS) for number in range(1, LOOKS))
    super().submit(dataclasses.replace(request, rungs=looks))


def main(arguments: Sequence[str]) -> int:
  del arguments
  try:
    config = command.config_of(_CONFIG)
    for seed, strategy in enumerate(STRATEGIES.value):
      code = research(searched(config, strategy, seed), folder(strategy))
      if code:
        return code
    with pathlib.Path(f'{OUT.value}.csv').open('w', newline='') as file:
      table = csv.writer(file, lineterminator='\n')
      table.writerow([*ABOUT, *LOOKED])
      for strategy in STRATEGIES.value:
        with Ledger.open(folder(strategy) / 'ledger.db') as ledger:
          table.writerows(rows(strategy, History.of(ledger.records())))
  except ERRORS as error:
    print(error, file=sys.stderr)
    return command.BAD_INPUT
  return 0


def folder(strategy: str) -> pathlib.Path:
  return pathlib.Path(OUT.value, strategy)


def searched(config: Config, strategy: str, seed: int) -> Config:
  """The config's problem, searched by a strategy with its defaults."""
  search = dataclasses.replace(
    config.search, strategy=strategy, options={}, max_trials=TRIALS.value
  )
  return dataclasses.replace(
    config, search=search, proposer='mutate', executor='recording', seed=seed, final_seeds=0
  )


def rows(run: str, history: History) -> Iterator[list[object]]:
  """Of first trials of programs alone: a repeat is no new edit."""
  sign = -1 if history.objective.direction == 'minimize' else 1
  for trial in history.trials.values():
    looks = trial.result.facts.get('looks', {})
    for done in trial.result.measurements if history.original(trial.id) == trial.id else ():
      score = sign * done.metrics[history.objective.metric]
      seen = [f'{value:.5g}' for _, *pair in looks[str(done.seed)] for value in pair]
      yield [run, trial.id, history.parent(trial.id), done.seed, f'{score:.6g}', *seen]


if __name__ == '__main__':
  command.run(main)
