"""Strategies side by side, without a device and without a model: what beats random search?

  python -m autoresearch_jax.benchmark --config=configs/benchmark.py:smoke
  python -m autoresearch_jax.benchmark --config=configs/benchmark.py:standard [--out=DIR]

Variants: `smoke` (default; seconds, to see that it works), `standard` (every strategy on
landscapes, functions, lineages and recorded tables; minutes on two cores) and `full` (all functions
in all dimensions, Gaussian processes, and real trainings; many hours, needs the `gp` extra). Any
field can be set: --config.trials=50, --config.seeds=5,
--config.strategies.tree.options.num_drafts=3.

The same command resumes, and runs that are there are not played again.
"""

from ml_collections import ConfigDict

VARIANTS = ('smoke', 'standard', 'full')
# Strategies that take any problem, with their own defaults, which come from their papers.
STRATEGIES = (
  'random', 'best_of_n', 'sequential', 'greedy', 'annealing', 'tree', 'stages', 'dgm',
  'hyperagents', 'hgm', 'funsearch', 'map_elites', 'shinka', 'pareto', 'asha',
  'surrogate',
)  # fmt: skip
WRAPPERS = ('novelty', 'restarts', 'rungs', 'islands')  # around greedy, their default
SAMPLERS = ('tpe', 'cma_es')  # of constants: on problems that offer theirs
FUNCTIONS = ('sphere', 'rastrigin', 'rosenbrock', 'ackley', 'ellipsoid')


def get_config(variant: str = 'smoke') -> ConfigDict:
  """The whole benchmark in plain sight; see the module's docstring for variants."""
  variant = variant or 'smoke'
  if variant not in VARIANTS:
    raise ValueError(f'There is no variant {variant!r}; there are: {", ".join(VARIANTS)}.')
  c = ConfigDict()

  c.name = variant  # of the benchmark: its results are kept in runs/benchmark_NAME
  c.trials = 20 if variant == 'smoke' else 200  # of a run: whole training runs, the baseline's too
  c.seeds = 3 if variant == 'smoke' else 20  # instances of each problem, paired over strategies
  c.first_seed = 1000  # of the instances; below 1000 they are for tuning, from there on held out
  c.slots = 1  # trials at once, on a simulated clock
  # Processes that play; 0: one a core. The results do not depend on it, but real trainings take
  # all of the machine.
  c.workers = 1 if variant == 'full' else 0
  c.call_price = 1.0  # of one call of the proposer, in the unit that "LLM cost" shall have

  # Who competes: label -> strategy and its options.
  c.strategies = ConfigDict()
  for name in _strategies(variant):
    c.strategies[name] = row(strategy=name, options={})

  # Where: label -> a registered simulation, its options, and the group whose table it counts in.
  # Also acceptance and acceptance_options: the rule of its runs [strict]; sampled: whether samplers
  # of constants are offered its space [True].
  c.problems = ConfigDict({'smoke': _smoke, 'standard': _standard, 'full': _full}[variant]())

  # Which rule keeps what is truly better: each rule with each of these strategies, on problems
  # whose trials are noisy.
  c.acceptance = ConfigDict()
  c.acceptance.reference = 'strict'  # the rule that the others are held against
  c.acceptance.rules = ConfigDict()
  for name in ('strict', 'noise', 'sequential', 'simplicity'):
    c.acceptance.rules[name] = row(acceptance=name, options={})
  # greedy climbs from what the rule kept, tree from the best score whatever the rule says.
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
  # What a simulated proposer cannot read, centaur asks it: this measures the mixture alone.
  samplers = (*SAMPLERS, 'gp', 'centaur') if variant == 'full' else SAMPLERS
  return (*STRATEGIES, *WRAPPERS, *samplers)


def _smoke() -> dict[str, ConfigDict]:
  return {
    'nk_k2': row(simulation='nk', options={'n': 12, 'k': 2}, group='binary', sampled=False),
    'sphere_2': _function('sphere', 2),
    'lineage': row(simulation='lineage', options={'noise': 0.0}, group='lineage'),
  }


def _standard() -> dict[str, ConfigDict]:
  """Without noise, so that what differs is the search."""
  return {
    **_binary(sampled=False),
    **{f'{name}_10': _function(name, 10) for name in FUNCTIONS if name != 'sphere'},
    'lineage': row(simulation='lineage', options={'noise': 0.0}, group='lineage'),
    'recorded_digits': row(simulation='recorded', options={'noise': 0.0}, group='recorded'),
  }


def _full() -> dict[str, ConfigDict]:
  """Everything; binary landscapes are offered to samplers too, which takes them hours."""
  return {
    **_binary(sampled=True),
    **{f'{name}_{d}': _function(name, d) for name in FUNCTIONS for d in (2, 10, 40)},
    'lineage': row(simulation='lineage', options={'noise': 0.0}, group='lineage'),
    'recorded_digits': row(simulation='recorded', options={'noise': 0.0}, group='recorded'),
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
  """With the seed noise that was recorded."""
  lineage = row(simulation='lineage', options={'noise': 1.0}, group='lineage')
  if variant == 'smoke':
    return {'lineage_noisy': lineage}
  recorded = row(simulation='recorded', options={'noise': 1.0}, group='recorded')
  return {'lineage_noisy': lineage, 'recorded_digits_noisy': recorded}
