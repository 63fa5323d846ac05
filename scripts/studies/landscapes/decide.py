"""Which strategy to pick, by setting: a table with the evidence in each cell.

  python decide.py --seeds=20 --minutes=20

Runs strategies on the shipped landscapes (edits and constants) and the recorded table (constants
alone), without noise and with the recorded noise, on 1, 4 and 16 slots, and reads the regret after
25, 50, 100 and 200 training runs. A cell has the strategy with the lowest interquartile mean of the
regret over problems and seeds, with its 95 % interval, and all that are not distinguishable from
it: Wilcoxon's signed-rank test over paired seeds at 5 %, after Holm's correction within the cell.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np

import autoresearch_jax as ar
from autoresearch_jax.benchmark.analysis.statistics import (
  holm,
  interquartile_mean,
  interquartile_mean_interval,
  wilcoxon,
)
from autoresearch_jax.benchmark.comparison import BenchmarkError, Comparison
from autoresearch_jax.benchmark.regret import regret_at
from autoresearch_jax.benchmark.simulations.landscape_table import SHIPPED

STRATEGIES = ('random', 'best_of_n', 'greedy', 'annealing', 'tree', 'surrogate', 'restarts', 'asha',
              'rungs', 'shinka', 'islands', 'map_elites', 'tpe', 'cma_es')  # fmt: skip
BUDGETS = (25, 50, 100, 200)
SLOTS = (1, 4, 16)
KINDS = {
  'edits and constants': [
    ('landscape', {'landscape': path.stem}) for path in sorted(SHIPPED.glob('*.npz'))
  ],
  'constants alone': [('recorded', {})],
}
RULES = {0.0: 'strict', 1.0: 'noise'}  # acceptance, by noise
LEVEL = 0.05


def main() -> int:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--seeds', type=int, default=20)
  parser.add_argument('--minutes', type=float, default=0.0, help='of each setting; 0: no limit')
  parser.add_argument('--strategies', default=','.join(STRATEGIES))
  arguments = parser.parse_args()
  strategies = arguments.strategies.split(',')
  print('| program | noise | slots | ' + ' | '.join(f'{b} runs' for b in BUDGETS) + ' |')
  print('|---' * (3 + len(BUDGETS)) + '|')
  for kind, problems in KINDS.items():
    for noise, rule in RULES.items():
      for slots in SLOTS:
        made = [(name, {**options, 'noise': noise}) for name, options in problems]
        try:
          result = ar.compare(
            strategies, made, rule, arguments.seeds, max(BUDGETS), slots,
            minutes=arguments.minutes,
          )  # fmt: skip
        except BenchmarkError as error:
          print(error, file=sys.stderr)
          return 2
        cells = ' | '.join(cell(result, strategies, budget) for budget in BUDGETS)
        shown = 'recorded' if noise else 'none'
        print(f'| {kind} | {shown} | {slots} | {cells} |', flush=True)
  return 0


def cell(result: Comparison, strategies: Sequence[str], budget: int) -> str:
  problems = [p.label for p in result.suite.problems]
  regret = {
    name: np.array([
      [float(regret_at(run.curve.runs, run.curve.regret, np.array([budget]))[0])
       for run in result.runs_of(name, problem)]
      for problem in problems
    ])
    for name in strategies
  }  # fmt: skip
  best = min(strategies, key=lambda name: interquartile_mean(regret[name]))
  others = [name for name in strategies if name != best]
  adjusted = holm([wilcoxon(regret[best], regret[name]).p for name in others])
  alike = [name for name, p in zip(others, adjusted, strict=True) if p > LEVEL]
  alike.sort(key=lambda name: interquartile_mean(regret[name]))
  found = interquartile_mean_interval(regret[best])
  also = f'; or {", ".join(f"`{name}`" for name in alike)}' if alike else ''
  return f'`{best}` {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]{also}'


if __name__ == '__main__':
  sys.exit(main())
