"""A search for search strategies: the program is a strategy, and a trial plays it on a benchmark.

  python -m autoresearch_jax.main --config=configs/meta.py           # starts from greedy
  python -m autoresearch_jax.main --config=configs/meta.py:tree      # starts from AIDE's tree

Variants: the strategies in autoresearch_jax/programs/strategies: `greedy` (default), `tree`,
`weighted`, `genetic`, `screening` and `guided`.

The metric `relative_regret` is the area under the regret of the played strategy, relative to that
of greedy hill climbing on the same instances: 1 is no better, 0 knows the optimum. The final
evaluation plays best and baseline on landscapes of other families. See docs/meta.md.

Data: none. Hardware: a CPU, no download.
"""

from ml_collections import ConfigDict

VARIANTS = ('greedy', 'tree', 'weighted', 'genetic', 'screening', 'guided')


def get_config(variant: str = '') -> ConfigDict:
  """Returns the config of a run; the module's docstring describes the variants."""
  variant = variant or 'greedy'
  if variant not in VARIANTS:
    raise ValueError(f'There is no variant {variant!r}; there are: {", ".join(VARIANTS)}.')
  c = ConfigDict()

  c.name = f'meta_{variant}'  # names the folder runs/NAME and the branch autoresearch/NAME
  c.platform = 'cpu'  # strategies are played on a CPU
  c.seed = 0  # root seed of the search; a training seed chooses the instances that are played

  # Objective: relative_regret, regret, final_regret, or regret_LANDSCAPE for one of those below.
  c.metric = 'relative_regret'
  # Bounds on metrics and costs, such as {'final_regret': '<= 0.5'}; others are not kept.
  c.constraints = ConfigDict()

  # Program.
  c.program = 'strategies'  # a folder in autoresearch_jax/programs, or a path to one
  c.entry = f'{variant}.py'  # the file that defines init, ask and tell
  c.editable = (f'{variant}.py',)  # files that a proposer may change
  c.constants = ConfigDict()  # values that replace the program's ALL_CAPS constants

  # How long a strategy is played on each instance, in training runs of the simulated problem.
  c.budget = ConfigDict()
  c.budget.amount = 60.0
  c.budget.unit = 'steps'

  # Landscapes: those of the search, and those of the final evaluation, of other families.
  c.problem = 'meta'
  c.data = ConfigDict()
  c.data.tuning = ('nk_k0', 'nk_k4', 'leading_ones', 'lineage')
  c.data.held_out = (
    'trap', 'rastrigin_10', 'rosenbrock_10', 'ackley_10', 'recorded_digits', 'landscape_digits',
  )  # fmt: skip
  c.data.instances = 1  # of each landscape, for each training seed
  c.data.reference = 'greedy'  # registered strategy that plays the same instances

  # Search strategy: the one that searches for strategies.
  c.search = ConfigDict()
  c.search.strategy = 'greedy'  # improve the incumbent, which the acceptance rule has confirmed
  c.search.options = ConfigDict()
  c.search.max_trials = 60  # trials, including the baseline; 0: until stopped

  c.proposer = 'mutate'  # constants, and parts of other strategies, offline
  c.proposer_options = ConfigDict()
  c.proposer_options.structural_share = 0.4  # of edits that take a part of another strategy

  # Acceptance rule: plays what looks better on more seeds until the evidence decides.
  c.acceptance = 'sequential'
  c.acceptance_options = ConfigDict()
  c.acceptance_options.baseline_seeds = 8  # that estimate the noise

  c.executor = 'play'  # plays strategies in sandboxed processes on this machine
  c.executor_options = ConfigDict()
  c.executor_options.slots = 1  # concurrent trials, each on one core

  # Seeds per program in the final comparison of best and baseline on held-out landscapes; 0: none.
  c.final_seeds = 8

  # Limits on a candidate; exceeding one ends the trial. `autoresearch run --help` lists all of
  # them, and the options of the components above; set them here or as --config.limits.NAME=VALUE.
  c.limits = ConfigDict()
  c.limits.isolation = 'full'  # required of the sandbox: full, limits or none
  c.limits.trace_seconds = 60.0  # wall-clock time that all calls of one game may take
  c.limits.trace_cpu_seconds = 20.0  # CPU time of the same
  c.limits.trace_bytes = 2 * 2**30  # address space of a strategy's process
  return c.lock()
