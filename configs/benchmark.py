"""A benchmark of search strategies on simulated problems, without a GPU or a language model.

  autoresearch benchmark --config=benchmark:smoke
  autoresearch benchmark --config=benchmark:standard [--out=DIR]

Variants: `smoke` (default; a quick test), `standard` (every strategy on binary landscapes,
continuous functions, lineages and recorded tables) and `full` (also all functions in all
dimensions, Gaussian processes, and real training runs; needs the `gp` extra).

Hardware: a CPU. Time on two cores: seconds (smoke), minutes (standard), many hours (full).
Published results: scripts/studies/leaderboard/leaderboard.md.

Any field can be set: --config.trials=50, --config.strategies.tree.options.num_drafts=3. The same
command resumes: finished runs are not repeated.
"""

from ml_collections import ConfigDict

VARIANTS = ('smoke', 'standard', 'full')
# Strategies for any problem; the defaults of their options are those of their papers.
STRATEGIES = (
  'random', 'best_of_n', 'sequential', 'greedy', 'annealing', 'tree', 'stages', 'dgm',
  'hyperagents', 'hgm', 'funsearch', 'map_elites', 'shinka', 'pareto', 'asha',
  'surrogate',
)  # fmt: skip
WRAPPERS = ('novelty', 'restarts', 'rungs', 'islands')  # they wrap greedy by default
SAMPLERS = ('tpe', 'cma_es')  # for problems with a search space of constants
FUNCTIONS = ('sphere', 'rastrigin', 'rosenbrock', 'ackley', 'ellipsoid')


def get_config(variant: str = 'smoke') -> ConfigDict:
  """Returns the config of a benchmark; the module's docstring describes the variants."""
  variant = variant or 'smoke'
  if variant not in VARIANTS:
    raise ValueError(f'There is no variant {variant!r}; there are: {", ".join(VARIANTS)}.')
  c = ConfigDict()

  c.name = variant  # names the default folder of the results, runs/benchmark_NAME
  c.trials = 20 if variant == 'smoke' else 200  # budget of a run, in training runs
  c.seeds = 3 if variant == 'smoke' else 20  # instances per problem, the same for all strategies
  c.first_seed = 1000  # seed of the first instance; those below 1000 are reserved for tuning
  c.slots = 1  # concurrent trials, on a simulated clock
  # Worker processes; 0: one per core. Results do not depend on it, but real training runs need the
  # whole machine.
  c.workers = 1 if variant == 'full' else 0
  c.call_price = 1.0  # price of a proposer call, in the unit of the column "LLM cost"

  # Strategies: label -> strategy and its options.
  c.strategies = ConfigDict()
  for name in _strategies(variant):
    c.strategies[name] = row(strategy=name, options={})
  if variant == 'full':
    c.strategies.nsga_ii = row(strategy='optuna', options={'sampler_name': 'NSGAIISampler'})

  # Problems: label -> registered simulation, its options, and the group of the results table.
  # Also acceptance and acceptance_options: the acceptance rule [strict]; sampled: whether samplers
  # get its search space [True].
  c.problems = ConfigDict({'smoke': _smoke, 'standard': _standard, 'full': _full}[variant]())

  # Comparison of acceptance rules: each rule with each of these strategies, on noisy problems.
  c.acceptance = ConfigDict()
  c.acceptance.reference = 'strict'  # the rule that the others are compared with
  c.acceptance.rules = ConfigDict()
  for name in ('strict', 'noise', 'sequential', 'paired', 'simplicity'):
    c.acceptance.rules[name] = row(acceptance=name, options={})
  # greedy edits the program that was kept last, tree the best score regardless of the rule.
  c.acceptance.strategies = ConfigDict(
    {name: row(strategy=name, options={}) for name in ('greedy', 'tree')}
  )
  c.acceptance.problems = ConfigDict(_noisy(variant))
  return c.lock()


def row(**fields) -> ConfigDict:
  return ConfigDict(fields)


def _strategies(variant: str) -> tuple[str, ...]:
  if variant == 'smoke':
    return ('random', 'best_of_n', 'greedy', 'tpe')
  # Simulated proposers ignore centaur's questions, so this only measures its mixture of samplers.
  samplers = (*SAMPLERS, 'gp', 'centaur') if variant == 'full' else SAMPLERS
  return (*STRATEGIES, *WRAPPERS, *samplers)


def _smoke() -> dict[str, ConfigDict]:
  return {
    'nk_k2': row(simulation='nk', options={'n': 12, 'k': 2}, group='binary', sampled=False),
    'sphere_2': _function('sphere', 2),
    'lineage': row(simulation='lineage', options={'noise': 0.0}, group='lineage'),
  }


def _standard() -> dict[str, ConfigDict]:
  """Noise-free problems, so that differences are due to the search."""
  return {
    **_binary(sampled=False),
    **{f'{name}_10': _function(name, 10) for name in FUNCTIONS if name != 'sphere'},
    'lineage': row(simulation='lineage', options={'noise': 0.0}, group='lineage'),
    'recorded_digits': row(simulation='recorded', options={'noise': 0.0}, group='recorded'),
    'landscape_digits': row(simulation='landscape', options={'noise': 0.0}, group='recorded'),
  }


def _full() -> dict[str, ConfigDict]:
  """All problems; samplers also run on binary landscapes, which takes hours."""
  return {
    **_binary(sampled=True),
    **{f'{name}_{d}': _function(name, d) for name in FUNCTIONS for d in (2, 10, 40)},
    'lineage': row(simulation='lineage', options={'noise': 0.0}, group='lineage'),
    'recorded_digits': row(simulation='recorded', options={'noise': 0.0}, group='recorded'),
    'landscape_digits': row(simulation='landscape', options={'noise': 0.0}, group='recorded'),
    'digits': row(
      simulation='engine', options={'config': 'configs/digits.py'}, group='real', acceptance='noise'
    ),
    'packing': row(simulation='engine', options={'config': 'configs/packing.py'}, group='real'),
  }


def _binary(sampled: bool) -> dict[str, ConfigDict]:
  """Bit strings with known optima, from smooth to deceptive."""
  return {
    **{
      f'nk_k{k}': row(simulation='nk', options={'n': 64, 'k': k}, group='binary', sampled=sampled)
      for k in (0, 4, 16)
    },
    'trap': row(simulation='trap', options={'n': 60}, group='binary', sampled=sampled),
    'leading_ones': row(
      simulation='leading_ones', options={'n': 64}, group='binary', sampled=sampled
    ),
  }


def _function(name: str, dimension: int) -> ConfigDict:
  options = {'function': name, 'dimension': dimension}
  return row(simulation='continuous', options=options, group='continuous')


def _noisy(variant: str) -> dict[str, ConfigDict]:
  """Problems with the recorded seed noise."""
  lineage = row(simulation='lineage', options={'noise': 1.0}, group='lineage')
  if variant == 'smoke':
    return {'lineage_noisy': lineage}
  recorded = row(simulation='recorded', options={'noise': 1.0}, group='recorded')
  landscape = row(simulation='landscape', options={'noise': 1.0}, group='recorded')
  return {
    'lineage_noisy': lineage,
    'recorded_digits_noisy': recorded,
    'landscape_digits_noisy': landscape,
  }
